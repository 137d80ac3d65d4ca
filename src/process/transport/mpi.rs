//! [`Mpi`]: the messages between the processes of an MPI job, which MPI calls *ranks*.
//!
//! Each pair of ranks has two streams of bytes, one in each direction. A piece of a stream
//! is one MPI message, and MPI keeps the messages between two ranks in their order. An empty
//! message says that its sender is no worker any more. Then the stream is at its end, until
//! another pool takes the rank.
//!
//! # Threads
//!
//! MPI is started with `MPI_THREAD_SERIALIZED`: any thread may call it, but only one at a
//! time. So each call is made under one lock. No call waits: sends and receives are
//! non-blocking, because the bytes of a long message may come only as its sender makes calls
//! too. A thread that has to wait calls
//! [`progress`](Mpi::progress) again and again, because most MPIs move bytes only inside of
//! calls ([`Patience`](crate::sys::patience::Patience) says how often).
//!
//! # Memory
//!
//! MPI reads the bytes of a send, and writes those of a receive, until the request is complete.
//! So [`Mpi`] owns these bytes until then.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::thread::yield_now;

use mpi_sys::{
    MPI_Abort, MPI_Comm, MPI_Comm_dup, MPI_Comm_rank, MPI_Comm_size, MPI_Finalize, MPI_Get_count,
    MPI_Improbe, MPI_Imrecv, MPI_Init_thread, MPI_Initialized, MPI_Isend, MPI_Request, MPI_Status,
    MPI_Test, RSMPI_ANY_SOURCE, RSMPI_ANY_TAG, RSMPI_COMM_WORLD, RSMPI_MESSAGE_NULL,
    RSMPI_REQUEST_NULL, RSMPI_STATUS_IGNORE, RSMPI_THREAD_SERIALIZED, RSMPI_UINT8_T,
};

use crate::sync::{Mutex, MutexGuard};
use crate::sys::current_process::set_variables;

/// The only tag.
const TAG: c_int = 0;

/// The largest number of bytes of one message, which MPI counts by an `int`.
const LONGEST: usize = 1 << 20;

/// The number of bytes to one rank that may wait until MPI has sent them.
pub(super) const MOST_UNSENT: usize = 4 << 20;

/// The number of buffers that are kept for the next messages, and the longest of them.
const KEPT: usize = 64;
const LONGEST_KEPT: usize = 16 << 10;

/// The largest number of messages that one call of [`Mpi::progress`] receives.
const MOST_AT_ONCE: usize = 64;

static JOB: OnceLock<Mpi> = OnceLock::new();

/// The MPI job of this process.
pub(crate) struct Mpi {
    communicator: Communicator,
    /// The process that has started MPI. A fork of it cannot use MPI.
    process: u32,
    rank: usize,
    messages: Mutex<Messages>,
}

/// Keeps Open MPI from yielding the CPU inside of calls, which it does if a host has more ranks
/// than cores. The other threads would wait for the lock meanwhile. A thread that waits for a
/// message yields between its calls. Does nothing if the user has set the variable, or if
/// this process has several threads already.
fn keep_from_yielding() {
    const VARIABLE: &str = "OMPI_MCA_mpi_yield_when_idle";
    if std::env::var_os(VARIABLE).is_none() {
        set_variables(&[(VARIABLE.into(), "0".into())]);
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpi")
            .field("rank", &self.rank)
            .finish_non_exhaustive()
    }
}

/// A communicator of this crate's own, so that its messages are not those of other code.
struct Communicator(MPI_Comm);

// SAFETY: a communicator is a handle for any thread of its process. The lock of `Mpi` keeps
// the calls apart.
unsafe impl Send for Communicator {}

// SAFETY: as above.
unsafe impl Sync for Communicator {}

/// The bytes of a message that MPI sends.
struct Unsent {
    to: usize,
    request: MPI_Request,
    bytes: Vec<u8>,
}

/// A message that has been announced.
struct Arrived {
    bytes: Vec<u8>,
    /// The receive, or `None` once it is complete.
    request: Option<MPI_Request>,
    /// The number of bytes that were taken.
    taken: usize,
}

struct Messages {
    unsent: VecDeque<Unsent>,
    spare: Vec<Vec<u8>>,
    streams: Vec<Stream>,
    /// The number of receives that are not complete.
    receiving: usize,
    /// `true` once the job is about to end, and has no new pools.
    is_closing: bool,
    is_over: bool,
}

// SAFETY: a request is a handle for any thread of its process.
unsafe impl Send for Messages {}

/// The two streams between this rank and another.
#[derive(Default)]
struct Stream {
    arrived: VecDeque<Arrived>,
    /// The number of bytes that MPI has not sent yet.
    unsent: usize,
    /// `true` once the other rank has said that it is no worker any more.
    has_left: bool,
    /// `true` while the other rank is a worker of a pool.
    is_taken: bool,
}

impl Mpi {
    /// Starts MPI in this process, which must be the main thread's first use of it, and waits
    /// for all other ranks to do the same.
    ///
    /// # Errors
    ///
    /// Returns the reason as a text if MPI was started already, or if it cannot be called by
    /// several threads.
    pub(crate) fn start() -> Result<&'static Self, &'static str> {
        let mut is_started = 0;
        // SAFETY: MPI allows this call at any time. The pointer is valid.
        unsafe { MPI_Initialized(&raw mut is_started) };
        if is_started != 0 {
            return Err(
                "MPI was started in this process before; `run` has to start it, and only once",
            );
        }
        keep_from_yielding();
        // SAFETY: a constant of the library.
        let asked = unsafe { RSMPI_THREAD_SERIALIZED };
        let mut level = 0;
        // SAFETY: MPI was not started, and allows null in place of the arguments of `main`.
        unsafe { MPI_Init_thread(null_mut(), null_mut(), asked, &raw mut level) };
        if level < asked {
            return Err(
                "this MPI allows calls from one thread only (it has no `MPI_THREAD_SERIALIZED`)",
            );
        }
        // SAFETY: a constant of the library, which MPI has set at its start.
        let world = unsafe { RSMPI_COMM_WORLD };
        let mut communicator = world;
        // SAFETY: MPI was started, and all ranks make this call.
        unsafe { MPI_Comm_dup(world, &raw mut communicator) };
        let (mut rank, mut size) = (0, 0);
        // SAFETY: the communicator is valid, and so is the pointer.
        unsafe { MPI_Comm_rank(communicator, &raw mut rank) };
        // SAFETY: as above.
        unsafe { MPI_Comm_size(communicator, &raw mut size) };
        let number = |n: c_int| usize::try_from(n).unwrap_or(0);
        let job = Self {
            communicator: Communicator(communicator),
            process: std::process::id(),
            rank: number(rank),
            messages: Mutex::new(Messages {
                unsent: VecDeque::new(),
                spare: Vec::new(),
                streams: (0..size).map(|_| Stream::default()).collect(),
                receiving: 0,
                is_closing: false,
                is_over: false,
            }),
        };
        Ok(JOB.get_or_init(|| job))
    }

    /// Returns the job of this process, if pools can be made in it.
    pub(crate) fn running() -> Option<&'static Self> {
        JOB.get()
            .filter(|job| job.is_here() && !job.messages.lock().is_closing)
    }

    /// Returns `false` in a fork of the process that has started MPI.
    pub(crate) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Refuses new pools from now on.
    pub(crate) fn close(&self) {
        self.messages.lock().is_closing = true;
    }

    /// Returns the number of this rank.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the number of ranks.
    pub(crate) fn size(&self) -> usize {
        self.messages.lock().streams.len()
    }

    /// Takes a rank that is no worker of another pool. Returns `None` if there is none.
    pub(crate) fn take_rank(&self) -> Option<usize> {
        let mut messages = self.messages.lock();
        if messages.is_over {
            return None;
        }
        let mut others = messages.streams.iter_mut().enumerate();
        let (rank, stream) =
            others.find(|(rank, stream)| *rank != self.rank && !stream.is_taken)?;
        stream.is_taken = true;
        stream.has_left = false;
        Some(rank)
    }

    /// Gives a rank back, which is no worker any more.
    pub(crate) fn give_back(&self, rank: usize) {
        self.messages.lock().streams[rank].is_taken = false;
    }

    /// Sends the parts, without other bytes between them.
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

    /// Sends as many bytes as there is room for, at least one.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](ErrorKind::WouldBlock) if there is no room.
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

    /// Returns `true` if the bytes that MPI has not sent yet leave room for more.
    pub(crate) fn has_room(&self, to: usize) -> bool {
        let messages = self.messages.lock();
        !messages.is_over && messages.streams[to].unsent < MOST_UNSENT
    }

    /// Receives the messages that have arrived, and frees those that were sent. Returns `true`
    /// if a message has arrived.
    pub(crate) fn progress(&self) -> bool {
        let mut messages = self.messages.lock();
        let has_arrived = messages.progress(&self.communicator);
        // A thread that looks all the time would otherwise take the lock again before a thread
        // that waits for it.
        MutexGuard::unlock_fair(messages);
        has_arrived
    }

    /// Returns `true` if bytes of a rank have arrived, or its last message. Does not ask MPI.
    pub(crate) fn has_arrived(&self, from: usize) -> bool {
        let messages = self.messages.lock();
        let stream = &messages.streams[from];
        let first = stream.arrived.front();
        first.map_or(stream.has_left, |first| first.request.is_none())
    }

    /// Copies bytes that have arrived, and returns their number. 0 means that the other rank
    /// is no worker any more. Does not ask MPI.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](ErrorKind::WouldBlock) if no bytes have arrived.
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

    /// Tells another rank that this one is no worker any more.
    pub(crate) fn end_stream(&self, to: usize) {
        let mut messages = self.messages.lock();
        messages.send(&self.communicator, to, Vec::new());
    }

    /// Waits until MPI has sent all bytes, and leaves the job. The calling thread has started
    /// MPI.
    pub(crate) fn finish(&self) {
        loop {
            let mut messages = self.messages.lock();
            messages.test_sends();
            if messages.unsent.is_empty() {
                if !std::mem::replace(&mut messages.is_over, true) {
                    // SAFETY: MPI was started, and `is_over` keeps all later calls back.
                    unsafe { MPI_Finalize() };
                }
                return;
            }
            drop(messages);
            yield_now();
        }
    }

    /// Ends all ranks of the job.
    pub(crate) fn abort(&self) -> ! {
        // SAFETY: MPI allows this call at any time after its start. The lock is not taken,
        // because the process ends here.
        unsafe { MPI_Abort(self.communicator.0, 1) };
        std::process::abort()
    }
}

impl Messages {
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
        // The numbers fit: a message is not longer than `LONGEST`, and MPI counts ranks by an
        // `int`.
        let (length, rank) = (bytes.len() as c_int, to as c_int);
        // SAFETY: a constant of the library.
        let mut request = unsafe { RSMPI_REQUEST_NULL };
        // SAFETY: a constant of the library.
        let bytes_type = unsafe { RSMPI_UINT8_T };
        let start = bytes.as_ptr().cast();
        // SAFETY: `start` points to `length` bytes, which live, unchanged, until the request is
        // complete: `Unsent` owns them.
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
        // MPI has copied a short message, and so its buffer is free already.
        self.test_sends();
    }

    /// Frees the buffers of the messages that MPI has sent.
    fn test_sends(&mut self) {
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

    /// Notes the receives that are complete, of those messages that come next.
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

    /// Receives one message if one has arrived.
    fn receive_one(&mut self, communicator: &Communicator) -> bool {
        // SAFETY: constants of the library.
        let (from_any, any_tag) = unsafe { (RSMPI_ANY_SOURCE, RSMPI_ANY_TAG) };
        // SAFETY: a constant of the library.
        let mut message = unsafe { RSMPI_MESSAGE_NULL };
        let mut status = MaybeStatus::default();
        let mut is_there = 0;
        // Open MPI looks for a message first, and then makes progress. So what its progress
        // has brought is found by a second look.
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
        // SAFETY: a constant of the library.
        let bytes_type = unsafe { RSMPI_UINT8_T };
        let mut length = 0;
        // SAFETY: `MPI_Improbe` has written the status.
        unsafe { MPI_Get_count(status.pointer(), bytes_type, &raw mut length) };
        // The number is not negative: all messages are of bytes.
        let count = length as usize;
        let mut bytes = self.buffer();
        bytes.resize(count, 0);
        // SAFETY: a constant of the library.
        let mut request = unsafe { RSMPI_REQUEST_NULL };
        let start = bytes.as_mut_ptr().cast();
        // SAFETY: the message was announced with this length, and the buffer has it. The bytes
        // live, and are not read, until the request is complete: `Arrived` owns them.
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
            // An empty message has nothing that it could wait for.
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

/// Returns `true` if MPI has ended a send or a receive.
fn is_complete(request: &mut MPI_Request) -> bool {
    let mut is_complete = 0;
    // SAFETY: a constant of the library.
    let ignored = unsafe { RSMPI_STATUS_IGNORE };
    // SAFETY: the request is that of a send or a receive which was not complete before.
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

    /// Returns the number of the rank that has sent the message.
    fn source(&self) -> usize {
        // SAFETY: a status has numbers only, for which zeros are valid too.
        let status = unsafe { self.0.assume_init_ref() };
        usize::try_from(status.MPI_SOURCE).unwrap_or(0)
    }
}
