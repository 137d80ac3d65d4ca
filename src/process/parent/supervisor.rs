//! The supervisor: the thread of a pool that starts workers, reads their replies, and
//! handles their deaths (with the functions of `worker_replies.rs` and `worker_ends.rs`).
//!
//! The supervisor sleeps in `poll`, which watches the workers' sockets, the workers'
//! processes, and the pool's `wake_fd`. The timeout of `poll` is the next deadline, or the
//! end of a nap ([`NAP`]). After each sleep the supervisor holds the lock while it reads
//! replies, handles ended processes, and checks deadlines.
//!
//! A worker has ended when its process has ended. A closed socket does not prove that the
//! process has ended. After a worker's process has ended, the supervisor reads all
//! remaining replies. Only then does the supervisor put the worker's task back into the
//! queue or make the task fail.

pub(super) mod sleep;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::sleep::{Happened, NAP, Watched, begin_rest, sleep, watch};
use super::launched::Launched;
use super::offered_tasks::OfferedTasks;
use super::pool::Pool;
use super::pool_state::PoolState;
use super::progress::{self, Progress};
use super::worker_handle::{KillReason, WorkerHandle, WorkerState};
#[cfg(feature = "mpi")]
use super::worker_starts::are_ranks_busy;
use crate::error::End;
use crate::process::transport::SCRIBBLED;
use crate::sys::current_process::use_short_timer_slack;

/// The largest number of times that the supervisor reads the socket of a worker that has
/// ended. A few reads would be enough, because each read takes all bytes in the socket, up
/// to [`IO_BUDGET`](super::worker_handle::IO_BUDGET).
const READS_TO_THE_END: usize = 100;

/// The reason why the pool kills a worker that does not begin its task, or that takes no
/// *offer* (a task in shared memory that any worker may take) although an offer stays open.
const NOT_TAKEN_UP: &str = "it did not take up a task that it was sent; was it stopped (SIGSTOP)?";

/// The stack size of the supervisor's thread, in bytes. None of its functions recurses
/// deeply.
pub(super) const STACK: usize = 2 << 20;

/// The longest time for which a pool that ends waits until the error output of its launched
/// workers was copied.
const COPY_LIMIT: Duration = Duration::from_secs(1);

/// Runs the supervisor's loop until the pool is closed and has no task and no worker left.
pub(super) fn main(pool: &Arc<Pool>) {
    // An error is ignored, because it only means that a nap takes longer than it should.
    let _ = use_short_timer_slack();
    let mut naps = false;
    let mut state = pool.lock();
    loop {
        pool.begin_round(&mut state);
        if let Some((number, launcher)) = pool.next_start(&mut state) {
            drop(state);
            let started = pool.starter.start(number, launcher);
            #[cfg(feature = "mpi")]
            if started.as_ref().is_err_and(are_ranks_busy) {
                pool.ask_for_ranks();
            }
            state = pool.lock();
            match started {
                Ok(handle) => pool.worker_started(&mut state, number, handle),
                Err(error) => pool.not_started(&mut state, launcher, error),
            }
            continue;
        }
        if pool.is_finished(&state) {
            let copying = std::mem::take(&mut state.copying);
            drop(state);
            wait_for_copies(&copying);
            return pool.supervisor_ended(&mut pool.lock());
        }
        Pool::free_large_calls(&mut state);
        let watched = watch(&state);
        let may_spin = state.workers.values().any(WorkerHandle::should_spin);
        let deadlines = state.workers.values().filter_map(|handle| handle.deadline);
        let progress = state
            .workers
            .values()
            .filter_map(|handle| handle.progress.as_ref());
        let take_limits = state
            .workers
            .values()
            .filter_map(|handle| handle.take_limit.as_ref());
        let launched = state
            .workers
            .values()
            .filter(|handle| !handle.is_being_killed())
            .filter_map(|handle| handle.launched.as_ref());
        // If the pool has sent or offered a task since the last round, the sleep has a
        // timeout. A submitting thread then does not have to wake the supervisor.
        let was_active = state.was_active;
        let wake_at = deadlines
            .chain(progress.map(Progress::next_check))
            .chain(take_limits.map(Progress::next_check))
            .chain(was_active.then(|| Instant::now() + progress::INTERVAL))
            .chain(state.workers.values().filter_map(WorkerHandle::next_check))
            .chain(launched.map(Launched::next_check))
            .chain(state.not_before)
            .chain(state.retry_at)
            .min();
        state.was_active = false;
        state.is_watched = was_active;
        state.is_asleep = true;
        let rest = begin_rest(&mut state, naps);
        let looks = pool.ranks.begin_wait(&state);
        drop(state);
        let begun = Instant::now();
        let happened = sleep(pool, &watched, wake_at, may_spin, rest, looks);
        // If a message has arrived during a nap, or during a sleep that was about as short
        // as a nap, the next messages may also arrive soon.
        let may_nap = rest.limit().is_some() || begun.elapsed() < 2 * NAP;
        naps = may_nap && happened.iter().any(|happened| happened.message);
        state = pool.lock();
        state.is_asleep = false;
        for (worker, happened) in watched.iter().zip(happened) {
            handle_events(pool, &mut state, worker, happened);
        }
        pool.assign_taken(&mut state);
        pool.kill_overdue(&mut state);
    }
}

/// Waits until the last error output of the workers was copied, but not for longer than
/// [`COPY_LIMIT`]: the copy may block if no process reads this process's error output.
fn wait_for_copies(copying: &[JoinHandle<()>]) {
    let deadline = Instant::now() + COPY_LIMIT;
    while copying.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Handles the events of one worker during a sleep.
pub(super) fn handle_events(
    pool: &Pool,
    state: &mut PoolState,
    worker: &Watched,
    happened: Happened,
) {
    let Some(handle) = state.workers.get_mut(&worker.number) else {
        return;
    };
    if happened.socket {
        handle.read_wakeups();
    }
    if happened.socket || happened.message {
        handle.flush();
        pool.read_replies(state, worker.number);
        if let Some(handle) = state.workers.get_mut(&worker.number) {
            if handle.has_lost_a_message() {
                handle.kill(KillReason::Misbehaved(SCRIBBLED.to_owned()));
            }
        }
    }
    if !happened.end {
        return;
    }
    let end = match worker.process.try_wait() {
        Ok(None) => return,
        Ok(Some(end)) => end,
        Err(_) => End::Unknown,
    };
    read_replies_to_eof(pool, state, worker.number);
    pool.worker_ended(state, worker.number, end);
}

/// Reads all replies of a worker that has ended. A process that the worker started may hold
/// the socket open and write to it. The loop therefore ends when no more bytes have
/// arrived, and after [`READS_TO_THE_END`] rounds in any case.
fn read_replies_to_eof(pool: &Pool, state: &mut PoolState, number: usize) {
    if let Some(handle) = state.workers.get_mut(&number) {
        handle.read_wakeups();
    }
    for _ in 0..READS_TO_THE_END {
        pool.read_replies(state, number);
        let handle = state.workers.get(&number);
        if handle.is_none_or(|handle| handle.is_eof || handle.is_drained) {
            return;
        }
    }
}

impl Pool {
    /// Kills each worker whose deadline has passed or that makes no progress. Makes the
    /// checks that are due, of the connections and for destroyed messages.
    pub(super) fn kill_overdue(&self, state: &mut PoolState) {
        let has_limit = |handle: &WorkerHandle| {
            handle.deadline.is_some()
                || handle.progress.is_some()
                || handle.take_limit.is_some()
                || handle.next_check().is_some()
                || handle.launched.is_some()
        };
        if !state.workers.values().any(has_limit) {
            return;
        }
        let now = Instant::now();
        let offered = state.offered.as_ref();
        let is_any_open = offered.is_some_and(OfferedTasks::is_any_open);
        let is_full = offered.is_some_and(|offered| !offered.has_slot());
        let mut stalled = Vec::new();
        for (number, handle) in &mut state.workers {
            handle.check_if_due(now);
            handle.check_connection(now);
            let take_limit = handle.take_limit.as_mut();
            let takes_none = take_limit.is_some_and(|limit| limit.is_given_up_if(now, is_any_open));
            let offer = handle.in_flight().and_then(|task| task.offer);
            let is_kept = |offer| offered.is_some_and(|offered| offered.keeps(offer));
            let keeps_slot = is_full && offer.is_some_and(is_kept);
            let progress = handle.progress.as_mut();
            // A worker that was stopped before it copied its call keeps its offer's slot.
            // If no other slot is free, the pool can make no offers, so it kills this
            // worker already after the first check.
            let is_over = |progress: &mut Progress| {
                progress.is_given_up(now) || keeps_slot && progress.is_late()
            };
            if progress.is_some_and(is_over) || takes_none {
                stalled.push(*number);
            }
        }
        for number in stalled {
            self.kill_stalled(state, number);
        }
        let is_late = |handle: &WorkerHandle| handle.deadline.is_some_and(|at| at <= now);
        let workers = state.workers.iter();
        let late = workers.filter_map(|(number, handle)| is_late(handle).then_some(*number));
        for number in late.collect::<Vec<_>>() {
            if !self.hold_if(state, number, is_late) {
                continue;
            }
            let Some(handle) = state.workers.get_mut(&number) else {
                continue;
            };
            let kill_reason = match &handle.activity {
                _ if handle.is_being_killed() => KillReason::Killed,
                WorkerState::Starting if handle.is_eof && handle.launched.is_some() => {
                    KillReason::Misbehaved("its command has closed the connection".to_owned())
                }
                WorkerState::Starting if handle.write_failed && !handle.is_ready => {
                    KillReason::Misbehaved(
                        "its first message could not be sent; is this process short of memory or \
                         descriptors?"
                            .to_owned(),
                    )
                }
                _ if handle.is_eof || handle.write_failed => KillReason::Misbehaved(
                    "its connection to the pool was closed; a task may close only what it has opened \
                     itself, and may not become another program (`exec`)"
                        .to_owned(),
                ),
                WorkerState::Busy(_) => KillReason::TimedOut,
                WorkerState::Starting => KillReason::Misbehaved(handle.why_not_ready()),
                WorkerState::Idle | WorkerState::Leaving => {
                    KillReason::Misbehaved("it did not end when it was told to".to_owned())
                }
            };
            handle.kill_task(kill_reason);
        }
    }

    /// Kills a worker that makes no progress. In a pool with offers, first checks if the
    /// worker has made progress at this very moment: it may have begun a task, and the kill
    /// would make this task fail.
    fn kill_stalled(&self, state: &mut PoolState, number: usize) {
        let step = |handle: &WorkerHandle| {
            let task = handle.in_flight();
            let task = task.map(|task| (task.entry.number, task.started.is_some()));
            (handle.take_limit.is_some(), task)
        };
        let Some(before) = state.workers.get(&number).map(step) else {
            return;
        };
        if !self.hold_if(state, number, |handle| step(handle) == before) {
            return;
        }
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        handle.take_limit = None;
        handle.progress = None;
        let what = match before {
            (true, _) | (_, Some((_, false))) => NOT_TAKEN_UP,
            _ => {
                "it sent an incomplete message; was it stopped (SIGSTOP), or did a task write to what \
                 it has not opened itself?"
            }
        };
        handle.kill(KillReason::Misbehaved(what.to_owned()));
    }
}

#[cfg(test)]
mod tests;
