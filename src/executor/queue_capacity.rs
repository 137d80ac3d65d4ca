//! [`QueueCapacity`]: the limit of a bounded queue, and the submitters that wait for
//! room in it.

use crate::error::Error;
use crate::sync::{Condvar, MutexGuard};

pub(crate) struct QueueCapacity {
    /// The largest number of queued tasks. `None` means that the queue is unbounded.
    limit: Option<usize>,
    /// Notified when the queue may have room again, or when the pool begins to refuse
    /// tasks.
    not_full: Condvar,
}

impl QueueCapacity {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            not_full: Condvar::new(),
        }
    }

    /// Returns `true` if `queued` tasks exceed the limit. The first `counted_on` tasks
    /// take no room, because a worker is available for each of them.
    pub(crate) fn is_exceeded(&self, queued: usize, counted_on: usize) -> bool {
        self.limit
            .is_some_and(|limit| queued > limit.saturating_add(counted_on))
    }

    /// Waits until the queue may have room. The caller then checks the queue again.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`], without waiting, if `waits` is `false`.
    pub(crate) fn wait<S>(&self, state: &mut MutexGuard<'_, S>, waits: bool) -> Result<(), Error> {
        if !waits {
            return Err(Error::QueueFull);
        }
        self.not_full.wait(state);
        Ok(())
    }

    /// Wakes one submitting thread, because the queue may have room for its task.
    pub(crate) fn notify_one(&self) {
        if self.limit.is_some() {
            self.not_full.notify_one();
        }
    }

    /// Wakes all submitting threads, because the pool refuses their tasks from now on.
    pub(crate) fn notify_all(&self) {
        self.not_full.notify_all();
    }
}
