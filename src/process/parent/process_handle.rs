//! [`Process`]: a worker's process, until the parent has reaped it.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use crate::error::End;
use crate::sync::Mutex;
use crate::sys::child::{Handle, SignalName};

/// The process of a worker.
pub(super) struct Process {
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
            Ok(handle) => Ok(Self {
                pid,
                handle,
                child: Mutex::new(Some(child)),
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Drops the process's descriptor, to imitate a system that has no descriptors for
    /// processes.
    #[cfg(test)]
    pub(super) fn without_descriptor(self) -> Self {
        let handle = self.handle.without_pidfd();
        Self { handle, ..self }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the descriptor that becomes readable when the process ends, or `None` if the
    /// system has no descriptors for processes.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.handle.pidfd()
    }

    /// Kills the process with `SIGKILL`.
    pub(super) fn kill(&self) -> io::Result<()> {
        match &*self.child.lock() {
            Some(_) => self.handle.kill(),
            None => Ok(()),
        }
    }

    /// Kills the process, and waits until it has ended.
    pub(super) fn kill_and_wait(&self) {
        // An error is ignored, because the process may have ended already.
        let _ = self.kill();
        let child = self.child.lock().take();
        if let Some(mut child) = child {
            let _ = child.wait();
        }
    }

    /// Sends `SIGTERM` to the process, which asks the process to end.
    pub(super) fn terminate(&self) -> io::Result<()> {
        match &*self.child.lock() {
            Some(_) => self.handle.terminate(),
            None => Ok(()),
        }
    }

    /// Reaps the process if it has ended, and returns the way in which it ended.
    pub(super) fn try_wait(&self) -> io::Result<Option<End>> {
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
