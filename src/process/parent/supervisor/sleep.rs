//! The supervisor's sleep: the events that end it, and the *nap*, a short sleep while many
//! short tasks run.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::pool::Pool;
use super::super::pool_state::{BURST, PoolState};
use super::super::process_handle::Process;
use crate::process::transport::Watch;
use crate::sys::spin::{self, spin};

/// The time between two checks of a worker's process on a system that has no descriptor for
/// a process. The first interval is for a worker whose socket is closed, and the second
/// interval is for any other worker.
const POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// The length of a nap. During a nap, a message in shared memory wakes the supervisor only
/// if its worker waits for the supervisor ([`Rest`]). After the nap, or after a few naps in
/// a *burst* (a thread submits many tasks in a row), the supervisor reads many messages at
/// once. A nap delays a message by at most the nap's length.
pub(super) const NAP: Duration = Duration::from_micros(100);

/// The length of a nap while more tasks wait than fit into the memory for offers. Then the
/// workers find tasks without the supervisor for a while, and most tasks wait in the queue
/// for longer than the nap anyway. After each nap, the supervisor needs a CPU for 15 to 20
/// us, which a worker could use. With naps of the length [`NAP`], a `map` over many short
/// items takes 1.04 times as long (P8 of `benches/peers`).
const LONG_NAP: Duration = Duration::from_micros(400);

/// The largest number of naps in a row while a burst goes on. Between these naps, the
/// supervisor only checks if the burst goes on. With one nap instead of up to four, a burst
/// on two workers and two CPUs takes 1.07 times as long (P1 of `benches/peers`).
const NAPS_IN_BURST: usize = 4;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The descriptors and flags of one worker, copied for [`sleep`], which holds no lock.
pub(in super::super) struct Watched {
    pub(super) number: usize,
    pub(in super::super) process: Arc<Process>,
    pub(in super::super) watch: Watch,
    pub(in super::super) has_unsent: bool,
    can_flush: bool,
    is_malformed: bool,
    pub(in super::super) is_eof: bool,
}

pub(in super::super) fn watch(state: &PoolState) -> Vec<Watched> {
    // A thread may make offers after this call and before the sleep.
    let may_have_offers = state.offered.is_some();
    let workers = state.workers.iter();
    workers
        .map(|(number, handle)| Watched {
            number: *number,
            process: Arc::clone(&handle.process),
            watch: handle.watch(may_have_offers),
            has_unsent: handle.has_unsent(),
            can_flush: handle.can_flush(),
            is_malformed: handle.is_malformed,
            is_eof: handle.is_eof,
        })
        .collect()
}

// These methods look for room and bytes in shared memory, and for messages of MPI ranks.
// The system call `poll` reports none of these.
impl Watched {
    fn can_send(&self) -> bool {
        self.can_flush || self.watch.has_room()
    }

    /// Returns `true` if bytes have arrived, if the worker has begun a task, or if there is
    /// room for unsent bytes.
    fn is_ready(&self) -> bool {
        self.can_send() || !self.is_malformed && self.watch.has_news()
    }
}

/// The messages in shared memory that end a sleep. A message in a socket ends every sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rest {
    /// Any message.
    UntilMessage,
    /// A wake-up by a worker that finds no offer, or that waits for room or for a long
    /// call. The sleep ends after this time at the latest.
    Nap(Duration),
    /// A wake-up by a worker that waits for room or for a long call. The thread that
    /// submits a burst of tasks reads all other messages (`polling.rs`). The sleep ends
    /// after [`NAP`], or while the burst goes on, after [`NAPS_IN_BURST`] naps.
    Burst,
    /// No message: a thread polls (reads the messages itself while it waits for a task),
    /// and asks for wake-ups when it stops (`polling.rs`).
    UntilPolled,
}

impl Rest {
    /// Returns the length of the nap, or `None` if the rest is no nap.
    pub(in super::super) fn limit(self) -> Option<Duration> {
        match self {
            Self::Nap(limit) => Some(limit),
            Self::Burst => Some(NAP),
            Self::UntilMessage | Self::UntilPolled => None,
        }
    }

    /// Tells the workers which of their messages end the rest.
    pub(in super::super) fn ask_for_wakeups(self, watched: &[Watched]) {
        let watches = watched.iter().map(|worker| &worker.watch);
        match self {
            Self::UntilMessage => watches.for_each(Watch::arm),
            Self::Nap(_) => watches.for_each(|watch| watch.nap(false)),
            Self::Burst => watches.for_each(|watch| watch.nap(true)),
            Self::UntilPolled => {}
        }
    }

    /// Returns `true` if the rest must end at once. The supervisor has just told the
    /// workers which messages end the rest.
    pub(in super::super) fn is_over(self, watched: &[Watched]) -> bool {
        let is_over = |worker: &Watched| match self {
            // Messages do not end this rest, because the submitting thread reads them.
            Self::Burst => worker.can_send() || worker.watch.is_awaited(),
            _ => worker.is_ready(),
        };
        watched.iter().any(is_over)
    }
}

/// Chooses the messages that end the sleep that now begins. `naps` says that the next
/// messages may arrive soon.
pub(in super::super) fn begin_rest(state: &mut PoolState, naps: bool) -> Rest {
    let submitted = std::mem::take(&mut state.submitted);
    let rest = match state.pollers {
        0 if submitted >= BURST && state.offered.is_some() => Rest::Burst,
        0 if naps && state.queued > 0 && state.offered.is_some() => Rest::Nap(LONG_NAP),
        0 if naps && state.count_offered() > 0 => Rest::Nap(NAP),
        0 => Rest::UntilMessage,
        _ => Rest::UntilPolled,
    };
    // In a burst, an offer may wait without a wake-up until the supervisor's next nap ends
    // (`wake_for_offers`). While a thread polls there is no nap, so no offer may wait for
    // the end of a nap.
    match rest {
        Rest::Burst => state.is_burst = true,
        _ => Pool::end_burst(state),
    }
    rest
}

/// The events of one worker during a sleep.
#[derive(Clone, Copy)]
pub(in super::super) struct Happened {
    /// The worker's socket can be read or written.
    pub(super) socket: bool,
    /// Bytes of the worker may have arrived in shared memory or through MPI, or unsent
    /// bytes for the worker may have room there.
    pub(in super::super) message: bool,
    pub(super) end: bool,
}

/// Sleeps until a descriptor is ready, a message has arrived, or the time is over.
pub(in super::super) fn sleep(
    pool: &Pool,
    watched: &[Watched],
    wake_at: Option<Instant>,
    may_spin: bool,
    rest: Rest,
    looks: bool,
) -> Vec<Happened> {
    let mut polled = vec![PollFd::new(&pool.wake_fd, PollFlags::IN)];
    // Returns an entry that reports nothing. It stands in the place of a descriptor that
    // does not exist or that `poll` must not watch.
    let nothing = || PollFd::from_borrowed_fd(pool.wake_fd.as_fd(), PollFlags::empty());
    let mut limit = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
    if let Some(nap) = rest.limit() {
        limit = Some(limit.map_or(nap, |limit| limit.min(nap)));
    }
    for worker in watched {
        let mut flags = PollFlags::empty();
        if worker.has_unsent && worker.watch.sends_by_socket() {
            flags |= PollFlags::OUT;
        }
        match worker.watch.descriptor().filter(|_| !worker.is_eof) {
            Some(channel) => polled.push(PollFd::new(channel, flags | PollFlags::IN)),
            // A closed socket is not watched, because `poll` would report it at each call.
            // An MPI rank has no descriptor.
            None => polled.push(nothing()),
        }
        match worker.process.descriptor() {
            Some(process) => polled.push(PollFd::from_borrowed_fd(process, PollFlags::IN)),
            // An MPI rank has no process to watch: its last message says that it has left.
            None if worker.watch.descriptor().is_none() => polled.push(nothing()),
            // The system has no descriptors for processes, so the supervisor wakes up from
            // time to time to check the process.
            None => {
                let interval = POLL_INTERVALS[usize::from(!worker.is_eof)];
                limit = Some(limit.map_or(interval, |limit| limit.min(interval)));
                polled.push(nothing());
            }
        }
    }
    let watches = || watched.iter().map(|worker| &worker.watch);
    let is_any_ready = || watched.iter().any(Watched::is_ready);
    let is_found = may_spin
        && !looks
        && rest.limit().is_none()
        && match watches().any(Watch::sends_by_socket) {
            true => spin(|| poll(&mut polled, Some(&NOW)).ok().filter(|n| *n > 0)).is_some(),
            false => spin::poll(is_any_ready),
        };
    if !is_found {
        rest.ask_for_wakeups(watched);
        if rest.is_over(watched) {
            limit = Some(Duration::ZERO);
        }
        let mut slept = pool.ranks.poll(&mut polled, limit, looks, &is_any_ready);
        if rest == Rest::Burst {
            let is_due = || wake_at.is_some_and(|at| at <= Instant::now());
            let mut naps = 1;
            while naps < NAPS_IN_BURST && slept == Ok(0) && !is_due() && pool.burst_goes_on() {
                slept = pool.ranks.poll(&mut polled, limit, looks, &is_any_ready);
                naps += 1;
            }
        }
        watches().for_each(Watch::wakes_up);
        if let Err(error) = slept {
            // `poll` fails if a signal has arrived, if the system is short of memory, or if
            // the process's limit of descriptors was lowered.
            if error != Errno::INTR {
                thread::sleep(POLL_INTERVALS[0]);
            }
            // The flags make the supervisor check each worker's socket and process.
            let all = Happened {
                socket: true,
                message: true,
                end: true,
            };
            return vec![all; watched.len()];
        }
    }
    if !polled[0].revents().is_empty() {
        pool.wake_fd.clear();
    }
    let happened = |polled: &PollFd<'_>| !polled.revents().is_empty();
    polled[1..]
        .chunks_exact(2)
        .zip(watched)
        .map(|(pair, worker)| {
            let ended = happened(&pair[1]) || worker.process.descriptor().is_none();
            Happened {
                socket: happened(&pair[0]),
                message: worker.is_ready(),
                end: ended,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
