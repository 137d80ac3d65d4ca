//! [`Mpi`]: the MPI job of this process, with its start, its ranks (the job's
//! processes) and its end. `mpi/messages.rs` sends and receives the bytes between
//! two ranks.
//!
//! # Threads
//!
//! [`Mpi::start`] starts MPI with `MPI_THREAD_SERIALIZED`: any thread may call MPI, but
//! only one at a time. So a thread holds the lock `Mpi::messages` while it calls MPI,
//! except in `start` and `abort`. No call under the lock, except `MPI_Finalize`, waits for
//! another rank, because a long message may arrive only while its sender calls MPI too. A
//! thread that has to wait calls [`progress`](Mpi::progress) again and again, because most
//! implementations of MPI move bytes only inside of calls
//! ([`Patience`](crate::sys::patience::Patience) says how often).

mod messages;

use std::ffi::c_int;
use std::fmt;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::thread::yield_now;

use mpi_sys::{
    MPI_Abort, MPI_Comm, MPI_Comm_dup, MPI_Comm_rank, MPI_Comm_size, MPI_Finalize, MPI_Init_thread,
    MPI_Initialized, RSMPI_COMM_WORLD, RSMPI_THREAD_SERIALIZED,
};

pub(super) use self::messages::MOST_UNSENT;
use self::messages::Messages;
use crate::sync::Mutex;
use crate::sys::current_process::set_variables;

static JOB: OnceLock<Mpi> = OnceLock::new();

pub(crate) struct Mpi {
    communicator: Communicator,
    /// The pid of the process that has started MPI. A fork of this process cannot use MPI.
    process: u32,
    rank: usize,
    messages: Mutex<Messages>,
}

/// Keeps Open MPI from yielding the CPU inside of calls, as Open MPI does if a host has
/// more ranks than cores. During such a yield, the thread would hold the lock
/// `Mpi::messages`, for which the other threads of this process wait. A thread that waits
/// for a message yields between its calls of MPI instead. Does nothing if the user has
/// set the variable of Open MPI, or if this process has several threads already.
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

/// A communicator that only this crate uses. MPI never mixes the messages of two
/// communicators, so other code of the program gets none of this crate's messages.
struct Communicator(MPI_Comm);

// SAFETY: any thread of its process may use a communicator. Because of the lock
// `Mpi::messages`, only one thread at a time uses it, except in `Mpi::abort`, which ends
// the process.
unsafe impl Send for Communicator {}

// SAFETY: the reason is the same as for `Send`.
unsafe impl Sync for Communicator {}

impl Mpi {
    /// Starts MPI in this process, and waits until all other ranks have started it too. The
    /// main thread calls this method, before any other use of MPI.
    ///
    /// # Errors
    ///
    /// Returns the reason as a text if MPI was started already, or if this implementation
    /// of MPI does not allow calls from several threads.
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
        // SAFETY: this only reads a constant of the MPI library.
        let asked = unsafe { RSMPI_THREAD_SERIALIZED };
        let mut level = 0;
        // SAFETY: MPI was not started, and allows null in place of the arguments of `main`.
        unsafe { MPI_Init_thread(null_mut(), null_mut(), asked, &raw mut level) };
        if level < asked {
            return Err(
                "this MPI allows calls from one thread only (it has no `MPI_THREAD_SERIALIZED`)",
            );
        }
        // SAFETY: this only reads a constant, which MPI has set at its start.
        let world = unsafe { RSMPI_COMM_WORLD };
        let mut communicator = world;
        // SAFETY: MPI was started, and all ranks make this call.
        unsafe { MPI_Comm_dup(world, &raw mut communicator) };
        let (mut rank, mut size) = (0, 0);
        // SAFETY: the communicator and the pointer are valid.
        unsafe { MPI_Comm_rank(communicator, &raw mut rank) };
        // SAFETY: the communicator and the pointer are valid.
        unsafe { MPI_Comm_size(communicator, &raw mut size) };
        let number = |n: c_int| usize::try_from(n).unwrap_or(0);
        let job = Self {
            communicator: Communicator(communicator),
            process: std::process::id(),
            rank: number(rank),
            messages: Mutex::new(Messages::new(number(size))),
        };
        Ok(JOB.get_or_init(|| job))
    }

    /// Returns the MPI job of this process, if a new pool may use the job.
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

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    pub(crate) fn size(&self) -> usize {
        self.messages.lock().streams.len()
    }

    /// Takes, for a pool, a rank that is neither this rank nor a worker of a pool. Returns
    /// `None` if there is no such rank, or if this rank has left the job.
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

    /// Gives back a rank that is no longer a worker of the pool that had taken it.
    pub(crate) fn give_back(&self, rank: usize) {
        self.messages.lock().streams[rank].is_taken = false;
    }

    /// Waits until MPI has sent all bytes, and then leaves the job. Only the thread that
    /// has started MPI may call this method.
    pub(crate) fn finish(&self) {
        loop {
            let mut messages = self.messages.lock();
            messages.test_sends();
            if messages.unsent.is_empty() {
                if !std::mem::replace(&mut messages.is_over, true) {
                    // SAFETY: MPI was started. Once `is_over` is set, no method sends or
                    // receives any more, except `end_stream`, which a worker has called
                    // before.
                    unsafe { MPI_Finalize() };
                }
                return;
            }
            drop(messages);
            yield_now();
        }
    }

    pub(crate) fn abort(&self) -> ! {
        // SAFETY: MPI allows this call at any time after its start. This method does not
        // take the lock, because the process ends here.
        unsafe { MPI_Abort(self.communicator.0, 1) };
        std::process::abort()
    }
}
