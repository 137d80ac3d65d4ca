//! [`PoolState`]: the state of a pool, which one lock guards.

use std::collections::{BTreeMap, VecDeque};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::launcher_states::LauncherStates;
use super::offered_tasks::OfferedTasks;
use super::queued_task::{InFlight, QueuedTask};
use super::recalls::Recalls;
use super::worker_handle::{KillReason, WorkerHandle, WorkerState};
use crate::completion::Finalizer;
use crate::encoded::EncodedCall;
use crate::error::Error;
use crate::sync::ThreadId;

/// The number of submitted tasks that make a *burst*: a thread submits many tasks in a row.
/// The count begins anew when the supervisor begins to sleep or begins the first of several
/// naps (short sleeps), and when a thread begins to poll. A task that is submitted while
/// the pool has no other task does not count.
pub(super) const BURST: usize = 64;

/// The state of the pool's two threads, the supervisor and the collector.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Threads {
    #[default]
    Unneeded,
    Up,
    Ended,
}

/// A message to the collector, the thread of the pool that runs user code.
pub(super) enum Event {
    /// The `Finalizer` of a task that a worker has answered: a closure that runs the task's
    /// callbacks and wakers. If the answer is not decoded yet, the closure first decodes it
    /// and ends the task.
    Answered(Finalizer),
    /// A task that the pool has offered to all workers or sent to one, and the error with
    /// which the task fails.
    Failed(Box<QueuedTask>, Error),
    /// Queued tasks that fail with the same error. The collector ends all tasks of this
    /// event before it runs the callbacks and wakers of any of them.
    Refused(VecDeque<Box<QueuedTask>>, Error),
    /// The pool's entry of a pending task that was cancelled, or that a thread is about to
    /// cancel. The collector drops the entry, so that it is not dropped under the pool's
    /// lock.
    Stale(Box<QueuedTask>),
    /// The large call of a task that a worker has begun. The collector frees the call,
    /// because freeing much memory takes milliseconds.
    Unneeded(EncodedCall),
    /// The last event that the supervisor sends, before it ends.
    Ended,
}

#[derive(Default)]
pub(super) struct PoolState {
    /// The reason why the pool refuses tasks, or `None` while the pool accepts tasks.
    pub(super) closed: Option<Error>,
    pub(super) shut_down: bool,
    /// The reason why the pool ends all its workers, including a worker that the supervisor
    /// is starting.
    pub(super) stopped: Option<KillReason>,
    pub(super) threads: Threads,
    pub(super) queue: VecDeque<Box<QueuedTask>>,
    pub(super) workers: BTreeMap<usize, WorkerHandle>,
    /// The numbers of the workers that, as far as the pool knows, wait for a task. The last
    /// worker in the list became idle most recently.
    pub(super) idle: Vec<usize>,
    /// The number of workers that the supervisor is starting or has yet to start.
    pub(super) to_spawn: usize,
    pub(super) starting: usize,
    pub(super) started: usize,
    /// The earliest time at which the supervisor may start the next worker. The time is set
    /// after a failed start.
    pub(super) not_before: Option<Instant>,
    /// The time at which the pause of a launcher after a failed start ends, if tasks wait
    /// for a worker that this launcher may start then.
    pub(super) retry_at: Option<Instant>,
    /// The times of the first and the last of several starts that failed in a row for lack
    /// of resources, such as descriptors or memory. The pool records these times only while
    /// it has no worker.
    pub(super) shortage: Option<(Instant, Instant)>,
    /// The number of workers that have ended and that the pool has not replaced yet.
    pub(super) ended: u64,
    pub(super) replaced: u64,
    pub(super) failed_starts: u32,
    pub(super) queued: usize,
    /// The offered tasks, which the workers take themselves, or `None` if the pool sends
    /// each task to a worker.
    pub(super) offered: Option<OfferedTasks>,
    /// The states of the launchers. Empty if this process starts the workers itself.
    pub(super) launchers: LauncherStates,
    /// The threads that may still copy the error output of launchers' commands
    /// (`error_output.rs`) whose workers have ended.
    pub(super) copying: Vec<JoinHandle<()>>,
    /// The *recalls* for whose outcomes threads wait.
    pub(super) recalls: Recalls,
    /// `true` while a shutdown takes back the tasks that were *sent ahead* (to workers that
    /// still had another task). Meanwhile the pool sends no queued task to a worker.
    pub(super) holds_queue: bool,
    /// The number of queued tasks that wait for a retry.
    pub(super) retries_queued: usize,
    pub(super) running: usize,
    /// The number of tasks that a worker has answered and that have no outcome yet, because
    /// their answers are not decoded yet.
    pub(super) unread: usize,
    /// The number of tasks that have been answered or have failed, and whose callbacks and
    /// wakers have not run yet, plus the number of tasks that the pool is cancelling. The
    /// tasks of one [`Event::Refused`] count as one task.
    pub(super) unsettled: usize,
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) collector: Option<Sender<Event>>,
    /// The id of the collector's thread, or `None` before that thread runs.
    pub(super) collector_thread: Option<ThreadId>,
    /// `true` if the thread that holds the lock has to wake the supervisor after it unlocks
    /// the state.
    pub(super) needs_wakeup: bool,
    /// The number of threads that poll: they wait for a task and read messages meanwhile.
    pub(super) pollers: usize,
    /// The number of tasks that count for a burst ([`BURST`]).
    pub(super) submitted: usize,
    /// `true` while a thread submits a *burst* (many tasks in a row), during which the
    /// supervisor takes naps.
    pub(super) is_burst: bool,
    pub(super) is_asleep: bool,
    /// `true` if the pool has sent or offered a task since the last round of the
    /// supervisor's loop.
    pub(super) was_active: bool,
    /// `true` if the supervisor's sleep has a timeout, after which the supervisor checks
    /// the workers' progress.
    pub(super) is_watched: bool,
}

impl PoolState {
    /// Returns the number of workers, including those that the supervisor has yet to start.
    pub(super) fn count_workers(&self) -> usize {
        self.to_spawn + self.workers.len()
    }

    /// Returns the number of workers that are starting or that the supervisor has yet to
    /// start, without those that the pool kills or terminates.
    pub(super) fn count_starting(&self) -> usize {
        let starts = |handle: &&WorkerHandle| {
            matches!(handle.activity, WorkerState::Starting) && handle.kill_reason.is_none()
        };
        self.to_spawn + self.workers.values().filter(starts).count()
    }

    /// Returns the number of offered tasks that the pool has not yet assigned to a worker.
    pub(super) fn count_offered(&self) -> usize {
        self.offered.as_ref().map_or(0, OfferedTasks::len)
    }

    /// Returns the number of tasks that wait: in the queue, in offers, behind a worker's
    /// current task, or for a retry.
    pub(super) fn count_waiting(&self) -> usize {
        self.queued + self.count_offered() + self.count_ahead() + self.retries_queued
    }

    /// Returns `true` if no task waits for a worker, and all workers are idle.
    pub(super) fn has_no_tasks(&self) -> bool {
        self.count_waiting() == 0 && self.idle.len() == self.workers.len()
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self.closed, Some(Error::Broken(_)))
    }

    /// Records that the pool has sent or offered a task. Requests a wake-up of the
    /// supervisor if its sleep has no timeout after which it checks the workers' progress.
    pub(super) fn became_active(&mut self) {
        self.was_active = true;
        // Further calls request no further wake-up: one wake-up is enough, even if some
        // time passes before the supervisor runs.
        self.needs_wakeup |= !std::mem::replace(&mut self.is_watched, true);
    }

    /// Makes the pool refuse tasks from now on, for the reason `why`. A breakdown replaces
    /// a shutdown as the reason, and the first breakdown stays the reason.
    pub(super) fn close(&mut self, why: Error) {
        if !self.is_broken() {
            self.closed = Some(why);
        }
    }

    /// Takes the tasks that have not begun out of the queue. Tasks that wait for a retry
    /// stay in the queue.
    pub(super) fn take_pending(&mut self) -> VecDeque<Box<QueuedTask>> {
        let entries = std::mem::take(&mut self.queue).into_iter();
        let (begun, pending): (VecDeque<_>, VecDeque<_>) =
            entries.partition(|entry| entry.has_begun);
        self.queue = begun;
        pending
    }

    /// Makes a task that waited for a retry fail with `Killed`. The caller has taken the
    /// task out of the queue.
    pub(super) fn kill_queued(&mut self, entry: Box<QueuedTask>) {
        self.retries_queued -= 1;
        let end = entry.end(None, None);
        self.fail(entry, Error::Killed(end));
    }

    /// Makes a task fail that the pool has, at least once, offered or sent to a worker.
    pub(super) fn fail(&mut self, entry: Box<QueuedTask>, error: Error) {
        if entry.has_begun {
            self.running -= 1;
        }
        self.failed += 1;
        self.recalls.end(entry.number, false);
        self.send_event(Event::Failed(entry, error));
    }

    /// Puts a task that the pool has taken out of the queue back at the queue's head.
    pub(super) fn put_at_head(&mut self, task: InFlight) {
        let InFlight { mut entry, .. } = task;
        if entry.has_begun {
            self.retries_queued += 1;
        } else {
            entry.task.release();
            self.queued += 1;
        }
        self.queue.push_front(entry);
    }

    pub(super) fn send_event(&mut self, event: Event) {
        if let Some(collector) = &self.collector {
            // The caller has already counted the task of an `Answered` event in
            // `unsettled`. All other events besides `Failed` and `Refused` end no task.
            let fails = matches!(event, Event::Failed(..) | Event::Refused(..));
            self.unsettled += usize::from(fails);
            // An error is ignored, because the channel refuses an event only after the
            // collector has ended, and the collector ends last.
            let _ = collector.send(event);
        }
    }
}
