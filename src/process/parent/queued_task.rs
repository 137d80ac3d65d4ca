//! [`QueuedTask`]: a task as the pool holds it, of whatever type, from its queue
//! to a worker and to its end.
//!
//! The pool does with one, in this order: `claim` when the call is sent (it cannot
//! be cancelled from then on), `begin` when the worker says that it started, one
//! `answered` or `failed` at the end. A task whose worker ended before it started
//! is `release`d, and may be claimed again or cancelled. `failed` and the
//! finalizer that `answered` returns run foreign code; all else takes the task's
//! own lock for a moment and may be done under the pool's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completion::{EncodedCall, Finalizer, Notification};
use crate::error::{Error, TaskEnd, TaskEndParts};
use crate::process::settings::TaskSettings;
use crate::process::wire::answer::Answer;

/// The worker's end of a task of any type.
pub(super) trait AnyRemoteTask: Send {
    /// Returns an id that is unique as long as the task's future lives.
    fn id(&self) -> usize;

    /// Takes the call of a task that is pending.
    fn claim(&self) -> Option<EncodedCall>;

    /// Makes a claimed task that did not begin pending again.
    fn release(&self, call: EncodedCall);

    /// Marks it as running: its worker has started it.
    fn begin(&self);

    /// Ends it with the worker's answer, which is decoded first. A thread that waits
    /// for it decodes a small one; otherwise the returned finalizer does, on the
    /// collector.
    fn answered(
        self: Box<Self>,
        answer: Answer<Vec<u8>>,
        name: Option<Arc<str>>,
    ) -> Option<Finalizer>;

    /// Ends a claimed task with an error.
    fn failed(&self, error: Error) -> Option<Notification>;

    /// Ends a task that is in the queue with an error.
    fn fail_pending(&self, error: Error) -> Option<Notification>;

    /// Cancels a task that is in the queue.
    fn cancel(&self) -> Option<Notification>;
}

/// A task that waits for a worker.
pub(super) struct QueuedTask {
    pub(super) task: Box<dyn AnyRemoteTask>,
    pub(super) settings: TaskSettings,
    /// The call of a task that is retried: its future says that it runs.
    pub(super) retry_call: Option<EncodedCall>,
    /// `true` once a worker has started it.
    pub(super) has_begun: bool,
    /// The number of workers that have started it.
    pub(super) times_begun: u32,
    /// The number of workers that ended while they read its call.
    pub(super) send_attempts: u32,
}

impl QueuedTask {
    pub(super) fn new(task: Box<dyn AnyRemoteTask>, settings: TaskSettings) -> Self {
        Self {
            task,
            settings,
            retry_call: None,
            has_begun: false,
            send_attempts: 0,
            times_begun: 0,
        }
    }

    /// Returns the facts for an error if the pool ends it; with the worker's pid and
    /// the time that it ran, if a worker has it.
    pub(super) fn end(&self, pid: Option<u32>, ran_for: Option<Duration>) -> TaskEnd {
        TaskEnd::new(TaskEndParts {
            task: self.settings.name.clone(),
            pid,
            ran_for,
            limit: self.settings.time_limit,
        })
    }
}

/// A task that was sent to a worker.
pub(super) struct InFlight {
    pub(super) number: u64,
    pub(super) entry: QueuedTask,
    /// The call, as long as it may have to be sent again.
    pub(super) call: Option<EncodedCall>,
    pub(super) started: Option<Instant>,
    /// The number of bytes of the call that were written.
    pub(super) written: usize,
}
