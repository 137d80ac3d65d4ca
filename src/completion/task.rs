//! The traits by which a queue, a worker and an executor see a task of any type.

use std::sync::Arc;

use crate::error::Error;

/// A submitted call, as its executor packed it.
pub(crate) trait Job<T>: Send {
    /// Runs the user's function.
    fn call(self: Box<Self>) -> T;

    /// Counts the function as one that is not called: `cancelled`, or failed
    /// together with its pool.
    fn on_withdrawn(&self, cancelled: bool);

    /// Drops the function and its arguments, and contains the panics of both.
    fn drop_contained(self: Box<Self>);

    /// Returns the hooks with which the current thread would run the task inside its
    /// wait, if it is one of the workers that could. Called under a lock.
    fn inline_hooks(&self) -> Option<Box<dyn WorkerHooks>>;

    /// Returns the call as bytes, if it is made in another process.
    fn into_encoded(self: Box<Self>) -> Option<EncodedCall> {
        None
    }
}

/// A call as another process gets it: a frame that is written once and sent as it
/// is.
#[derive(Clone)]
pub(crate) struct EncodedCall {
    /// The number by which that process names the task.
    pub(crate) number: u64,
    pub(crate) frame: Arc<Vec<u8>>,
}

/// The calls by which a worker tells its pool, while it runs a task, whether a new
/// task may count on it.
///
/// A worker is free *before* the outcome can be seen, so that a caller that acts on
/// the result finds it free, and busy again as long as user code runs here after
/// that.
pub(crate) trait WorkerHooks {
    /// Called when a queued task is about to run here.
    fn begin(&self);

    /// Called when its function has returned or panicked.
    fn call_returned(&self, failed: bool);

    /// Called when callbacks or wakers are to run here, or a `Drop`.
    fn callbacks_started(&self);

    /// Called when these have run.
    fn callbacks_finished(&self);
}

/// The [`Notification`](super::Notification) of a task of any type, for a thread that
/// settles many tasks before it notifies of the first.
pub(crate) type Notifications = Box<dyn FnOnce()>;

/// The worker's end of a task of any type.
pub(crate) trait Task: Send + Sync {
    /// Starts the task for the caller, which must then [`run`](Self::run) it. Returns
    /// `false` if it was started or cancelled before.
    fn start(&self) -> bool;

    /// Runs a task that the caller started, and its notification.
    fn run(self: Arc<Self>, hooks: &dyn WorkerHooks);

    /// Runs a pending task, if the caller is one of the workers that could and
    /// is about to wait for it.
    fn run_inline(self: Arc<Self>);

    /// Ends a pending task with an error in place of its call.
    fn fail(self: Arc<Self>, error: Error) -> Notifications;

    /// Cancels a task that is pending.
    fn cancel(self: Arc<Self>) -> Notifications;
}
