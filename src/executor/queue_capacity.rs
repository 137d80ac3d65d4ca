//! [`QueueCapacity`]: the limit of a bounded queue, and the condition variable for the
//! threads that wait because the queue is full.

use std::time::Instant;

use crate::error::Error;
use crate::sync::{Condvar, MutexGuard};

/// A choice for the submission of a task while the queue is full.
#[derive(Clone, Copy)]
pub(crate) enum WhenFull {
    Refuse,
    Wait,
    /// Waits until this time, and then refuses the task.
    WaitUntil(Instant),
}

impl WhenFull {
    pub(crate) fn wait_until(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Wait, Self::WaitUntil)
    }
}

pub(crate) struct QueueCapacity {
    /// The largest number of waiting tasks, or `None` if the queue has no limit.
    limit: Option<usize>,
    /// The condition variable that a thread notifies when the queue may no longer be full,
    /// and when the pool begins to refuse tasks.
    not_full: Condvar,
}

impl QueueCapacity {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            not_full: Condvar::new(),
        }
    }

    /// Returns `true` if `queued` tasks exceed the limit. `counted_on` returns the number
    /// of tasks for which a worker is free or may be started. These tasks do not count
    /// against the limit. If the queue is unbounded, the method does not call `counted_on`.
    pub(crate) fn is_exceeded(&self, queued: usize, counted_on: impl FnOnce() -> usize) -> bool {
        self.limit
            .is_some_and(|limit| queued > limit.saturating_add(counted_on()))
    }

    /// Waits until the queue may no longer be full, or until the pool begins to refuse
    /// tasks. The caller then checks both again.
    ///
    /// # Errors
    ///
    /// Returns [`Error::QueueFull`] after the deadline of `when_full`, or without a wait if
    /// `when_full` says so.
    pub(crate) fn wait<S>(
        &self,
        state: &mut MutexGuard<'_, S>,
        when_full: WhenFull,
    ) -> Result<(), Error> {
        let is_over = match when_full {
            WhenFull::Refuse => true,
            WhenFull::Wait => {
                self.not_full.wait(state);
                false
            }
            WhenFull::WaitUntil(deadline) => self.not_full.wait_until(state, deadline).timed_out(),
        };
        if is_over {
            return Err(Error::QueueFull);
        }
        Ok(())
    }

    /// Wakes one thread in [`wait`](Self::wait), because the queue may no longer be full.
    pub(crate) fn notify_one(&self) {
        if self.limit.is_some() {
            self.not_full.notify_one();
        }
    }

    /// Wakes all threads in [`wait`](Self::wait), because the pool now refuses their tasks.
    pub(crate) fn notify_all(&self) {
        self.not_full.notify_all();
    }
}
