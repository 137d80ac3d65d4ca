//! The hooks by which a worker that runs a task counts the task, and reports if the worker
//! is available to a new task (`growth.rs` has the rule).

use super::worker_thread::WorkerThread;
use crate::completion::{Task, WorkerHooks};

impl WorkerHooks for WorkerThread {
    fn begin(&self, _leaves_entry: bool) {
        self.slot().count_begun();
        self.pool.unqueue_with(|| self.slot().set_busy(true));
        self.pool.grow_if_needed();
    }

    fn entry_was_stale(&self) {
        self.pool.count_stale(-1);
    }

    fn call_returned(&self, failed: bool) {
        self.slot().count_ended(failed);
        self.callbacks_finished();
    }

    fn callbacks_started(&self) {
        self.slot().set_busy(true);
        self.pool.grow_if_needed();
    }

    fn callbacks_finished(&self) {
        self.slot().set_busy(false);
        self.pool.notify_of_room();
    }
}

/// The hooks for a task that a worker runs inline: inside another task, or a callback, that
/// waits for it. The worker stays busy all the time.
pub(super) struct NestedHooks<'a>(pub(super) &'a WorkerThread);

impl WorkerHooks for NestedHooks<'_> {
    fn stack_size(&self) -> usize {
        self.0.pool.config.stack_size
    }

    fn pop_if(&self, task: &Task) -> Option<Task> {
        self.0.pop_if(task)
    }

    fn begin(&self, leaves_entry: bool) {
        self.0.slot().count_begun();
        self.0.pool.unqueue();
        if leaves_entry {
            self.0.pool.add_stale();
        }
    }

    fn entry_was_stale(&self) {
        self.0.pool.count_stale(-1);
        // The stale entry (`pool.rs`) left the deque before it was subtracted from the
        // count of stale entries. So `queued` was too low for a moment, and a task that was
        // pushed in this moment may need another worker.
        self.0.pool.grow_if_needed();
    }

    fn call_returned(&self, failed: bool) {
        self.0.slot().count_ended(failed);
    }

    fn callbacks_started(&self) {}

    fn callbacks_finished(&self) {}
}
