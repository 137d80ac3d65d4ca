//! The hooks by which a worker keeps its pool's counts while it runs a task: the
//! rule of `pool.rs`.

use std::sync::Arc;

use super::pool::Pool;
use crate::completion::WorkerHooks;

/// The hooks of a task that a worker took from the queue.
pub(super) struct WorkerLoopHooks<'a>(pub(super) &'a Arc<Pool>);

impl WorkerHooks for WorkerLoopHooks<'_> {
    fn begin(&self) {
        self.0.begin(true);
    }

    fn call_returned(&self, failed: bool) {
        let mut state = self.0.state.lock();
        state.idle += 1;
        state.end(failed);
        self.0.capacity.notify_one();
    }

    fn callbacks_started(&self) {
        let mut state = self.0.state.lock();
        state.idle -= 1;
        // Without another thread, the task waits until this one is free again.
        let _ = self.0.start_worker_if_needed(&mut state);
    }

    fn callbacks_finished(&self) {
        self.0.state.lock().idle += 1;
        self.0.capacity.notify_one();
    }
}

/// The hooks of a task that a worker runs while it waits for it, inside the
/// task that it was running anyway: the worker stays as busy as it is.
pub(super) struct NestedHooks(pub(super) Arc<Pool>);

impl WorkerHooks for NestedHooks {
    fn begin(&self) {
        self.0.begin(false);
    }

    fn call_returned(&self, failed: bool) {
        self.0.state.lock().end(failed);
    }

    fn callbacks_started(&self) {}

    fn callbacks_finished(&self) {}
}
