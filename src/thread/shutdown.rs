//! Shutting down a pool, or breaking it when an initializer fails.
//!
//! The queue is closed under its lock: a submitted task came before, or is refused. A
//! task that a worker pushes to its own deque meanwhile needs no such care, for the worker
//! empties that before it leaves.

use std::sync::Arc;
use std::time::Instant;

use super::deque::Stolen;
use super::pool::{Pool, PoolState};
use super::queue::Gate;
use super::worker_thread::WorkerThread;
use crate::completion::{
    Notification, Task, WorkerHooks, run_notifications, without_callback_queue,
};
use crate::error::{BrokenPart, Error};
use crate::executor::{ShutdownOptions, ShutdownReport, join};
use crate::panic::contain_drop;

impl Pool {
    pub(super) fn shutdown(self: &Arc<Self>, options: ShutdownOptions) -> ShutdownReport {
        if !self.is_here() {
            return ShutdownReport::default();
        }
        // First, so that the steps below count against the limit.
        let deadline = options.deadline();
        self.state.lock().shut_down = true;
        self.close(Error::ShutDown, Gate::ShutDown);
        // Waiting in one of its own tasks or callbacks would be a deadlock.
        let waits = options.waits() && !self.is_in_own_code();
        if options.cancels_pending() {
            if waits {
                // Not after the callback that this thread may be in: a worker, which
                // is joined below, may have to wait for these.
                without_callback_queue(|| run_notifications(self.clear(None, Task::cancel)));
            } else {
                run_notifications(self.clear(None, Task::cancel));
            }
        }
        if waits {
            self.join(deadline);
        }
        self.stats().into()
    }

    pub(super) fn is_shut_down(&self) -> bool {
        !self.is_here() || self.state.lock().shut_down
    }

    /// Refuses tasks from now on, with that error; but a pool that broke stays broken.
    fn close(&self, why: Error, gate: Gate) {
        let mut state = self.state.lock();
        if !matches!(state.closed, Some(Error::Broken(_))) {
            state.closed = Some(why);
        }
        self.queue.close(gate, &self.slots);
        drop(state);
        // A submitter that saw the pool open waits by then.
        drop(self.admitted.lock());
        self.capacity.notify_all();
    }

    /// Waits until all threads have ended; or, with a deadline, until all workers have
    /// left the pool: their threads may still be ending. And until each queued task has
    /// ended that another thread has taken out.
    fn join(&self, deadline: Option<Instant>) {
        let has_ended = |state: &PoolState| state.workers == 0 && state.clearing == 0;
        join(&self.state, &self.ended, has_ended, &self.threads, deadline);
    }

    /// Breaks the pool, since the initializer of that worker failed.
    pub(super) fn break_down(self: &Arc<Self>, worker: &WorkerThread, cause: Error) {
        let broken = cause.broken(BrokenPart::Initializer);
        self.close(broken.clone(), Gate::Broken);
        self.fail_all(worker, None, &broken);
        contain_drop(broken);
    }

    /// Fails a task that a worker of a broken pool has taken from a queue, with all that are
    /// queued still.
    pub(super) fn fail_queued(self: &Arc<Self>, worker: &WorkerThread, task: Task) {
        let closed = self.refusal();
        self.fail_all(worker, Some(task), &closed);
        contain_drop(closed);
    }

    fn fail_all(self: &Arc<Self>, worker: &WorkerThread, taken: Option<Task>, error: &Error) {
        let notifications = self.clear(taken, |task| task.fail(error.clone()));
        worker.callbacks_started();
        run_notifications(notifications);
        if self.is_here() {
            worker.callbacks_finished();
        }
    }

    /// Fails a task that was about to be queued while the pool broke. It alone: the others'
    /// callbacks are not for the thread that submits, which may hold a lock they want.
    pub(super) fn fail_unqueued(self: &Arc<Self>, task: &Task) {
        let closed = self.refusal();
        let notification = task.fail(closed);
        // A worker that waits for its scope may be about to end it, and look at the pool.
        task.wait_for_ending();
        self.count_stale(-1);
        self.start_if_queued();
        run_notifications(notification);
    }

    /// Ends all queued tasks. Their notifications are run behind that, since a callback may
    /// wait for another of these tasks. `taken` is one that the calling thread has taken.
    pub(super) fn clear(
        self: &Arc<Self>,
        taken: Option<Task>,
        end: impl Fn(&Task) -> Option<Notification>,
    ) -> Vec<Notification> {
        self.state.lock().clearing += 1;
        // Two threads may clear: neither is to notify of its tasks while the other still ends
        // those that it took.
        let ending = self.ending.lock();
        let mut tasks = self.queue.take_all();
        tasks.splice(0..0, taken);
        for slot in self.slots.iter(self.started()) {
            loop {
                match slot.own.steal() {
                    Stolen::Task(task) => tasks.push(task),
                    Stolen::Retry => {}
                    Stolen::Empty => break,
                }
            }
        }
        let end = |task: Task| {
            let notification = end(&task);
            // Another thread may be about to end it, and look at the pool.
            task.wait_for_ending();
            self.count_stale(-1);
            notification
        };
        let notifications = tasks.into_iter().filter_map(end).collect();
        drop(ending);
        // Until here, entries that were taken out were still subtracted from what is queued:
        // a task that was pushed meanwhile may have been counted as none.
        self.start_if_queued();
        self.state.lock().clearing -= 1;
        self.ended.notify_all();
        notifications
    }
}
