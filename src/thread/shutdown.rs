//! Shutting down a pool, or breaking it when an initializer fails.
//!
//! The queue is closed under its lock: a submitted task came before, or is refused. A
//! task that a worker pushes to its own deque meanwhile needs no such care, for the worker
//! empties that before it leaves.

use std::time::Instant;

use super::deque::Stolen;
use super::pool::{Pool, PoolState};
use super::queue::Gate;
use crate::completion::{Notification, Task, run_notifications, without_callback_queue};
use crate::error::{BrokenPart, Error};
use crate::executor::{ShutdownOptions, ShutdownReport, join};
use crate::panic::contain_drop;

impl Pool {
    pub(super) fn shutdown(&self, options: ShutdownOptions) -> ShutdownReport {
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
                without_callback_queue(|| self.clear(None, Task::cancel));
            } else {
                self.clear(None, Task::cancel);
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
    /// left the pool: their threads may still be ending.
    fn join(&self, deadline: Option<Instant>) {
        let has_ended = |state: &PoolState| state.workers == 0;
        join(&self.state, &self.ended, has_ended, &self.threads, deadline);
    }

    /// Breaks the pool, since the initializer of a worker failed.
    pub(super) fn break_down(&self, cause: Error) {
        let broken = cause.broken(BrokenPart::Initializer);
        self.close(broken.clone(), Gate::Broken);
        self.clear(None, |task| task.fail(broken.clone()));
        contain_drop(broken);
    }

    /// Fails a task that was queued, or about to be, while the pool broke, with all that are
    /// queued still; it has no entry in a queue.
    pub(super) fn fail_queued(&self, task: Task) {
        let closed = self.state.lock().closed.clone();
        let closed = closed.unwrap_or(Error::ShutDown);
        self.clear(Some(task), |task| task.fail(closed.clone()));
        contain_drop(closed);
    }

    /// Ends all queued tasks, and then runs their callbacks, since one may wait for
    /// another of these tasks. `taken` is one that the calling thread has taken.
    fn clear(&self, taken: Option<Task>, end: impl Fn(&Task) -> Option<Notification>) {
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
        let notifications: Vec<_> = tasks.into_iter().filter_map(end).collect();
        drop(ending);
        run_notifications(notifications);
    }
}
