//! [`WorkerHandle`]: the parent's end of one worker, and the state of that worker.
//!
//! ```text
//!            Ready, Initialized   sent, or assigned       Started
//! Starting ────────────────────▶ Idle ────────▶ Busy(sent) ────────▶ Busy(running)
//!                                 ▲ │                                     │
//!                                 │ │ Exit is sent          its answer    │
//!                                 │ ▼                                     │
//!                                 │ Leaving ◀─── Exit is sent ────────────┤
//!                                 └───────────────────────────────────────┘
//! ```
//!
//! This table shows the messages that a worker may send in each state, and the time limits:
//!
//! | state | messages it may send | limit | the task in flight, if its process ends |
//! |---|---|---|---|
//! | Starting | `Ready`, or `Refused`; then, with an initializer, how that ended | `START_LIMIT` until `Ready`, none for the initializer | - |
//! | Idle | with offers: what it says of a task that it has taken (`offers.rs`) | the take limit ([`Progress`]), while there are open offers | - |
//! | Busy, sent | `Started`, or `Fetch` or `Declined` | [`Progress`] | is sent to another worker |
//! | Busy, running | its answer | `time_limit` | fails, or is retried |
//! | Leaving | the message it was about to send when it was told to exit | `EXIT_LIMIT` | - |
//!
//! If a worker sends any other message, the pool kills this worker only. The cause of a
//! wrong message may be a task that wrote to its worker's socket. The parent checks the
//! header of a frame before the frame's payload has arrived. The remaining bytes of a frame
//! must arrive in time ([`Progress`]).
//!
//! The worker's process may end in any state. Once the pool has a [`KillReason`] other than
//! `Terminated` for a worker, the pool ignores that worker's answers. The outcome of a task
//! therefore stays `Killed` after `kill` has returned `true`. No function here blocks: all
//! I/O on the socket is nonblocking.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::launched::{Launched, Silence};
use super::process_handle::Process;
use super::progress::{Checks, Progress};
use super::queued_task::InFlight;
use super::staging::Copying;
use super::worker_timeouts::{EXIT_LIMIT, HANG_UP_LIMIT, RECALL_LIMIT, SILENCE_LIMIT, START_LIMIT};
use crate::encoded::Encoded;
use crate::error::StartStage;
use crate::process::transport::{ParentEnd, SCRIBBLED, Watch};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::frame::{HEADER, Kind, bare, holds};
use crate::process::wire::message::{self, FOREIGN_BYTES, LONGEST_HOST, Reply};
use crate::sys::spin::is_elsewhere;

/// The number of bytes that one call may read from one worker, or write to one worker. The
/// limit keeps one worker's long answer from delaying the answers of the other workers.
pub(super) const IO_BUDGET: usize = 1 << 20;

/// The largest number of bytes of short frames that are sent to a launched worker at once.
const MOST_GATHERED: usize = 16 << 10;

/// The state of a worker.
pub(super) enum WorkerState {
    Starting,
    Idle,
    Busy(InFlight),
    Leaving,
}

/// The reason why the pool kills a worker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KillReason {
    /// The caller killed the worker's task, or all workers of the pool.
    Killed,
    /// The caller asked all workers of the pool to end. The pool accepts an answer that a
    /// worker sends before it ends.
    Terminated,
    /// The worker's task ran longer than its time limit.
    TimedOut,
    /// The pool broke while the worker was alive.
    Broken,
    /// The worker broke the protocol, as the text describes.
    Misbehaved(String),
}

/// A frame that waits in the outbox.
enum Outgoing {
    Frame(Arc<Encoded>),
    /// The call of the task with this number, which is in flight.
    Call(u64),
}

/// The messages that a new worker waits for. The pool sends them when it has the worker's
/// handle, because the worker takes offers as soon as it has the first one.
pub(super) struct FirstMessages {
    /// The frame of [`Hello`](crate::process::wire::message::Hello).
    pub(super) hello: Vec<u8>,
    /// The file of the memory for messages, which goes with the first message.
    pub(super) rings: Option<OwnedFd>,
    /// The files of the memory for offers, which go with the first message.
    pub(super) offers: Option<Arc<[OwnedFd; 2]>>,
    /// The frame with the call of the initializer.
    pub(super) initialize: Option<Arc<Encoded>>,
}

pub(super) struct WorkerHandle {
    /// The process has two owners, because the supervisor polls it without the lock.
    pub(super) process: Arc<Process>,
    end: ParentEnd,
    /// The messages that the worker waits for, until they are sent.
    pub(super) first: Option<FirstMessages>,
    inbox: Assembler,
    /// The header and payload of a frame that broke the protocol.
    refused: Vec<u8>,
    outbox: VecDeque<Outgoing>,
    /// The number of bytes of the first frame in the outbox that were sent.
    sent: usize,
    /// `true` if the last write found no room. The worker then reports when it has made
    /// room.
    is_full: bool,
    /// `true` while frames are kept for those that may follow at once.
    is_corked: bool,
    /// `true` if the last read from the socket found no bytes.
    pub(super) is_drained: bool,
    /// `true` if the worker's end of the socket is closed, or if the parent reads no more
    /// from the socket.
    pub(super) is_eof: bool,
    /// `true` once the worker broke the protocol.
    pub(super) is_malformed: bool,
    /// `true` once the worker has sent `Ready`.
    pub(super) is_ready: bool,
    /// `true` if the worker was idle at least once.
    pub(super) was_idle: bool,
    /// The time limit while the worker has to start a task or to send the remaining bytes
    /// of a frame.
    pub(super) progress: Option<Progress>,
    /// The checks if a message about the task in flight was destroyed, or `None` if no task
    /// is in flight or the worker shares no memory.
    checks: Option<Checks>,
    /// `true` if the worker has answered the last check by saying that it waits.
    says_waiting: bool,
    /// `true` if a write to the socket failed. The parent sends no more frames to the
    /// worker after that.
    pub(super) write_failed: bool,
    pub(super) activity: WorkerState,
    /// The tasks that were sent to the worker behind its task, in their order
    /// (`sent_ahead.rs`).
    pub(super) ahead: VecDeque<InFlight>,
    pub(super) kill_reason: Option<KillReason>,
    /// The time at which the supervisor kills the worker, unless the worker's state changes
    /// before that time.
    pub(super) deadline: Option<Instant>,
    /// The number of tasks that the worker has answered.
    pub(super) done: u64,
    /// `true` once the worker has begun its first task.
    pub(super) has_begun: bool,
    /// The number of the task that the worker has begun last, or 0.
    pub(super) last_begun: u64,
    /// The limited time in which the worker, which is idle, has to take an offer, unless
    /// another worker takes it. `None` while there is no offer that the worker has to take.
    pub(super) take_limit: Option<Progress>,
    /// The launcher of the worker, and the state of the connection to it. `None` if this
    /// process has started the worker.
    pub(super) launched: Option<Launched>,
    /// The copy of the program, until the worker has greeted. No frame is sent before. `None`
    /// if the launcher copies nothing.
    pub(super) copying: Option<Copying>,
}

/// Returns all tasks of a worker: the one that it has begun or begins next, and those that
/// were sent ahead.
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

/// Returns the bytes of a frame behind the first `sent` that lie in one piece, and the length of
/// the frame. Returns `None` if the frame is the call of a task that the worker does not have.
fn unsent<'a>(
    outgoing: &'a Outgoing,
    sent: usize,
    activity: &'a WorkerState,
    ahead: &'a VecDeque<InFlight>,
) -> Option<(&'a [u8], usize)> {
    match outgoing {
        Outgoing::Frame(frame) => Some((frame.slice_from(sent), frame.len())),
        Outgoing::Call(number) => {
            let first = match activity {
                WorkerState::Busy(in_flight) => Some(in_flight),
                _ => None,
            };
            let mut tasks = first.into_iter().chain(ahead);
            let task = tasks.find(|task| task.entry.number == *number)?;
            let call = task.entry.task.call()?;
            Some((call.slice_from(sent), call.len()))
        }
    }
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
            deadline,
            done: 0,
            has_begun: false,
            last_begun: 0,
            take_limit: None,
            launched: None,
            copying: None,
        }
    }

    /// Sends the messages that the worker waits for.
    pub(super) fn send_first(&mut self) {
        let Some(first) = self.first.take() else {
            return;
        };
        let offers = first.offers.iter().flat_map(|files| files.iter());
        let files: Vec<_> = first.rings.iter().chain(offers).map(AsFd::as_fd).collect();
        if files.is_empty() {
            self.send(Arc::new(first.hello.into()));
        } else {
            self.end.send_with_files(&first.hello, &files);
        }
        if let Some(initialize) = first.initialize {
            self.send(initialize);
        }
    }

    /// Sends as much of a frame as the socket takes. Later calls of [`flush`](Self::flush)
    /// send the remaining bytes of the frame.
    pub(super) fn send(&mut self, frame: Arc<Encoded>) {
        self.outbox.push_back(Outgoing::Frame(frame));
        self.flush();
    }

    /// Sends the call of a task to the worker, which is idle.
    pub(super) fn send_task(&mut self, in_flight: InFlight) {
        let number = in_flight.entry.number;
        self.expect_start(in_flight, Instant::now());
        self.send_call(number);
    }

    /// Sends the call of a task behind the worker's task.
    pub(super) fn send_task_ahead(&mut self, task: InFlight) {
        self.outbox.push_back(Outgoing::Call(task.entry.number));
        self.ahead.push_back(task);
        self.flush();
    }

    /// Asks the worker to give a task back.
    pub(super) fn recall(&mut self, task: u64) {
        let recalled = self.task_mut(task);
        if recalled.is_some_and(|task| !std::mem::replace(&mut task.is_recalled, true)) {
            self.send(Arc::new(bare(Kind::Recall, task).to_vec().into()));
        }
    }

    /// Asks the worker to give its last tasks back, at most `count` of those that were sent
    /// ahead. The last one goes back first, so that they stand in the queue in their order.
    pub(super) fn recall_last(&mut self, count: usize) {
        let ahead = self.ahead.iter().rev().map(|task| task.entry.number);
        let last: Vec<u64> = ahead.take(count).collect();
        for task in last {
            self.recall(task);
        }
    }

    /// Returns the task with this number, which the worker has.
    pub(super) fn task_mut(&mut self, task: u64) -> Option<&mut InFlight> {
        let mut tasks = all_tasks(&mut self.activity, &mut self.ahead);
        tasks.find(|other| other.entry.number == task)
    }

    /// Sends the call of the worker's task, if this is the task with this number.
    pub(super) fn send_call(&mut self, task: u64) {
        let in_flight = self
            .in_flight()
            .filter(|in_flight| in_flight.entry.number == task);
        if in_flight.is_some() {
            self.outbox.push_back(Outgoing::Call(task));
            self.flush();
        }
    }

    /// Makes a task the worker's task, which the worker has taken, or which is about to be
    /// sent.
    pub(super) fn expect_start(&mut self, in_flight: InFlight, now: Instant) {
        self.activity = WorkerState::Busy(in_flight);
        self.take_limit = None;
        self.progress = self.progress_from(now);
        self.says_waiting = false;
        self.checks = self.end.is_shared().then(|| Checks::from(now));
    }

    /// Gives the worker, which is idle, a limited time to take an offer, unless another
    /// worker takes it. If `wakes` is set, wakes the worker if it sleeps, and returns
    /// `true` if it did.
    pub(super) fn expect_take(&mut self, wakes: bool) -> bool {
        if self.take_limit.is_none() {
            self.take_limit = Some(Progress::from(Instant::now()));
        }
        wakes && self.end.wake_if_asleep()
    }

    /// Returns `true` if the worker sleeps.
    pub(super) fn is_asleep(&self) -> bool {
        self.end.is_asleep()
    }

    /// Returns `true` if the worker does not sleep, and did not have to take an offer long
    /// ago. The pool has made an offer before.
    pub(super) fn is_awake(&self) -> bool {
        let take_limit = self.take_limit.as_ref();
        !self.is_asleep() && !take_limit.is_some_and(Progress::is_late)
    }

    /// Keeps the worker from taking an offer.
    pub(super) fn hold(&mut self) {
        self.send(Arc::new(bare(Kind::Hold, 0).to_vec().into()));
        // ORDERING: the parent now reads what the worker has said. Pairs with the fence in
        // `Taker::is_still_taken`, after which the worker looks for this message.
        fence(Ordering::SeqCst);
    }

    /// Lets the worker take offers again.
    pub(super) fn release(&mut self) {
        self.send(Arc::new(bare(Kind::Release, 0).to_vec().into()));
    }

    /// Returns the number of the last offer that the worker has taken, plus one. The number
    /// makes no sense if it was overwritten.
    pub(super) fn taken(&self) -> u64 {
        self.end.taken()
    }

    /// Replaces the number that [`taken`](Self::taken) returns if an earlier task of the worker
    /// has overwritten it. The worker has no task.
    pub(super) fn mend_taken(&self, is_possible: impl Fn(u64) -> bool) {
        self.end.mend_taken(is_possible);
    }

    /// Returns `true` if the worker, which has ended, may have begun a task that it has not
    /// reported.
    pub(super) fn may_have_begun(&self) -> bool {
        self.end.may_have_begun_after(self.last_begun)
    }

    /// Returns `true` if an answer may be on its way from another CPU, or if the worker has
    /// got or sent only a part of a long message.
    pub(super) fn should_spin(&self) -> bool {
        let is_inside = self.has_unsent() || !self.inbox.is_between_frames();
        matches!(self.activity, WorkerState::Busy(_))
            && (is_inside || is_elsewhere(self.inbox.cpu()))
    }

    /// Returns `true` if there are bytes that may be sent and are not sent yet.
    pub(super) fn has_unsent(&self) -> bool {
        match &self.copying {
            Some(copying) => copying.has_unsent(),
            None => !self.outbox.is_empty(),
        }
    }

    /// Returns `true` if the outbox holds bytes for which there may be room at once.
    pub(super) fn can_flush(&self) -> bool {
        self.has_unsent() && !self.is_full
    }

    /// Returns `true` if the outbox holds bytes and the shared memory has room.
    pub(super) fn has_room(&self) -> bool {
        self.has_unsent() && self.end.has_room()
    }

    /// Sends what waits in the outbox, as far as there is room.
    pub(super) fn flush(&mut self) {
        if self.is_corked {
            return;
        }
        let mut budget = IO_BUDGET;
        let mut gathered = Vec::new();
        self.is_full = false;
        if self.copying.is_some() {
            return self.flush_copy(budget);
        }
        while let Some(first) = self.outbox.front().filter(|_| budget > 0) {
            let sent = if self.gather(&mut gathered) {
                self.end.send_now(&gathered)
            } else if let Some((bytes, _)) = unsent(first, self.sent, &self.activity, &self.ahead) {
                self.end.send_now(bytes)
            } else {
                // A worker begins a task only after it has received the whole call.
                self.stop_sending();
                let what = format!("it began a task whose call it had not got; {FOREIGN_BYTES}");
                return self.kill(KillReason::Misbehaved(what));
            };
            match sent {
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    self.count_sent(count);
                }
                Err(error) => {
                    if self.is_over(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends the file of the program, as far as there is room.
    fn flush_copy(&mut self, mut budget: usize) {
        while let Some(copying) = self.copying.as_mut().filter(|_| budget > 0) {
            let bytes = match copying.next() {
                Ok(bytes) if bytes.is_empty() => return,
                Ok(bytes) => bytes,
                Err(error) => {
                    let what = format!("the program's file cannot be read on this host ({error})");
                    return self.kill(KillReason::Misbehaved(what));
                }
            };
            match self.end.send_now(&bytes) {
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    copying.count_sent(count);
                    self.copy_moved();
                }
                Err(error) => {
                    if self.is_over(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Handles an error of a write. Returns `true` if nothing can be sent for now.
    fn is_over(&mut self, error: &io::Error) -> bool {
        match error.kind() {
            ErrorKind::Interrupted => return false,
            ErrorKind::WouldBlock => self.is_full = true,
            ErrorKind::InvalidData => {
                self.stop_sending();
                self.kill(KillReason::Misbehaved(SCRIBBLED.to_owned()));
            }
            // The write's error is dropped, because the exit status of the dying worker
            // says more than the error. If the worker lives on, it has lost a part of
            // the stream, so the parent sends it no more frames.
            _ => {
                self.stop_sending();
                self.write_failed = true;
                self.set_deadline_in(SILENCE_LIMIT);
            }
        }
        true
    }

    fn stop_sending(&mut self) {
        self.outbox.clear();
        self.sent = 0;
        self.copying = None;
    }

    /// Copies the frames at the head of the outbox of a launched worker if they are several and
    /// short: its command handles each piece by itself. Returns `false` if they are not.
    fn gather(&self, into: &mut Vec<u8>) -> bool {
        into.clear();
        if self.launched.is_none() || self.outbox.len() < 2 {
            return false;
        }
        let mut from = self.sent;
        for outgoing in &self.outbox {
            match unsent(outgoing, from, &self.activity, &self.ahead) {
                Some((bytes, length)) if into.len() + bytes.len() <= MOST_GATHERED => {
                    into.extend_from_slice(bytes);
                    if from + bytes.len() < length {
                        break;
                    }
                }
                _ => break,
            }
            from = 0;
        }
        !into.is_empty()
    }

    /// Removes bytes that were sent from the head of the outbox.
    fn count_sent(&mut self, mut count: usize) {
        while let Some(first) = self.outbox.front().filter(|_| count > 0) {
            let Some((_, length)) = unsent(first, self.sent, &self.activity, &self.ahead) else {
                return;
            };
            let part = count.min(length - self.sent);
            if let Outgoing::Call(task) = *first {
                if let Some(task) = self.task_mut(task) {
                    task.written += part;
                }
            }
            count -= part;
            self.sent += part;
            if self.sent == length {
                self.outbox.pop_front();
                self.sent = 0;
            }
            // A `Ping` shows nothing, because it finds room in the socket.
            if self.launched.is_none() || length != HEADER {
                self.connection_moved();
                self.has_moved();
            }
        }
    }

    /// Keeps frames in the outbox until [`uncork`](Self::uncork), because others may follow at
    /// once.
    pub(super) fn cork(&mut self) {
        self.is_corked = self.launched.is_some();
    }

    /// Sends what waits in the outbox.
    pub(super) fn uncork(&mut self) {
        if std::mem::take(&mut self.is_corked) {
            self.flush();
        }
    }

    /// Reads the worker's next message, and returns `None` if no whole message has arrived.
    /// The method reads at most `budget` bytes from the socket. `may_begin` returns `true`
    /// for the number of an offered task that the worker may have taken.
    ///
    /// # Errors
    ///
    /// Returns an error if the message is malformed, or if the worker may not send such a
    /// message in its state. The parent then reads no more from this worker.
    pub(super) fn read_replies(
        &mut self,
        budget: &mut usize,
        may_begin: &dyn Fn(u64) -> bool,
    ) -> Result<Option<Reply>, String> {
        let reply = self.read_frame(budget, may_begin);
        if reply.is_err() {
            self.is_malformed = true;
            self.on_eof();
        }
        reply
    }

    fn read_frame(
        &mut self,
        budget: &mut usize,
        may_begin: &dyn Fn(u64) -> bool,
    ) -> Result<Option<Reply>, String> {
        let nonsense = |what| format!("it sent nonsense ({what}); {FOREIGN_BYTES}");
        loop {
            if self.is_malformed {
                return Ok(None);
            }
            if let Some(frame) = self.inbox.next().map_err(nonsense)? {
                let length = frame.payload.len();
                if let Err(what) = self.check_expected(frame.kind, frame.task, length, may_begin) {
                    let numbers = frame.payload.slice_from(frame.payload.bytes.len());
                    self.refused = [&self.inbox.head()[..], &frame.payload.bytes, numbers].concat();
                    return Err(what);
                }
                return Reply::of(frame).map(Some).map_err(nonsense);
            }
            // The header is checked before the payload has arrived, because a wrong header
            // may announce a payload that never arrives.
            if let Some(header) = self.inbox.header() {
                self.check_expected(header.kind, header.task, header.length, may_begin)?;
            }
            // Bytes in the shared memory are read even after the end of the socket.
            let has_more = self.end.is_shared() && self.end.has_arrived();
            if self.is_eof && !has_more || *budget == 0 {
                self.watch_progress()?;
                return Ok(None);
            }
            let spare_buffer = self.inbox.spare_buffer();
            // The error names this process, because this process and not the worker is
            // short of memory.
            let spare_buffer = spare_buffer.map_err(|what| format!("{what} in this process"))?;
            let size = spare_buffer.len();
            match self.end.receive_now(spare_buffer) {
                Ok(0) => self.on_eof(),
                Ok(count) => {
                    self.is_drained = false;
                    // Each read of shared memory returns one record, and each read from a
                    // rank one message.
                    let is_all = count < size && self.end.is_emptied_by_a_read();
                    self.inbox.advance(count);
                    self.connection_moved();
                    // A `Pong` alone is no progress of the task or of a message.
                    if self.launched.is_none() || count != HEADER {
                        self.has_moved();
                    }
                    *budget = budget.saturating_sub(count);
                    if is_all {
                        // A read of fewer bytes than fit into the buffer has emptied the
                        // socket. `poll` reports bytes that arrive later.
                        *budget = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.stage() != Some(StartStage::Begun) && self.end.is_greeted() {
                        self.connection_moved();
                    }
                    self.begin_copy_if_requested();
                    self.is_drained = true;
                    *budget = 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(match self.end.is_greeted() {
                        true => SCRIBBLED.to_owned(),
                        false => {
                            "its command has written much, and no worker has spoken".to_owned()
                        }
                    });
                }
                // The error `ECONNRESET` says that the worker ended before it had read all
                // bytes that the parent sent.
                Err(_) => self.on_eof(),
            }
        }
    }

    /// Returns the largest number of sent bytes that the worker may not have read.
    pub(super) fn capacity(&self) -> usize {
        self.end.capacity()
    }

    /// Returns what a thread needs to wait for the worker's messages without the lock.
    pub(super) fn watch(&self) -> Watch {
        self.end.watch(self.has_unsent() && self.is_full)
    }

    /// Returns `true` if messages of the worker have arrived in the shared memory.
    pub(super) fn has_arrived(&self) -> bool {
        !self.is_malformed && self.end.has_arrived()
    }

    /// Asks the worker to wake the supervisor when it sends its next message. Returns
    /// `false` if a message has arrived already.
    pub(super) fn arm(&mut self) -> bool {
        self.is_malformed || self.end.arm()
    }

    /// Asks the worker not to wake the supervisor.
    pub(super) fn disarm(&mut self) {
        self.end.disarm();
    }

    /// Reads the worker's wake-ups, after `poll` has reported an event of the socket.
    pub(super) fn read_wakeups(&mut self) {
        self.says_waiting |= self.end.read_wakeups();
    }

    /// Asks the worker if it waits for a message, if it is time for that. The pool does not
    /// ask a worker that rightly waits for the remaining bytes of a call.
    pub(super) fn check_if_due(&mut self, now: Instant) {
        let is_sent = !self.has_unsent();
        let checks = self.checks.as_mut();
        if checks.is_some_and(|checks| checks.is_due(now, is_sent)) {
            self.end.check();
        }
    }

    /// Returns the time of the next check.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.as_ref().map(Checks::next)
    }

    /// Returns `true` if a message has been destroyed: the worker waits for a message
    /// although it has a task. The caller has read all messages that have arrived.
    pub(super) fn has_lost_a_message(&mut self) -> bool {
        // An answer to a check of an earlier task may arrive late.
        let is_checked = self.checks.as_ref().is_some_and(Checks::was_made);
        std::mem::take(&mut self.says_waiting) && is_checked && !self.has_arrived()
    }

    /// Returns the numbers of the tasks that the worker has begun although the pool has not
    /// parsed their `Started`: those whose `Started` stands in the bytes that were not parsed
    /// as messages, and the task in flight if the shared memory says that the worker may have
    /// begun it. The pool calls this method once, after the worker's process has ended,
    /// because the pool must not send a started task to another worker.
    pub(super) fn started_unread(&mut self) -> Vec<u64> {
        let unstarted = self.all_unstarted().map(|task| task.entry.number);
        let unstarted: Vec<u64> = unstarted.collect();
        if unstarted.is_empty() {
            return unstarted;
        }
        let first = self.in_flight().filter(|task| task.started.is_none());
        let first = first.map(|task| task.entry.number);
        let first = first.filter(|_| self.may_have_begun());
        let mut said = std::mem::take(&mut self.refused);
        said.extend(self.inbox.leftover());
        let mut piece = [0; 4096];
        // The loop needs a limit, because another process may have inherited the worker's
        // end of the socket, and may write to the socket without end.
        let limit = said.len() + 2 * self.end.capacity();
        while said.len() < limit {
            match self.end.receive_now(&mut piece) {
                Ok(count) if count > 0 => said.extend_from_slice(&piece[..count]),
                _ => break,
            }
        }
        let has_begun = |task: &u64| first == Some(*task) || holds(&said, Kind::Started, *task);
        unstarted.into_iter().filter(has_begun).collect()
    }

    /// Checks that the worker may send a frame with this kind, task number and length in
    /// its current state. The table at the top of this file lists the messages of each
    /// state.
    fn check_expected(
        &self,
        kind: Kind,
        task: u64,
        length: usize,
        may_begin: &dyn Fn(u64) -> bool,
    ) -> Result<(), String> {
        use Kind::{
            Declined, Fetch, InitializeFailed, Initialized, Pong, Ready, Recalled, Refused, Started,
        };
        let may_come = match (&self.activity, kind) {
            // The pool ignores the messages of a worker that is being killed.
            _ if self.is_being_killed() => true,
            (_, Pong) => self.launched.is_some() && self.is_ready,
            (_, Recalled) => self.unstarted(task).is_some_and(|task| task.is_recalled),
            (WorkerState::Starting, Ready | Refused) => !self.is_ready,
            (WorkerState::Starting, Initialized | InitializeFailed) => self.is_ready,
            (WorkerState::Leaving, Ready | Refused) => !self.is_ready,
            (WorkerState::Leaving, Initialized | InitializeFailed) => !self.has_begun,
            (WorkerState::Busy(in_flight), Started) if in_flight.entry.number == task => {
                in_flight.started.is_none()
            }
            (WorkerState::Busy(in_flight), Fetch) if in_flight.entry.number == task => {
                in_flight.offer.is_some() && in_flight.started.is_none() && in_flight.written == 0
            }
            (WorkerState::Busy(in_flight), Declined) => in_flight.started.is_none(),
            (WorkerState::Idle, Started | Fetch) => may_begin(task),
            (WorkerState::Idle | WorkerState::Leaving, Declined) => true,
            (_, Started | Fetch | Declined) => false,
            (_, Ready | Refused | Initialized | InitializeFailed) => false,
            (WorkerState::Busy(in_flight), _) => {
                in_flight.entry.number == task && in_flight.started.is_some()
            }
            _ => false,
        };
        // These messages have no payload. If such a message had a payload that arrived byte
        // by byte, each byte would extend the worker's time limit.
        let is_start = matches!(kind, Ready | Initialized | Started);
        let is_bare = is_start || matches!(kind, Fetch | Declined | Pong | Recalled);
        let has_host = kind == Ready && self.launched.is_some() && length <= LONGEST_HOST;
        let may_be_so_long = length == 0 || !is_bare || has_host;
        if may_come && may_be_so_long {
            return Ok(());
        }
        let what = match kind {
            _ if may_come => "it sent a message that is longer than such messages are",
            Pong | Recalled => "it answered a question that it was not asked",
            Started | Fetch | Declined => "it began a task that it was not given",
            Ready | Refused | Initialized | InitializeFailed => {
                "it spoke of its start when it had said that it was ready"
            }
            _ => "it answered for a task that it was not given",
        };
        Err(format!("{what}; {FOREIGN_BYTES}"))
    }

    /// Starts the time limit in which the worker has to start the task that the pool sent,
    /// or to send the remaining bytes of a frame.
    pub(super) fn expect_progress(&mut self) {
        self.progress = self.progress_from(Instant::now());
    }

    /// Returns the time limit of the worker for a step that begins now.
    fn progress_from(&self, now: Instant) -> Option<Progress> {
        match &self.launched {
            _ if self.is_rank() => None,
            Some(launched) => Some(launched.progress_from(now)),
            None => Some(Progress::from(now)),
        }
    }

    /// Returns `true` if the worker is a rank of an MPI job. Such a worker has no time limits:
    /// the pool could only end it together with the whole job.
    pub(super) fn is_rank(&self) -> bool {
        self.end.is_rank()
    }

    /// Records that bytes of a launched worker have arrived, or that its command has taken
    /// bytes.
    fn connection_moved(&mut self) {
        let is_greeted = self.end.is_greeted();
        let Some(launched) = &mut self.launched else {
            return;
        };
        launched.has_moved(Instant::now());
        if is_greeted && launched.stage != StartStage::Begun {
            launched.stage = StartStage::Begun;
            // The next stage of the start begins.
            self.extend_start();
            self.copying = None;
            self.flush();
        }
    }

    /// Begins the copy of the program if the other side has requested it.
    fn begin_copy_if_requested(&mut self) {
        let is_requested = self.end.is_requested();
        let copying = self.copying.as_mut().filter(|_| is_requested);
        if !copying.is_some_and(Copying::begin) {
            return;
        }
        if let Some(launched) = &mut self.launched {
            launched.stage = StartStage::Copying;
        }
        self.copy_moved();
        self.flush();
    }

    /// Records that the copy of the program has begun, or has gone on.
    fn copy_moved(&mut self) {
        self.connection_moved();
        self.extend_start();
    }

    /// Starts the time limit of the next step of a launched worker's start.
    fn extend_start(&mut self) {
        let limit = self.launched.as_ref().map(|launched| launched.start_limit);
        let limit = limit.filter(|_| matches!(self.activity, WorkerState::Starting));
        if let Some(limit) = limit {
            self.set_deadline_in(limit);
        }
    }

    /// Checks the connection of a launched worker, and kills a worker whose connection has
    /// been silent for too long.
    pub(super) fn check_connection(&mut self, now: Instant) {
        // After `Exit` no message may follow: a rank would take it for one of its next pool.
        let is_ready = self.is_ready && !matches!(self.activity, WorkerState::Leaving);
        if self.is_being_killed() {
            return;
        }
        let Some(launched) = &mut self.launched else {
            return;
        };
        match launched.check(now, is_ready) {
            Silence::None => {}
            // Bytes that wait for room show the worker that the parent lives.
            Silence::Ping if !self.outbox.is_empty() => {}
            Silence::Ping => self.send_ping(),
            Silence::Lost => {
                let what = launched.why_lost();
                self.kill(KillReason::Misbehaved(what));
            }
        }
    }

    /// Sends a `Ping`, whose answer also shows how long a message travels.
    pub(super) fn send_ping(&mut self) {
        if let Some(launched) = &mut self.launched {
            let ping = bare(Kind::Ping, launched.trips.begin(Instant::now()));
            self.send(Arc::new(ping.to_vec().into()));
        }
    }

    /// Closes the connection of a command that has not started the program yet, and starts the
    /// time limit in which it has to end. A command that is killed in the middle of its own
    /// start may leave a process behind, as `bwrap` does.
    pub(super) fn hang_up(&mut self) {
        if let Some(launched) = self.launched.as_mut() {
            if !std::mem::replace(&mut launched.is_hung_up, true) {
                self.end.close_sending();
                self.activity = WorkerState::Leaving;
                self.set_deadline_in(HANG_UP_LIMIT);
            }
        }
    }

    /// Returns `true` if a launcher's command has not started the program yet.
    pub(super) fn connects(&self) -> bool {
        let stage = self.stage();
        stage.is_some_and(|stage| stage != StartStage::Begun) && !self.is_being_killed()
    }

    /// Returns the stage that the start of a launched worker has reached.
    fn stage(&self) -> Option<StartStage> {
        self.launched.as_ref().map(|launched| launched.stage)
    }

    /// Returns the reason why the pool kills a worker that was not ready in time.
    pub(super) fn why_not_ready(&self) -> String {
        let launched = self.launched.as_ref();
        let limit = launched.map_or(START_LIMIT, |launched| launched.start_limit);
        match self.stage() {
            Some(StartStage::Connecting) => {
                format!("the command did not start the program within {limit:?}")
            }
            Some(StartStage::Copying) => format!(
                "the copy of the program did not go on for {limit:?}, or the copy did not begin"
            ),
            Some(StartStage::Begun) | None => format!(
                "it sent no message within {limit:?} of its start; does its program reach \
                 `concurrent_futures::init`?"
            ),
        }
    }

    /// Returns `true` if a task has not begun whose `Started` has not arrived, once the
    /// worker has ended.
    pub(super) fn knows_what_has_begun(&self) -> bool {
        self.launched
            .as_ref()
            .is_none_or(|launched| launched.is_direct)
    }

    /// Returns the id of the worker's process, on the worker's host.
    pub(super) fn pid(&self) -> u32 {
        let launched = self.launched.as_ref().filter(|launched| launched.pid != 0);
        launched.map_or_else(|| self.process.pid(), |launched| launched.pid)
    }

    /// Returns the end of what a launcher's command has written to its standard output in
    /// place of the worker.
    pub(super) fn text_before_greeting(&self) -> Option<String> {
        self.end.text_before_greeting()
    }

    fn has_moved(&mut self) {
        if self.progress.is_some() {
            self.expect_progress();
        }
    }

    /// Updates the progress limit after a read. An incomplete frame starts the limit. The
    /// method clears the limit if the last frame is complete and the worker has started its
    /// task.
    fn watch_progress(&mut self) -> Result<(), String> {
        let is_inside = !self.inbox.is_between_frames();
        if is_inside && matches!(self.activity, WorkerState::Idle) && self.launched.is_none() {
            return Err(format!("it spoke while it had no task; {FOREIGN_BYTES}"));
        }
        let is_sent = self
            .in_flight()
            .is_some_and(|in_flight| in_flight.started.is_none());
        if is_inside && self.progress.is_none() {
            self.expect_progress();
        } else if !is_inside && !is_sent {
            self.progress = None;
        }
        Ok(())
    }

    fn on_eof(&mut self) {
        self.is_eof = true;
        self.set_deadline_in(SILENCE_LIMIT);
    }

    /// Sends the worker an `Exit` frame. The worker handles all earlier frames before it
    /// exits.
    pub(super) fn send_exit(&mut self) {
        self.leave();
        self.send(Arc::new(message::exit().into()));
    }

    /// Sets the worker's state to `Leaving`, and starts the time limit of its exit.
    pub(super) fn leave(&mut self) {
        self.activity = WorkerState::Leaving;
        self.set_deadline_in(EXIT_LIMIT);
    }

    /// Returns `true` if the pool is killing the worker's process. The pool ignores the
    /// messages of a worker that it is killing.
    pub(super) fn is_being_killed(&self) -> bool {
        !matches!(self.kill_reason, None | Some(KillReason::Terminated))
    }

    /// Asks the worker's process to end, by `SIGTERM`.
    pub(super) fn terminate(&mut self) {
        self.kill_reason = Some(KillReason::Terminated);
        // An error of `terminate` is ignored, because the process may have ended already.
        let _: io::Result<()> = self.process.terminate();
    }

    /// Kills the worker's process. If the pool has several reasons to kill a worker, the
    /// first reason is kept.
    pub(super) fn kill(&mut self, kill_reason: KillReason) {
        if !self.is_being_killed() {
            self.kill_reason = Some(kill_reason);
        }
        self.deadline = None;
        if let (true, Some(KillReason::Misbehaved(what))) = (self.is_rank(), &self.kill_reason) {
            eprintln!("concurrent-futures: the MPI job ends, for one of its ranks has to: {what}");
        }
        // An error of `kill` is ignored, because the process may have ended already.
        let _: io::Result<()> = self.process.kill();
        if self.launched.is_some() {
            // The worker sees the end of the connection, even if its command is a process that
            // this one may not kill.
            self.end.close_sending();
        }
    }

    /// Like [`kill`](Self::kill), for a reason that concerns only the worker's task. A
    /// launched worker first gives back the tasks that were sent ahead: otherwise it would not
    /// be known if these have begun.
    pub(super) fn kill_task(&mut self, kill_reason: KillReason) {
        let knows_all = self.knows_what_has_begun();
        if self.is_being_killed() || knows_all || self.ahead.is_empty() {
            return self.kill(kill_reason);
        }
        self.kill_reason = Some(kill_reason);
        self.deadline = Instant::now().checked_add(RECALL_LIMIT);
        self.recall_last(usize::MAX);
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

    /// Returns the tasks of the worker that have not begun as far as the pool knows.
    pub(super) fn all_unstarted(&self) -> impl DoubleEndedIterator<Item = &InFlight> {
        let first = self.in_flight().filter(|task| task.started.is_none());
        first.into_iter().chain(&self.ahead)
    }

    /// Returns the task with this number if it has not begun as far as the pool knows.
    pub(super) fn unstarted(&self, task: u64) -> Option<&InFlight> {
        self.all_unstarted()
            .find(|other| other.entry.number == task)
    }

    /// Takes the task in flight and sets the worker's state to `Idle`. Does nothing if no
    /// task is in flight.
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
