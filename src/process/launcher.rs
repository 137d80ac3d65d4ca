//! [`Launcher`]: starts a worker, which is this very program again.
//!
//! By `std::process::Command` without `pre_exec`, so that it can be
//! `posix_spawn`: a fork of a parent with much memory takes fifty times as long.
//! The program is `/proc/self/exe`, the same file even if another one has taken
//! its place. The worker's end of the channel is its standard input: so no
//! descriptor is ever inheritable here, where other threads start programs too.
//! Its output is that of the parent.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::entry::{self, EntryPoint};
use super::message::Hello;
use super::program::Program;
use super::worker_handle::WorkerHandle;
use crate::error::{End, StartFailure};
use crate::sync::Mutex;
use crate::sys::channel;
use crate::sys::child::{Handle, SignalName};
use crate::sys::shortage::Shortage;

/// The program of this process, as the system knows it.
const PROGRAM: &str = "/proc/self/exe";

pub(super) struct Launcher {
    pub(super) entry_point: EntryPoint,
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

    /// The user's code that runs in a worker before its first task.
    pub(super) fn runs_before_tasks(&self) -> &'static str {
        match (self.entry_point, self.initializes()) {
            (EntryPoint::Hook, false) => "what runs before `main`",
            (EntryPoint::Hook, true) => "the initializer, and at what runs before `main`",
            (EntryPoint::Init, false) => "what `main` does before `concurrent_futures::init()`",
            (EntryPoint::Init, true) => {
                "the initializer, and at what `main` does before `concurrent_futures::init()`"
            }
        }
    }

    /// Starts a worker and greets it.
    pub(super) fn launch(&self, number: usize) -> io::Result<WorkerHandle> {
        let (ours, childs) = channel::pair()?;
        let mut command = Command::new(PROGRAM);
        if let Some(current_process) = std::env::args_os().next() {
            command.arg0(current_process);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        let (name, value) = entry::marker(self.entry_point);
        command.env(name, value).stdin(Stdio::from(childs));
        let process = Process::new(command.spawn().map_err(|error| self.explain(error))?)?;
        drop(command);
        let mut handle = WorkerHandle::new(process, ours);
        let hello = Hello {
            program: Program::current(),
            number: number as u64,
            name: format!("{}_{number}", self.name),
        };
        handle.send(Arc::new(hello.frame()));
        if let Some(initialize) = &self.initialize {
            handle.send(Arc::clone(initialize));
        }
        Ok(handle)
    }

    /// Finds out what a worker was not started for: the system has one word for a
    /// folder that is missing and for a missing program.
    fn explain(&self, error: io::Error) -> io::Error {
        if Shortage::of(&error).is_some() {
            return error;
        }
        if let Some(folder) = &self.current_dir {
            // By its own `.` it is found only where it could be entered.
            if let Err(why) = fs::metadata(folder.join(".")) {
                return explain_folder(folder, why);
            }
        }
        if let Err(why) = fs::metadata(PROGRAM) {
            return explain_program(why);
        }
        if error.kind() == ErrorKind::ArgumentListTooLong {
            let what = "the environment of a worker is too large".to_owned();
            return StartFailure::wrap(error, what, "set fewer or shorter variables by `env`");
        }
        error
    }
}

fn explain_folder(folder: &Path, why: io::Error) -> io::Error {
    let whole = absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let named = format!("`{}`, which `current_dir` names,", whole.display());
    let (what, advice) = match why.kind() {
        ErrorKind::NotFound => (
            format!("the folder {named} does not exist"),
            "create it, or name another",
        ),
        ErrorKind::NotADirectory => (
            format!("{named} is not a folder"),
            "name the folder that workers are to start in",
        ),
        _ => (
            format!("the folder {named} cannot be entered ({why})"),
            "allow that, or name another",
        ),
    };
    StartFailure::wrap(why, what, advice)
}

fn explain_program(why: io::Error) -> io::Error {
    let (what, advice) = match why.kind() {
        ErrorKind::NotFound => (
            format!("there is no {PROGRAM}, which is the program that a worker runs"),
            "mount /proc, also in a chroot or a container",
        ),
        _ => (
            format!("{PROGRAM}, which is the program that a worker runs, cannot be seen ({why})"),
            "if this process has changed its user or group, have it make itself visible again: \
             prctl(PR_SET_DUMPABLE, 1)",
        ),
    };
    StartFailure::wrap(why, what, advice)
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
