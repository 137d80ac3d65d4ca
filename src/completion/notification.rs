//! [`Notification`]: all the user code that must run when a task ends. The wakers run
//! first, then the `Drop` of a job that was not called, then the callbacks
//! (`callbacks.rs`), and then the wakers that were added before the callbacks were done. If
//! the future was dropped, the `Drop` of the value comes last.

use std::fmt;

use super::job::Withdrawn;
use super::nested_callbacks::{Callbacks, run_or_enqueue, run_with_callback_queue};
use super::rare::Task;
use super::scope_guard::ScopeGuard;
use super::wakers::Wakers;
use crate::panic::contain;

/// The user code that has to run because a task ended. Rust drops the fields in this order,
/// so the scope guard is dropped last.
#[must_use = "callbacks and wakers wait for it, and so does `into_result`"]
pub(crate) struct Notification {
    /// The task, if `drops_value` or `has_callbacks` is `true`.
    task: Option<Task>,
    /// The job of a task that was cancelled, or that failed without a call.
    job: Option<Box<dyn Withdrawn>>,
    pub(super) wakers: Wakers,
    /// `true` if the task finished without a future and without callbacks: then this
    /// notification must drop the value.
    drops_value: bool,
    /// `true` if the task has callbacks. The thread that runs this notification must run
    /// the callbacks.
    has_callbacks: bool,
    /// The guard of a task in a scope. The guard must be dropped last.
    pub(super) scope_guard: Option<ScopeGuard>,
}

impl Notification {
    pub(super) fn new(mut job: Option<Box<dyn Withdrawn>>) -> Self {
        let scope_guard = job.as_mut().and_then(|job| job.take_guard());
        Self {
            task: None,
            job,
            wakers: Wakers::default(),
            drops_value: false,
            has_callbacks: false,
            scope_guard,
        }
    }

    /// Adds the task if its value has to be dropped or its callbacks have to run.
    pub(super) fn with_task(mut self, task: &Task, drops_value: bool, has_callbacks: bool) -> Self {
        self.task = (drops_value || has_callbacks).then(|| task.clone());
        (self.drops_value, self.has_callbacks) = (drops_value, has_callbacks);
        self
    }

    /// Returns `true` if there is user code to call.
    pub(crate) fn is_due(&self) -> bool {
        let is_foreign = |task: &Task| {
            // SAFETY: the closure is called only if `drops_value` is `true`. Then the value
            // belongs to the thread that has this notification, and only `notify`, which
            // consumes it, drops the value.
            let error = unsafe { task.error() };
            task.value_needs_drop() || error.is_some()
        };
        self.job.is_some()
            || !self.wakers.is_empty()
            || self.has_callbacks
            || (self.drops_value && self.task.as_ref().is_some_and(is_foreign))
    }

    /// Runs the user code. If the current thread has a queue of callbacks
    /// (`nested_callbacks.rs`), appends the task's callbacks to the queue, and otherwise
    /// runs them now.
    pub(crate) fn notify(self) {
        self.wakers.wake();
        if let Some(job) = self.job {
            job.drop_contained();
        }
        let Some(task) = self.task else {
            return;
        };
        if self.drops_value {
            // SAFETY: the task finished without a future and without callbacks, so the
            // value belongs to the thread that runs this notification.
            unsafe { task.drop_outcome() };
        }
        if self.has_callbacks {
            run_or_enqueue(Callbacks::of(task, self.scope_guard));
        }
    }
}

/// A notification without a job. It is `Send`, because another thread than the one that
/// ended the task may have to run it.
#[must_use = "as a `Notification`"]
pub(crate) struct JoblessNotification(Notification);

// SAFETY: only a job may be bound to one thread, and this notification has no job.
unsafe impl Send for JoblessNotification {}

impl JoblessNotification {
    pub(super) fn new(notification: Notification) -> Self {
        debug_assert!(notification.job.is_none(), "the job was dropped");
        Self(Notification {
            job: None,
            ..notification
        })
    }

    pub(crate) fn is_due(&self) -> bool {
        self.0.is_due()
    }

    pub(crate) fn notify(self) {
        self.0.notify();
    }
}

/// Runs the notifications of tasks that ended together. Calls the wakers of all these
/// tasks before it drops the first job, because the `Drop` of one task's job may wait for
/// a thread that a waker of another task wakes. Queues the callbacks of all these tasks
/// before the first callback runs, because a callback of one task may wait for the
/// callbacks of another.
pub(crate) fn run_notifications(all: impl IntoIterator<Item = Notification>) {
    let mut all: Vec<_> = all.into_iter().collect();
    let notify = |notification: Notification| contain(|| notification.notify());
    run_with_callback_queue(|| {
        all.iter_mut()
            .for_each(|notification| notification.wakers.take().wake());
        all.into_iter().for_each(notify);
    });
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("is_due", &self.is_due())
            .finish_non_exhaustive()
    }
}
