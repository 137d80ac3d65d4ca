//! [`PoolState`]: the state of a pool, which one lock guards.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::queued_task::QueuedTask;
use super::worker_handle::{KillReason, WorkerHandle, WorkerState};
use crate::completion::Finalizer;
use crate::error::Error;

/// The state of the supervisor and the collector.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Threads {
    #[default]
    Unneeded,
    Up,
    Ended,
}

/// A message to the collector.
pub(super) enum Event {
    /// The finalizer of an answered task, which decodes the answer and runs the callbacks.
    Answered(Finalizer),
    /// A task that was sent to a worker, and the error with which it fails.
    Failed(QueuedTask, Error),
    /// Queued tasks that fail together. The collector settles all these tasks before it
    /// runs the first notification.
    Refused(Vec<QueuedTask>, Error),
    /// A task that was cancelled while it was queued. The collector drops this reference
    /// to the task, which may be the last.
    Stale(QueuedTask),
    /// The supervisor has ended, and this is its last event.
    Ended,
}

#[derive(Default)]
pub(super) struct PoolState {
    /// The reason why the pool refuses tasks; `None` while it accepts them.
    pub(super) closed: Option<Error>,
    pub(super) shut_down: bool,
    /// The reason why all workers are killed, including a worker that is just being
    /// started.
    pub(super) stopped: Option<KillReason>,
    pub(super) threads: Threads,
    pub(super) queue: VecDeque<QueuedTask>,
    pub(super) workers: BTreeMap<usize, WorkerHandle>,
    /// Workers that wait for a task; the last worker in the list was busy most recently.
    pub(super) idle: Vec<usize>,
    /// The number of workers that the supervisor is starting or has yet to start.
    pub(super) to_spawn: usize,
    pub(super) starting: usize,
    pub(super) started: usize,
    /// The earliest time of the next start, because the last start failed while the pool
    /// had workers or was short of a resource.
    pub(super) not_before: Option<Instant>,
    /// The times of the first and the last failed start while the pool had no worker.
    pub(super) shortage: Option<(Instant, Instant)>,
    /// The number of workers that ended and were not replaced yet.
    pub(super) ended: u64,
    pub(super) replaced: u64,
    pub(super) failed_starts: u32,
    pub(super) queued: usize,
    /// The number of queued tasks that a worker has begun before.
    pub(super) retries_queued: usize,
    pub(super) running: usize,
    /// The number of tasks that were answered and have no outcome yet.
    pub(super) unread: usize,
    /// The number of tasks that were answered and whose notifications have not run yet.
    pub(super) unsettled: usize,
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) collector: Option<Sender<Event>>,
    /// `true` if the supervisor has to check the workers again.
    pub(super) needs_wakeup: bool,
    /// `true` if a task was sent to a worker since the supervisor's last round.
    pub(super) was_active: bool,
    /// `true` if the supervisor wakes up by itself to check the workers' progress.
    pub(super) is_watched: bool,
}

impl PoolState {
    /// Returns the number of workers, including those that are yet to be started.
    pub(super) fn count_workers(&self) -> usize {
        self.to_spawn + self.workers.len()
    }

    /// Returns the number of workers that are starting, or are yet to be started.
    pub(super) fn count_starting(&self) -> usize {
        let starts = |handle: &&WorkerHandle| {
            matches!(handle.activity, WorkerState::Starting) && handle.kill_reason.is_none()
        };
        self.to_spawn + self.workers.values().filter(starts).count()
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self.closed, Some(Error::Broken(_)))
    }

    /// Refuses tasks from now on. The cause of a breakdown replaces a shutdown, and the
    /// first cause of a breakdown is kept.
    pub(super) fn close(&mut self, why: Error) {
        if !self.is_broken() {
            self.closed = Some(why);
        }
    }

    /// Takes the tasks that have not begun out of the queue. Tasks that wait for a retry
    /// stay in the queue.
    pub(super) fn take_pending(&mut self) -> Vec<QueuedTask> {
        let entries = std::mem::take(&mut self.queue).into_iter();
        let (begun, pending): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.has_begun);
        self.queue = begun.into();
        pending
    }

    /// Makes a task fail with `Killed`, after the caller took the task out of the queue,
    /// where it waited for a retry.
    pub(super) fn kill_queued(&mut self, entry: QueuedTask) {
        self.retries_queued -= 1;
        let end = entry.end(None, None);
        self.fail(entry, Error::Killed(end));
    }

    /// Makes a claimed task fail.
    pub(super) fn fail(&mut self, entry: QueuedTask, error: Error) {
        if entry.has_begun {
            self.running -= 1;
        }
        self.failed += 1;
        self.send_event(Event::Failed(entry, error));
    }

    /// Sends an event to the collector, which lives as long as any task has not ended.
    pub(super) fn send_event(&mut self, event: Event) {
        if let Some(collector) = &self.collector {
            // The channel refuses the event only after the collector has ended, and the
            // collector ends last.
            let _ = collector.send(event);
        }
    }
}
