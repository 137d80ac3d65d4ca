//! What was asked for: [`TaskSettings`] for one task, a [`Config`] for a pool.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::TaskOptions;

/// What was asked for one task.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskSettings {
    pub(super) name: Option<Arc<str>>,
    pub(super) time_limit: Option<Duration>,
    /// How often it may be begun again.
    pub(super) retries: u32,
}

impl TaskSettings {
    /// These, but for what the options say.
    pub(super) fn with(&self, options: &TaskOptions) -> Self {
        let (name, time_limit, retries) = options.parts();
        Self {
            name,
            time_limit: time_limit.or(self.time_limit),
            retries: retries.unwrap_or(self.retries),
        }
    }
}

/// What was asked for a pool, checked.
#[derive(Debug)]
pub(super) struct Config {
    /// The first part of the workers' names.
    pub(super) name: String,
    pub(super) max_workers: usize,
    pub(super) max_tasks_per_child: Option<u64>,
    /// For a task that asks for nothing else.
    pub(super) settings: TaskSettings,
    pub(super) on_worker_death: OnWorkerDeath,
    /// How many tasks may be queued; `None`: as many as there are.
    pub(super) queue_capacity: Option<usize>,
    pub(super) record_timing: bool,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) current_dir: Option<PathBuf>,
    /// The call that initializes a worker.
    pub(super) initialize: Option<Vec<u8>>,
}

/// What a [`ProcessPoolExecutor`](crate::ProcessPoolExecutor) does when the
/// process of a worker ends that was not told to.
///
/// ```
/// use concurrent_futures::{Error, OnWorkerDeath, ProcessPoolExecutor};
///
/// let executor = ProcessPoolExecutor::builder()
///     .on_worker_death(OnWorkerDeath::BreakPool)
///     .build()?;
/// let bad = executor.submit(|()| -> () { std::process::abort() }, ())?;
/// assert!(matches!(bad.exception(), Some(Error::WorkerDied(_))));
/// assert!(matches!(executor.submit(|()| (), ()), Err(Error::Broken(_))));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnWorkerDeath {
    /// The task that it ran fails with [`Error::WorkerDied`](crate::Error::WorkerDied),
    /// and the pool goes on: the default.
    #[default]
    FailTask,
    /// The pool breaks as well, as Python's does: all other tasks end with
    /// [`Error::Broken`](crate::Error::Broken).
    BreakPool,
}
