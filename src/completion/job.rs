//! [`Job`]: the call that a task makes.

use std::marker::PhantomData;

use super::pool_id::PoolId;
use super::scope_guard::ScopeGuard;
use crate::encoded::EncodedCall;
use crate::panic::contain_drop;

/// The functions of a pool whose workers are other processes. Each function gets the id of
/// the pool.
pub(crate) struct Remote {
    /// Calls the closure repeatedly for a short time, and reads between the calls the
    /// answers that the workers of the pool have sent. (A pool of MPI ranks calls the
    /// closure only once, and reads no answers here.) Returns `true` as soon as the closure
    /// returns `true`. A thread that waits without a deadline for a task of the pool calls
    /// this function before it sleeps.
    pub(crate) poll: fn(PoolId, &dyn Fn() -> bool) -> bool,
    /// Makes a claimed task (one that the pool has offered or sent to workers) pending
    /// again, if no worker has taken it or its worker gives it back. The second argument is
    /// the task's address. Returns `true` if the task is pending again.
    pub(crate) recall: fn(PoolId, usize) -> bool,
}

/// A submitted call: the function and its arguments, in the form in which the executor
/// stores them.
pub(crate) trait Job<T>: Sized {
    /// The functions of the task's pool if the task is *remote*, that is, if a worker in
    /// another process makes the call. `None` if a thread of this process makes the call.
    /// The job of a remote task is not called in this process: `settle` ends the task with
    /// the worker's decoded answer or with an error, unless `fail` or a cancel ends it
    /// before a worker starts it.
    const REMOTE: Option<&'static Remote> = None;

    fn call(self) -> T;

    /// Tells the pool that a cancel (`cancelled` is `true`) or `fail` (`cancelled` is
    /// `false`) ends the task, so that the job will not be called.
    fn on_withdrawn(&self, cancelled: bool);

    /// Drops the function and its arguments, and catches the panics of both drops.
    fn drop_contained(self) {
        contain_drop(self);
    }

    /// Takes the [`ScopeGuard`] out of the job of a task in a scope. The scope may end as
    /// soon as the guard is dropped, so the caller drops the guard last, after the task's
    /// job, value and callbacks.
    fn take_guard(&mut self) -> Option<ScopeGuard> {
        None
    }

    /// Returns the encoded call of a remote task, or `None` if the call was taken.
    fn encoded_call(&self) -> Option<&EncodedCall> {
        None
    }

    fn take_encoded_call(&mut self) -> Option<EncodedCall> {
        None
    }
}

/// The job of a task that no worker runs, such as the task of a promise. It is never
/// called: [`settle`](super::Completion::settle) or a cancel ends the task.
#[derive(Debug)]
pub(crate) struct NoJob;

impl<T> Job<T> for NoJob {
    fn call(self) -> T {
        unreachable!("a promise is settled, and no worker gets its task")
    }

    fn on_withdrawn(&self, _cancelled: bool) {}
}

pub(crate) struct Scoped<J> {
    job: J,
    guard: Option<ScopeGuard>,
}

impl<J> Scoped<J> {
    pub(super) fn new(job: J, guard: ScopeGuard) -> Self {
        let guard = Some(guard);
        Self { job, guard }
    }

    /// Returns the job, and drops the guard, so that the task no longer counts in the
    /// scope.
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

/// A job of any type that will not be called.
pub(super) trait Withdrawn {
    fn on_withdrawn(&self, cancelled: bool);

    fn take_guard(&mut self) -> Option<ScopeGuard>;

    fn drop_contained(self: Box<Self>);
}

/// A job that will not be called, with the type of the job's value.
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

/// A job for tests. Its task counts as remote: no thread of this process calls the job.
#[cfg(test)]
pub(super) struct Travels(pub(super) Option<EncodedCall>);

#[cfg(test)]
impl<T> Job<T> for Travels {
    const REMOTE: Option<&'static Remote> = Some(&Remote {
        poll: |_, is_there| is_there(),
        recall: |_, _| false,
    });

    fn call(self) -> T {
        unreachable!("it runs elsewhere")
    }

    fn on_withdrawn(&self, _cancelled: bool) {}

    fn encoded_call(&self) -> Option<&EncodedCall> {
        self.0.as_ref()
    }

    fn take_encoded_call(&mut self) -> Option<EncodedCall> {
        self.0.take()
    }
}
