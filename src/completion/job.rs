//! [`Job`]: the call that a task is about.

use std::marker::PhantomData;
use std::sync::Arc;

use super::scope_guard::ScopeGuard;
use crate::panic::contain_drop;

/// A submitted call, as its executor packed it.
pub(crate) trait Job<T>: Sized {
    /// `true` if another process makes the call: `settle` ends the task then, with an
    /// answer that a finalizer decodes.
    const IS_REMOTE: bool = false;

    /// Runs the user's function.
    fn call(self) -> T;

    /// Counts the function as one that is not called: `cancelled`, or failed
    /// together with its pool.
    fn on_withdrawn(&self, cancelled: bool);

    /// Drops the function and its arguments, and contains the panics of both.
    fn drop_contained(self) {
        contain_drop(self);
    }

    /// Takes the guard of a task that is in a scope: to be dropped behind all else.
    fn take_guard(&mut self) -> Option<ScopeGuard> {
        None
    }

    /// Takes the call of a remote task out, to be sent.
    fn take_call(&mut self) -> Option<EncodedCall> {
        None
    }

    /// Puts it back, since it was not begun.
    fn put_call(&mut self, _call: EncodedCall) {}
}

/// The job of a task that [`settle`](super::Completion::settle) ends: a promise's.
#[derive(Debug)]
pub(crate) struct NoJob;

impl<T> Job<T> for NoJob {
    fn call(self) -> T {
        unreachable!("a promise is settled, and no worker gets its task")
    }

    fn on_withdrawn(&self, _cancelled: bool) {}
}

/// A job in a scope.
pub(crate) struct Scoped<J> {
    job: J,
    guard: Option<ScopeGuard>,
}

impl<J> Scoped<J> {
    pub(super) fn new(job: J, guard: ScopeGuard) -> Self {
        let guard = Some(guard);
        Self { job, guard }
    }

    /// Takes the job out of the scope.
    pub(crate) fn into_job(self) -> J {
        self.job
    }
}

impl<J: Job<T>, T> Job<T> for Scoped<J> {
    fn call(self) -> T {
        self.job.call()
    }

    fn on_withdrawn(&self, cancelled: bool) {
        self.job.on_withdrawn(cancelled);
    }

    fn take_guard(&mut self) -> Option<ScopeGuard> {
        self.guard.take()
    }

    fn drop_contained(self) {
        self.job.drop_contained();
    }
}

/// A job that is not called any more, of any type.
pub(super) trait Withdrawn {
    /// See [`Job::on_withdrawn`].
    fn on_withdrawn(&self, cancelled: bool);

    /// See [`Job::take_guard`].
    fn take_guard(&mut self) -> Option<ScopeGuard>;

    /// See [`Job::drop_contained`].
    fn drop_contained(self: Box<Self>);
}

/// A job, with the type of the value that it would have returned.
pub(super) struct WithdrawnJob<J, T>(pub(super) J, pub(super) PhantomData<T>);

impl<J: Job<T>, T> Withdrawn for WithdrawnJob<J, T> {
    fn on_withdrawn(&self, cancelled: bool) {
        self.0.on_withdrawn(cancelled);
    }

    fn take_guard(&mut self) -> Option<ScopeGuard> {
        self.0.take_guard()
    }

    fn drop_contained(self: Box<Self>) {
        self.0.drop_contained();
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
