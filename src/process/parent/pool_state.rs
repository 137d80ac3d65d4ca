//! [`PoolState`]: the state of a pool, which one lock guards.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::queued_task::QueuedTask;
use super::worker_handle::{KillReason, WorkerHandle, WorkerState};
use crate::completion::Finalizer;
use crate::error::Error;

/// The supervisor and the collector.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Threads {
    #[default]
    Unneeded,
    Up,
    Ended,
}

/// A message to the collector.
pub(super) enum Event {
    /// The rest of a task after its worker's answer: decoding, callbacks.
    Answered(Finalizer),
    /// A task that was sent fails.
    Failed(QueuedTask, Error),
    /// Tasks that were queued fail together: all are settled before one is notified.
    Refused(Vec<QueuedTask>, Error),
    /// A task that was cancelled before: this may drop its last reference.
    Stale(QueuedTask),
    /// The supervisor has gone; this is the last one.
    Ended,
}

#[derive(Default)]
pub(super) struct PoolState {
    /// The reason why tasks are refused, if they are.
    pub(super) closed: Option<Error>,
    pub(super) shut_down: bool,
    /// All workers are killed; one that is just being started too.
    pub(super) stopped: Option<KillReason>,
    pub(super) threads: Threads,
    pub(super) queue: VecDeque<QueuedTask>,
    pub(super) workers: BTreeMap<usize, WorkerHandle>,
    /// Workers that wait for a task; the last was busy last.
    pub(super) idle: Vec<usize>,
    /// Workers that the supervisor has yet to start, or is starting.
    pub(super) to_spawn: usize,
    pub(super) starting: usize,
    pub(super) started: usize,
    /// No worker is started before: the last start failed, and there are others.
    pub(super) not_before: Option<Instant>,
    /// The first and the last time that a start failed while there was no worker.
    pub(super) shortage: Option<(Instant, Instant)>,
    /// Workers that ended and were not replaced yet.
    pub(super) ended: u64,
    pub(super) replaced: u64,
    pub(super) failed_starts: u32,
    pub(super) queued: usize,
    /// Tasks in the queue that began before.
    pub(super) retries_queued: usize,
    pub(super) running: usize,
    /// Tasks that were answered and have no outcome yet.
    pub(super) unread: usize,
    /// Tasks that were answered and whose notification has not run yet.
    pub(super) unsettled: usize,
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) collector: Option<Sender<Event>>,
    /// `true` if the supervisor has to look at the workers anew.
    pub(super) needs_wakeup: bool,
    /// `true` if a task was sent since the supervisor looked last.
    pub(super) was_active: bool,
    /// `true` if the supervisor wakes up by itself to check the workers' progress.
    pub(super) is_watched: bool,
}

impl PoolState {
    /// Returns the number of workers, with those that are yet to be started.
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

    /// Refuses tasks from now on. A breakdown outweighs a shutdown, and the first
    /// cause a second.
    pub(super) fn close(&mut self, why: Error) {
        if !self.is_broken() {
            self.closed = Some(why);
        }
    }

    /// Takes the tasks that have not begun out of the queue; those that are retried stay.
    pub(super) fn take_pending(&mut self) -> Vec<QueuedTask> {
        let entries = std::mem::take(&mut self.queue).into_iter();
        let (begun, pending): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.has_begun);
        self.queue = begun.into();
        pending
    }

    /// Kills a task that was taken out of the queue, where it waited to be retried.
    pub(super) fn kill_queued(&mut self, entry: QueuedTask) {
        self.retries_queued -= 1;
        let end = entry.end(None, None);
        self.fail(entry, Error::Killed(end));
    }

    /// Has a claimed task fail.
    pub(super) fn fail(&mut self, entry: QueuedTask, error: Error) {
        if entry.has_begun {
            self.running -= 1;
        }
        self.failed += 1;
        self.send_event(Event::Failed(entry, error));
    }

    /// Sends an event to the collector, which is there as long as a task has not ended.
    pub(super) fn send_event(&mut self, event: Event) {
        if let Some(collector) = &self.collector {
            // Refused only if the collector has ended, which it does last.
            let _ = collector.send(event);
        }
    }
}
