//! The receiving side of a [`WorkerHandle`]: reads the worker's messages, checks that the
//! worker may send them, and notices lost messages.

use std::io::ErrorKind;
use std::time::Instant;

use super::super::progress::Checks;
use super::super::queued_task::InFlight;
use super::super::worker_timeouts::SILENCE_LIMIT;
use super::{WorkerHandle, WorkerState};
use crate::error::StartStage;
use crate::process::transport::{SCRIBBLED, Watch};
use crate::process::wire::frame::{HEADER, Kind, ProtocolError, holds};
use crate::process::wire::message::{FOREIGN_BYTES, LONGEST_HOST, Reply};
use crate::sys::spin::is_elsewhere;

/// The reason why the pool kills a worker whose greeting is not the one of this program.
const OTHER_GREETING: &str = "its greeting is not that of this version: its program was built \
                              with another version of `concurrent-futures`, or its command \
                              changes the bytes, as a terminal does (`ssh -tt`)";

impl WorkerHandle {
    /// Returns `true` if the worker may have begun a task without the pool's knowledge.
    /// This is so if the last task that the worker's shared memory names is not
    /// `last_begun`.
    pub(in crate::process::parent) fn may_have_begun(&self) -> bool {
        self.end.may_have_begun_after(self.last_begun)
    }

    /// Returns `true` if the worker's shared memory names this task as the last one that
    /// the worker has begun.
    pub(in crate::process::parent) fn has_begun_last(&self, task: u64) -> bool {
        !self.end.may_have_begun_after(task)
    }

    /// Records that the pool now looks for a task that the worker has begun without the
    /// message `Started` ([`begun_unsaid`](Self::begun_unsaid)). `has_offers` says that the
    /// worker may have taken an offer that the pool has not assigned.
    pub(in crate::process::parent) fn look_at_begun(&mut self, has_offers: bool) {
        if self.may_begin_after(has_offers).is_some() {
            self.end.look_at_begun();
        }
    }

    /// Returns the number of the worker's current task if the worker has begun the task
    /// without the message `Started`, and the pool does not know this yet.
    pub(in crate::process::parent) fn begun_unsaid(&self) -> Option<u64> {
        let unstarted = self.in_flight().filter(|task| task.started.is_none());
        let task = unstarted?.entry.number;
        (self.end.is_shared() && self.has_begun_last(task)).then_some(task)
    }

    /// Returns the number of the last task of which the pool knows that the worker has begun
    /// it, if the worker may begin its next task before it sends another message. If the
    /// worker cannot, the pool need not look at the worker's memory. Such a look takes as
    /// long as a tenth of a round trip.
    fn may_begin_after(&self, has_offers: bool) -> Option<u64> {
        let may_begin = match &self.activity {
            WorkerState::Starting | WorkerState::Idle => has_offers,
            WorkerState::Busy(in_flight) => in_flight.started.is_none(),
            WorkerState::Leaving => false,
        };
        may_begin.then_some(self.last_begun)
    }

    /// Returns the number, plus one, of the CPU on which the worker sent its last message,
    /// or 0 if the CPU is unknown.
    pub(in crate::process::parent) fn cpu(&self) -> u32 {
        self.inbox.cpu()
    }

    /// Returns `true` if the supervisor (the thread that reads the workers' messages)
    /// should look for messages a few more times before it sleeps: an answer may be on its
    /// way from another CPU, or the worker has received or sent only a part of a long
    /// message.
    pub(in crate::process::parent) fn should_spin(&self) -> bool {
        let is_inside = self.has_unsent() || !self.inbox.is_between_frames();
        matches!(self.activity, WorkerState::Busy(_))
            && (is_inside || is_elsewhere(self.inbox.cpu()))
    }

    /// Reads the worker's next message, and returns `None` if no whole message has arrived.
    /// Stops when it has read `budget` bytes. Subtracts the read bytes from `budget`, or
    /// sets it to 0 if no more bytes have arrived. `may_begin` returns `true` for the
    /// number of an offered task that the worker may have taken.
    ///
    /// # Errors
    ///
    /// Returns an error if the message is malformed, or if the worker may not send such a
    /// message in its state. The parent then handles no more messages of this worker.
    pub(in crate::process::parent) fn read_replies(
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
        loop {
            if self.is_malformed {
                return Ok(None);
            }
            if let Some(frame) = self.inbox.next().map_err(explain)? {
                let length = frame.payload.len();
                if let Err(what) = self.check_expected(frame.kind, frame.task, length, may_begin) {
                    let numbers = frame.payload.slice_from(frame.payload.bytes.len());
                    self.refused = [&self.inbox.head()[..], &frame.payload.bytes, numbers].concat();
                    return Err(what);
                }
                return Reply::of(frame).map(Some).map_err(explain);
            }
            // The header is checked before the payload has arrived, because a wrong header
            // may announce a payload that never arrives.
            if let Some(header) = self.inbox.header() {
                self.check_expected(header.kind, header.task, header.length, may_begin)?;
                self.answer_arrives(header.kind, header.task);
            }
            // Bytes in the shared memory are read even after the end-of-file of the socket.
            let has_more = self.end.is_shared() && self.end.has_arrived();
            if self.is_eof && !has_more || *budget == 0 {
                self.watch_progress()?;
                return Ok(None);
            }
            let spare_buffer = self.inbox.spare_buffer();
            let spare_buffer = spare_buffer.map_err(explain)?;
            let size = spare_buffer.len();
            match self.end.receive_now(spare_buffer) {
                Ok(0) => self.on_eof(),
                Ok(count) => {
                    self.is_drained = false;
                    // A read of shared memory returns at most one record (a piece of a
                    // message), and a read from a rank one message. So more bytes may be
                    // there after such a read, even if the read has not filled the buffer.
                    let is_all = count < size && self.end.is_emptied_by_a_read();
                    self.inbox.advance(count);
                    self.connection_moved();
                    // A read of exactly `HEADER` bytes is usually a `Pong`, the answer to a
                    // `Ping`. A `Pong` shows no progress of the task or of another message.
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
                    self.send_requested_piece();
                    self.is_drained = true;
                    *budget = 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(match self.end.is_greeted() {
                        true => SCRIBBLED.to_owned(),
                        false if self.end.has_other_greeting() => OTHER_GREETING.to_owned(),
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

    /// Returns a [`Watch`], by which a thread waits for the worker's messages without the
    /// pool's lock. `may_have_offers` says that the worker may take an offer.
    pub(in crate::process::parent) fn watch(&self, may_have_offers: bool) -> Watch {
        let last_begun = self.may_begin_after(may_have_offers);
        self.end
            .watch(self.has_unsent() && self.is_full, last_begun)
    }

    /// Returns `true` if messages of the worker have arrived in shared memory or through
    /// MPI.
    pub(in crate::process::parent) fn has_arrived(&self) -> bool {
        !self.is_malformed && self.end.has_arrived()
    }

    /// Asks the worker to wake the supervisor when it sends its next message. Returns
    /// `false` if a message has arrived already. The worker may have begun a task before
    /// this call, and then has sent no message.
    pub(in crate::process::parent) fn arm(&mut self) -> bool {
        self.is_malformed || self.end.arm()
    }

    /// Reads the bytes by which the worker wakes the supervisor, after `poll` has reported
    /// an event of the socket.
    pub(in crate::process::parent) fn read_wakeups(&mut self) {
        self.says_waiting |= self.end.read_wakeups();
    }

    /// Makes the next check if it is due ([`Checks`]): lets threads go on that are stopped
    /// because they asked to be traced, and asks a worker with shared memory to say if it
    /// waits for a message. The pool does not ask the worker before it has sent the whole
    /// call, because until then the worker has to wait for the rest of the call.
    pub(in crate::process::parent) fn check_if_due(&mut self, now: Instant) {
        if self.next_check().is_none_or(|at| now < at) {
            return;
        }
        self.process.release_traced_threads();
        let may_ask = self.end.is_shared() && !self.has_unsent();
        let checks = self.checks.as_mut();
        if checks.is_some_and(|checks| checks.is_due(now, may_ask)) {
            self.end.check();
        }
    }

    /// Returns the time of the next check ([`check_if_due`](Self::check_if_due)), or `None`
    /// if no check is planned.
    pub(in crate::process::parent) fn next_check(&self) -> Option<Instant> {
        self.checks.as_ref().map(Checks::next)
    }

    /// Returns `true` if a message in the shared memory was destroyed: the worker has said
    /// that it waits for a message, although it has a task or its initializer to run. The
    /// caller must have read all messages that have arrived.
    pub(in crate::process::parent) fn has_lost_a_message(&mut self) -> bool {
        // The worker's message that it waits may belong to a check during an earlier task,
        // and may have arrived late. So it counts only if a check was made during this task.
        let is_checked = self.checks.as_ref().is_some_and(Checks::was_made);
        std::mem::take(&mut self.says_waiting) && is_checked && !self.has_arrived()
    }

    /// Returns the numbers of the tasks that the worker has begun although the pool has not
    /// parsed their `Started`. These are the tasks whose `Started` is among the bytes that
    /// were not parsed as messages. The current task also counts as begun if the shared
    /// memory says that the worker may have begun it. The pool calls this method once,
    /// after the worker's process has ended, because it must not send a started task to
    /// another worker.
    pub(in crate::process::parent) fn started_unread(&mut self) -> Vec<u64> {
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

    /// Ends the time limit of the current task if the message that arrives is the task's
    /// answer: the function has returned, and the limit does not count the time in which
    /// the answer travels. If the pool is killing the worker, the deadline is that of the
    /// kill, and stays.
    fn answer_arrives(&mut self, kind: Kind, task: u64) {
        let is_its =
            |in_flight: &InFlight| in_flight.entry.number == task && in_flight.started.is_some();
        let is_other = matches!(kind, Kind::Pong | Kind::Recalled);
        if self.in_flight().is_some_and(is_its) && !is_other && !self.is_being_killed() {
            self.deadline = None;
        }
    }

    /// Checks that the worker may send a frame with this kind, task number and length in
    /// its current state. The table in `worker_handle.rs` lists the messages of each
    /// state.
    fn check_expected(
        &self,
        kind: Kind,
        task: u64,
        length: usize,
        may_begin: &dyn Fn(u64) -> bool,
    ) -> Result<(), String> {
        use Kind::{
            Declined, Fetch, InitializeFailed, Initialized, Panicked, Pong, Ready, Recalled,
            Refused, Returned, Started, Undecodable, Unencodable,
        };
        let may_come = match (&self.activity, kind) {
            // The pool ignores the answers of a worker that is being killed
            // (`Pool::on_reply`).
            _ if self.is_being_killed() => true,
            (_, Pong) => self.launched.is_some() && self.is_ready,
            (_, Recalled) => self.unstarted(task).is_some_and(|task| task.is_recalled),
            (WorkerState::Starting, Ready | Refused) => !self.is_ready,
            (WorkerState::Starting, Initialized | InitializeFailed) => self.is_ready,
            (WorkerState::Leaving, Ready | Refused) => !self.is_ready,
            (WorkerState::Leaving, Initialized | InitializeFailed) => !self.has_begun,
            (WorkerState::Busy(in_flight), Started) if in_flight.entry.number == task => {
                in_flight.started.is_none() || in_flight.is_unsaid
            }
            (WorkerState::Busy(in_flight), Fetch) if in_flight.entry.number == task => {
                in_flight.offer.is_some() && in_flight.started.is_none() && in_flight.written == 0
            }
            (WorkerState::Busy(in_flight), Declined) if in_flight.offer == Some(task) => {
                // A worker that the pool has begun to send the call to, or that has recorded
                // the begin of the task, does not decline the task.
                let has_begun = self.has_begun_last(in_flight.entry.number);
                in_flight.started.is_none() && in_flight.written == 0 && !has_begun
            }
            (WorkerState::Busy(in_flight), Declined) => in_flight.started.is_none(),
            (WorkerState::Idle, Started | Fetch) => may_begin(task),
            (WorkerState::Idle | WorkerState::Leaving, Declined) => true,
            (_, Started | Fetch | Declined) => false,
            (_, Ready | Refused | Initialized | InitializeFailed) => false,
            // With shared memory, an answer may be the first message about its task.
            (WorkerState::Busy(in_flight), _) => {
                let has_begun = in_flight.started.is_some() || self.end.is_shared();
                in_flight.entry.number == task && has_begun
            }
            (WorkerState::Idle, Returned | Panicked | Undecodable | Unencodable) => may_begin(task),
            _ => false,
        };
        // Messages of the kinds below have no payload, except that a launched worker's
        // `Ready` names the worker's host. If a payload could arrive byte by byte, each
        // byte would extend the worker's time limit.
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

    /// Updates `progress` after a read. `progress` is the time limit for the next step of
    /// the worker. If a frame is incomplete, the limit starts, unless it runs already.
    /// Otherwise the limit ends, except if the worker still has to start its task.
    ///
    /// # Errors
    ///
    /// Returns an error if an idle worker has sent a part of a frame, unless a launcher has
    /// started the worker.
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
        // Plans a check before the deadline below. The check reaps threads that asked to be
        // traced: until then the kernel does not report the end of their process.
        if let Some(checks) = &mut self.checks {
            *checks = Checks::from(Instant::now());
        }
        self.set_deadline_in(SILENCE_LIMIT);
    }
}

/// Returns the reason why the pool kills a worker whose bytes it cannot read. If this
/// process lacks memory for them, the worker and its task are not to blame.
fn explain(error: ProtocolError) -> String {
    if error.is_shortage() {
        format!("{error} in this process")
    } else {
        format!("it sent nonsense ({error}); {FOREIGN_BYTES}")
    }
}

#[cfg(test)]
mod tests;
