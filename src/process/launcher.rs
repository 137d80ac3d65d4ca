//! [`Launcher`]: starts a worker, which is this very program again.
//!
//! By `std::process::Command` without `pre_exec`, so that it can be
//! `posix_spawn`: a fork of a parent with much memory takes fifty times as long.
//! The program is `/proc/self/exe`, the same file even if another one has taken
//! its place. The worker's end of the channel is its standard input: so no
//! descriptor is ever inheritable here, where other threads start programs too.
//! Its output is that of the parent.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::entry::{self, Way};
use super::link::Link;
use super::message::Greeting;
use super::program::Program;
use crate::error::End;
use crate::sync::Mutex;
use crate::sys::channel;
use crate::sys::child::{Handle, SignalName};

pub(super) struct Launcher {
    pub(super) way: Way,
    /// The first part of the workers' names.
    pub(super) name: String,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) current_dir: Option<PathBuf>,
    /// The frame that initializes a worker.
    pub(super) initialize: Option<Arc<Vec<u8>>>,
}

impl Launcher {
    /// Whether the workers have an initializer.
    pub(super) fn initializes(&self) -> bool {
        self.initialize.is_some()
    }

    /// Starts a worker and greets it.
    pub(super) fn launch(&self, number: usize) -> io::Result<Link> {
        let (ours, childs) = channel::pair()?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(own) = std::env::args_os().next() {
            command.arg0(own);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        let (name, value) = entry::marker(self.way);
        command.env(name, value).stdin(Stdio::from(childs));
        let process = Process::new(command.spawn()?)?;
        drop(command);
        let mut link = Link::new(process, ours);
        let greeting = Greeting {
            program: Program::current(),
            number: number as u64,
            name: format!("{}_{number}", self.name),
        };
        link.send(Arc::new(greeting.frame()));
        if let Some(initialize) = &self.initialize {
            link.send(Arc::clone(initialize));
        }
        Ok(link)
    }
}

/// The process of a worker.
pub(super) struct Process {
    pid: u32,
    handle: Handle,
    /// `None`: it was waited for, and its number may be another's.
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

    /// As on a system that has no descriptor for a process.
    #[cfg(test)]
    pub(super) fn without_descriptor(self) -> Self {
        let handle = self.handle.without_pidfd();
        Self { handle, ..self }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when it has ended, where the system has such a thing.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.handle.pidfd()
    }

    /// Ends it at once.
    pub(super) fn kill(&self) -> io::Result<()> {
        match &*self.child.lock() {
            Some(_) => self.handle.kill(),
            None => Ok(()),
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) -> io::Result<()> {
        match &*self.child.lock() {
            Some(_) => self.handle.terminate(),
            None => Ok(()),
        }
    }

    /// How it ended, if it did; it is no zombie then.
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
