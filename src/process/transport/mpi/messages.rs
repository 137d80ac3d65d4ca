//! [`Messages`]: the streams of bytes between this rank and the others, as messages of MPI.
//!
//! Each pair of ranks (processes of an MPI job) has two streams, one in each direction. A
//! piece of a stream is one MPI message, and MPI keeps the messages between two ranks in
//! their order. An empty message says that its sender is no worker any more. Then the
//! stream is at its end, until a pool takes the rank again.
//!
//! MPI reads the bytes of a send, and writes the bytes of a receive, until the request
//! (MPI's handle of the operation) is complete. Until then [`Messages`] owns these bytes.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io::{self, ErrorKind};

use mpi_sys::{
    MPI_Get_count, MPI_Improbe, MPI_Imrecv, MPI_Isend, MPI_Request, MPI_Status, MPI_Test,
    RSMPI_ANY_SOURCE, RSMPI_ANY_TAG, RSMPI_MESSAGE_NULL, RSMPI_REQUEST_NULL, RSMPI_STATUS_IGNORE,
    RSMPI_UINT8_T,
};

use super::{Communicator, Mpi};
use crate::sync::MutexGuard;

const TAG: c_int = 0;

/// The largest number of bytes of one message, which MPI counts by an `int`.
const LONGEST: usize = 1 << 20;

/// The limit of unsent bytes to one rank. While at least so many bytes to a rank are
/// unsent, [`Mpi::send_now`] takes no more bytes for this rank.
pub(in crate::process::transport) const MOST_UNSENT: usize = 4 << 20;

/// The largest number of buffers that this rank keeps for the next messages, and the
/// largest capacity of a kept buffer.
const KEPT: usize = 64;
const LONGEST_KEPT: usize = 16 << 10;

/// The largest number of messages that one call of [`Mpi::progress`] receives.
const MOST_AT_ONCE: usize = 64;

pub(super) struct Unsent {
    to: usize,
    request: MPI_Request,
    bytes: Vec<u8>,
}

/// A message that MPI has announced, and perhaps has not received completely.
pub(super) struct Arrived {
    bytes: Vec<u8>,
    /// MPI's handle of the receive, or `None` once the receive is complete.
    request: Option<MPI_Request>,
    /// The number of bytes that [`Mpi::receive_now`] has already returned.
    taken: usize,
}

pub(super) struct Messages {
    pub(super) unsent: VecDeque<Unsent>,
    spare: Vec<Vec<u8>>,
    /// The streams between this rank and each rank, by the number of the other rank.
    pub(super) streams: Vec<Stream>,
    receiving: usize,
    /// `true` once the job is about to end, and takes no new pools.
    pub(super) is_closing: bool,
    /// `true` once this rank has left the job.
    pub(super) is_over: bool,
}

// SAFETY: a request is a handle that any thread of its process may use.
unsafe impl Send for Messages {}

#[derive(Default)]
pub(super) struct Stream {
    arrived: VecDeque<Arrived>,
    /// The number of bytes to the other rank that MPI has not sent yet.
    unsent: usize,
    /// `true` once the other rank has said that it is no worker any more, until a pool
    /// takes the rank again.
    pub(super) has_left: bool,
    /// `true` while the other rank is a worker of a pool.
    pub(super) is_taken: bool,
}

impl Mpi {
    /// Sends the parts one after the other, without other bytes between them.
    pub(crate) fn send(&self, to: usize, parts: &[&[u8]]) {
        let mut messages = self.messages.lock();
        if messages.is_over {
            return;
        }
        let mut bytes = messages.buffer();
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                let (fits, rest) = part.split_at(part.len().min(LONGEST - bytes.len()));
                bytes.extend_from_slice(fits);
                part = rest;
                if bytes.len() == LONGEST {
                    messages.send(&self.communicator, to, std::mem::take(&mut bytes));
                }
            }
        }
        if !bytes.is_empty() {
            messages.send(&self.communicator, to, bytes);
        }
    }

    /// Sends at most the first [`LONGEST`] bytes, as one message, and returns how many it
    /// has sent. `bytes` must not be empty, because an empty message ends the stream.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](ErrorKind::WouldBlock) if at least [`MOST_UNSENT`] bytes to
    /// the rank are unsent, or if this rank has left the job.
    pub(crate) fn send_now(&self, to: usize, bytes: &[u8]) -> io::Result<usize> {
        let mut messages = self.messages.lock();
        if messages.is_over || messages.streams[to].unsent >= MOST_UNSENT {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut copy = messages.buffer();
        copy.extend_from_slice(&bytes[..bytes.len().min(LONGEST)]);
        let count = copy.len();
        messages.send(&self.communicator, to, copy);
        Ok(count)
    }

    /// Returns `true` if [`send_now`](Self::send_now) would take bytes for the rank `to`.
    pub(crate) fn has_room(&self, to: usize) -> bool {
        let messages = self.messages.lock();
        !messages.is_over && messages.streams[to].unsent < MOST_UNSENT
    }

    /// Begins to receive up to [`MOST_AT_ONCE`] messages, and frees or keeps the buffers of
    /// the messages that MPI has sent. Returns `true` if it has begun to receive a message.
    pub(crate) fn progress(&self) -> bool {
        let mut messages = self.messages.lock();
        let has_arrived = messages.progress(&self.communicator);
        // `unlock_fair` hands the lock to a thread that waits for it. Otherwise a thread
        // that calls this method again and again could take the lock again before the
        // waiting thread.
        MutexGuard::unlock_fair(messages);
        has_arrived
    }

    /// Returns `true` if bytes of a rank have arrived, or the empty message that ends its
    /// stream. Does not call MPI.
    pub(crate) fn has_arrived(&self, from: usize) -> bool {
        let messages = self.messages.lock();
        let stream = &messages.streams[from];
        let first = stream.arrived.front();
        first.map_or(stream.has_left, |first| first.request.is_none())
    }

    /// Copies bytes that have arrived, and returns their number. 0 means that the other
    /// rank is no worker any more. Does not call MPI.
    pub(crate) fn receive_now(&self, from: usize, into: &mut [u8]) -> io::Result<usize> {
        let mut messages = self.messages.lock();
        let stream = &mut messages.streams[from];
        let first = match stream.arrived.front_mut() {
            Some(first) if first.request.is_none() => first,
            None if stream.has_left => return Ok(0),
            _ => return Err(ErrorKind::WouldBlock.into()),
        };
        let bytes = &first.bytes[first.taken..];
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        first.taken += count;
        if first.taken == first.bytes.len() {
            if let Some(empty) = stream.arrived.pop_front() {
                messages.keep(empty.bytes);
            }
        }
        Ok(count)
    }

    /// Returns `true` if the rank is no worker any more, and all its bytes were received.
    pub(crate) fn has_left(&self, rank: usize) -> bool {
        let messages = self.messages.lock();
        let stream = &messages.streams[rank];
        stream.has_left && stream.arrived.is_empty()
    }

    /// Tells another rank that this rank is no worker any more.
    pub(crate) fn end_stream(&self, to: usize) {
        let mut messages = self.messages.lock();
        messages.send(&self.communicator, to, Vec::new());
    }
}

impl Messages {
    /// Returns the state of a rank that has sent and received nothing yet, in a job with
    /// `ranks` ranks.
    pub(super) fn new(ranks: usize) -> Self {
        Self {
            unsent: VecDeque::new(),
            spare: Vec::new(),
            streams: (0..ranks).map(|_| Stream::default()).collect(),
            receiving: 0,
            is_closing: false,
            is_over: false,
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < KEPT && bytes.capacity() <= LONGEST_KEPT {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn send(&mut self, communicator: &Communicator, to: usize, bytes: Vec<u8>) {
        // The numbers fit: a message is not longer than `LONGEST`, and MPI counts ranks
        // by an `int`.
        let (length, rank) = (bytes.len() as c_int, to as c_int);
        // SAFETY: this only reads a constant of the MPI library.
        let mut request = unsafe { RSMPI_REQUEST_NULL };
        // SAFETY: this only reads a constant of the MPI library.
        let bytes_type = unsafe { RSMPI_UINT8_T };
        let start = bytes.as_ptr().cast();
        // SAFETY: `start` points to `length` bytes, which live, unchanged, until the
        // request is complete: `Unsent` owns them.
        unsafe {
            MPI_Isend(
                start,
                length,
                bytes_type,
                rank,
                TAG,
                communicator.0,
                &raw mut request,
            )
        };
        self.streams[to].unsent += bytes.len();
        self.unsent.push_back(Unsent { to, request, bytes });
        // MPI usually copies a short message at once, so its buffer may be free already.
        self.test_sends();
    }

    /// Frees or keeps the buffers of the messages that MPI has sent.
    pub(super) fn test_sends(&mut self) {
        let mut index = 0;
        while let Some(unsent) = self.unsent.get_mut(index) {
            if !is_complete(&mut unsent.request) {
                index += 1;
                continue;
            }
            if let Some(sent) = self.unsent.swap_remove_back(index) {
                self.streams[sent.to].unsent -= sent.bytes.len();
                self.keep(sent.bytes);
            }
        }
    }

    fn progress(&mut self, communicator: &Communicator) -> bool {
        if self.is_over {
            return false;
        }
        self.test_sends();
        let received = (0..MOST_AT_ONCE).take_while(|_| self.receive_one(communicator));
        let is_any = received.count() > 0;
        self.test_receives();
        is_any
    }

    /// Marks the messages that MPI has received completely, in each stream up to the first
    /// message that is not complete.
    fn test_receives(&mut self) {
        for stream in &mut self.streams {
            if self.receiving == 0 {
                return;
            }
            for message in &mut stream.arrived {
                if let Some(request) = &mut message.request {
                    if !is_complete(request) {
                        break;
                    }
                    message.request = None;
                    self.receiving -= 1;
                }
            }
        }
    }

    /// Begins to receive a message that MPI announces. Returns `false` if there is none.
    fn receive_one(&mut self, communicator: &Communicator) -> bool {
        // SAFETY: this only reads constants of the MPI library.
        let (from_any, any_tag) = unsafe { (RSMPI_ANY_SOURCE, RSMPI_ANY_TAG) };
        // SAFETY: this only reads a constant of the MPI library.
        let mut message = unsafe { RSMPI_MESSAGE_NULL };
        let mut status = MaybeStatus::default();
        let mut is_there = 0;
        // `MPI_Improbe` of Open MPI looks for a message first, and then makes progress.
        // So only a second call finds a message that this progress has brought.
        for _ in 0..2 {
            // SAFETY: the communicator and the pointers are valid.
            unsafe {
                MPI_Improbe(
                    from_any,
                    any_tag,
                    communicator.0,
                    &raw mut is_there,
                    &raw mut message,
                    status.pointer(),
                )
            };
            if is_there != 0 {
                break;
            }
        }
        if is_there == 0 {
            return false;
        }
        // SAFETY: this only reads a constant of the MPI library.
        let bytes_type = unsafe { RSMPI_UINT8_T };
        let mut length = 0;
        // SAFETY: `MPI_Improbe` has written the status.
        unsafe { MPI_Get_count(status.pointer(), bytes_type, &raw mut length) };
        // The length is not negative, because all messages consist of whole bytes.
        let count = length as usize;
        let mut bytes = self.buffer();
        bytes.resize(count, 0);
        // SAFETY: this only reads a constant of the MPI library.
        let mut request = unsafe { RSMPI_REQUEST_NULL };
        let start = bytes.as_mut_ptr().cast();
        // SAFETY: MPI has announced the message with this length, and the buffer is as
        // long. Until the request is complete, the bytes live and are not read, because
        // `Arrived` owns them.
        unsafe {
            MPI_Imrecv(
                start,
                length,
                bytes_type,
                &raw mut message,
                &raw mut request,
            )
        };
        let request = (!is_complete(&mut request)).then_some(request);
        let stream = &mut self.streams[status.source()];
        if count == 0 {
            // MPI writes no bytes of an empty message, so no buffer has to live until the
            // request is complete.
            stream.has_left = true;
            return true;
        }
        self.receiving += usize::from(request.is_some());
        stream.arrived.push_back(Arrived {
            bytes,
            request,
            taken: 0,
        });
        true
    }
}

fn is_complete(request: &mut MPI_Request) -> bool {
    let mut is_complete = 0;
    // SAFETY: this only reads a constant of the MPI library.
    let ignored = unsafe { RSMPI_STATUS_IGNORE };
    // SAFETY: the request belongs to a send or a receive that was not complete before.
    unsafe { MPI_Test(request, &raw mut is_complete, ignored) };
    is_complete != 0
}

/// A status that MPI writes.
struct MaybeStatus(std::mem::MaybeUninit<MPI_Status>);

impl Default for MaybeStatus {
    fn default() -> Self {
        Self(std::mem::MaybeUninit::zeroed())
    }
}

impl MaybeStatus {
    fn pointer(&mut self) -> *mut MPI_Status {
        self.0.as_mut_ptr()
    }

    fn source(&self) -> usize {
        // SAFETY: a status consists of numbers. MPI has written them, or they are still
        // the zeros of `default`, which are valid numbers too.
        let status = unsafe { self.0.assume_init_ref() };
        usize::try_from(status.MPI_SOURCE).unwrap_or(0)
    }
}
