//! The settings of one task ([`TaskSettings`]) and of a pool ([`Config`]).

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::launcher::Launcher;
use crate::encoded::Encoded;
use crate::executor::TaskOptions;

#[derive(Clone, Debug, Default)]
pub(super) struct TaskSettings {
    pub(super) name: Option<Arc<str>>,
    pub(super) time_limit: Option<Duration>,
    /// The number of times that the pool may run the task again after its worker has died.
    pub(super) retries: u32,
}

impl TaskSettings {
    /// Returns a copy of these settings. The values that are set in `options` replace the
    /// old values. The name is always the name in `options`, even if that is `None`.
    pub(super) fn with(&self, options: &TaskOptions) -> Self {
        let (name, time_limit, retries) = options.parts();
        Self {
            name,
            time_limit: time_limit.or(self.time_limit),
            retries: retries.unwrap_or(self.retries),
        }
    }
}

/// The settings of a pool, which the builder has checked.
#[derive(Debug)]
pub(super) struct Config {
    /// The first part of the workers' names.
    pub(super) name: String,
    pub(super) max_workers: usize,
    pub(super) max_tasks_per_child: Option<u64>,
    /// The settings of a task that is submitted without options.
    pub(super) settings: TaskSettings,
    pub(super) on_worker_death: OnWorkerDeath,
    pub(super) queue_capacity: Option<usize>,
    pub(super) record_timing: bool,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) current_dir: Option<PathBuf>,
    pub(super) transport: Transport,
    /// The commands that start the workers. Empty if the pool starts the workers itself. A
    /// pool of MPI ranks has one launcher, whose numbers of workers and of tasks in flight
    /// apply, but whose command never runs.
    pub(super) launchers: Vec<Launcher>,
    /// The MPI job whose ranks are the workers, or `None` if the workers are no ranks.
    #[cfg(all(feature = "mpi", target_os = "linux", not(concurrent_futures_loom)))]
    pub(super) mpi: Option<&'static super::transport::Mpi>,
    /// The frame with the initializer's call, or `None` if there is no initializer. A
    /// worker gets it right after `Hello`.
    pub(super) initialize: Option<Arc<Encoded>>,
}

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
impl Config {
    /// Returns the settings of a pool whose workers a test or a fuzz target plays.
    #[cfg(any(test, concurrent_futures_fuzz))]
    pub(super) fn of_played_pool(transport: Transport, max_workers: usize) -> Self {
        Self {
            name: "played".to_owned(),
            max_workers,
            max_tasks_per_child: None,
            settings: TaskSettings::default(),
            on_worker_death: OnWorkerDeath::FailTask,
            queue_capacity: None,
            record_timing: false,
            env: Vec::new(),
            current_dir: None,
            transport,
            launchers: Vec::new(),
            #[cfg(feature = "mpi")]
            mpi: None,
            initialize: None,
        }
    }

    pub(super) fn has_ranks(&self) -> bool {
        #[cfg(feature = "mpi")]
        let has_ranks = self.mpi.is_some();
        #[cfg(not(feature = "mpi"))]
        let has_ranks = false;
        has_ranks
    }
}

/// The reaction of a [`ProcessPoolExecutor`](crate::ProcessPoolExecutor) to a worker
/// process that dies unexpectedly.
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
    /// The task that the worker ran fails with
    /// [`Error::WorkerDied`](crate::Error::WorkerDied), or is run again if it has retries,
    /// and the pool continues. `FailTask` is the default.
    #[default]
    FailTask,
    /// The task fails with [`Error::WorkerDied`](crate::Error::WorkerDied), even if it has
    /// retries. The pool breaks, as Python's process pool does: it refuses new tasks, and
    /// all other unfinished tasks end with [`Error::Broken`](crate::Error::Broken).
    BreakPool,
}

/// The way in which arguments and results travel between the program and the workers of a
/// [`ProcessPoolExecutor`](crate::ProcessPoolExecutor).
///
/// The tasks behave in the same way on each transport, with one exception: a task that was
/// sent through a socket cannot be cancelled any more, unless a
/// [`Launcher`](crate::Launcher) has started its worker. (If `max_tasks_per_child` is set,
/// this exception holds for each transport.)
///
/// ```
/// use concurrent_futures::{ProcessPoolExecutor, Transport};
///
/// let executor = ProcessPoolExecutor::builder()
///     .transport(Transport::Socket)
///     .build()?;
/// assert_eq!(executor.submit(|n: u32| n + 1, 41)?.into_result()?, 42);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Shared memory where the system allows it, and sockets elsewhere. `Automatic` is the
    /// default. The environment variable `CONCURRENT_FUTURES_TRANSPORT` with the value
    /// `socket` or `shared` chooses sockets or shared memory instead. A pool with launchers
    /// always uses sockets.
    #[default]
    Automatic,
    /// Sockets. A worker shares no memory with this process, so it cannot overwrite the
    /// messages of the pool, even on purpose.
    Socket,
    /// Shared memory, which is faster. For each worker there are about 520 KiB, which only
    /// this process and that worker map. All workers map about another 580 KiB. Workers can
    /// write to 2 KiB of these 580 KiB, and only read the rest. If a task writes into
    /// shared memory by mistake, the pool notices. The pool then ends the worker, or runs
    /// the affected tasks on other workers. A program that is built without optimization
    /// should optimize this crate ([recipe](crate::recipes#big-arrays)).
    Shared,
}

impl Transport {
    /// Returns this transport. If it is `Automatic`, returns the transport that the
    /// environment variable `CONCURRENT_FUTURES_TRANSPORT` names, or `Automatic` if the
    /// variable names no transport.
    pub(super) fn chosen(self) -> Self {
        if self != Self::Automatic {
            return self;
        }
        match std::env::var("CONCURRENT_FUTURES_TRANSPORT").as_deref() {
            Ok("socket") => Self::Socket,
            Ok("shared") => Self::Shared,
            _ => Self::Automatic,
        }
    }
}
