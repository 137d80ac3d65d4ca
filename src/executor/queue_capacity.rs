//! [`QueueCapacity`]: the limit of a bounded queue, and the submitters that wait for
//! room in it.

use crate::error::Error;
use crate::sync::{Condvar, MutexGuard};

pub(crate) struct QueueCapacity {
    /// `None`: as many tasks as there are.
    limit: Option<usize>,
    /// Notified when there may be room again, or tasks are refused.
    not_full: Condvar,
}

impl QueueCapacity {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            not_full: Condvar::new(),
        }
    }

    /// Returns `true` if so many queued tasks are too many. A task that can count on
    /// a worker takes no room.
    pub(crate) fn is_exceeded(&self, queued: usize, counted_on: usize) -> bool {
        self.limit
            .is_some_and(|limit| queued > limit.saturating_add(counted_on))
    }

    /// Waits until there may be room; the caller checks again.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`], at once, if the caller does not want to wait.
    pub(crate) fn wait<S>(&self, state: &mut MutexGuard<'_, S>, waits: bool) -> Result<(), Error> {
        if !waits {
            return Err(Error::QueueFull);
        }
        self.not_full.wait(state);
        Ok(())
    }

    /// Wakes one submitter, for which there may be room.
    pub(crate) fn notify_one(&self) {
        if self.limit.is_some() {
            self.not_full.notify_one();
        }
    }

    /// Wakes all submitters: their tasks are refused from now on.
    pub(crate) fn notify_all(&self) {
        self.not_full.notify_all();
    }
}
