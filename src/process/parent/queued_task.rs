//! [`QueuedTask`]: a task of any type, which the pool holds from the submission until the
//! task ends.
//!
//! The pool calls `claim` when it offers the task's call (puts it into memory from which
//! any worker may take it), or sends it to a worker. From then on the task can be cancelled
//! only after the pool has taken it back (a *recall*). The pool calls `begin` when the
//! worker reports that it has started the task, or when the worker has ended and may have
//! started it. At the end of a task that is claimed, the pool calls either `answered` or
//! `failed`. If the pool takes the task back, or the worker ends before it starts the task,
//! the pool calls `release`. The task may then be claimed again or cancelled. The
//! notification that `failed` returns runs user code, and so does the closure (the
//! `Finalizer`) that `answered` may return. The other methods, and `answered` itself, run
//! no user code, and take at most the task's own lock, for a moment. So the pool may call
//! them while it holds its own lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completion::{Finalizer, Notification, RemoteEnd, Task};
use crate::encoded::{Encoded, EncodedCall};
use crate::error::{Error, TaskEnd, TaskEndParts};
use crate::process::settings::TaskSettings;
use crate::process::wire::answer::Answer;
use crate::sync::ThreadId;

/// The operations on a task that depend on the type of the task's value.
pub(super) trait RemoteValue: Send {
    fn begin(&self);

    fn answered(
        self: Box<Self>,
        task: Task,
        answer: Answer<Encoded>,
        name: Option<Arc<str>>,
        collector: Option<ThreadId>,
    ) -> Answered;

    fn failed(&self, task: &Task, error: Error) -> Option<Notification>;
}

/// The work that [`QueuedTask::answered`] leaves to other threads.
pub(super) enum Answered {
    /// The task has ended. If there is a finalizer, the collector has to call it, because
    /// the finalizer runs the task's callbacks and wakers.
    Ended(Option<Finalizer>),
    /// The task has not ended. The collector has to run this finalizer, which decodes the
    /// answer and ends the task. If there is no finalizer, a thread that waits for the task
    /// decodes the answer and ends the task.
    Left(Option<Finalizer>),
}

/// The pool's entry of a task, from the submission to the end of the task. The entry is in
/// a box, because it moves several times: between the queue, the offers, the workers and
/// the collector.
pub(super) struct QueuedTask {
    pub(super) task: RemoteEnd,
    /// The operations that depend on the type of the task's value. For a single call the
    /// box allocates nothing, because the operations then need no data.
    value: Box<dyn RemoteValue>,
    pub(super) settings: TaskSettings,
    /// The number that identifies the task in both processes.
    pub(super) number: u64,
    /// `true` once a worker has started the task, or may have started it. The task's future
    /// shows the task as running from then on, even while the task waits in the queue for a
    /// retry.
    pub(super) has_begun: bool,
    pub(super) times_begun: u32,
    /// The number of workers that ended while they read the task's call.
    pub(super) send_attempts: u32,
}

impl QueuedTask {
    pub(super) fn new(
        task: Task,
        value: Box<dyn RemoteValue>,
        number: u64,
        settings: TaskSettings,
    ) -> Box<Self> {
        Box::new(Self {
            task: RemoteEnd::new(task),
            value,
            number,
            settings,
            has_begun: false,
            send_attempts: 0,
            times_begun: 0,
        })
    }

    /// Records that a worker has started the task, or may have started it. Returns `true`
    /// if no worker had started it before. The future then shows the task as running.
    pub(super) fn begin(&mut self) -> bool {
        self.times_begun += 1;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if is_first {
            self.task.start();
            self.value.begin();
        }
        is_first
    }

    /// Ends the task with the worker's answer, or leaves the end to another thread. Only a
    /// small answer to a task without callbacks and wakers needs no collector. If decoding
    /// it runs no user code, and `collector` (the id of the collector's thread) is set,
    /// this method decodes it. Otherwise a thread that already waits for the task without a
    /// time limit decodes it. The collector decodes all other answers.
    pub(super) fn answered(self, answer: Answer<Encoded>, collector: Option<ThreadId>) -> Answered {
        let (task, name) = (self.task.into_task(), self.settings.name);
        self.value.answered(task, answer, name, collector)
    }

    /// Makes a task that the pool has offered or sent to a worker fail with an error.
    pub(super) fn failed(&mut self, error: Error) -> Option<Notification> {
        self.value.failed(self.task.end(), error)
    }

    /// Returns the details for the error of a task that the pool ends. If a worker has the
    /// task, `pid` is the id of the worker's process, and `ran_for` is the time for which
    /// the task has run.
    pub(super) fn end(&self, pid: Option<u32>, ran_for: Option<Duration>) -> TaskEnd {
        TaskEnd::new(TaskEndParts {
            task: self.settings.name.clone(),
            pid,
            ran_for,
            limit: self.settings.time_limit,
        })
    }
}

/// The length in bytes of the longest call that the pool frees at once. The collector frees
/// a longer call, because that takes long, and a thread may be waiting for the task.
const LARGE: usize = 64 << 10;

pub(super) struct InFlight {
    /// The number of the task's offer, or `None` if the pool sends the task to a worker
    /// that it has chosen.
    pub(super) offer: Option<u64>,
    pub(super) entry: Box<QueuedTask>,
    pub(super) started: Option<Instant>,
    /// `true` if the pool has learnt from the worker's memory that the task has begun. The
    /// message `Started` may still arrive, once.
    pub(super) is_unsaid: bool,
    /// The number of bytes of the encoded call that were sent to the worker.
    pub(super) written: usize,
    /// `true` from the time at which the pool asks the worker to give the task back until
    /// the worker gives it back, reports that it has begun it, or ends.
    pub(super) is_recalled: bool,
}

impl InFlight {
    /// Creates the entry of a task that the caller is about to offer or to send.
    pub(super) fn new(entry: Box<QueuedTask>) -> Self {
        Self {
            offer: None,
            entry,
            started: None,
            is_unsaid: false,
            written: 0,
            is_recalled: false,
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        let call = self.entry.task.call();
        call.is_none_or(|call| self.written >= call.len())
    }

    /// Returns `true` if the worker must have read a part of the call: the pool has written
    /// more than the `capacity` bytes that the transport accepts if the worker reads
    /// nothing.
    pub(super) fn was_being_read(&self, capacity: usize) -> bool {
        self.written > capacity
    }

    /// Returns `true` if it takes long to free the memory of the call.
    pub(super) fn has_large_call(&self) -> bool {
        let call = self.entry.task.call();
        call.is_some_and(|call| call.len() > LARGE)
    }

    /// Takes the call out of a task that has begun, so that the call can be freed. Returns
    /// `None` if the pool may send the call again, or if the call has no memory of its own.
    pub(super) fn take_unneeded_call(&mut self) -> Option<EncodedCall> {
        let is_sent_again = self.started.is_none() || self.entry.settings.retries > 0;
        match self.entry.task.call() {
            Some(EncodedCall::Encoded(_)) if !is_sent_again => self.entry.task.take_call(),
            _ => None,
        }
    }
}
