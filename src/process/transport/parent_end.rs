//! [`ParentEnd`]: the parent's end of the transport to one worker. No method waits.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::begun::{Begun, LaterBegin};
use super::line::Line;
#[cfg(feature = "mpi")]
use super::mpi::Mpi;
use super::ring::{Next, Receiver, Room, Scribbled, Sender};
use super::rings::{Part, RING_BYTES, Rings};
use super::{CHECK, WAITING, WAKE_UP};
use crate::process::wire::greeting::{GREETING, NoGreeting, REQUEST, Search};
use crate::sys::channel::Channel;

pub(crate) struct ParentEnd {
    line: Line,
    /// The shared memory, or `None` if all bytes travel through `line`.
    shared: Option<Shared>,
    /// The search for the greeting: fixed bytes that a worker sends first if a command has
    /// started it. `None` once the greeting has arrived, and for a worker that sends no
    /// greeting.
    greeting: Option<Search>,
    /// The search for the *requests*, by which the command asks for the program's file
    /// before the greeting. `None` if no request may come.
    request: Option<Search>,
    /// The number of requests that have arrived and that `take_request` has not returned.
    requests: usize,
}

struct Shared {
    rings: Rings,
    sender: Sender<Part>,
    receiver: Receiver<Part>,
    /// The bytes of the message `Refused` that `receive_now` has not returned yet. A
    /// process that cannot become a worker sends this message through the socket, if it has
    /// not mapped the shared memory yet.
    refusal: Option<VecDeque<u8>>,
    /// `true` once bytes have arrived in the shared memory. From then on the socket brings
    /// no message. So the pool ignores bytes that a task writes to its worker's socket by
    /// mistake. The pool may read these bytes when a later task already runs, and must not
    /// blame the later task for them.
    has_begun: bool,
    is_closed: bool,
    begun: Begun<Part>,
    /// The word `begun` when the pool last looked for a task that the worker has begun.
    /// `None` if the pool has to look again.
    seen: Option<u64>,
}

impl ParentEnd {
    /// Returns the end of a transport through the socket `channel`, or with `rings`,
    /// through shared memory.
    pub(crate) fn new(channel: Channel, rings: Option<Rings>) -> Self {
        let shared = rings.map(|rings| Shared {
            sender: Sender::new(rings.to_worker(), rings.key_to_worker()),
            receiver: Receiver::new(rings.to_parent(), rings.key_to_parent()),
            begun: rings.begun(),
            seen: None,
            rings,
            refusal: None,
            has_begun: false,
            is_closed: false,
        });
        Self {
            line: Line::Socket(Arc::new(channel)),
            shared,
            greeting: None,
            request: None,
            requests: 0,
        }
    }

    /// Returns the end of a transport through the standard input and output of a command,
    /// which may write other text before the worker's greeting. `may_request` says that the
    /// command may request the program's file before the greeting.
    pub(crate) fn through_command(channel: Channel, may_request: bool) -> Self {
        Self {
            greeting: Some(Search::new(GREETING)),
            request: may_request.then(|| Search::new(REQUEST)),
            ..Self::new(channel, None)
        }
    }

    /// Returns the end of a transport to a rank (a process) of an MPI job.
    #[cfg(feature = "mpi")]
    pub(crate) fn to_rank(mpi: &'static Mpi, rank: usize) -> Self {
        Self {
            line: Line::Rank(mpi, rank),
            shared: None,
            greeting: None,
            request: None,
            requests: 0,
        }
    }

    pub(crate) fn is_rank(&self) -> bool {
        self.line.descriptor().is_none()
    }

    /// Sends the first message through the socket, together with files.
    pub(crate) fn send_with_files(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.line.send_with_files(bytes, files)
    }

    pub(crate) fn close_sending(&self) {
        self.line.close_sending();
    }

    /// Returns `false` while this end waits for the worker's greeting.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeting.is_none()
    }

    /// Returns `true` if the command has requested a piece of the program's file. Each
    /// request makes one call return `true`.
    pub(crate) fn take_request(&mut self) -> bool {
        let is_there = self.requests > 0;
        self.requests -= usize::from(is_there);
        is_there
    }

    /// Returns the last part of the text that has arrived in place of the greeting, if
    /// there is any.
    pub(crate) fn text_before_greeting(&self) -> Option<String> {
        let text = self.greeting.as_ref().map(Search::skipped_text);
        text.filter(|text| !text.is_empty())
    }

    /// Returns `true` if a greeting has arrived, but not the one for which this end waits.
    pub(crate) fn has_other_greeting(&self) -> bool {
        let searches = [&self.greeting, &self.request];
        let mut searches = searches.into_iter().flatten();
        searches.any(Search::has_other_greeting)
    }

    /// Returns an upper bound for the number of bytes that can be sent before the worker,
    /// or the command that has started it, reads any. With MPI, returns `MOST_UNSENT`
    /// (`mpi/messages.rs`) instead.
    pub(crate) fn capacity(&self) -> usize {
        match &self.shared {
            Some(_) => RING_BYTES,
            None => self.line.capacity(),
        }
    }

    /// Sends the first of the bytes, at least one, and returns how many it has sent.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room. When the
    /// worker has made room, the socket becomes readable if the bytes travel through shared
    /// memory, and otherwise writable. (With MPI, [`has_room`](Self::has_room) then returns
    /// `true`.) Returns [`InvalidData`](io::ErrorKind::InvalidData) if a task has
    /// overwritten the shared memory, and the errors of the socket.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(shared) = &mut self.shared else {
            return self.line.send_now(bytes);
        };
        loop {
            match shared.sender.send(bytes, || self.line.wake()) {
                Ok(0) => {}
                sent => return sent.map_err(scribbled),
            }
            if shared.sender.may_sleep().map_err(scribbled)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Receives the bytes that have arrived. A result of 0 bytes means end-of-file.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if no bytes have arrived.
    /// Returns [`InvalidData`](io::ErrorKind::InvalidData) if a task has overwritten the
    /// shared memory, or if a command has written much text and no greeting, or another
    /// greeting. Also returns the errors of the socket.
    #[inline]
    pub(crate) fn receive_now(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.greeting.is_some() {
            return self.receive_greeting(into);
        }
        let Some(shared) = &mut self.shared else {
            return self.line.receive_now(into);
        };
        if let Some(bytes) = &mut shared.refusal {
            match bytes.read(into)? {
                0 => {}
                count => return Ok(count),
            }
        }
        match shared.receiver.receive(into, || self.line.wake()) {
            Ok(0) if shared.is_closed => Ok(0),
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            received => {
                shared.has_begun = true;
                received.map_err(scribbled)
            }
        }
    }

    /// Receives bytes up to the greeting. Copies the bytes that have arrived behind the
    /// greeting into `into`, and returns their number.
    #[cold]
    fn receive_greeting(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(search) = &mut self.greeting {
            let count = self.line.receive_now(into)?;
            if count == 0 {
                return Ok(0);
            }
            let mut bytes = &into[..count];
            if let Some(request) = &mut self.request {
                while let Some(end) = request.find(bytes).map_err(invalid)? {
                    self.requests += 1;
                    *request = Search::new(REQUEST);
                    // An error message need not show the text before a request.
                    search.forget_text();
                    bytes = &bytes[end..];
                }
            }
            if let Some(end) = search.find(bytes).map_err(invalid)? {
                let end = count - bytes.len() + end;
                self.greeting = None;
                if end < count {
                    into.copy_within(end..count, 0);
                    return Ok(count - end);
                }
                continue;
            }
            if self.has_other_greeting() {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        self.line.receive_now(into)
    }

    /// Reads, from the socket, the bytes by which the worker has woken this process. The
    /// caller calls this method after `poll` has reported the socket, or after the worker
    /// has ended. Returns `true` if the worker has answered a [`check`](Self::check), and
    /// so waits for a message. Does nothing if there is no shared memory.
    pub(crate) fn read_wakeups(&mut self) -> bool {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_closed) else {
            return false;
        };
        let mut bytes = [0; 256];
        let bytes = match self.line.receive_now(&mut bytes) {
            Ok(0) => {
                shared.is_closed = true;
                return false;
            }
            Ok(count) => &bytes[..count],
            Err(error) => {
                shared.is_closed = error.kind() == io::ErrorKind::ConnectionReset;
                return false;
            }
        };
        shared.has_begun |= shared.receiver.next().is_there();
        if shared.has_begun {
            return bytes.contains(&WAITING);
        }
        match &mut shared.refusal {
            Some(earlier) => earlier.extend(bytes),
            None => {
                let rest = bytes.iter().skip_while(|byte| **byte == WAKE_UP).copied();
                let rest: VecDeque<u8> = rest.collect();
                shared.refusal = Some(rest).filter(|rest| !rest.is_empty());
            }
        }
        false
    }

    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Returns `true` if the messages travel through a socket. A read of a socket that does
    /// not fill the buffer has read all bytes that had arrived.
    pub(crate) fn is_emptied_by_a_read(&self) -> bool {
        self.shared.is_none() && !self.is_rank()
    }

    /// Asks the worker to say if it waits for a message.
    pub(crate) fn check(&self) {
        // A worker whose socket is full or closed gives no answer. The pool notices such a
        // worker by other means.
        let _ = self.line.send_now(&[CHECK]);
    }

    /// Returns `true` if the shared memory says that the worker may have begun another task
    /// after the task `last`, even if it has sent no message about that task. Returns
    /// `false` if there is no shared memory.
    pub(crate) fn may_have_begun_after(&self, last: u64) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| !shared.begun.is_last(last))
    }

    /// Records that the pool now looks for a task that the worker has begun. From this call
    /// on, only a later begin keeps the pool from sleeping ([`watch`](Self::watch)), even if the
    /// worker's memory names no task, because a task has overwritten it. If the pool has not
    /// read all messages, it must look again: only then it knows which task is the next.
    pub(crate) fn look_at_begun(&mut self) {
        if let Some(shared) = &mut self.shared {
            // The worker has sent all messages about earlier tasks before this word. So in
            // the other order, the pool could overlook such a message.
            let word = shared.begun.word();
            shared.seen = Some(word).filter(|_| !shared.receiver.next().is_there());
        }
    }

    /// Makes the pool look again, because it could not use what it has seen.
    pub(crate) fn look_again(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.seen = None;
        }
    }

    /// Returns the number of the last offer that the worker has taken, plus one, or 0 if
    /// the worker has taken none. The number makes no sense if a task has overwritten it.
    pub(crate) fn taken(&self) -> u64 {
        self.shared
            .as_ref()
            .map_or(0, |shared| shared.rings.taken())
    }

    /// Makes [`taken`](Self::taken) return 0 if `is_possible` returns `false` for the
    /// number that `taken` returns now, because then a task has overwritten this number.
    pub(crate) fn mend_taken(&self, is_possible: impl Fn(u64) -> bool) {
        if let Some(shared) = &self.shared {
            shared.rings.mend_taken(is_possible);
        }
    }

    /// Returns `true` if the worker sleeps. A worker that does not sleep finds the offers
    /// that were made before this call, because of the fence at the end of `Offers::offer`.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.sender.is_receiver_asleep())
    }

    /// Wakes the worker if it sleeps. Returns `true` if the worker slept.
    pub(crate) fn wake_if_asleep(&self) -> bool {
        let shared = self.shared.as_ref();
        let is_asleep = shared.is_some_and(|shared| shared.sender.bell().must_wake());
        if is_asleep {
            self.line.wake();
        }
        is_asleep
    }

    /// Returns `true` if bytes have arrived in shared memory or through MPI, which `poll`
    /// does not report.
    pub(crate) fn has_arrived(&self) -> bool {
        match &self.shared {
            Some(shared) => shared.receiver.next().is_there(),
            None => self.line.has_arrived(),
        }
    }

    /// Returns `true` if shared memory or MPI has room for the unsent bytes. (`poll`
    /// reports the room of a socket.)
    pub(crate) fn has_room(&self) -> bool {
        match &self.shared {
            Some(shared) => shared.sender.room_wanted().is_there(),
            None => self.line.has_room(),
        }
    }

    /// Asks the worker to make the socket readable when it sends its next bytes through the
    /// shared memory. Returns `false` if bytes have arrived already.
    pub(crate) fn arm(&mut self) -> bool {
        match &self.shared {
            Some(shared) => shared.receiver.next().may_sleep(),
            None => !self.line.has_arrived(),
        }
    }

    /// Takes back the request that [`arm`](Self::arm) has made to the worker.
    pub(crate) fn disarm(&mut self) {
        if let Some(shared) = &self.shared {
            shared.receiver.next().wakes_up();
        }
    }

    /// Returns a copy of the data with which a thread waits for the worker's bytes. If
    /// `is_full` is set, the thread also waits for room. If `last_begun` is a task's number,
    /// the thread also waits until the worker begins a later task.
    pub(crate) fn watch(&self, is_full: bool, last_begun: Option<u64>) -> Watch {
        let shared = self.shared.as_ref();
        Watch {
            line: self.line.clone(),
            is_full,
            next: shared.map(|shared| shared.receiver.next().clone()),
            room: shared
                .filter(|_| is_full)
                .map(|shared| shared.sender.room_wanted()),
            begin: shared
                .zip(last_begun)
                .map(|(shared, last)| shared.begun.later_than(last, shared.seen)),
        }
    }
}

/// A copy of the data of a [`ParentEnd`] with which a thread waits for bytes while it does
/// not hold the pool's lock.
pub(crate) struct Watch {
    line: Line,
    /// `true` if unsent bytes wait for room.
    is_full: bool,
    /// The place of the next record, or `None` if the bytes travel through `line`.
    next: Option<Next<Part>>,
    /// The room for which unsent bytes wait in the shared memory.
    room: Option<Room<Part>>,
    begin: Option<LaterBegin<Part>>,
}

impl Watch {
    /// Returns the descriptor that `poll` watches, or `None` if the worker is a rank of
    /// MPI.
    pub(crate) fn descriptor(&self) -> Option<&Channel> {
        self.line.descriptor()
    }

    /// Returns `true` if the bytes to the worker travel through a socket, for whose room
    /// `poll` can wait. With shared memory the worker wakes this process when the ring has
    /// room.
    pub(crate) fn sends_by_socket(&self) -> bool {
        self.next.is_none() && self.line.descriptor().is_some()
    }

    /// Returns `true` if bytes have arrived in shared memory or through MPI, or if the
    /// worker has begun a task and not said so. `poll` reports none of these.
    pub(crate) fn has_news(&self) -> bool {
        self.next.as_ref().is_some_and(Next::is_there)
            || self.begin.as_ref().is_some_and(LaterBegin::is_there)
            || self.line.has_arrived()
    }

    /// Returns `true` if shared memory or MPI has room for the unsent bytes. (`poll`
    /// reports the room of a socket.)
    pub(crate) fn has_room(&self) -> bool {
        self.room.as_ref().is_some_and(Room::is_there) || self.is_full && self.line.has_room()
    }

    /// Announces to the worker that this thread is about to sleep until the socket has an
    /// event. The thread must not sleep if [`has_news`](Self::has_news) returns `true`
    /// afterwards.
    pub(crate) fn arm(&self) {
        if let Some(next) = &self.next {
            next.may_sleep();
        }
    }

    /// Announces to the worker that this thread is about to *nap*: to sleep for a short
    /// time. During the nap, the worker wakes this thread if the worker waits for room, or
    /// for a message such as a long call. A worker that waits for an offer wakes this
    /// thread too, except in a burst (while a thread submits many tasks in a row).
    pub(crate) fn nap(&self, in_burst: bool) {
        if let Some(next) = &self.next {
            next.may_nap(in_burst);
        }
    }

    /// Returns `true` if the worker has announced that it sleeps until this process has
    /// read some of the worker's bytes. The caller must have called [`nap`](Self::nap)
    /// before.
    pub(crate) fn is_awaited(&self) -> bool {
        self.next.as_ref().is_some_and(Next::is_awaited)
    }

    /// Announces to the worker that this thread does not sleep any more.
    pub(crate) fn wakes_up(&self) {
        if let Some(next) = &self.next {
            next.wakes_up();
        }
    }
}

fn invalid(NoGreeting: NoGreeting) -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn scribbled(_: Scribbled) -> io::Error {
    io::ErrorKind::InvalidData.into()
}
