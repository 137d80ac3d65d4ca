//! [`Answers`]: runs calls in a worker, and sends their answers to the parent.

use std::io;
use std::time::{Duration, Instant};

use super::ending::{end_after_error, lost};
use super::remote::Remote;
use crate::encoded::Encoded;
use crate::process::transport::WorkerSender;
use crate::process::wire::frame::{Header, Kind, bare, set_cpu};
use crate::process::wire::message::Work;
use crate::sys::current_process;
use crate::sys::fork::Origin;
use crate::sys::parent::Parent;

/// The largest capacity, in bytes, of an answer's buffer that the worker keeps for the next
/// answer.
const KEPT: usize = 1 << 20;

/// The connection by which a worker sends to its parent.
pub(super) enum Output {
    /// The transport of a worker that the parent process has started.
    Direct(WorkerSender),
    /// The connection of a worker that a command or MPI has started.
    Elsewhere(&'static dyn Remote),
}

impl Output {
    /// Records that the worker begins a task: for the parent, or in a process of an MPI
    /// job, for the second thread of this process. Returns `true` if the parent learns this
    /// only from a message.
    pub(super) fn begin(&self, task: u64) -> bool {
        match self {
            Self::Direct(sender) => sender.begin(task),
            Self::Elsewhere(remote) => {
                remote.begin();
                true
            }
        }
    }

    /// Returns `true` if messages travel through memory that the parent shares.
    fn is_shared(&self) -> bool {
        matches!(self, Self::Direct(sender) if sender.is_shared())
    }

    /// Returns `false` if the last task has closed a descriptor of the connection, so that
    /// the worker cannot send, or cannot wake the parent. `took` is the run time of that
    /// task.
    pub(super) fn is_left_open(&mut self, took: Duration) -> bool {
        match self {
            Self::Direct(sender) => sender.can_wake_after(took),
            Self::Elsewhere(remote) => remote.is_open(),
        }
    }

    /// Returns `true` if the parts of this message arrive together, as one piece.
    fn sends_whole(&self, parts: &[&[u8]]) -> bool {
        match (self, parts) {
            (Self::Direct(sender), [only, others @ ..]) => {
                sender.sends_whole(only) && others.iter().all(|part| part.is_empty())
            }
            _ => false,
        }
    }

    /// Sends the parts of one message.
    pub(super) fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        match self {
            Self::Direct(sender) => {
                let mut parts = parts.iter().filter(|part| !part.is_empty());
                parts.try_for_each(|part| sender.send_all(part))
            }
            Self::Elsewhere(remote) => remote.send(parts),
        }
    }
}

pub(super) struct Answers {
    /// The parent, or `None` if a command or MPI has started this process.
    parent: Option<&'static Parent>,
    pub(super) output: Output,
    /// The identity of the worker process. A child that a task has forked compares its
    /// own identity with this identity, and ends.
    origin: Origin,
    buffer: Vec<u8>,
    /// `true` if the worker has begun its task, and has not sent the message `Started`.
    is_unsaid: bool,
}

impl Answers {
    pub(super) fn new(parent: Option<&'static Parent>, output: Output, origin: Origin) -> Self {
        Self {
            parent,
            output,
            origin,
            buffer: Vec::new(),
            is_unsaid: false,
        }
    }

    /// Records that the worker begins a task, and tells the parent unless the parent looks at
    /// this record before it sleeps (`transport/begun.rs`).
    pub(super) fn start(&mut self, task: u64) {
        match self.output.begin(task) {
            true => self.say_started(task),
            false => self.is_unsaid = true,
        }
    }

    /// Tells the parent that the worker has begun a task. Ends the process if the parent
    /// cannot learn this: it would take the task for one that has not begun, and run it
    /// again.
    fn say_started(&mut self, task: u64) {
        let mut started = bare(Kind::Started, task);
        set_cpu(&mut started, current_process::cpu());
        let sent = self.output.send(&[&started]);
        // With shared memory, an error of the socket means that an earlier task has closed
        // the socket. The message is in the memory all the same. If the worker cannot send
        // the answer either, it ends, and the parent reads the message then at the latest.
        if let (Err(error), false) = (sent, self.output.is_shared()) {
            end_after_error(&error, self.parent);
        }
    }

    /// Runs a call, and sends its answer. Returns the kind of the answer, and the time that
    /// the call took.
    pub(super) fn answer(&mut self, task: u64, mut work: Work) -> (Option<Kind>, Duration) {
        let mut answer = Encoded::from(std::mem::take(&mut self.buffer));
        let call = work.call;
        let begun = Instant::now();
        // SAFETY: `Hello` showed that the parent runs this very program, and the parent
        // makes its calls with the functions of `Call`.
        if !unsafe { call.run(task, work.args(), &mut answer) } {
            lost("the function that it is to call is not in this program");
        }
        let took = begun.elapsed();
        // The memory of the request is freed before the answer is sent. So a program that
        // measures the memory of this process after the answer does not count the request.
        drop(work);
        if !self.origin.is_here() {
            // The task has forked, and this process is the child, which must not send an
            // answer.
            current_process::end_now(0);
        }
        let Encoded { mut bytes, numbers } = answer;
        set_cpu(&mut bytes, current_process::cpu());
        let numbers = numbers.as_ref().map(|numbers| numbers.bytes());
        let parts = [&bytes[..], numbers.unwrap_or_default()];
        // The parent takes an answer in pieces only for a task that has begun as far as the
        // parent knows.
        if std::mem::take(&mut self.is_unsaid) && !self.output.sends_whole(&parts) {
            self.say_started(task);
        }
        self.send_answer(&parts);
        let kind = Header::of(&bytes).map(|header| header.kind);
        if bytes.capacity() <= KEPT {
            bytes.clear();
            self.buffer = bytes;
        }
        (kind, took)
    }

    fn send_answer(&mut self, parts: &[&[u8]]) {
        let sent = match &mut self.output {
            Output::Direct(_) => self.output.send(parts),
            Output::Elsewhere(remote) => remote.send_answer(parts),
        };
        if let Err(error) = sent {
            end_after_error(&error, self.parent);
        }
    }

    pub(super) fn send(&mut self, parts: &[&[u8]]) {
        if let Err(error) = self.output.send(parts) {
            end_after_error(&error, self.parent);
        }
    }
}

#[cfg(test)]
mod tests;
