//! [`QueuedTask`]: a task of any type, which the pool holds from the submission until the
//! task ends.
//!
//! The pool calls `claim` when it offers the task's call, or sends it to a worker. From
//! then on the task can be cancelled only after the pool has recalled it. The pool calls
//! `begin` when the worker reports that it has started the task. At the task's end the pool
//! calls either `answered` or `failed`. If the worker ends before it starts the task, the
//! pool calls `release`. The task may then be claimed again or cancelled. `failed` and the
//! finalizer that `answered` returns run user code. All other methods only take the task's
//! own lock for a moment, so the pool may call them while it holds its own lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completion::{EncodedCall, Finalizer, Notification};
use crate::encoded::Encoded;
use crate::error::{Error, TaskEnd, TaskEndParts};
use crate::process::settings::TaskSettings;
use crate::process::wire::answer::Answer;
use crate::sync::ThreadId;

/// The operations of the pool on a task whose value may have any type.
pub(super) trait AnyRemoteTask: Send {
    /// Returns an id that is unique as long as the task's future lives.
    fn id(&self) -> usize;

    /// Takes the encoded call out of a pending task, which can then no longer be cancelled.
    fn claim(&self) -> Option<EncodedCall>;

    /// Makes a claimed task pending again, because no worker has started the task.
    fn release(&self, call: EncodedCall);

    /// Marks the task as running, because a worker has started it.
    fn begin(&self);

    /// Ends the task with the worker's answer, after a thread has decoded the answer. This
    /// method decodes a small answer itself if no user code is part of that, and the task
    /// has no callback and no waker. A thread that waits for the task decodes another small
    /// answer. If no thread waits, or the answer is large, the collector decodes it.
    fn answered(
        self: Box<Self>,
        answer: Answer<Encoded>,
        name: Option<Arc<str>>,
        collector: Option<ThreadId>,
    ) -> Answered;

    /// Makes a claimed task fail with an error.
    fn failed(&self, error: Error) -> Option<Notification>;

    /// Makes a queued task fail with an error.
    fn fail_pending(&self, error: Error) -> Option<Notification>;

    /// Cancels a task that is in the queue.
    fn cancel(&self) -> Option<Notification>;
}

/// The rest of the work after a worker's answer.
pub(super) enum Answered {
    /// The task has ended. The collector has to run the task's notification, if there is
    /// one.
    Ended(Option<Finalizer>),
    /// The collector has to end the task, or a thread that waits for the task ends it.
    Left(Option<Finalizer>),
}

/// A task that waits for a worker.
pub(super) struct QueuedTask {
    pub(super) task: Box<dyn AnyRemoteTask>,
    pub(super) settings: TaskSettings,
    /// The encoded call of a task that waits in the queue for a retry. The task's future
    /// shows the task as running.
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

    /// Returns the details for the error of a task that the pool ends. The caller gives the
    /// worker's pid and the run time if a worker has the task.
    pub(super) fn end(&self, pid: Option<u32>, ran_for: Option<Duration>) -> TaskEnd {
        TaskEnd::new(TaskEndParts {
            task: self.settings.name.clone(),
            pid,
            ran_for,
            limit: self.settings.time_limit,
        })
    }
}

/// A task that was offered or sent to a worker.
pub(super) struct InFlight {
    pub(super) number: u64,
    /// The number of the offer by which the worker has got the task.
    pub(super) offer: Option<u64>,
    pub(super) entry: QueuedTask,
    /// The task's encoded call, as long as the pool may have to send the call again.
    pub(super) call: Option<EncodedCall>,
    pub(super) started: Option<Instant>,
    /// The number of bytes of the encoded call that were written to the worker's socket.
    pub(super) written: usize,
}

impl InFlight {
    /// Returns a task of the queue, which is about to be offered or sent to a worker.
    pub(super) fn new(entry: QueuedTask, call: EncodedCall) -> Self {
        Self {
            number: call.number,
            offer: None,
            entry,
            call: Some(call),
            started: None,
            written: 0,
        }
    }
}
