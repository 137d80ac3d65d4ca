//! [`RemoteEnd`]: the reference of a process pool to one of its tasks.

use std::ops::Deref;

use super::rare::Task;
use crate::encoded::EncodedCall;

/// The reference to a task that another process runs. It takes the place of the worker's
/// end, and gives access to the task's encoded call while the pool has claimed the task.
pub(crate) struct RemoteEnd {
    task: Task,
    /// `true` from `claim` until `release` or `end`.
    is_claimed: bool,
}

impl RemoteEnd {
    pub(crate) fn new(task: Task) -> Self {
        let is_claimed = false;
        Self { task, is_claimed }
    }

    /// `Pending -> Claimed`. Returns `false` if the task is no longer pending.
    pub(crate) fn claim(&mut self) -> bool {
        self.is_claimed = self.task.claim();
        self.is_claimed
    }

    /// `Claimed -> Pending`, for a task that has not started.
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.is_claimed) {
            self.task.release();
        }
    }

    /// Returns the encoded call of a claimed task, unless the call was taken.
    pub(crate) fn call(&self) -> Option<&EncodedCall> {
        // SAFETY: this value has claimed the task, and no other value can. It releases the
        // task, gives it away to be ended, or takes the call only through `&mut self`.
        let call = self.is_claimed.then(|| unsafe { self.task.claimed_call() });
        call.flatten()
    }

    /// Takes the encoded call of a claimed task, which will not be sent again.
    pub(crate) fn take_call(&mut self) -> Option<EncodedCall> {
        // SAFETY: as in `call`.
        let call = (self.is_claimed).then(|| unsafe { self.task.take_claimed_call() });
        call.flatten()
    }

    /// Returns the task, which the caller settles.
    pub(crate) fn end(&mut self) -> &Task {
        self.is_claimed = false;
        &self.task
    }

    /// Like [`end`](Self::end), and consumes the reference.
    pub(crate) fn into_task(self) -> Task {
        self.task
    }
}

impl Deref for RemoteEnd {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}
