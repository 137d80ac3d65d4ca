//! [`Ranks`]: the workers of a pool that are ranks of an MPI job.
//!
//! No descriptor tells of their messages. So the supervisor looks for messages in place of its
//! sleep, with pauses that grow ([`Patience`]), as long as a rank may send one: it has a task,
//! it starts, or it leaves. Then the supervisor sleeps as in any other pool, and the thread
//! that sends the next message to a rank wakes it.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use std::thread::yield_now;

use super::pool_state::PoolState;
use super::worker_handle::{WorkerHandle, WorkerState};
use crate::process::transport::Mpi;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::sys::patience::Patience;

/// The supervisor looks for messages that it does not expect until its pauses are so long: the
/// next task may come soon.
const LINGERING: Duration = Duration::from_millis(1);

/// The MPI job whose ranks are the workers of a pool, if they are.
pub(super) struct Ranks {
    pub(super) mpi: Option<&'static Mpi>,
    patience: Mutex<Patience>,
    /// `true` unless the supervisor sleeps, or makes a pause that a message should end.
    is_alert: AtomicBool,
}

impl Ranks {
    pub(super) fn new(mpi: Option<&'static Mpi>) -> Self {
        Self {
            mpi,
            patience: Mutex::new(Patience::default()),
            is_alert: AtomicBool::new(true),
        }
    }

    /// Returns `true` if a thread that has sent a message to a rank has to wake the
    /// supervisor.
    pub(super) fn must_wake(&self) -> bool {
        // ORDERING: a wrong answer delays a message by one pause at most. The supervisor ends
        // its looks under the pool's lock, which the calling thread holds.
        self.mpi.is_some() && !self.is_alert.load(Ordering::Relaxed)
    }

    /// Chooses how the supervisor waits: returns `true` if it has to look for messages. The
    /// supervisor holds the pool's lock.
    pub(super) fn begin_wait(&self, state: &PoolState) -> bool {
        let is_quiet = |handle: &WorkerHandle| matches!(handle.activity, WorkerState::Idle);
        let looks = self.mpi.is_some()
            && (!state.workers.values().all(is_quiet)
                || self.patience.lock().pause(Instant::now()) < LINGERING);
        // ORDERING: as in `must_wake`.
        self.is_alert.store(looks, Ordering::Relaxed);
        looks
    }

    /// Waits like `poll`, and returns before its time if `is_ready` returns `true`. Looks for
    /// messages meanwhile if `looks` is set.
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
            return poll(polled, timespec(limit).as_ref());
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
                // The pool may expect no message any more.
                return Ok(0);
            }
        }
    }
}
