//! [`Notification`]: all the user code that the end of a task calls for. Wakers
//! first, then the `Drop` of a job that was not called and of an unwanted value,
//! then the callbacks: each once, in the order of adding, one after the other and
//! never one inside the other.

use std::fmt;
use std::mem::needs_drop;
use std::sync::Arc;

use super::Completion;
use super::borrowing::later;
use super::nested_callbacks::run_or_enqueue;
use super::scope_end::ScopeGuard;
use super::task::Job;
use super::wakers::Wakers;
use crate::error::Error;
use crate::panic::contain_drop;
use crate::sys::fork::Origin;

/// The user code that has to run because a task ended, moved out of the record so
/// that it runs without the lock. Dropped in the order of its fields.
#[must_use = "callbacks and wakers wait for it, and so does `into_result`"]
pub(crate) struct Notification<T> {
    /// The job, if it was not called.
    pub(super) job: Option<Box<dyn Job<T>>>,
    pub(super) wakers: Wakers,
    /// The outcome, if the future is gone and there are no callbacks.
    pub(super) unwanted: Option<Result<T, Error>>,
    /// The task with the callbacks, if it has any.
    pub(super) callbacks: Option<Arc<Completion<T>>>,
    /// The task's place in a scope: to be dropped last.
    pub(super) scope_guard: Option<Box<ScopeGuard>>,
}

impl<T> Notification<T> {
    /// Returns `true` if there is user code to call.
    pub(crate) fn is_due(&self) -> bool {
        let is_foreign = |outcome: &Result<T, Error>| outcome.is_err() || needs_drop::<T>();
        self.job.is_some()
            || !self.wakers.is_empty()
            || self.unwanted.as_ref().is_some_and(is_foreign)
            || self.callbacks.is_some()
    }

    /// Calls it; the callbacks come now, or after the one that the current
    /// thread is in.
    pub(crate) fn notify(self) {
        self.wakers.wake();
        if let Some(job) = self.job {
            job.drop_contained();
        }
        contain_drop(self.unwanted);
        let scope_guard = self.scope_guard;
        if let Some(completion) = self.callbacks {
            let origin = Origin::current();
            let task = completion.address();
            let rest = move || {
                // A callback before it may have forked: they run in the parent.
                if origin.is_here() {
                    completion.run_callbacks();
                }
                drop(scope_guard);
            };
            // SAFETY: it drops the scope guard last, and a task without one borrows
            // nothing.
            run_or_enqueue(task, unsafe { later(rest) });
        }
    }
}

impl<T> fmt::Debug for Notification<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("is_due", &self.is_due())
            .finish_non_exhaustive()
    }
}
