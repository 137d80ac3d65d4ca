//! [`TaskEnd`]: the error data about a task that the pool ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Information on a task that ended because of its time limit or because of a kill.
///
/// [`Error::TimeLimit`](crate::Error::TimeLimit) and
/// [`Error::Killed`](crate::Error::Killed) contain a `TaskEnd`. All clones of a `TaskEnd`
/// share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskEnd(Arc<Parts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) task: Option<Arc<str>>,
    pub(crate) pid: Option<u32>,
    pub(crate) ran_for: Option<Duration>,
    pub(crate) limit: Option<Duration>,
}

#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "tasks are ended where there are processes")
)]
impl TaskEnd {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl TaskEnd {
    /// Returns the task's name, which [`TaskOptions::name`](crate::TaskOptions::name)
    /// sets.
    pub fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    /// Returns the process id of the worker that had the task, or `None` if no worker had
    /// the task.
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// Returns the time for which the task had run, or `None` if no worker was running the
    /// task.
    pub fn ran_for(&self) -> Option<Duration> {
        self.0.ran_for
    }

    /// Returns the time limit of the task, or `None` if the task had no limit.
    pub fn limit(&self) -> Option<Duration> {
        self.0.limit
    }
}

/// Writes the task's name, the worker's process id and the run time, for example `the task
/// thumb in the worker process 7, after 1.0s`.
impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task")?;
        if let Some(task) = self.task() {
            write!(f, " {task}")?;
        }
        if let Some(pid) = self.pid() {
            write!(f, " in the worker process {pid}")?;
        }
        match (self.ran_for(), self.pid()) {
            (Some(time), _) => write!(f, ", after {time:.1?}"),
            (None, Some(_)) => f.write_str(", before it began"),
            (None, None) => f.write_str(", while no worker ran it"),
        }
    }
}

impl fmt::Debug for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskEnd")
            .field(&format_args!("{self}"))
            .finish()
    }
}
