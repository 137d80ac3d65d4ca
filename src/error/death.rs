//! [`WorkerDeath`]: the error data about the end of a worker's process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Information on the end of a worker's process, and on the task that the worker ran or was
/// about to run.
///
/// [`Error::WorkerDied`](crate::Error::WorkerDied) contains a `WorkerDeath`. All clones of
/// a `WorkerDeath` share one allocation. A `WorkerDeath` is only a pointer to this
/// allocation, so that an [`Error`](crate::Error) is small.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerDeath(Arc<Parts>);

/// The facts about the end of a worker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) pid: u32,
    /// The place of the worker, or `None` if neither a launcher nor an MPI job has started
    /// the worker.
    pub(crate) place: Option<Place>,
    pub(crate) end: End,
    pub(crate) task: Option<Arc<str>>,
    pub(crate) moment: Moment,
    /// An additional explanation of the death, for example the reason why the pool killed
    /// the worker.
    pub(crate) note: Option<String>,
    pub(crate) times_begun: u32,
    pub(crate) loss: Loss,
}

/// The place of a worker that a [`Launcher`](crate::Launcher) or an MPI job has started.
/// For a rank of an MPI job, the launcher's name is `mpi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) launcher: String,
    /// The name of the worker's host, if the worker has sent it.
    pub(crate) host: Option<String>,
    pub(crate) stage: StartStage,
    /// The last lines that the launcher's command has written to its standard error, or
    /// else to its standard output before the worker's first message.
    pub(crate) last_lines: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartStage {
    /// The launcher's command has not started the worker's program yet.
    Connecting,
    /// The launcher's command copies the program to the worker's host.
    Copying,
    /// The pool has sent all bytes of the program, and the program has not begun.
    Copied,
    /// The program has begun on the worker's host.
    Begun,
}

/// The state of a worker at the time when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Starting,
    Initializing,
    Idle,
    /// The worker had a task, which the parent process had sent or the worker had taken
    /// from shared memory, but had not begun the task.
    Sent,
    /// The worker was running a task, and had run the task for this time.
    Running(Duration),
}

/// The reason why the pool does not begin the task of the ended worker again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The task has no retries, or has used all its retries.
    Retries,
    /// The policy of the pool is `OnWorkerDeath::BreakPool`.
    Policy,
    /// Several workers ended while they read the task's argument. `Unread` contains the
    /// number of these workers.
    Unread(u32),
    /// Messages of the worker to the pool may have been lost. So the pool does not know if
    /// the task has begun.
    Unknown,
    /// The pool broke or ended before the task could begin again.
    Ended,
}

/// The end of a worker's process, as the system reports it to the parent process. For a
/// launcher's worker, this is the end of the launcher's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    /// A signal ended the process. The text is the name of the signal.
    Signalled(String),
    /// The pool does not know how the process ended, because the parent process ignores
    /// `SIGCHLD`, or because other code in the parent process reaped the process.
    Unknown,
}

impl WorkerDeath {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns the id that the worker's process had on the worker's host. If a launcher's
    /// worker ended before it sent this id, returns the id of the launcher's command. For a
    /// rank of an MPI job that ended before it sent this id, returns 0.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns the name that the worker's host gives itself. Returns `None` if neither a
    /// [`Launcher`](crate::Launcher) nor an MPI job has started the worker, or if the
    /// worker ended before it sent this name.
    pub fn host(&self) -> Option<&str> {
        self.0.place.as_ref()?.host.as_deref()
    }

    /// Returns the name of the [`Launcher`](crate::Launcher) that has started the worker,
    /// or `mpi` for a rank of an MPI job. Returns `None` for any other worker.
    pub fn launcher(&self) -> Option<&str> {
        Some(&self.0.place.as_ref()?.launcher)
    }

    /// Returns the reason why a launcher's worker did not start, without the launcher's
    /// name.
    #[cfg_attr(
        any(not(target_os = "linux"), concurrent_futures_loom),
        expect(dead_code, reason = "workers die where there are processes")
    )]
    pub(crate) fn why_not_started(&self) -> String {
        let Parts {
            end, place, note, ..
        } = &*self.0;
        let stage = match place.as_ref().map(|place| place.stage) {
            Some(StartStage::Begun) => "after its program had begun",
            Some(StartStage::Copying) => "while its program was copied",
            Some(StartStage::Copied) => "after its program was copied",
            Some(StartStage::Connecting) | None => "before its program began",
        };
        let lines = place.as_ref().and_then(|place| place.last_lines.as_ref());
        let notes = [note.as_ref(), lines].into_iter().flatten();
        notes.fold(format!("it {end} {stage}"), |text, note| {
            format!("{text}: {note}")
        })
    }

    /// Returns the exit code of the worker's process, or of the launcher's command if a
    /// launcher has started the worker. Returns `None` if a signal ended this process, or
    /// if the pool does not know how it ended.
    pub fn exit_code(&self) -> Option<i32> {
        match &self.0.end {
            End::Exited(code) => Some(*code),
            _ => None,
        }
    }

    /// Returns the name of the signal that ended the worker's process (or the launcher's
    /// command), for example `SIGSEGV`. Returns `None` if no signal ended it, or if the
    /// pool does not know how it ended.
    pub fn signal(&self) -> Option<&str> {
        match &self.0.end {
            End::Signalled(name) => Some(name),
            _ => None,
        }
    }

    /// Returns the task's name, which [`TaskOptions::name`](crate::TaskOptions::name)
    /// sets.
    pub fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    /// Returns the number of times that a worker began the task, including the first time,
    /// as far as the pool knows. Returns 0 if no worker began the task, or if the worker
    /// that ended had no task.
    pub fn times_begun(&self) -> u32 {
        self.0.times_begun
    }

    /// Returns the time for which the task had run, or `None` if the worker was not running
    /// a task.
    pub fn ran_for(&self) -> Option<Duration> {
        match self.0.moment {
            Moment::Running(time) => Some(time),
            _ => None,
        }
    }
}

/// Writes the way in which the worker ended, and the consequence for the worker's task.
pub(super) fn describe(death: &WorkerDeath, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{death}")?;
    let Parts {
        end,
        moment,
        times_begun,
        loss,
        ..
    } = &*death.0;
    match (loss, times_begun) {
        _ if !matches!(moment, Moment::Sent | Moment::Running(_)) => Ok(()),
        (Loss::Policy, _) => f.write_str(
            "; the task is lost, and the pool is broken, as its policy \
             `OnWorkerDeath::BreakPool` has it: make a new pool, or choose \
             `OnWorkerDeath::FailTask`",
        ),
        (Loss::Ended, 0) => f.write_str(
            "; the task did not run, for the pool was broken or ended meanwhile: submit it to a \
             new one",
        ),
        (Loss::Ended, _) => f.write_str(
            "; the task is lost, for the pool was broken or ended meanwhile: submit it to a \
             new one if it may run twice",
        ),
        (Loss::Unknown, _) => f.write_str(
            "; it is not known if the task began, for the connection to its host was lost: submit \
             it again, or set `retries`, if it may run twice",
        ),
        (Loss::Unread(workers), _) => write!(
            f,
            "; the task did not run, for {workers} workers ended while they read its argument: \
             give it a smaller one, or the workers more memory"
        ),
        (Loss::Retries, 0) => f.write_str("; the task did not run, submit it again"),
        (Loss::Retries, 1) => {
            let overflow = match end {
                End::Signalled(name) if name == "SIGSEGV" => " (perhaps its stack overflowed)",
                _ => "",
            };
            write!(
                f,
                "; the task is lost: see what ends its worker{overflow}, or set `retries` if it \
                 may run twice"
            )
        }
        (Loss::Retries, times) => write!(
            f,
            "; the task was begun {times} times and has no retries left: see what ends its \
             worker each time"
        ),
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled(name) => write!(f, "was ended by {name}"),
            Self::Unknown => f.write_str(
                "ended, and how is not known, for this process ignores the ends of its children \
                 (SIGCHLD), or waits for all of them elsewhere",
            ),
        }
    }
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            pid,
            end,
            task,
            moment,
            note,
            place,
            times_begun: _,
            loss: _,
        } = &*self.0;
        match place {
            None => write!(f, "the worker process {pid} {end}")?,
            Some(Place {
                launcher,
                host: Some(host),
                ..
            }) => write!(
                f,
                "the worker process {pid} on {host} is gone: its command `{launcher}` {end}"
            )?,
            Some(Place { launcher, .. }) => write!(f, "the command `{launcher}` {end}")?,
        }
        let task = task
            .as_ref()
            .map_or(String::new(), |name| format!(" {name}"));
        match moment {
            Moment::Starting => f.write_str(" while it started")?,
            Moment::Initializing => f.write_str(" in its initializer")?,
            Moment::Idle => f.write_str(" while it had no task")?,
            Moment::Sent => write!(f, " before the task{task} began")?,
            Moment::Running(time) => write!(f, " {time:.1?} into the task{task}")?,
        }
        if let Some(note) = note {
            write!(f, " ({note})")?;
        }
        if let Some(lines) = place.as_ref().and_then(|place| place.last_lines.as_ref()) {
            write!(f, "; its last lines: {lines}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerDeath")
            .field(&format_args!("{self}"))
            .finish()
    }
}
