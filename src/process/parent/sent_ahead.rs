//! Tasks that are sent ahead: a launched worker gets its next tasks while it still runs
//! one.
//!
//! A launched worker, which a launcher's command or MPI has started, may run on another
//! host. A message to another host travels for a while. If a worker gets its next task only
//! after its last answer has arrived, it has nothing to do in between. So once all workers
//! are busy and no more workers can start, the pool sends tasks ahead, until each worker
//! has as many tasks as [`Launched::depth`](super::launched::Launched::depth) says. A task
//! that was sent ahead has not begun: its future is pending, it counts as queued, and the
//! pool can take it back.
//!
//! # The recall
//!
//! The pool never guesses if a task has begun. To take a task back, it sends `Recall`. The
//! worker decides under the lock of its queue:
//!
//! | the task | the worker sends | and the task |
//! |---|---|---|
//! | waits in the worker's queue | `Recalled` | will not run there |
//! | was taken by the worker's task thread | `Started`, before or after it reads `Recall` | runs there |
//!
//! So each recall ends: with one of the two messages, or with the end of the worker. If the
//! connection is down, the pool kills the worker after it has received nothing for the time
//! of the launcher's silence limit. If the worker ends and neither message has arrived, the
//! task has not begun, unless the launcher's command may have lost a message. `launched.rs`
//! describes the silence limit and the loss of messages.
//!
//! # Reasons for a recall
//!
//! * A worker is idle, the pool's queue is empty, and other workers have tasks ahead. The
//!   pool recalls the last half of these tasks from the worker that has the most, and puts
//!   them back into the queue. So no task waits behind a long one while a worker is idle.
//! * A thread cancels a task that was sent. The thread waits until the recall has ended.
//! * A thread kills the worker's task, or the task runs too long. If messages of the worker
//!   may get lost, the pool kills the worker only when each task that was sent ahead is
//!   back or has begun, or after [`RECALL_LIMIT`](super::worker_timeouts::RECALL_LIMIT).
//! * A thread shuts the pool down and cancels the pending tasks. It waits for the tasks to
//!   come back, for at most `RECALL_LIMIT`: a task that has not come back by then may run.
//! * The pool breaks. The tasks that come back fail.

use std::time::Instant;

use super::pool::Pool;
use super::pool_state::{Event, PoolState};
use super::queued_task::{InFlight, QueuedTask};
use super::worker_handle::{KillReason, WorkerHandle, WorkerState};
use crate::sync::MutexGuard;

impl WorkerHandle {
    /// Returns `true` if the pool may send the worker one more task behind its current
    /// task. `most` is the largest number of tasks that a worker may run in its life, if
    /// there is a limit.
    fn has_room_ahead(&self, most: Option<u64>) -> bool {
        let tasks = 1 + self.ahead.len();
        let depth = self
            .launched
            .as_ref()
            .map_or(1, |launched| launched.depth());
        let is_last = most.is_some_and(|most| self.done + tasks as u64 >= most);
        let is_busy = matches!(self.activity, WorkerState::Busy(_));
        is_busy && !is_last && tasks < depth && self.kill_reason.is_none() && !self.write_failed
    }

    /// Removes and returns a task of the worker, because the worker has given the task
    /// back.
    fn take_recalled(&mut self, task: u64) -> Option<InFlight> {
        if self
            .in_flight()
            .is_some_and(|first| first.entry.number == task)
        {
            return self.take_in_flight();
        }
        let at = self
            .ahead
            .iter()
            .position(|other| other.entry.number == task);
        self.ahead.remove(at?)
    }
}

impl PoolState {
    /// Returns the number of tasks that were sent to workers behind their current tasks.
    pub(super) fn count_ahead(&self) -> usize {
        match self.launchers.is_empty() {
            true => 0,
            false => self.workers.values().map(|handle| handle.ahead.len()).sum(),
        }
    }

    /// Makes the first of the tasks that were sent ahead to a worker the worker's current
    /// task, because the worker has ended its current task or has given it back. Returns
    /// `false` if no task was sent ahead.
    pub(super) fn begin_next(&mut self, number: usize, now: Instant) -> bool {
        let Some(handle) = self.workers.get_mut(&number) else {
            return false;
        };
        let next = handle.ahead.pop_front();
        let has_next = next.is_some();
        if let Some(next) = next {
            handle.expect_start(next, now);
            self.became_active();
        }
        has_next
    }

    /// Handles a task that its worker has given back, or that had not begun when its worker
    /// ended. If a thread waits for the task's recall, that thread can now cancel the task.
    /// Otherwise the task goes back into the queue.
    pub(super) fn take_back_or_requeue(&mut self, mut task: InFlight) {
        task.is_recalled = false;
        if !task.entry.has_begun && self.recalls.end(task.entry.number, true) {
            task.entry.task.release();
            // The cancel calls `on_withdrawn`, which subtracts the task from `queued`.
            self.queued += 1;
            self.send_event(Event::Stale(task.entry));
            return;
        }
        self.put_back(task);
    }
}

impl Pool {
    /// Sends queued tasks to workers that still have another task, if all workers are busy
    /// and no more can start now.
    pub(super) fn send_ahead(&self, state: &mut PoolState) {
        if state.launchers.is_empty() || state.queue.is_empty() {
            return;
        }
        if state.holds_queue || self.may_get_idle_workers(state) {
            return;
        }
        let most = self.config.max_tasks_per_child;
        loop {
            let with_room = state.workers.iter();
            let with_room = with_room.filter(|(_, handle)| handle.has_room_ahead(most));
            let emptiest = with_room.min_by_key(|(_, handle)| handle.ahead.len());
            let Some(number) = emptiest.map(|(number, _)| *number) else {
                return;
            };
            let Some(entry) = self.next_task(state) else {
                return;
            };
            // A task that waits for a retry is not sent ahead: its future shows it as
            // running, and a task that was sent ahead has to be pending. The tasks behind
            // it wait too, so that all tasks keep their order.
            if entry.has_begun {
                return state.put_at_head(InFlight::new(entry));
            }
            if let Some(handle) = state.workers.get_mut(&number) {
                handle.send_task_ahead(InFlight::new(entry));
                state.needs_wakeup |= handle.has_unsent() || handle.write_failed;
                state.needs_wakeup |= state.is_asleep && self.ranks.must_wake();
            }
            state.became_active();
        }
    }

    /// Returns `true` if an idle worker may soon take a queued task.
    fn may_get_idle_workers(&self, state: &PoolState) -> bool {
        let can_start = self.count_startable(state) > 0;
        can_start || state.count_starting() > 0 || !state.idle.is_empty()
    }

    /// If a worker is idle, the pool's queue is empty and no recall is under way, asks the
    /// worker with the most tasks sent ahead to give back half of these tasks, so that idle
    /// workers get them.
    pub(super) fn recall_for_idle(&self, state: &mut PoolState) {
        if state.launchers.is_empty() || state.idle.is_empty() || !state.queue.is_empty() {
            return;
        }
        let is_recalled = |handle: &WorkerHandle| handle.ahead.iter().any(|task| task.is_recalled);
        if state.workers.values().any(is_recalled) {
            return;
        }
        let fullest = state
            .workers
            .values_mut()
            .max_by_key(|handle| handle.ahead.len());
        let Some(handle) = fullest else {
            return;
        };
        handle.recall_last(handle.ahead.len().div_ceil(2));
        state.needs_wakeup |= handle.has_unsent();
    }

    pub(super) fn task_recalled(&self, state: &mut PoolState, number: usize, task: u64) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        let is_first = handle
            .in_flight()
            .is_some_and(|first| first.entry.number == task);
        // The user has killed this task, so it must end with `Killed`. It had been recalled
        // before the kill, for example because another worker was idle.
        if is_first && handle.kill_reason == Some(KillReason::Killed) {
            return;
        }
        // The worker has this task: `WorkerHandle::check_expected` rejects `Recalled` for a
        // task that was not recalled, unless the pool is killing the worker.
        let Some(recalled) = handle.take_recalled(task) else {
            return;
        };
        if !handle.kill_if_due() && is_first && !state.begin_next(number, Instant::now()) {
            state.idle.push(number);
        }
        state.take_back_or_requeue(recalled);
        self.capacity.notify_one();
        self.recalled.notify_all();
        self.dispatch(state);
    }

    /// Asks the launched worker that has a task to give it back, and waits until the worker
    /// has given the task back, has begun it, or has ended. Returns `true` if the task is
    /// pending again.
    pub(super) fn recall_sent(&self, state: &mut MutexGuard<'_, PoolState>, task: usize) -> bool {
        let is_it = |entry: &QueuedTask| entry.task.id() == task && !entry.has_begun;
        let mut workers = state.workers.values_mut();
        let found = workers.find_map(|handle| {
            handle.launched.as_ref()?;
            let mut tasks = handle.all_unstarted();
            let number = tasks.find(|task| is_it(&task.entry))?.entry.number;
            drop(tasks);
            handle.recall(number);
            Some((number, handle.has_unsent()))
        });
        let Some((number, has_unsent)) = found else {
            return false;
        };
        if has_unsent {
            self.wake_fd.wake();
        }
        state.recalls.wait_for(number);
        loop {
            if let Some(was_taken_back) = state.recalls.outcome(number) {
                return was_taken_back;
            }
            self.recalled.wait(state);
        }
    }

    /// Asks the workers to give back all tasks that were sent ahead, and waits until each
    /// of these tasks has come back or has become its worker's current task. Waits until
    /// `limit` at the latest.
    pub(super) fn recall_all(&self, state: &mut MutexGuard<'_, PoolState>, limit: Instant) {
        if state.count_ahead() == 0 {
            return;
        }
        for handle in state.workers.values_mut() {
            handle.recall_last(usize::MAX);
        }
        self.wake_fd.wake();
        state.holds_queue = true;
        while state.count_ahead() > 0 {
            if self.recalled.wait_until(state, limit).timed_out() {
                break;
            }
        }
        state.holds_queue = false;
    }
}

#[cfg(test)]
mod tests;
