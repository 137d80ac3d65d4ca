//! [`Line`]: carries the bytes between the parent and one worker that do not travel through
//! shared memory.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::WAKE_UP;
#[cfg(feature = "mpi")]
use super::mpi::{self, Mpi};
use crate::sys::channel::{self, Channel};

/// The parent's end of a connection to one worker. No method waits.
#[derive(Clone)]
pub(super) enum Line {
    Socket(Arc<Channel>),
    /// The streams of bytes between this process and a worker, if both are processes
    /// (*ranks*) of an MPI job. The number is the worker's rank.
    #[cfg(feature = "mpi")]
    Rank(&'static Mpi, usize),
}

impl Line {
    /// Returns an upper bound for the number of bytes that can be sent through the socket
    /// before the other process (the worker, or the command that has started it) reads any.
    /// With MPI, returns `MOST_UNSENT` (`mpi/messages.rs`) instead.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Socket(_) => channel::capacity(),
            #[cfg(feature = "mpi")]
            Self::Rank(..) => mpi::MOST_UNSENT,
        }
    }

    /// Sends the first of the bytes, at least one, and returns how many it has sent.
    /// Returns `WouldBlock` if there is no room.
    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(channel) => channel.send_now(bytes),
            #[cfg(feature = "mpi")]
            Self::Rank(mpi, rank) => mpi.send_now(*rank, bytes),
        }
    }

    /// Receives the bytes that have arrived. A result of 0 bytes means end-of-file.
    pub(super) fn receive_now(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(channel) => channel.receive_now(into),
            #[cfg(feature = "mpi")]
            Self::Rank(mpi, rank) => mpi.receive_now(*rank, into),
        }
    }

    /// Sends the first message through a socket, together with files. Does nothing if the
    /// worker is a rank of MPI.
    pub(super) fn send_with_files(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self {
            Self::Socket(channel) => channel.send_with_files(bytes, files),
            #[cfg(feature = "mpi")]
            Self::Rank(..) => Ok(()),
        }
    }

    /// Wakes a worker that sleeps until the shared memory has bytes, an offer, or room.
    pub(super) fn wake(&self) {
        // An error is ignored. If the socket is full, the bytes in it that the worker has
        // not read wake the worker too. If the worker has ended, the pool notices the end
        // of its process.
        let _ = self.send_now(&[WAKE_UP]);
    }

    pub(super) fn close_sending(&self) {
        match self {
            Self::Socket(channel) => channel.close_sending(),
            #[cfg(feature = "mpi")]
            Self::Rank(..) => {}
        }
    }

    /// Returns the descriptor that `poll` watches for the line's bytes, or `None` if the
    /// worker is a rank of MPI.
    pub(super) fn descriptor(&self) -> Option<&Channel> {
        match self {
            Self::Socket(channel) => Some(channel),
            #[cfg(feature = "mpi")]
            Self::Rank(..) => None,
        }
    }

    /// Returns `true` if bytes or the end of the stream have arrived through MPI, and
    /// `false` for a socket. (`poll` reports the bytes of a socket.)
    pub(super) fn has_arrived(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            #[cfg(feature = "mpi")]
            Self::Rank(mpi, rank) => mpi.has_arrived(*rank),
        }
    }

    /// Returns `true` if MPI has room for bytes, and `false` for a socket. (`poll`
    /// reports the room of a socket.)
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            #[cfg(feature = "mpi")]
            Self::Rank(mpi, rank) => mpi.has_room(*rank),
        }
    }
}
