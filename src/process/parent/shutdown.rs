//! Shutting down, killing or breaking a pool, and killing a single task. The pool kills a
//! task by killing the worker that runs the task.

use std::collections::VecDeque;
use std::time::Instant;

use super::pool::Pool;
use super::pool_state::{Event, PoolState, Threads};
use super::queued_task::QueuedTask;
use super::worker_handle::{KillReason, WorkerHandle};
use super::worker_timeouts::RECALL_LIMIT;
use crate::completion::{
    is_collector_of, is_notifying_for, run_notifications, without_callback_queue,
};
use crate::error::{BrokenPart, Error};
use crate::executor::{ShutdownOptions, ShutdownReport, join};

impl Pool {
    /// Breaks the pool: it refuses tasks from now on, and its queued tasks, and the offered
    /// tasks (`offers.rs`) that no worker has taken, fail. Asks the workers to give back
    /// the tasks that were sent ahead (`sent_ahead.rs`). These tasks fail when they come
    /// back.
    pub(super) fn break_down(&self, state: &mut PoolState, cause: Error, part: BrokenPart) {
        let broken = cause.broken(part);
        state.close(broken.clone());
        self.capacity.notify_all();
        state.recall_offers();
        state.retries_queued = 0;
        state.to_spawn = state.starting;
        let pending = state.take_pending();
        for entry in std::mem::take(&mut state.queue) {
            state.fail(entry, broken.clone());
        }
        state.send_event(Event::Refused(pending, broken));
        for handle in state.workers.values_mut() {
            handle.recall_last(usize::MAX);
            state.needs_wakeup |= handle.has_unsent();
        }
        self.dispatch(state);
    }

    /// Reads the answers that have arrived, and then kills all workers, or terminates them
    /// if `kill_reason` is `Terminated`.
    pub(super) fn stop(&self, state: &mut PoolState, kill_reason: KillReason) {
        state.stopped = Some(kill_reason.clone());
        self.drain_replies(state);
        state.to_spawn = state.starting;
        for handle in state.workers.values_mut() {
            if handle.is_being_killed() {
                continue;
            }
            if kill_reason == KillReason::Terminated {
                handle.terminate();
            } else {
                handle.kill(kill_reason.clone());
            }
        }
        state.needs_wakeup = true;
    }

    /// Closes the pool and ends all its workers, with `SIGKILL` if `at_once` is set, and
    /// otherwise with `SIGTERM`.
    pub(in crate::process) fn stop_workers(&self, at_once: bool) {
        if !self.is_here() {
            return;
        }
        let kill_reason = if at_once {
            KillReason::Killed
        } else {
            KillReason::Terminated
        };
        let mut state = self.state.lock();
        let mut pending = self.refuse_tasks(&mut state, true);
        for entry in std::mem::take(&mut state.queue) {
            state.kill_queued(entry);
        }
        // The pool stops the workers before it unlocks the state from which it took the
        // queued tasks. If the pool unlocked the state in between, a worker could die by
        // itself in that time. The pool would put that worker's task back into the queue,
        // and no worker would remain to run the task.
        self.stop(&mut state, kill_reason);
        self.dispatch(&mut state);
        self.wake_supervisor_if_needed(state);
        // The pool kills the workers before it cancels the pending tasks, because a
        // callback of a cancelled task may wait for a task that a worker runs.
        self.cancel(&mut pending);
    }

    /// Kills the worker that has the task, or takes the task out of the queue if it waits
    /// for a retry. Returns `true` if the kill ends the task.
    pub(in crate::process) fn kill(&self, task: usize) -> bool {
        if !self.is_here() {
            return false;
        }
        let mut state = self.state.lock();
        self.drain_replies(&mut state);
        let is_it = |entry: &QueuedTask| entry.task.id() == task;
        // If the task is offered to the workers, it first goes back into the queue. If it
        // waits for a retry, the code below finds it there.
        if let Some(task) = Self::take_back(&mut state, is_it) {
            state.put_back(task);
        }
        let has_it = |handle: &WorkerHandle| {
            let in_flight = handle.in_flight();
            in_flight.is_some_and(|in_flight| is_it(&in_flight.entry))
        };
        let mut workers = state.workers.iter();
        let number = workers.find_map(|(number, handle)| has_it(handle).then_some(*number));
        let number = number.filter(|number| self.hold_if(&mut state, *number, has_it));
        let handle = number.and_then(|number| state.workers.get_mut(&number));
        let killed = match handle {
            Some(handle)
                if handle.kill_reason.is_none()
                    || handle.kill_reason == Some(KillReason::Terminated) =>
            {
                handle.kill_task(KillReason::Killed);
                // The kill may be delayed until the worker has given other tasks back, or
                // until a time limit is over. The supervisor must wake up to learn this
                // limit.
                state.needs_wakeup = true;
                true
            }
            Some(handle) => handle.kill_reason == Some(KillReason::Killed),
            None => {
                let mut queue = state.queue.iter();
                let at = queue.position(|entry| entry.has_begun && is_it(entry));
                let entry = at.and_then(|at| state.queue.remove(at));
                let found = entry.is_some();
                if let Some(entry) = entry {
                    state.kill_queued(entry);
                    // If the task was offered, it had a place in a bounded queue, which is
                    // free now.
                    self.capacity.notify_one();
                }
                self.dispatch(&mut state);
                found
            }
        };
        self.wake_supervisor_if_needed(state);
        killed
    }

    pub(in crate::process) fn shutdown(&self, options: ShutdownOptions) -> ShutdownReport {
        if !self.is_here() {
            return ShutdownReport::default();
        }
        // The deadline is computed first, so that it also limits the recall of tasks in
        // `close`.
        let deadline = options.deadline();
        self.state.lock().shut_down = true;
        // A shutdown by a callback of one of the pool's tasks, or by the `Deserialize` of a
        // result, does not wait, because the pool ends only after the callback or the
        // `Deserialize` has returned.
        let waits = options.waits() && !self.is_in_own_code();
        self.close(options.cancels_pending(), waits, deadline);
        if waits {
            self.join(deadline);
        }
        self.stats().into()
    }

    /// Makes the pool refuse tasks from now on, and cancels the pending tasks if
    /// `cancels_pending` is set. `waits` is `true` if the caller waits for the end of the
    /// pool later.
    fn close(&self, cancels_pending: bool, waits: bool, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        let mut pending = self.refuse_tasks(&mut state, cancels_pending);
        if cancels_pending {
            let limit = Instant::now() + RECALL_LIMIT;
            let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
            self.recall_all(&mut state, limit);
            pending.extend(Self::take_pending(&mut state));
        }
        self.dispatch(&mut state);
        self.wake_supervisor_if_needed(state);
        if waits {
            // The callbacks of the cancelled tasks run now, even inside another callback.
            // The current thread will wait for the collector, and the collector may wait
            // for one of these callbacks.
            without_callback_queue(|| self.cancel(&mut pending));
        } else {
            self.cancel(&mut pending);
        }
    }

    /// Makes the pool refuse tasks from now on. If `takes_pending` is set, the method takes
    /// the pending tasks out of the queue. The caller then unlocks the state and passes
    /// these tasks to [`cancel`](Self::cancel). Until these tasks are cancelled, they count
    /// as unsettled, so that the shutdown of another thread goes on waiting for them.
    fn refuse_tasks(
        &self,
        state: &mut PoolState,
        takes_pending: bool,
    ) -> VecDeque<Box<QueuedTask>> {
        state.close(Error::ShutDown);
        self.capacity.notify_all();
        if takes_pending {
            state.recall_offers();
            Self::take_pending(state)
        } else {
            VecDeque::new()
        }
    }

    fn take_pending(state: &mut PoolState) -> VecDeque<Box<QueuedTask>> {
        let pending = state.take_pending();
        state.unsettled += pending.len();
        pending
    }

    /// Cancels pending tasks. No callback or waker runs before all of these tasks are
    /// cancelled, because a callback may wait for another of them.
    fn cancel(&self, pending: &mut VecDeque<Box<QueuedTask>>) {
        let cancelled = pending.iter_mut().map(|entry| entry.task.cancel());
        let notifications: Vec<_> = cancelled.collect();
        self.settled(pending.len());
        run_notifications(notifications.into_iter().flatten());
    }

    /// Returns `true` if the current thread runs a callback of a task of this pool, or
    /// decodes the result of such a task.
    pub(super) fn is_in_own_code(&self) -> bool {
        is_notifying_for(self.id) || is_collector_of(self.id)
    }

    /// Returns `true` if dropping the executor has nothing to do and nothing to wait for.
    ///
    /// The drop waits for workers that the pool has killed or terminated. A killed worker
    /// ends soon, and the drop should not return while the system lists its process.
    pub(in crate::process) fn needs_no_shutdown(&self) -> bool {
        if !self.is_here() {
            return true;
        }
        let state = self.state.lock();
        state.shut_down && state.stopped.is_none()
    }

    fn join(&self, deadline: Option<Instant>) {
        let has_ended = |state: &PoolState| state.threads != Threads::Up && state.unsettled == 0;
        join(
            &self.state,
            &self.threads_ended,
            has_ended,
            &self.threads,
            deadline,
        );
    }

    /// Returns `true` if the pool is closed and has neither an unanswered task nor a worker
    /// left.
    pub(super) fn is_finished(&self, state: &PoolState) -> bool {
        state.closed.is_some()
            && state.queue.is_empty()
            // `queued` also counts the tasks that another thread has taken out of the queue
            // and has not cancelled yet.
            && state.queued + state.count_offered() == 0
            && state.workers.is_empty()
            && state.to_spawn == 0
    }

    /// Sends the supervisor's last event, and closes the channel to the collector.
    pub(super) fn supervisor_ended(&self, state: &mut PoolState) {
        state.send_event(Event::Ended);
        state.collector = None;
    }

    /// Records the end of the collector, and notifies the threads that wait for it.
    pub(super) fn collector_ended(&self) {
        let mut state = self.state.lock();
        state.threads = Threads::Ended;
        drop(state);
        self.threads_ended.notify_all();
    }
}
