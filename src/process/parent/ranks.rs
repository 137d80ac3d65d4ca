//! [`Ranks`]: the workers of a pool that are ranks of an MPI job.
//!
//! A rank is a process that MPI has started. MPI has no descriptor that shows the arrival
//! of a message. So, as long as a rank may send a message, the supervisor (the thread that
//! reads the workers' messages) does not sleep, but looks for messages again and again,
//! with pauses that grow ([`Patience`]). A rank may send messages while it starts, has a
//! task, or leaves the pool. (An idle rank sends only the answer to the one `Ping` that it
//! gets after its start.) At other times the supervisor sleeps as in any other pool, and
//! the thread that sends the next message to a rank wakes it.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use std::thread::yield_now;

use super::pool_state::PoolState;
use super::worker_handle::{WorkerHandle, WorkerState};
use crate::process::settings::Config;
use crate::process::transport::Mpi;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::sys::patience::Patience;

/// While the supervisor's pauses are shorter than this time, it goes on looking for
/// messages even if no rank may send a message, because the next task may come soon.
const LINGERING: Duration = Duration::from_millis(1);

/// The state of the supervisor's wait for the messages of ranks. `mpi` is `None` if the
/// pool's workers are no ranks.
pub(super) struct Ranks {
    pub(super) mpi: Option<&'static Mpi>,
    patience: Mutex<Patience>,
    /// `false` while the supervisor sleeps or pauses. A thread that sends a message to a
    /// rank then has to wake the supervisor.
    is_alert: AtomicBool,
}

impl Ranks {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            mpi: config.mpi,
            patience: Mutex::new(Patience::default()),
            is_alert: AtomicBool::new(true),
        }
    }

    /// Returns `true` if a thread that sends a message to a rank must wake the supervisor.
    pub(super) fn must_wake(&self) -> bool {
        // ORDERING: `Relaxed` is enough. The supervisor stops looking for messages only
        // under the pool's lock, which the calling thread holds. During a pause in `poll`,
        // a wrong value delays a message by this pause at most.
        self.mpi.is_some() && !self.is_alert.load(Ordering::Relaxed)
    }

    /// Returns `true` if the supervisor has to look for messages of ranks while it waits.
    /// The supervisor holds the pool's lock during this call.
    pub(super) fn begin_wait(&self, state: &PoolState) -> bool {
        let is_quiet = |handle: &WorkerHandle| matches!(handle.activity, WorkerState::Idle);
        let looks = self.mpi.is_some()
            && (!state.workers.values().all(is_quiet)
                || self.patience.lock().pause(Instant::now()) < LINGERING);
        // ORDERING: as in `must_wake`.
        self.is_alert.store(looks, Ordering::Relaxed);
        looks
    }

    /// Waits like the system call `poll`. If `looks` is set, also looks for messages of
    /// ranks meanwhile, and returns early if `is_ready` returns `true`. May then also
    /// return 0 before the limit, after a long pause.
    pub(super) fn poll(
        &self,
        polled: &mut [PollFd<'_>],
        limit: Option<Duration>,
        looks: bool,
        is_ready: &dyn Fn() -> bool,
    ) -> rustix::io::Result<usize> {
        let timespec =
            |limit: Option<Duration>| limit.and_then(|limit| Timespec::try_from(limit).ok());
        let Some(mpi) = self.mpi.filter(|_| looks) else {
            let happened = poll(polled, timespec(limit).as_ref())?;
            if self.mpi.is_some() && happened > 0 {
                self.patience.lock().begin_anew();
            }
            return Ok(happened);
        };
        let begun = Instant::now();
        let mut patience = self.patience.lock();
        loop {
            mpi.progress();
            if is_ready() {
                patience.begin_anew();
                return poll(polled, timespec(Some(Duration::ZERO)).as_ref());
            }
            let now = Instant::now();
            let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(now - begun));
            let pause = patience.pause(now);
            if left.is_zero() {
                return poll(polled, timespec(Some(Duration::ZERO)).as_ref());
            }
            if pause.is_zero() {
                yield_now();
                continue;
            }
            // ORDERING: as in `must_wake`.
            self.is_alert.store(false, Ordering::Relaxed);
            let happened = poll(polled, timespec(Some(pause.min(left))).as_ref())?;
            // ORDERING: as in `must_wake`.
            self.is_alert.store(true, Ordering::Relaxed);
            if happened > 0 {
                patience.begin_anew();
                return Ok(happened);
            }
            if pause >= LINGERING {
                // The supervisor decides anew in `begin_wait` if it has to look for
                // messages.
                return Ok(0);
            }
        }
    }
}
