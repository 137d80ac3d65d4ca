//! [`WorkerHandle`]: the parent's end of one worker, and the state of that worker.
//!
//! ```text
//!            Ready, Initialized   sent, or assigned   begins its task
//! Starting ────────────────────▶ Idle ────────▶ Busy(sent) ────────▶ Busy(running)
//!                                 ▲ │                                     │
//!                                 │ │ Exit is sent          its answer    │
//!                                 │ ▼                                     │
//!                                 │ Leaving ◀─── Exit is sent ────────────┤
//!                                 └───────────────────────────────────────┘
//! ```
//!
//! This table shows the messages that a worker may send in each state, and the time limits.
//! An *offer* is a task in shared memory that any worker may take.
//!
//! | state | messages it may send | limit | the task in flight, if the worker's process ends |
//! |---|---|---|---|
//! | Starting | `Ready` or `Refused`; after `Ready`, with an initializer, `Initialized` or `InitializeFailed` | `START_LIMIT` until `Ready`, or for a launched worker the limits of its stages (`launched.rs`); none for the initializer | - |
//! | Idle | with offers: `Started`, `Fetch`, `Declined` or the whole answer for an offer that it has taken (`offers.rs`) | the take limit ([`Progress`]), while there are open offers | - |
//! | Busy, sent | `Started`, `Fetch` or `Declined`; its answer, if it shares memory with the pool | [`Progress`] | is queued again, with the exceptions in `worker_ends.rs` |
//! | Busy, running | its answer; `Started`, if the pool has learnt of the begin from the memory | `time_limit` | fails, or is retried |
//! | Leaving | a message about its start, or `Declined`, which it had sent before it read `Exit` | `EXIT_LIMIT` | - |
//!
//! A launched worker, which a launcher's command or MPI has started, may also answer with
//! `Pong` or `Recalled` in any state after its `Ready`. If a worker sends any other
//! message, the pool kills this worker and no other. The cause of a wrong message may be a
//! task that wrote to its worker's socket. The parent checks the header of a frame before
//! the frame's payload has arrived. The remaining bytes of a frame must arrive in time
//! ([`Progress`]).
//!
//! The worker's process may end in any state. Once the pool has a [`KillReason`] other than
//! `Terminated` for a worker, the pool ignores that worker's answers. The outcome of a task
//! therefore stays `Killed` after `kill` has returned `true`. No function here blocks: all
//! I/O on the socket is nonblocking.

mod connection;
mod receiving;
mod sending;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::launched::Launched;
use super::process_handle::Process;
use super::progress::{Checks, Progress};
use super::queued_task::InFlight;
use super::staging::Copying;
use super::worker_timeouts::{EXIT_LIMIT, KILL_LIMIT, RECALL_LIMIT, START_LIMIT};
use crate::encoded::Encoded;
use crate::process::transport::ParentEnd;
use crate::process::wire::assembler::Assembler;
use crate::process::wire::message;

/// The number of bytes that one call of `Pool::read_replies` may read from a worker, or
/// that one call of [`WorkerHandle::flush`] may write to a worker. The limit keeps one
/// worker's long answer from delaying the answers of the other workers.
pub(super) const IO_BUDGET: usize = 1 << 20;

pub(super) enum WorkerState {
    Starting,
    Idle,
    Busy(InFlight),
    Leaving,
}

/// The reason why the pool kills or terminates a worker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KillReason {
    /// The user killed the worker's task, or all workers of the pool.
    Killed,
    /// The user asked all workers of the pool to end. The pool still accepts an answer that
    /// a worker sends before it ends.
    Terminated,
    /// The worker's task ran longer than its time limit.
    TimedOut,
    /// The pool broke because another worker had died (`OnWorkerDeath::BreakPool`).
    Broken,
    /// The worker cannot go on, for example because it broke the protocol or missed a time
    /// limit. The text says why.
    Misbehaved(String),
}

enum Outgoing {
    Frame(Arc<Encoded>),
    /// The call of the task with this number. The task is the worker's current task, or was
    /// sent ahead.
    Call(u64),
}

/// The first messages to a new worker. The pool sends these messages and stores the
/// worker's handle without unlocking its state in between, because the worker may take
/// offers as soon as it has read `Hello`.
pub(super) struct FirstMessages {
    pub(super) hello: Vec<u8>,
    /// The file of the memory for messages. It is sent together with `Hello`.
    pub(super) rings: Option<OwnedFd>,
    /// The files of the memory from which the workers take offered tasks. They are sent
    /// together with `Hello`.
    pub(super) offers: Option<Arc<[OwnedFd; 2]>>,
    pub(super) initialize: Option<Arc<Encoded>>,
}

pub(super) struct WorkerHandle {
    /// The process is in an `Arc`, because the supervisor watches the process without the
    /// pool's lock.
    pub(super) process: Arc<Process>,
    pub(super) end: ParentEnd,
    /// The first messages to the worker, or `None` once they were sent.
    pub(super) first: Option<FirstMessages>,
    inbox: Assembler,
    /// The header and payload of a frame that broke the protocol.
    refused: Vec<u8>,
    outbox: VecDeque<Outgoing>,
    /// The number of bytes that were sent of the first frame in the outbox.
    sent: usize,
    /// `true` if the last write found no room. The supervisor then waits for room.
    is_full: bool,
    /// `true` while the pool keeps frames in the outbox, to send them together with later
    /// frames.
    is_corked: bool,
    /// `true` if the last read found no bytes.
    pub(super) is_drained: bool,
    /// `true` if the worker's end of the socket is closed, or if the parent has stopped
    /// reading.
    pub(super) is_eof: bool,
    /// `true` once a message of the worker was wrong or could not be read.
    pub(super) is_malformed: bool,
    pub(super) is_ready: bool,
    /// `true` if the worker's start succeeded, and no task waited for it then.
    pub(super) was_idle: bool,
    /// The time limit in which the worker has to start a task or to send the remaining
    /// bytes of a frame. `None` while it has to do neither, and for a rank of an MPI job.
    pub(super) progress: Option<Progress>,
    /// The times of the checks that find a destroyed message about the worker's task, or a
    /// thread that is stopped because it asked to be traced. `None` if the worker runs no
    /// user code, or is a rank of an MPI job.
    checks: Option<Checks>,
    /// `true` if the pool has asked the worker if it waits for a message, and the worker
    /// has said yes.
    says_waiting: bool,
    /// `true` if a write to the socket failed. The parent sends no more frames to the
    /// worker after that.
    pub(super) write_failed: bool,
    pub(super) activity: WorkerState,
    /// The tasks that the pool has sent to the worker behind its current task, in the order
    /// in which they were sent (`sent_ahead.rs`).
    pub(super) ahead: VecDeque<InFlight>,
    pub(super) kill_reason: Option<KillReason>,
    /// `true` while the kill waits for the tasks that were sent ahead
    /// ([`kill_task`](Self::kill_task)).
    is_kill_delayed: bool,
    /// The time at which the supervisor kills the worker, unless the worker's state changes
    /// before that time.
    pub(super) deadline: Option<Instant>,
    /// The number of tasks that the worker has answered.
    pub(super) done: u64,
    /// `true` once the pool knows that the worker has begun its first task.
    pub(super) has_begun: bool,
    /// The number of the last task of which the pool knows that the worker has begun it, or
    /// 0 if there is no such task. The worker may have begun a later task already
    /// (`may_have_begun`).
    pub(super) last_begun: u64,
    /// The time limit in which this idle worker has to take an offer, if an offer stays
    /// open. `None` while the worker does not have to take an offer.
    pub(super) take_limit: Option<Progress>,
    /// The launcher of the worker, and the state of the connection to the worker. `None` if
    /// this process has started the worker itself.
    pub(super) launched: Option<Launched>,
    /// The progress of the copy of this program's file to the worker's host or container.
    /// While there is a value, the pool sends no frame. `None` after the worker's
    /// greeting, after a failed write, or if the launcher copies nothing.
    pub(super) copying: Option<Copying>,
}

/// Returns all tasks of a worker: the task that it has begun or begins next, and then the
/// tasks that were sent behind this task.
fn all_tasks<'a>(
    activity: &'a mut WorkerState,
    ahead: &'a mut VecDeque<InFlight>,
) -> impl Iterator<Item = &'a mut InFlight> {
    let first = match activity {
        WorkerState::Busy(in_flight) => Some(in_flight),
        _ => None,
    };
    first.into_iter().chain(ahead)
}

impl WorkerHandle {
    pub(super) fn new(process: Process, end: ParentEnd) -> Self {
        let deadline = Instant::now().checked_add(START_LIMIT);
        let deadline = deadline.filter(|_| !end.is_rank());
        Self {
            process: Arc::new(process),
            end,
            first: None,
            inbox: Assembler::new(),
            refused: Vec::new(),
            outbox: VecDeque::new(),
            sent: 0,
            is_full: false,
            is_corked: false,
            is_drained: true,
            is_eof: false,
            is_malformed: false,
            is_ready: false,
            was_idle: false,
            progress: None,
            checks: None,
            says_waiting: false,
            write_failed: false,
            activity: WorkerState::Starting,
            ahead: VecDeque::new(),
            kill_reason: None,
            is_kill_delayed: false,
            deadline,
            done: 0,
            has_begun: false,
            last_begun: 0,
            take_limit: None,
            launched: None,
            copying: None,
        }
    }

    /// Returns the task with this number, or `None` if the worker does not have it.
    pub(super) fn task_mut(&mut self, task: u64) -> Option<&mut InFlight> {
        let mut tasks = all_tasks(&mut self.activity, &mut self.ahead);
        tasks.find(|other| other.entry.number == task)
    }

    /// Makes a task the worker's current task, and starts the time limit for its start. The
    /// worker has the task already, or the caller is about to send the task.
    pub(super) fn expect_start(&mut self, in_flight: InFlight, now: Instant) {
        self.activity = WorkerState::Busy(in_flight);
        self.take_limit = None;
        self.progress = self.progress_from(now);
        self.says_waiting = false;
        self.begin_checks(now);
    }

    /// Begins the [`Checks`], because the worker begins to run user code.
    pub(super) fn begin_checks(&mut self, now: Instant) {
        self.checks = (!self.is_rank()).then(|| Checks::from(now));
    }

    /// Starts the time limit in which this idle worker has to take an offer, if an offer
    /// stays open. A limit that runs already goes on.
    pub(super) fn expect_take(&mut self) {
        if self.take_limit.is_none() {
            self.take_limit = Some(Progress::from(Instant::now()));
        }
    }

    /// Wakes the worker if it sleeps, and then returns `true`.
    pub(super) fn wake_if_asleep(&mut self) -> bool {
        let is_woken = self.end.wake_if_asleep();
        if is_woken {
            // The worker found no offer before it slept, so it has met the limit to take
            // one.
            self.take_limit = None;
        }
        is_woken
    }

    #[inline]
    pub(super) fn is_asleep(&self) -> bool {
        self.end.is_asleep()
    }

    /// Returns `true` if the worker does not sleep, and has not missed the first check of
    /// its time limit to take an offer. The caller has made its offers before this call, so
    /// a worker that is awake finds them.
    pub(super) fn is_awake(&self) -> bool {
        let take_limit = self.take_limit.as_ref();
        !self.is_asleep() && !take_limit.is_some_and(Progress::is_late)
    }

    /// Starts the time limit in which the worker has to start the task that the pool sent,
    /// or to send the remaining bytes of a frame. A limit that runs already begins anew.
    pub(super) fn expect_progress(&mut self) {
        self.progress = self.progress_from(Instant::now());
    }

    /// Returns the time limit for a step that the worker begins at `now`, or `None` if the
    /// worker is a rank, which has no time limits.
    fn progress_from(&self, now: Instant) -> Option<Progress> {
        match &self.launched {
            _ if self.is_rank() => None,
            Some(launched) => Some(launched.progress_from(now)),
            None => Some(Progress::from(now)),
        }
    }

    /// Returns `true` if the worker is a rank of an MPI job. Such a worker has no time
    /// limits besides those of its tasks: the pool could end a rank only together with the
    /// whole job.
    pub(super) fn is_rank(&self) -> bool {
        self.end.is_rank()
    }

    /// Returns the id of the worker's process, on the worker's host. Before the `Ready` of
    /// a launched worker, returns the id of the launcher's command, or 0 for an MPI rank.
    pub(super) fn pid(&self) -> u32 {
        let launched = self.launched.as_ref().filter(|launched| launched.pid != 0);
        launched.map_or_else(|| self.process.pid(), |launched| launched.pid)
    }

    fn has_moved(&mut self) {
        if self.progress.is_some() {
            self.expect_progress();
        }
    }

    /// Sends the worker an `Exit` frame. The worker first handles all earlier frames.
    pub(super) fn send_exit(&mut self) {
        self.leave();
        self.send(Arc::new(message::exit().into()));
    }

    /// Sets the worker's state to `Leaving`, and starts the time limit of its exit.
    pub(super) fn leave(&mut self) {
        self.activity = WorkerState::Leaving;
        self.set_deadline_in(EXIT_LIMIT);
    }

    /// Returns `true` if the pool is killing the worker's process. Meanwhile the pool
    /// handles only the worker's messages `Started` and `Recalled`.
    pub(super) fn is_being_killed(&self) -> bool {
        !matches!(self.kill_reason, None | Some(KillReason::Terminated))
    }

    pub(super) fn terminate(&mut self) {
        self.kill_reason = Some(KillReason::Terminated);
        // An error of `terminate` is ignored, because the process may have ended already.
        let _: io::Result<()> = self.process.terminate();
    }

    /// Kills the worker's process. If the pool has several reasons to kill a worker, the
    /// first reason other than `Terminated` is kept.
    pub(super) fn kill(&mut self, kill_reason: KillReason) {
        self.is_kill_delayed = false;
        if !self.is_being_killed() {
            self.kill_reason = Some(kill_reason);
        }
        // The supervisor calls this method again if the process has not ended after
        // `KILL_LIMIT`: a thread of the process that asked to be traced may have to be
        // reaped.
        self.process.release_traced_threads();
        let again = Instant::now().checked_add(KILL_LIMIT);
        self.deadline = again.filter(|_| !self.is_rank());
        if let (true, Some(KillReason::Misbehaved(what))) = (self.is_rank(), &self.kill_reason) {
            eprintln!("concurrent-futures: the MPI job ends, for one of its ranks has to: {what}");
        }
        // An error of `kill` is ignored, because the process may have ended already.
        let _: io::Result<()> = self.process.kill();
        if self.launched.is_some() {
            // The worker then reads end-of-file and ends, even if this process has no
            // permission to kill the worker's command.
            self.end.close_sending();
        }
    }

    /// Kills the worker for a reason that does not concern the tasks that were sent ahead.
    /// If messages of the worker may get lost, the worker first gives these tasks back:
    /// otherwise the pool would not know if they have begun.
    pub(super) fn kill_task(&mut self, kill_reason: KillReason) {
        let knows_all = self.knows_what_has_begun();
        if self.is_being_killed() || knows_all || self.ahead.is_empty() {
            return self.kill(kill_reason);
        }
        self.kill_reason = Some(kill_reason);
        self.is_kill_delayed = true;
        self.deadline = Instant::now().checked_add(RECALL_LIMIT);
        self.recall_last(usize::MAX);
    }

    /// Kills the worker if [`kill_task`](Self::kill_task) has delayed the kill, and each
    /// task that was sent ahead is back or has begun. Returns `true` if the kill is due.
    pub(super) fn kill_if_due(&mut self) -> bool {
        let is_due = self.is_kill_delayed && self.ahead.iter().all(|task| task.started.is_some());
        if is_due {
            // The reason that `kill_task` has set is kept.
            self.kill(KillReason::Killed);
        }
        is_due
    }

    pub(super) fn set_deadline_in(&mut self, time: Duration) {
        if !self.is_being_killed() && !self.is_rank() {
            self.deadline = Instant::now().checked_add(time);
        }
    }

    pub(super) fn in_flight(&self) -> Option<&InFlight> {
        match &self.activity {
            WorkerState::Busy(in_flight) => Some(in_flight),
            _ => None,
        }
    }

    /// Returns the tasks of the worker that, as far as the pool knows, have not begun.
    pub(super) fn all_unstarted(&self) -> impl DoubleEndedIterator<Item = &InFlight> {
        let first = self.in_flight().filter(|task| task.started.is_none());
        first.into_iter().chain(&self.ahead)
    }

    /// Returns the task with this number if, as far as the pool knows, it has not begun.
    pub(super) fn unstarted(&self, task: u64) -> Option<&InFlight> {
        self.all_unstarted()
            .find(|other| other.entry.number == task)
    }

    /// Sets the worker's state to `Idle`, because its initializer has returned, or because
    /// the pool has no initializer.
    pub(super) fn end_initializer(&mut self) {
        self.checks = None;
        self.activity = WorkerState::Idle;
    }

    /// Takes the worker's current task and sets the worker's state to `Idle`. Returns
    /// `None` and keeps the state if the worker has no current task.
    pub(super) fn take_in_flight(&mut self) -> Option<InFlight> {
        self.checks = None;
        match std::mem::replace(&mut self.activity, WorkerState::Idle) {
            WorkerState::Busy(in_flight) => Some(in_flight),
            other => {
                self.activity = other;
                None
            }
        }
    }
}
