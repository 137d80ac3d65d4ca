//! [`QueuedTask`]: a task of any type as the pool holds it, from the queue to a worker and
//! to the task's end.
//!
//! The pool calls these methods in this order: `claim` when it sends the call (the task
//! cannot be cancelled from then on), `begin` when the worker reports that it has started
//! the task, and one of `answered` and `failed` at the end. If a worker ends before it
//! starts the task, the pool `release`s the task, which may then be claimed again or
//! cancelled. `failed` and the finalizer that `answered` returns run user code. All other
//! methods only take the task's own lock for a moment, and may be called under the pool's
//! lock.

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

    /// Makes a claimed task pending again, if no worker has begun the task.
    fn release(&self, call: EncodedCall);

    /// Marks the task as running, because a worker has started it.
    fn begin(&self);

    /// Ends the task with the worker's answer, which must first be decoded. A thread that
    /// waits for the task decodes a small answer. In all other cases the method returns a
    /// finalizer, which decodes the answer on the collector's thread.
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
    /// The call of a task that is retried; the task's future already shows it as running.
    pub(super) retry_call: Option<EncodedCall>,
    /// `true` once a worker has started the task.
    pub(super) has_begun: bool,
    /// The number of workers that have started the task.
    pub(super) times_begun: u32,
    /// The number of workers that ended while they read the task's call.
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

    /// Returns the facts for an error when the pool ends the task: the worker's pid and
    /// the run time are given if a worker has the task.
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
    /// The encoded call, as long as the pool may have to send the call again.
    pub(super) call: Option<EncodedCall>,
    pub(super) started: Option<Instant>,
    /// The number of bytes of the call that were written.
    pub(super) written: usize,
}
