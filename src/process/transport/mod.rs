//! The transports: the ways in which the bytes of frames travel between the parent and one
//! worker.
//!
//! | transport | bytes travel | the other process is woken |
//! |---|---|---|
//! | *socket* | through the socket that connects the two processes | by the bytes |
//! | *command* | through the standard input and output of a command, such as `ssh`, that has started the worker | by the bytes |
//! | *MPI* | through messages of MPI (`mpi/messages.rs`) to a process that MPI has started, with the feature `mpi` | it looks for messages from time to time |
//! | *shared* | through two rings, which are queues of bytes (`ring.rs`) in memory that both processes map (`rings.rs`). If the pool makes *offers*, calls of at most 64 KiB travel through the offers instead, a queue from which all workers of the pool take calls (`offers.rs`) | by a byte in the socket, only if it sleeps |
//!
//! Except with MPI, the parent's end has a socket. The socket's end-of-file says that the
//! other process has closed its end or has ended, and `poll` can wait for the socket
//! together with other descriptors. In the shared transport, the first message, `Hello`,
//! travels through the socket, together with the descriptors of the memory's files. All
//! other messages travel through the rings, with two exceptions. A call that a worker
//! takes from the offers does not travel through a ring. A process that has to end before
//! it has mapped the memory, because it cannot become a worker, sends its message `Refused`
//! through the socket.
//!
//! # Messages that are lost
//!
//! A task that overwrites the shared memory by mistake may destroy a message in such a way
//! that the receiver does not see that there was one. So while a worker has a task, the
//! pool sends the worker the byte `CHECK` through the socket from time to time, the first
//! time after half a second. A worker that waits for a message answers with the byte
//! `WAITING`. The pool sends `CHECK` only after it has sent the whole task. So if it
//! receives `WAITING` and no answer to the task, the task or the answer is lost, and the
//! pool kills the worker.
//!
//! # The two ends
//!
//! [`ParentEnd`] sends and receives bytes by the same methods on all transports.
//! [`WorkerSender`] and [`WorkerReceiver`] are the worker's end of the socket and of the
//! shared memory. A rank of MPI has a `RankConnection` instead (`worker/rank.rs`). A worker
//! that a command has started has a `Connection` (`worker/connection.rs`), from which two
//! of its threads receive in turns (`receiver_role.rs`). A transport only carries bytes: it
//! does not know where a frame, which holds one message, begins or ends.

#[cfg(not(concurrent_futures_loom))]
mod line;
#[cfg(all(feature = "mpi", not(concurrent_futures_loom)))]
mod mpi;
#[cfg(not(concurrent_futures_loom))]
mod offer_memory;
#[cfg(not(concurrent_futures_loom))]
mod parent_end;
#[cfg(not(concurrent_futures_loom))]
mod rings;
#[cfg(not(concurrent_futures_loom))]
mod worker_end;

mod begun;
mod checksum;
mod offers;
mod receiver_role;
mod ring;
mod word;

#[cfg(all(feature = "mpi", not(concurrent_futures_loom)))]
pub(super) use self::mpi::Mpi;
#[cfg(not(concurrent_futures_loom))]
pub(super) use self::offer_memory::{OfferMemory, PoolOffers};
#[cfg(not(concurrent_futures_loom))]
pub(super) use self::parent_end::{ParentEnd, Watch};
#[cfg(not(concurrent_futures_loom))]
pub(super) use self::receiver_role::{ReceiverRole, Wait};
#[cfg(not(concurrent_futures_loom))]
pub(super) use self::rings::Rings;
#[cfg(not(concurrent_futures_loom))]
pub(super) use self::worker_end::{Received, WorkerReceiver, WorkerSender, ends};

#[cfg(concurrent_futures_fuzz)]
pub(super) use self::offer_memory::fuzz::drive as drive_offers;
#[cfg(concurrent_futures_fuzz)]
pub(super) use self::ring::fuzz::drive as drive_ring;

#[cfg(not(concurrent_futures_loom))]
/// The text of the error that reports that a task has overwritten the shared memory.
pub(super) const SCRIBBLED: &str = "the memory that it shares with its parent was overwritten; a task may write only to memory of \
     its own";

/// The byte in the socket that wakes the other process. No message begins with this byte,
/// with `CHECK` or with `WAITING`, so each of these bytes can be told from a message.
#[cfg(not(concurrent_futures_loom))]
const WAKE_UP: u8 = 0;

/// The byte in the socket by which the parent asks if the worker waits for a message.
#[cfg(not(concurrent_futures_loom))]
const CHECK: u8 = 0x5a;

/// The worker's answer to `CHECK`, if the worker waits, and neither a message nor an offer
/// that it may take has arrived.
#[cfg(not(concurrent_futures_loom))]
const WAITING: u8 = 0xa5;
