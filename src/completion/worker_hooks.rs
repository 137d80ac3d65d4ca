//! [`WorkerHooks`]: the calls by which a worker tells its pool what it does.

use super::rare::Task;

/// The calls by which a worker tells its pool, while it runs a task, whether a new
/// task may count on it.
///
/// A worker is free *before* the outcome can be seen, so that a caller that acts on
/// the result finds it free, and busy again as long as user code runs here after
/// that.
pub(crate) trait WorkerHooks {
    /// Takes the task out of the worker's own queue, if it is the newest there.
    fn pop_if(&self, _task: &Task) -> Option<Task> {
        None
    }

    /// Called when a queued task is about to run here; `leaves_entry` if its entry is
    /// still in a queue.
    fn begin(&self, leaves_entry: bool);

    /// Called when an entry was taken out of a queue whose task is past pending.
    fn entry_was_stale(&self) {}

    /// Called when its function has returned or panicked.
    fn call_returned(&self, failed: bool);

    /// Called when callbacks or wakers are to run here, or a `Drop`.
    fn callbacks_started(&self);

    /// Called when these have run.
    fn callbacks_finished(&self);
}
