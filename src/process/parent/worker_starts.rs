//! The functions that handle the starts of workers. The supervisor calls most of them.
//!
//! A start has two steps. The supervisor calls [`Pool::worker_started`] as soon as the
//! worker's process exists, or [`Pool::not_started`] if the process, or its connection to
//! the pool, could not be created. The pool calls [`Pool::worker_initialized`] when the
//! worker says that it can begin tasks. If the worker ends between the two steps, the start
//! has failed (`worker_ends.rs`).

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::pool::Pool;
use super::pool_state::PoolState;
use super::worker_handle::{WorkerHandle, WorkerState};
use crate::error::{BrokenPart, Error, StartFailure};
use crate::process::transport::PoolOffers;
use crate::sys::shortage::Shortage;

/// The time that a pool with workers waits after it failed to start one more worker.
pub(super) const SHORTAGE: Duration = Duration::from_millis(500);

/// The time that a pool without workers waits between two attempts to start a worker. The
/// pool tries again, because a shortage of descriptors, processes or memory may soon end.
const SHORTAGE_WITHOUT_WORKERS: Duration = Duration::from_millis(20);

/// The time that a pool waits between two attempts to take a rank of an MPI job while all
/// ranks are workers of other pools.
const RANKS_BUSY: Duration = Duration::from_millis(5);

pub(super) const SHORTAGE_LIMIT: Duration = Duration::from_secs(10);

/// Returns `true` if a start has failed because all MPI ranks are workers of other pools.
pub(super) fn are_ranks_busy(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ResourceBusy
}

impl Pool {
    /// Returns the number of the next worker, and the index of the worker's launcher if
    /// the pool has launchers. Returns `None` if the supervisor has to start no worker
    /// now. The supervisor reports the result of the start by
    /// [`worker_started`](Self::worker_started) or [`not_started`](Self::not_started).
    /// The status of an offer names a worker by a short code, which several numbers share
    /// (`transport/offers.rs`). So this method skips a number whose code is that of a
    /// living worker.
    pub(super) fn next_start(&self, state: &mut PoolState) -> Option<(usize, Option<usize>)> {
        if state.to_spawn == 0 {
            return None;
        }
        let launcher = state.launchers.next(Instant::now());
        match launcher {
            Some(index) => state.launchers.starts(index),
            None if state.launchers.is_empty() => {}
            None => {
                // Each launcher that may have one more worker pauses after a failed start.
                // A task that waits for a worker must not wait for longer than this pause.
                state.to_spawn = 0;
                state.retry_at = state.launchers.next_pause();
                return None;
            }
        }
        state.starting = 1;
        // In a burst, offers may wait until the supervisor's nap is over. They must not
        // wait for the start of a process, which takes longer than a nap.
        Self::end_burst(state);
        let is_free = |number: &usize| {
            let mut others = state.workers.keys();
            others.all(|other| PoolOffers::can_tell_apart(*number, *other))
        };
        let mut numbers = (state.started..).take(usize::from(u16::MAX));
        let number = numbers.find(is_free).unwrap_or(state.started);
        state.started = number + 1;
        Some((number, launcher))
    }

    pub(super) fn worker_started(
        &self,
        state: &mut PoolState,
        number: usize,
        mut handle: WorkerHandle,
    ) {
        if let Err(error) = handle.send_first() {
            // The process has begun no task: it waits for its first message.
            handle.process.kill_and_wait();
            // `send_first` fails only if it has files to send. A worker that a launcher
            // starts gets no files, so no launcher has started this worker.
            return self.not_started(state, None, error);
        }
        state.to_spawn -= 1;
        state.starting = 0;
        if state.ended > 0 {
            state.ended -= 1;
            state.replaced += 1;
        }
        if let Some(kill_reason) = &state.stopped {
            handle.kill(kill_reason.clone());
        }
        let is_last = state.closed.is_some() && state.count_waiting() == 0;
        let handle = state.workers.entry(number).or_insert(handle);
        if is_last {
            handle.send_exit();
        }
    }

    pub(super) fn not_started(
        &self,
        state: &mut PoolState,
        launcher: Option<usize>,
        error: io::Error,
    ) {
        state.to_spawn = 0;
        state.starting = 0;
        let now = Instant::now();
        let is_shortage = Shortage::of(&error).is_some();
        if let Some(index) = launcher.filter(|_| are_ranks_busy(&error)) {
            // All MPI ranks are workers of other pools. The pool tries again soon, because
            // another pool may give a rank back at any time.
            state.launchers.ended(index, false, None, now);
            state.not_before = now.checked_add(RANKS_BUSY);
            return;
        }
        if let Some(index) = launcher {
            // A shortage of resources, such as descriptors, in this process says nothing
            // about the launcher.
            let why = (!is_shortage).then(|| error.to_string());
            state.launchers.ended(index, false, why.as_deref(), now);
            if let Some(why) = why {
                // A command that cannot be run here cannot be run later either.
                state.launchers.leave_out(index, &why);
                return self.break_down_without_launchers(state);
            }
        }
        if !state.workers.is_empty() {
            // The existing workers continue to run tasks. Only the next start is delayed.
            state.not_before = now.checked_add(SHORTAGE);
            return;
        }
        // Two failed starts belong to one shortage if the time between them is less than
        // half of `SHORTAGE_LIMIT`. This time is long, because a start may take long before
        // it fails.
        let recent = state
            .shortage
            .filter(|(_, last)| now - *last < SHORTAGE_LIMIT / 2);
        let since = recent.map_or(now, |(since, _)| since);
        state.shortage = Some((since, now));
        if is_shortage && now - since < SHORTAGE_LIMIT {
            state.not_before = now.checked_add(SHORTAGE_WITHOUT_WORKERS);
        } else {
            self.break_down(state, Error::spawn(error), BrokenPart::Start);
        }
    }

    /// Counts a worker as idle, because it can now begin tasks. If a task waits, gives it
    /// to an idle worker.
    pub(super) fn worker_initialized(&self, state: &mut PoolState, number: usize) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        state.shortage = None;
        handle.end_initializer();
        // This `Ping` measures the time of a trip. It is sent only now, so this time does
        // not include the initializer.
        handle.send_ping();
        state.idle.push(number);
        self.dispatch(state);
        let has_offers = state.count_offered() > 0;
        if let Some(handle) = state.workers.get_mut(&number) {
            let is_idle = matches!(handle.activity, WorkerState::Idle);
            handle.was_idle = is_idle && !has_offers;
        }
    }

    /// Breaks the pool if it has launchers and does not use any of them any more.
    pub(super) fn break_down_without_launchers(&self, state: &mut PoolState) {
        if let Some(why) = state.launchers.why_none_is_left() {
            let cause = io::ErrorKind::NotConnected.into();
            let error = StartFailure::wrap(cause, why, "see if the command works by itself");
            self.break_down(state, Error::spawn(error), BrokenPart::Start);
        }
    }
}
