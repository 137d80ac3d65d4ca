//! [`Worker`]: the worker's side of a connection to the pool, one step at a time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::process_handle::{Played, Process};
use super::book::Book;
use crate::error::End;
use crate::process::transport::{OfferMemory, Received, Rings, WorkerReceiver, WorkerSender, ends};
use crate::process::wire::answer::WirePanic;
use crate::process::wire::assembler::Assembler;
use crate::process::wire::codec;
use crate::process::wire::frame::{Frame, Kind, bare};
use crate::process::wire::greeting::GREETING;
use crate::process::wire::message::{ReadyOn, ready_on, refused};
use crate::sys::channel::Channel;
use crate::sys::current_process;

/// The state of a worker between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The worker sends its greeting next. Only a launched worker sends one.
    Connecting,
    /// The worker waits for `Hello`.
    Starting,
    /// The worker sends `Ready` next.
    Ready,
    Serving,
    Initializing,
    /// The worker has taken this offer, and checks next if it may keep the offer.
    Taken(u64),
    /// The worker records next that it begins this task.
    Chosen(u64),
    /// The worker sends `Started` next.
    Begun(u64),
    Running(u64),
    /// The worker was told to exit, and has closed its connection.
    Leaving,
    /// The process has closed its connection, and ends next.
    Dying,
    Ended,
}

/// The worker's end of the connection.
#[expect(clippy::large_enum_variant, reason = "a run has few of them")]
enum Line {
    Direct(WorkerSender, WorkerReceiver, Arc<Channel>),
    /// The socket of a launched worker, and the bytes that a relay has not passed on yet.
    Launched(UnixStream, Vec<u8>),
    Closed,
}

/// The properties of a worker that its pool and its launcher decide.
pub(super) struct Traits {
    pub(super) number: usize,
    /// `true` if the pool has offers, which the worker may take.
    pub(super) takes_offers: bool,
    pub(super) initializes: bool,
    /// `true` if a relay may lose the last messages of the worker.
    pub(super) is_relayed: bool,
}

pub(super) struct Worker {
    pub(super) traits: Traits,
    pub(super) at: At,
    pub(super) process: Arc<Process>,
    line: Line,
    /// Requests that the worker has read and not handled yet.
    requests: VecDeque<Frame>,
    messages: Assembler,
    call: Vec<u8>,
    is_held: bool,
    takes_offers: bool,
    /// `true` if the worker sleeps until its socket is readable.
    is_asleep: bool,
    /// `true` once the worker has sent bytes that the pool does not expect.
    pub(super) has_babbled: bool,
    has_begun: bool,
    /// `true` if the worker has sent such bytes before it began a task.
    is_useless: bool,
}

/// Returns `true` if a read of the descriptor would not wait.
pub(super) fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
}

impl Worker {
    pub(super) fn direct(
        traits: Traits,
        process: Arc<Process>,
        socket: OwnedFd,
        rings: Option<Rings>,
        offers: Option<OfferMemory>,
    ) -> Self {
        let socket = UnixStream::from(socket);
        // A receive that finds nothing returns an error. A real worker would sleep.
        socket.set_nonblocking(true).expect("it is a socket");
        let channel = Arc::new(Channel::new(socket.into()));
        let (sender, receiver) = ends(Arc::clone(&channel), rings, offers, traits.number);
        let line = Line::Direct(sender, receiver, channel);
        Self::new(traits, process, line, At::Starting)
    }

    pub(super) fn launched(traits: Traits, process: Arc<Process>, socket: OwnedFd) -> Self {
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(true).expect("it is a socket");
        let line = Line::Launched(socket, Vec::new());
        Self::new(traits, process, line, At::Connecting)
    }

    fn new(traits: Traits, process: Arc<Process>, line: Line, at: At) -> Self {
        Self {
            traits,
            at,
            process,
            line,
            requests: VecDeque::new(),
            messages: Assembler::new(),
            call: Vec::new(),
            is_held: false,
            takes_offers: false,
            is_asleep: false,
            has_babbled: false,
            has_begun: false,
            is_useless: false,
        }
    }

    pub(super) fn with_process<R>(&self, f: impl FnOnce(&mut Played) -> R) -> R {
        match &*self.process {
            Process::Played(process) => f(&mut process.0.lock()),
            _ => unreachable!("all processes are played"),
        }
    }

    /// Lets the worker make its next step. Returns `false` if it can only wait, or has
    /// ended.
    pub(super) fn step(&mut self, book: &Book) -> bool {
        let has_read = self.receive_launched();
        match self.at {
            At::Connecting => {
                self.send(GREETING);
                self.at = At::Starting;
            }
            At::Ready => {
                let host = current_process::host();
                let maker = match self.traits.is_relayed {
                    true => 0,
                    false => std::process::id(),
                };
                match &self.line {
                    Line::Launched(..) => {
                        let pid = self.process.pid();
                        self.send(&ready_on(&ReadyOn { pid, maker, host }));
                    }
                    _ => self.say(Kind::Ready, 0),
                }
                self.takes_offers = self.traits.takes_offers && !self.traits.initializes;
                self.at = At::Serving;
            }
            At::Initializing => {
                self.say(Kind::Initialized, 0);
                self.takes_offers = self.traits.takes_offers;
                self.at = At::Serving;
            }
            At::Starting | At::Serving => return self.serve() || has_read,
            At::Taken(offer) => {
                let is_still_taken = match &self.line {
                    Line::Direct(_, receiver, _) => receiver.is_still_taken(offer),
                    _ => false,
                };
                self.at = At::Serving;
                if !is_still_taken {
                    self.say(Kind::Declined, offer);
                } else if let Ok((_, frame)) = Frame::only(&self.call) {
                    self.handle(&frame);
                }
            }
            At::Chosen(task) => {
                // Only shared memory says that a task begins before `Started` says it, and
                // mostly in its place.
                let says_started = match &self.line {
                    Line::Direct(sender, ..) => sender.begin(task),
                    _ => true,
                };
                if self.is_shared() {
                    self.begin(book, task);
                }
                if says_started {
                    self.at = At::Begun(task);
                } else {
                    book.runs(task);
                    self.at = At::Running(task);
                }
            }
            At::Begun(task) => {
                self.say(Kind::Started, task);
                if self.at == At::Begun(task) {
                    if !self.is_shared() {
                        self.begin(book, task);
                    }
                    book.runs(task);
                    self.at = At::Running(task);
                }
            }
            At::Running(task) => {
                let mut value = Vec::new();
                codec::encode(&book.returns(task), &mut value).expect("it is a number");
                self.answer(Kind::Returned, task, &value);
                self.ran();
            }
            At::Leaving => self.end(End::Exited(0)),
            At::Dying => self.end(End::Signalled("SIGKILL".to_owned())),
            At::Ended => return false,
        }
        true
    }

    fn is_shared(&self) -> bool {
        matches!(&self.line, Line::Direct(sender, ..) if sender.is_shared())
    }

    fn begin(&mut self, book: &Book, task: u64) {
        book.begins(task);
        self.has_begun = true;
    }

    fn ran(&mut self) {
        if let At::Running(_) = self.at {
            self.at = At::Serving;
        }
        self.takes_offers = self.traits.takes_offers;
    }

    /// Lets the running task panic.
    pub(super) fn panic(&mut self, book: &Book) {
        if let At::Running(task) = self.at {
            let mut note = Vec::new();
            let panic = WirePanic {
                message: "it panics".to_owned(),
                location: None,
                worker: None,
            };
            panic.write(&mut note);
            book.panics(task);
            self.answer(Kind::Panicked, task, &note);
            self.ran();
        }
    }

    /// Says that the worker cannot begin, or that its initializer has failed. Returns
    /// `false`, and does nothing, unless the worker is starting or initializing.
    pub(super) fn fail_to_start(&mut self) -> bool {
        match self.at {
            At::Starting | At::Ready => self.send(&refused("it is another program")),
            At::Initializing => {
                let mut note = Vec::new();
                let panic = WirePanic {
                    message: "the initializer panics".to_owned(),
                    location: None,
                    worker: None,
                };
                crate::process::wire::answer::InitializeFailure::Panicked(panic).write(&mut note);
                self.send(&note);
            }
            _ => return false,
        }
        self.close();
        true
    }

    /// Sends bytes that the pool does not expect.
    pub(super) fn babble(&mut self, bytes: &[u8]) {
        if !matches!(
            self.at,
            At::Connecting | At::Leaving | At::Dying | At::Ended
        ) {
            self.has_babbled = true;
            self.is_useless |= !self.has_begun;
            self.send(bytes);
        }
    }

    /// Closes the worker's end of the connection, because its process ends.
    pub(super) fn close(&mut self) {
        if !matches!(self.at, At::Leaving | At::Dying | At::Ended) {
            self.at = At::Dying;
            self.line = Line::Closed;
        }
    }

    /// Ends the process with `end`, unless the process has ended before.
    pub(super) fn end(&mut self, end: End) {
        self.line = Line::Closed;
        self.at = At::Ended;
        self.with_process(|process| {
            process.end.get_or_insert(end);
        });
    }

    /// Handles the next request, receives bytes, or takes an offer. Returns `false` if the
    /// worker can do none of these.
    fn serve(&mut self) -> bool {
        if let Some(frame) = self.requests.pop_front() {
            self.handle(&frame);
            return true;
        }
        let Line::Direct(_, receiver, channel) = &mut self.line else {
            return false;
        };
        match self.messages.next() {
            Ok(Some(frame)) => {
                self.handle(&frame);
                return true;
            }
            Ok(None) => {}
            Err(error) => panic!("the pool sends nonsense: {error}"),
        }
        if self.is_asleep && !is_readable(channel.as_fd()) {
            return false;
        }
        self.is_asleep = false;
        let takes_offers = self.takes_offers && !self.is_held;
        let into = self.messages.spare_buffer().expect("there is memory");
        match receiver.receive(into, &mut self.call, takes_offers, false) {
            Ok(Received::Bytes(0)) => self.close(),
            Ok(Received::Bytes(count)) => self.messages.advance(count),
            Ok(Received::Offer(offer)) => self.at = At::Taken(offer),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_asleep = true;
                return false;
            }
            Err(_) => self.close(),
        }
        true
    }

    /// Makes the steps of a launched worker's reader thread: receives, and answers `Ping`
    /// and `Recall`. Returns `true` if something has arrived, or if the connection is
    /// closed.
    fn receive_launched(&mut self) -> bool {
        let mut has_read = false;
        let mut replies = Vec::new();
        let mut is_over = false;
        while let Line::Launched(socket, _) = &mut self.line {
            let into = self.messages.spare_buffer().expect("there is memory");
            match socket.read(into) {
                Ok(0) => is_over = true,
                Ok(count) => {
                    has_read = true;
                    self.messages.advance(count);
                }
                Err(error) => is_over = error.kind() != ErrorKind::WouldBlock,
            }
            let before = (self.requests.len(), replies.len());
            while let Some(frame) = self.messages.next().expect("the pool sends sense") {
                match frame.kind {
                    Kind::Ping => replies.push(bare(Kind::Pong, frame.task)),
                    Kind::Recall => {
                        let is_it = |other: &Frame| other.task == frame.task;
                        if let Some(at) = self.requests.iter().position(is_it) {
                            self.requests.remove(at);
                            replies.push(bare(Kind::Recalled, frame.task));
                        }
                    }
                    _ => self.requests.push_back(frame),
                }
            }
            if is_over || before == (self.requests.len(), replies.len()) {
                break;
            }
        }
        for reply in replies {
            self.send(&reply);
        }
        if is_over {
            self.close();
        }
        has_read || is_over
    }

    fn handle(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Hello => self.at = At::Ready,
            Kind::Initialize => self.at = At::Initializing,
            Kind::Task => self.at = At::Chosen(frame.task),
            Kind::LongTask => {
                self.takes_offers = false;
                self.say(Kind::Fetch, frame.task);
            }
            Kind::Hold => self.is_held = true,
            Kind::Release => self.is_held = false,
            Kind::Exit => {
                self.line = Line::Closed;
                self.at = At::Leaving;
            }
            kind => panic!("the pool sends {kind:?}"),
        }
    }

    fn answer(&mut self, kind: Kind, task: u64, payload: &[u8]) {
        self.send(&frame(kind, task, payload));
    }

    fn say(&mut self, kind: Kind, number: u64) {
        self.send(&bare(kind, number));
    }

    fn send(&mut self, bytes: &[u8]) {
        let sent = match &mut self.line {
            Line::Direct(sender, ..) => sender.send_all(bytes),
            Line::Launched(_, unsent) => {
                unsent.extend_from_slice(bytes);
                match self.traits.is_relayed {
                    true => Ok(()),
                    false => self.relay(),
                }
            }
            Line::Closed => Ok(()),
        };
        if sent.is_err() {
            self.close();
        }
    }

    /// Lets the relay pass on the bytes of the worker.
    pub(super) fn relay(&mut self) -> io::Result<()> {
        match &mut self.line {
            Line::Launched(socket, unsent) => socket.write_all(&std::mem::take(unsent)),
            _ => Ok(()),
        }
    }

    pub(super) fn has_unsent(&self) -> bool {
        matches!(&self.line, Line::Launched(_, unsent) if !unsent.is_empty())
    }

    /// Returns `true` if the worker's end may count as a failed start.
    pub(super) fn is_useless(&self) -> bool {
        self.is_useless || !self.has_begun || self.traits.is_relayed
    }

    /// Returns the task that the worker has begun and not answered.
    pub(super) fn begun(&self) -> Option<u64> {
        match self.at {
            At::Begun(task) | At::Running(task) => Some(task),
            _ => None,
        }
    }
}

/// Returns a frame with a payload.
pub(super) fn frame(kind: Kind, task: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = bare(kind, task).to_vec();
    frame[16..24].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}
