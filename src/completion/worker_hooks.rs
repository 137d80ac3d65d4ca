//! [`WorkerHooks`]: the calls by which a worker reports its progress to its pool.

use super::rare::Task;
use super::stack::LEAST;

/// The calls by which a worker that runs a task tells its pool if the worker is free or
/// busy.
///
/// A worker becomes free *before* other threads can see the outcome, so that a caller that
/// acts on the result finds the worker free. The worker becomes busy again while it runs
/// the callbacks and drops of the task. A worker that runs a task inside a wait stays busy
/// all the time.
pub(crate) trait WorkerHooks {
    /// Returns the number of bytes of stack that a task of the pool may use.
    fn stack_size(&self) -> usize {
        LEAST
    }

    /// Takes the task out of the worker's own deque, if the task is the newest in the
    /// deque.
    fn pop_if(&self, _task: &Task) -> Option<Task> {
        None
    }

    /// Called when a queued task is about to run on this thread. `leaves_entry` is `true`
    /// if the worker has not taken the task's entry out of a queue.
    fn begin(&self, leaves_entry: bool);

    /// Called when the worker has taken a task out of a queue and the task is no longer
    /// pending. The worker does not run this task.
    fn entry_was_stale(&self) {}

    /// Called when the task's function has returned or panicked.
    fn call_returned(&self, failed: bool);

    /// Called before the worker runs callbacks, wakers or the `Drop` of a value.
    fn callbacks_started(&self);

    /// Called when the callbacks, wakers and drops have run.
    fn callbacks_finished(&self);
}
