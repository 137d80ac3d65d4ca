//! [`Starter`]: starts a worker, which runs the same program as this process.
//!
//! To start a worker on this host, the starter uses `std::process::Command` without
//! `pre_exec`, so that `Command` calls `posix_spawn`. A `fork` of a parent process with
//! much memory would take much longer than `posix_spawn`. The worker runs `/proc/self/exe`,
//! which names the parent's program even after another file has replaced that program on
//! disk. The worker gets its end of the channel as its standard input. The parent therefore
//! needs no inheritable descriptor. If it had one, a program that another thread starts
//! would inherit this descriptor too. The worker inherits the parent's standard output and
//! standard error.
//!
//! If the pool has launchers, the starter runs a launcher's command instead (`command.rs`),
//! or in a pool of MPI ranks takes a free rank.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, absolute};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::command;
use super::launched::Launched;
use super::process_handle::Process;
#[cfg(feature = "mpi")]
use super::process_handle::TakenRank;
use super::staging::{Copying, StagedProgram};
use super::worker_handle::{FirstMessages, WorkerHandle};
use crate::error::StartFailure;
#[cfg(feature = "mpi")]
use crate::error::StartStage;
use crate::process::settings::{Config, Transport};
#[cfg(feature = "mpi")]
use crate::process::transport::Mpi;
use crate::process::transport::{ParentEnd, Rings};
use crate::process::wire::marker::{EntryPoint, marker};
use crate::process::wire::message::{Elsewhere, Hello};
use crate::process::wire::program::Program;
use crate::sys::channel;
use crate::sys::current_process::PROGRAM;
use crate::sys::shortage::Shortage;

pub(super) struct Starter {
    pub(super) entry_point: EntryPoint,
    pub(super) config: Arc<Config>,
    /// The key and the files of the memory for offers (`offers.rs`), if there are offers.
    pub(super) offers: Option<(u64, Arc<[OwnedFd; 2]>)>,
    /// The file of this program, if a launcher copies it.
    pub(super) staged: Option<Arc<StagedProgram>>,
}

impl Starter {
    pub(super) fn initializes(&self) -> bool {
        self.config.initialize.is_some()
    }

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

    /// Starts a worker. If `launcher` is set, the launcher with this index starts the
    /// worker. The worker waits for its first messages ([`WorkerHandle::send_first`]).
    pub(super) fn start(&self, number: usize, launcher: Option<usize>) -> io::Result<WorkerHandle> {
        #[cfg(feature = "mpi")]
        if let (Some(mpi), Some(index)) = (self.config.mpi, launcher) {
            return self.start_in_rank(mpi, number, index);
        }
        match launcher {
            Some(index) => self.start_by_command(number, index),
            None => self.start_here(number),
        }
    }

    fn start_by_command(&self, number: usize, index: usize) -> io::Result<WorkerHandle> {
        let launcher = &self.config.launchers[index];
        let hello = Hello {
            elsewhere: Some(Elsewhere {
                silence: launcher.silence_limit,
                folder: self.config.current_dir.clone(),
                variables: self.config.env.clone(),
            }),
            ..self.hello(number, None)
        };
        let staged = self.staged.as_ref().filter(|_| launcher.stages);
        let (process, end, errors) = command::start(launcher, staged.map(Arc::as_ref))?;
        let mut handle = WorkerHandle::new(process, end);
        handle.copying = staged.cloned().map(Copying::new);
        handle.launched = Some(Launched::new(index, launcher, Some(errors)));
        handle.set_deadline_in(launcher.start_limit);
        handle.first = Some(self.first_messages(&hello));
        Ok(handle)
    }

    /// Makes a free rank of the MPI job the worker with this number.
    ///
    /// # Errors
    ///
    /// Returns [`ResourceBusy`](ErrorKind::ResourceBusy) if all ranks are workers of other
    /// pools.
    #[cfg(feature = "mpi")]
    fn start_in_rank(
        &self,
        mpi: &'static Mpi,
        number: usize,
        index: usize,
    ) -> io::Result<WorkerHandle> {
        let rank = mpi.take_rank().ok_or(ErrorKind::ResourceBusy)?;
        let process = Process::Rank(TakenRank { mpi, number: rank });
        let mut handle = WorkerHandle::new(process, ParentEnd::to_rank(mpi, rank));
        let mut launched = Launched::new(index, &self.config.launchers[index], None);
        launched.stage = StartStage::Begun;
        handle.launched = Some(launched);
        handle.first = Some(self.first_messages(&self.hello(number, None)));
        Ok(handle)
    }

    fn start_here(&self, number: usize) -> io::Result<WorkerHandle> {
        let (parent_end, child_end) = channel::pair()?;
        let mut command = Command::new(PROGRAM);
        if let Some(own) = std::env::args_os().next() {
            command.arg0(own);
        }
        command.envs(self.config.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.config.current_dir {
            command.current_dir(folder);
        }
        let (name, value) = marker(self.entry_point);
        command.env(name, value).stdin(Stdio::from(child_end));
        let process = Process::new(command.spawn().map_err(|error| self.explain(error))?)?;
        drop(command);
        // A child that is dropped without a wait would stay as a zombie.
        let rings = self.rings().inspect_err(|_| process.kill_and_wait())?;
        let hello = self.hello(number, rings.as_ref().map(|(rings, _)| rings.key()));
        let (rings, file) = rings.unzip();
        let mut handle = WorkerHandle::new(process, ParentEnd::new(parent_end, rings));
        let offers = self.offers.as_ref();
        handle.first = Some(FirstMessages {
            rings: file,
            offers: offers.map(|(_, files)| Arc::clone(files)),
            ..self.first_messages(&hello)
        });
        Ok(handle)
    }

    /// Returns the first messages to a worker that shares no memory.
    fn first_messages(&self, hello: &Hello) -> FirstMessages {
        FirstMessages {
            hello: hello.frame(),
            rings: None,
            offers: None,
            initialize: self.config.initialize.clone(),
        }
    }

    fn hello(&self, number: usize, rings: Option<u64>) -> Hello {
        let offers = self.offers.as_ref();
        Hello {
            program: Program::current(),
            number: number as u64,
            name: format!("{}_{number}", self.config.name),
            rings,
            offers: offers.map(|(key, _)| (*key, self.initializes())),
            elsewhere: None,
        }
    }

    /// Creates the memory that the parent shares with a new worker. Returns `None` if the
    /// messages travel through the socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the memory cannot be created, unless the transport is
    /// `Automatic` and the pool has no offers.
    fn rings(&self) -> io::Result<Option<(Rings, OwnedFd)>> {
        match self.config.transport {
            Transport::Socket => Ok(None),
            // If the pool has offers, a worker without shared memory would get no task.
            _ if self.offers.is_some() => Rings::create().map(Some),
            Transport::Shared => Rings::create().map(Some),
            Transport::Automatic => Ok(Rings::create().ok()),
        }
    }

    /// Adds the cause to the error of a failed start. The system's error does not name the
    /// cause: it is the same for a missing folder and for a missing program.
    fn explain(&self, error: io::Error) -> io::Error {
        if Shortage::of(&error).is_some() {
            return error;
        }
        if let Some(folder) = &self.config.current_dir {
            // The lookup of `.` in the folder fails if a process may not enter the folder.
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
