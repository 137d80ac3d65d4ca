//! [`WorkerDeath`]: how the process of a worker ended under a task.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a worker's process ended, and what it was running.
///
/// It comes inside [`Error::WorkerDied`](crate::Error::WorkerDied). Two words
/// would not hold it: clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerDeath(Arc<Parts>);

/// What is known of a death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) pid: u32,
    pub(crate) end: End,
    pub(crate) task: Option<Arc<str>>,
    pub(crate) ran_for: Option<Duration>,
    /// What the pool knows beyond that, for example why it ended the worker.
    pub(crate) note: Option<String>,
    pub(crate) times_begun: u32,
}

/// The end of a process as its parent learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    /// By a signal of this name.
    Signalled(String),
    /// Somebody else has asked the system first.
    Unknown,
}

impl WorkerDeath {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The id that the process had.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The code that it exited with; `None` if a signal ended it.
    pub fn exit_code(&self) -> Option<i32> {
        match &self.0.end {
            End::Exited(code) => Some(*code),
            _ => None,
        }
    }

    /// The name of the signal that ended it, like `SIGSEGV`.
    pub fn signal(&self) -> Option<&str> {
        match &self.0.end {
            End::Signalled(name) => Some(name),
            _ => None,
        }
    }

    /// The name that the task was given by
    /// [`TaskOptions::name`](crate::TaskOptions::name).
    pub fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    /// Returns the number of times that the task was begun: once, and once more for each retry; 0 if
    /// the worker ran none.
    pub fn times_begun(&self) -> u32 {
        self.0.times_begun
    }

    /// How long the task had run; `None` if the worker ran none.
    pub fn ran_for(&self) -> Option<Duration> {
        self.0.ran_for
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled(name) => write!(f, "was ended by {name}"),
            Self::Unknown => f.write_str("ended, and something else took the reason"),
        }
    }
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            pid,
            end,
            task,
            ran_for,
            note,
            times_begun: _,
        } = &*self.0;
        write!(f, "the worker process {pid} {end}")?;
        match (task, ran_for) {
            (Some(task), Some(time)) => write!(f, " {time:.1?} into the task {task}")?,
            (None, Some(time)) => write!(f, " {time:.1?} into the task")?,
            (Some(task), None) => write!(f, " before the task {task} began")?,
            (None, None) => f.write_str(" before it ran anything")?,
        }
        if let Some(note) = note {
            write!(f, " ({note})")?;
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
