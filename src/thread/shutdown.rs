//! Shutting down a pool, or breaking it when an initializer fails.
//!
//! A shutdown and a break close the queue under the queue's lock. A task that a thread
//! outside the pool submits at the same time is queued before that moment, or not at all. A
//! task that a worker pushes to its own deque at the same time is not lost, because the
//! worker empties its deque before it ends.

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
        // Compute the deadline first, so that the steps below count against the time limit.
        let deadline = options.deadline();
        self.state.lock().shut_down = true;
        let gate = match options.cancels_pending() {
            true => Gate::Cancelled,
            false => Gate::ShutDown,
        };
        self.close(Error::ShutDown, gate);
        // A wait inside one of the pool's own tasks would never end, because the task would
        // wait for itself. A wait inside a callback of such a task might never end either.
        let waits = options.waits() && !self.is_in_own_code();
        if options.cancels_pending() {
            if waits {
                // Run the callbacks of the cancelled tasks now, not after the callback that
                // this thread may be inside: `join` below waits for the workers, and a
                // worker may wait for these callbacks.
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

    /// Closes the pool, which from then on refuses new tasks with the given error. A pool
    /// that is already broken keeps its earlier error.
    fn close(&self, why: Error, gate: Gate) {
        let mut state = self.state.lock();
        if !matches!(state.closed, Some(Error::Broken(_))) {
            state.closed = Some(why);
        }
        self.queue.close(gate, &self.slots);
        drop(state);
        // Once this thread gets the lock, a submitting thread that saw the pool open has
        // its task admitted, or already waits for room in the queue. The call below wakes
        // the waiting threads.
        drop(self.admitted.lock());
        self.capacity.notify_all();
    }

    /// Waits until all worker threads have ended, and until no thread is in `clear`: such a
    /// thread has taken tasks out of the queues, and ends them. With a deadline, waits
    /// until the deadline at most, and does not wait for the threads of workers that have
    /// left the pool.
    fn join(&self, deadline: Option<Instant>) {
        let has_ended = |state: &PoolState| state.workers == 0 && state.clearing == 0;
        join(&self.state, &self.ended, has_ended, &self.threads, deadline);
    }

    /// Breaks the pool, because the initializer of the given worker failed: from now on the
    /// pool refuses tasks with [`Error::Broken`], and the queued tasks fail.
    pub(super) fn break_down(self: &Arc<Self>, worker: &WorkerThread, cause: Error) {
        let broken = cause.broken(BrokenPart::Initializer);
        self.close(broken.clone(), Gate::Broken);
        self.fail_all(worker, None, &broken);
        contain_drop(broken);
    }

    /// Fails the given task, which a worker of a broken pool took from a queue, and all
    /// tasks that are still queued.
    pub(super) fn fail_queued(self: &Arc<Self>, worker: &WorkerThread, task: Task) {
        let closed = self.refusal();
        self.fail_all(worker, Some(task), &closed);
        contain_drop(closed);
    }

    /// Cancels the given task, which a worker took from a queue after a shutdown that
    /// cancels the pending tasks, and all tasks that are still queued. The shutdown may
    /// have missed them, because a worker was just pushing them to its own deque, or moving
    /// them from one queue to another.
    pub(super) fn cancel_queued(self: &Arc<Self>, worker: &WorkerThread, task: Task) {
        self.end_all(worker, Some(task), Task::cancel);
    }

    fn fail_all(self: &Arc<Self>, worker: &WorkerThread, taken: Option<Task>, error: &Error) {
        self.end_all(worker, taken, |task| task.fail(error.clone()));
    }

    fn end_all(
        self: &Arc<Self>,
        worker: &WorkerThread,
        taken: Option<Task>,
        end: impl Fn(&Task) -> Option<Notification>,
    ) {
        let notifications = self.clear(taken, end);
        worker.callbacks_started();
        run_notifications(notifications);
        if self.is_here() {
            worker.callbacks_finished();
        }
    }

    /// Fails a task that was about to be queued when the pool broke. The submitting thread
    /// fails only its own task, because it may hold a lock that the callbacks of other
    /// tasks want.
    pub(super) fn fail_unqueued(self: &Arc<Self>, task: &Task) {
        let closed = self.refusal();
        let notification = task.fail(closed);
        // A thread that is ending the task still accesses the pool meanwhile. So wait for
        // such a thread, if there is one.
        task.wait_for_ending();
        self.count_stale(-1);
        self.start_if_queued();
        run_notifications(notification);
    }

    /// Ends all queued tasks and the task `taken`, which the calling thread took from a
    /// queue. Returns the tasks' notifications (their wakers, drops and callbacks). The
    /// caller runs the notifications after all these tasks have ended, because a callback
    /// may wait for another of these tasks.
    pub(super) fn clear(
        self: &Arc<Self>,
        taken: Option<Task>,
        end: impl Fn(&Task) -> Option<Notification>,
    ) -> Vec<Notification> {
        self.state.lock().clearing += 1;
        // Two threads may call `clear` at the same time. With the lock, the second thread
        // waits until the first has ended the tasks that it took. So no notification of the
        // two threads runs before these tasks have ended.
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
            // Another thread may be ending the task, and still accesses the pool meanwhile.
            // So wait for that thread.
            task.wait_for_ending();
            self.count_stale(-1);
            notification
        };
        let notifications = tasks.into_iter().filter_map(end).collect();
        drop(ending);
        // A *stale* entry is one whose task no longer waits to run. The stale entries left
        // their queues before this thread subtracted them from the pool's count of stale
        // entries. So `queued` was too low for a moment, and a task that was pushed in this
        // moment may lack a worker.
        self.start_if_queued();
        self.state.lock().clearing -= 1;
        self.ended.notify_all();
        notifications
    }
}
