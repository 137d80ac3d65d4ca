//! [`RemoteEnd`]: the reference of a process pool to one of its tasks.

use super::notification::Notification;
use super::rare::Task;
use crate::encoded::EncodedCall;
use crate::error::Error;

/// The reference to a task that another process runs. A process pool holds a `RemoteEnd`
/// instead of a [`Task`]. The `RemoteEnd` gives access to the task's encoded call while the
/// pool has *claimed* the task, that is, while the pool may offer or send the call to its
/// workers.
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

    /// `Pending -> Claimed`. Returns `false` if the task is no longer pending, or if a
    /// thread is ending it.
    pub(crate) fn claim(&mut self) -> bool {
        let is_claimed = self.task.claim();
        self.is_claimed |= is_claimed;
        is_claimed
    }

    /// `Claimed -> Pending`, for a task that has not started.
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.is_claimed) {
            self.task.release();
        }
    }

    /// Returns the encoded call of a claimed task, unless the call was taken.
    pub(crate) fn call(&self) -> Option<&EncodedCall> {
        // SAFETY: this `RemoteEnd` has claimed the task, so no other `RemoteEnd` has. The
        // methods that end or release the task, or take its call, need `&mut self`, so none
        // of them runs while the call is lent. The other methods only read a claimed task,
        // or mark it as running.
        let call = self.is_claimed.then(|| unsafe { self.task.claimed_call() });
        call.flatten()
    }

    /// Takes the encoded call of a claimed task. Afterwards the pool cannot send the task
    /// to a worker again.
    pub(crate) fn take_call(&mut self) -> Option<EncodedCall> {
        // SAFETY: this `RemoteEnd` has claimed the task, and `&mut self` shows that the
        // call is not lent.
        let call = (self.is_claimed).then(|| unsafe { self.task.take_claimed_call() });
        call.flatten()
    }

    /// Ends the claim, and returns the task. The caller must
    /// [settle](super::Completion::settle) the task.
    pub(crate) fn end(&mut self) -> &Task {
        self.is_claimed = false;
        &self.task
    }

    pub(crate) fn into_task(self) -> Task {
        self.task
    }

    /// Returns the task's address, which is unique as long as a reference to the task
    /// exists.
    pub(crate) fn id(&self) -> usize {
        self.task.address()
    }

    /// `Claimed -> Running`.
    pub(crate) fn start(&self) {
        self.task.start();
    }

    /// `Pending -> Cancelled`. Returns `None` if the task is not pending.
    pub(crate) fn cancel(&mut self) -> Option<Notification> {
        self.task.cancel()
    }

    /// `Pending -> Finished` with an error. Returns `None` if the task is not pending.
    pub(crate) fn fail(&mut self, error: Error) -> Option<Notification> {
        self.task.fail(error)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::super::job::Travels;
    use super::super::{Completion, NO_POOL};
    use super::*;
    use crate::encoded::Encoded;

    fn remote() -> (Completion<()>, RemoteEnd) {
        let call = Encoded::from(b"call".to_vec()).into();
        // SAFETY: the job and the value borrow nothing.
        let (completion, task) = unsafe { Completion::with_job(NO_POOL, Travels(Some(call))) };
        (completion, RemoteEnd::new(task))
    }

    #[test]
    fn only_a_claimed_task_has_a_call() {
        let (_future, mut end) = remote();
        assert!(end.call().is_none() && end.take_call().is_none());
        assert!(end.claim() && !end.claim());
        assert_eq!(
            end.call().and_then(EncodedCall::as_slice),
            Some(&b"call"[..])
        );
        end.release();
        assert!(end.call().is_none() && end.take_call().is_none());
        assert!(end.claim());
        assert!(end.take_call().is_some());
        assert!(end.call().is_none() && end.take_call().is_none());
        end.end();
        assert!(end.call().is_none());
    }

    #[test]
    fn a_task_that_was_cancelled_cannot_be_claimed() {
        let (future, mut end) = remote();
        drop(future.cancel().expect("it is pending"));
        assert!(!end.claim() && end.call().is_none());
    }
}
