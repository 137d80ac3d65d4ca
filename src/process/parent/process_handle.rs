//! [`Process`]: a worker's process, until the parent has reaped it. If a launcher has
//! started the worker, this is the process of the launcher's command.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use crate::error::End;
#[cfg(feature = "mpi")]
use crate::process::transport::Mpi;
use crate::sync::Mutex;
use crate::sys::child::{Handle, SignalName};

pub(super) enum Process {
    Child(ChildProcess),
    /// A rank of an MPI job, which MPI has started.
    #[cfg(feature = "mpi")]
    Rank(TakenRank),
    /// No process. A test or a fuzz target sets its end ([`Played`]).
    #[cfg(any(test, concurrent_futures_fuzz))]
    Played(PlayedProcess),
}

/// The signals that a played process has got, and its end.
#[cfg(any(test, concurrent_futures_fuzz))]
#[derive(Default)]
pub(super) struct PlayedProcess(pub(super) Mutex<Played>);

#[cfg(any(test, concurrent_futures_fuzz))]
#[derive(Default)]
pub(super) struct Played {
    pub(super) is_killed: bool,
    pub(super) is_terminated: bool,
    pub(super) end: Option<End>,
}

/// A rank (a process of an MPI job) that is a worker of a pool. Dropping this value lets
/// other pools take the rank.
#[cfg(feature = "mpi")]
pub(super) struct TakenRank {
    pub(super) mpi: &'static Mpi,
    pub(super) number: usize,
}

#[cfg(feature = "mpi")]
impl Drop for TakenRank {
    fn drop(&mut self) {
        self.mpi.give_back(self.number);
    }
}

pub(super) struct ChildProcess {
    pid: u32,
    handle: Handle,
    /// `None` once the parent has reaped the process. The pid of a reaped process may
    /// belong to another process.
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        let pid = child.id();
        match Handle::open(pid) {
            Ok(handle) => Ok(Self::Child(ChildProcess {
                pid,
                handle,
                child: Mutex::new(Some(child)),
            })),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Drops the pidfd of the process, to imitate a system without pidfds.
    #[cfg(test)]
    pub(super) fn without_descriptor(self) -> Self {
        match self {
            Self::Child(child) => Self::Child(ChildProcess {
                handle: child.handle.without_pidfd(),
                ..child
            }),
            #[cfg(feature = "mpi")]
            rank @ Self::Rank(..) => rank,
            played @ Self::Played(_) => played,
        }
    }

    /// Returns the id of the process, or 0 for a rank, which sends its id in its message
    /// `Ready`.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Child(child) => child.pid,
            #[cfg(feature = "mpi")]
            Self::Rank(..) => 0,
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(_) => 1,
        }
    }

    /// Returns the descriptor that becomes readable when the process ends, or `None` if the
    /// process has none.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Child(child) => child.handle.pidfd(),
            #[cfg(feature = "mpi")]
            Self::Rank(..) => None,
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(_) => None,
        }
    }

    /// Kills the process with `SIGKILL`. If the process is a rank of an MPI job, ends the
    /// whole job, because MPI has no other way to end a rank.
    ///
    /// If a task has asked to be traced, the process ends only after
    /// [`release_traced_threads`](Self::release_traced_threads).
    pub(super) fn kill(&self) -> io::Result<()> {
        match self {
            Self::Child(child) => child.if_not_reaped(Handle::kill).unwrap_or(Ok(())),
            #[cfg(feature = "mpi")]
            Self::Rank(rank) => rank.mpi.abort(),
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(process) => {
                process.0.lock().is_killed = true;
                Ok(())
            }
        }
    }

    /// Stops tracing the threads of the process that have asked to be traced, if they have
    /// ended or a signal has stopped them ([`Handle::release_traced_threads`]). Only the
    /// supervisor's thread can do that, because it has started the process and so traces
    /// these threads.
    pub(super) fn release_traced_threads(&self) {
        match self {
            Self::Child(child) => drop(child.if_not_reaped(Handle::release_traced_threads)),
            #[cfg(feature = "mpi")]
            Self::Rank(_) => {}
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(_) => {}
        }
    }

    pub(super) fn kill_and_wait(&self) {
        // An error is ignored, because the process may have ended already.
        let _ = self.kill();
        match self {
            Self::Child(process) => {
                let child = process.child.lock().take();
                if let Some(mut child) = child {
                    let _ = child.wait();
                }
            }
            #[cfg(feature = "mpi")]
            Self::Rank(..) => {}
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(_) => {}
        }
    }

    /// Sends `SIGTERM` to the process, which asks the process to end. Ends the whole MPI
    /// job if the process is a rank.
    pub(super) fn terminate(&self) -> io::Result<()> {
        match self {
            Self::Child(child) => child.if_not_reaped(Handle::terminate).unwrap_or(Ok(())),
            #[cfg(feature = "mpi")]
            Self::Rank(rank) => rank.mpi.abort(),
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(process) => {
                process.0.lock().is_terminated = true;
                Ok(())
            }
        }
    }

    /// Reaps the process if it has ended, and returns the way in which it ended. A rank
    /// counts as ended when it has left the pool.
    pub(super) fn try_wait(&self) -> io::Result<Option<End>> {
        match self {
            Self::Child(child) => child.try_wait(),
            #[cfg(feature = "mpi")]
            Self::Rank(rank) => Ok(rank.mpi.has_left(rank.number).then_some(End::Exited(0))),
            #[cfg(any(test, concurrent_futures_fuzz))]
            Self::Played(process) => Ok(process.0.lock().end.clone()),
        }
    }
}

impl ChildProcess {
    fn if_not_reaped<R>(&self, act: impl Fn(&Handle) -> R) -> Option<R> {
        self.child.lock().is_some().then(|| act(&self.handle))
    }

    fn try_wait(&self) -> io::Result<Option<End>> {
        let mut child = self.child.lock();
        let Some(running) = child.as_mut() else {
            return Ok(Some(End::Unknown));
        };
        let status = running.try_wait();
        if !matches!(status, Ok(None)) {
            *child = None;
        }
        Ok(
            status?.map(|status| match (status.code(), status.signal()) {
                (Some(code), _) => End::Exited(code),
                (None, Some(signal)) => End::Signalled(SignalName(signal).to_string()),
                (None, None) => End::Unknown,
            }),
        )
    }
}
