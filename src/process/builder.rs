//! [`ProcessPoolExecutorBuilder`]: all constructors of a process pool.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::executor::ProcessPoolExecutor;
use super::launcher::Launcher;
use super::parent::Pool;
use super::settings::{Config, OnWorkerDeath, TaskSettings, Transport};
use crate::encoded::Encoded;
use crate::error::Error;
use crate::executor::{InitializerOutcome, next_name, refuse_zeros};
use crate::panic::{contain_drop, watch_panics};

static MADE: AtomicUsize = AtomicUsize::new(0);

/// Configures and builds a [`ProcessPoolExecutor`].
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::ProcessPoolExecutor;
///
/// let executor = ProcessPoolExecutor::builder()
///     .max_workers(2)
///     .time_limit(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(executor.max_workers(), 2);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "a builder makes nothing before `build`"]
pub struct ProcessPoolExecutorBuilder {
    max_workers: Option<usize>,
    max_tasks_per_child: Option<u64>,
    settings: TaskSettings,
    on_worker_death: OnWorkerDeath,
    queue_capacity: Option<usize>,
    record_timing: bool,
    env: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
    transport: Transport,
    launchers: Vec<Launcher>,
    initialize: Option<Result<Arc<Encoded>, Error>>,
}

impl ProcessPoolExecutor {
    /// Creates a pool with at most as many worker processes as there are cores.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let cores = std::thread::available_parallelism()?.get();
    /// assert_eq!(ProcessPoolExecutor::new()?.max_workers(), cores);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unsupported`] if processes cannot be started as workers, and
    /// [`Error::Spawn`] if the system is short of descriptors or memory.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Creates a pool with at most `max_workers` worker processes.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// assert_eq!(ProcessPoolExecutor::with_max_workers(4)?.max_workers(), 4);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if `max_workers` is 0, and the errors of
    /// [`new`](Self::new).
    pub fn with_max_workers(max_workers: usize) -> Result<Self, Error> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Returns a builder, which sets the options of a pool.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder().max_workers(2).build()?;
    /// assert_eq!(executor.max_workers(), 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn builder() -> ProcessPoolExecutorBuilder {
        ProcessPoolExecutorBuilder::new()
    }
}

impl ProcessPoolExecutorBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            max_tasks_per_child: None,
            settings: TaskSettings::default(),
            on_worker_death: OnWorkerDeath::default(),
            queue_capacity: None,
            record_timing: false,
            env: Vec::new(),
            current_dir: None,
            transport: Transport::default(),
            launchers: Vec::new(),
            initialize: None,
        }
    }

    /// Sets the largest number of worker processes. The pool starts processes on demand.
    ///
    /// Without launchers ([`launcher`](Self::launcher)), the default is
    /// `available_parallelism`, as in Python, because each task is expected to keep a core
    /// busy.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let none = ProcessPoolExecutor::builder().max_workers(0).build();
    /// assert!(matches!(none, Err(Error::InvalidArgument(_))));
    /// ```
    pub fn max_workers(mut self, processes: usize) -> Self {
        self.max_workers = Some(processes);
        self
    }

    /// Makes each worker call `f` with `args` before the worker's first task. A worker that
    /// replaces a dead worker also calls `f`.
    ///
    /// If `f` panics or returns an `Err`, the pool is broken: pending tasks end with
    /// [`Error::Broken`], and each later `submit` returns that error. `f` has no time
    /// limit, and a shutdown that waits for the workers waits for `f` too.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// thread_local!(static SEED: Cell<u64> = const { Cell::new(0) });
    ///
    /// let executor = ProcessPoolExecutor::builder()
    ///     .initializer(|seed| SEED.set(seed), 42)
    ///     .build()?;
    /// assert_eq!(executor.submit(|()| SEED.get(), ())?.into_result()?, 42);
    ///
    /// let broken = ProcessPoolExecutor::builder()
    ///     .initializer(|()| Err("no licence"), ())
    ///     .build()?;
    /// let error = broken.submit(|()| 1, ())?.into_result().unwrap_err();
    /// assert!(matches!(&error, Error::Broken(cause) if cause.to_string() == "no licence"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the `Serialize` of `args` panics. If the `Serialize` returns an error,
    /// [`build`](Self::build) returns that error.
    pub fn initializer<A, O>(mut self, f: fn(A) -> O, args: A) -> Self
    where
        A: Serialize + DeserializeOwned,
        O: InitializerOutcome,
    {
        self.initialize = Some(Pool::encode_initializer(f, &args));
        contain_drop(args);
        self
    }

    /// Sets the number of tasks after which a worker ends. A new worker replaces it if more
    /// tasks wait. By default a worker runs any number of tasks. The setting is for tasks
    /// that leak memory or other resources.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder()
    ///     .max_workers(1)
    ///     .max_tasks_per_child(1)
    ///     .build()?;
    /// let pid = || executor.submit(|()| std::process::id(), ())?.into_result();
    /// assert_ne!(pid()?, pid()?);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks_per_child = Some(tasks);
        self
    }

    /// Limits the time that each task may run, counted from the start of the task.
    /// [`TaskOptions`](crate::TaskOptions) override the limit. By default there is no
    /// limit.
    ///
    /// A task that reaches its time limit fails with [`Error::TimeLimit`], and the pool
    /// kills the task's worker; see
    /// [`TaskOptions::time_limit`](crate::TaskOptions::time_limit).
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::builder()
    ///     .time_limit(Duration::from_millis(50))
    ///     .build()?;
    /// let endless = executor.submit(|()| -> () { loop {} }, ())?;
    /// assert!(matches!(endless.exception(), Some(Error::TimeLimit(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = Some(limit);
        self
    }

    /// Sets the number of times that the pool runs a task again after the task's worker
    /// has died. [`TaskOptions`](crate::TaskOptions) override the number. The default is
    /// 0. Set retries only for tasks that may run twice.
    ///
    /// Only a worker's death is a reason for a retry: a task that was killed, or that
    /// reached its time limit, is not run again. With [`OnWorkerDeath::BreakPool`] no task
    /// is run again.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::builder().retries(2).build()?;
    /// let bad = executor.submit(|()| -> () { std::process::abort() }, ())?;
    /// assert!(matches!(bad.exception(), Some(Error::WorkerDied(_)))); // three workers
    /// # Ok::<(), Error>(())
    /// ```
    pub fn retries(mut self, times: u32) -> Self {
        self.settings.retries = times;
        self
    }

    /// Sets the pool's reaction to a worker's death. By default, only the task fails that
    /// the worker was running.
    ///
    /// ```
    /// use concurrent_futures::{OnWorkerDeath, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::builder()
    ///     .on_worker_death(OnWorkerDeath::BreakPool) // as in Python
    ///     .build()?;
    /// assert!(executor.submit(|()| (), ())?.exception().is_none());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn on_worker_death(mut self, policy: OnWorkerDeath) -> Self {
        self.on_worker_death = policy;
        self
    }

    /// Sets an environment variable for the workers. Workers that no
    /// [`launcher`](Self::launcher) starts inherit all other variables from this process.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder().env("PLACE", "afar").build()?;
    /// let place = executor.submit(|()| std::env::var("PLACE").ok(), ())?;
    /// assert_eq!(place.into_result()?.as_deref(), Some("afar"));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the folder in which the workers run tasks. The default is the current folder of
    /// this process at the start of the worker, or the folder in which the command of a
    /// [`launcher`](Self::launcher) starts the worker.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder().current_dir("/").build()?;
    /// let folder = executor.submit(|()| std::env::current_dir().ok(), ())?;
    /// assert_eq!(folder.into_result()?, Some("/".into()));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(folder.into());
        self
    }

    /// Chooses the way in which arguments and results travel; see [`Transport`].
    ///
    /// ```
    /// use concurrent_futures::{ProcessPoolExecutor, Transport};
    ///
    /// let executor = ProcessPoolExecutor::builder()
    ///     .transport(Transport::Shared)
    ///     .build()?;
    /// let length = executor.submit(|bytes: Vec<u8>| bytes.len(), vec![0; 1 << 20])?;
    /// assert_eq!(length.into_result()?, 1 << 20);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Adds a command that starts workers elsewhere, for example on another host; see
    /// [`Launcher`]. A pool that has launchers starts no worker itself.
    ///
    /// For a pool with launchers, the default of [`max_workers`](Self::max_workers) is the
    /// sum of the launchers' workers. The pool sends the launched workers the variables of
    /// [`env`](Self::env) and the folder of [`current_dir`](Self::current_dir), but no
    /// other variables of this process. A command that runs here, such as `nice`, may pass
    /// on the variables that it inherits.
    ///
    /// ```
    /// use concurrent_futures::{Launcher, ProcessPoolExecutor, current_worker};
    ///
    /// concurrent_futures::init();
    /// let executor = ProcessPoolExecutor::builder()
    ///     .launcher(Launcher::command(["nice"]).workers(2))
    ///     .env("PLACE", "elsewhere")
    ///     .build()?;
    /// let place = executor.submit(|()| std::env::var("PLACE").ok(), ())?;
    /// assert_eq!(place.into_result()?.as_deref(), Some("elsewhere"));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn launcher(mut self, launcher: Launcher) -> Self {
        self.launchers.push(launcher);
        self
    }

    /// Limits the number of tasks that may wait for a worker. By default there is no
    /// limit.
    ///
    /// A task does not count as waiting if an idle worker or a new worker can take it at
    /// once. When the limit is reached, `submit` waits for room, and `try_submit` returns
    /// [`Error::QueueFull`]. The limit does not apply inside a callback of one of the
    /// pool's tasks, or inside the `Deserialize` of a result: there `submit` does not wait,
    /// and `try_submit` does not return this error.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder().queue_capacity(2).build()?;
    /// let squares = executor.map(|n: u64| n * n, 1..=100)?; // never more than two wait
    /// assert_eq!(squares.sum::<Result<u64, _>>()?, 338_350);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Records the times at which each task was submitted, started and finished; see
    /// [`Timing`](crate::Timing). By default no times are recorded.
    ///
    /// The recorded start of a task is the time at which this process reads the worker's
    /// report of the start. The recorded end is the time at which this process has decoded
    /// the task's value.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder().record_timing(true).build()?;
    /// let future = executor.submit(|n: u8| n, 1)?;
    /// future.result()?;
    /// assert!(future.timing().unwrap().ran().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn record_timing(mut self, record: bool) -> Self {
        self.record_timing = record;
        self
    }

    /// Creates the pool. The pool starts worker processes only when tasks are submitted.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::builder().max_workers(3).build()?;
    /// assert_eq!(executor.stats().workers, 0);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if `max_workers`, `max_tasks_per_child` or
    /// `queue_capacity` is 0, if the name of a variable ([`env`](Self::env)) is empty or
    /// contains `=` or a NUL byte, if the value of a variable contains a NUL byte, or if
    /// the path of [`current_dir`](Self::current_dir) is empty or contains a NUL byte.
    /// Returns [`Error::InvalidArgument`] also if a setting of a launcher is invalid (such
    /// as an empty command or 0 workers), or if there are launchers and the transport is
    /// [`Transport::Shared`]. Returns [`Error::Encode`] or [`Error::NotShippable`] if the
    /// initializer cannot be sent to workers. Returns [`Error::Unsupported`] if this
    /// program cannot be started as a worker, or if there are launchers and `main` has not
    /// called [`init`](crate::init). Returns [`Error::Spawn`] if the system is short of
    /// descriptors or memory, if it refuses the shared memory of [`Transport::Shared`], or
    /// if the program's file cannot be read for [`Launcher::stage`].
    pub fn build(self) -> Result<ProcessPoolExecutor, Error> {
        watch_panics();
        refuse_zeros(&[
            ("max_workers", self.max_workers.map(|n| n as u64)),
            ("max_tasks_per_child", self.max_tasks_per_child),
            ("queue_capacity", self.queue_capacity.map(|n| n as u64)),
        ])?;
        for (name, value) in &self.env {
            let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
            if name.is_empty() || name.contains(&b'=') || [name, value].concat().contains(&0) {
                return Err(Error::invalid_argument(
                    "env: the name of a variable must not be empty or have a `=` in it, and neither \
                     the name nor the value a NUL byte",
                ));
            }
        }
        if let Some(folder) = &self.current_dir {
            let name = folder.as_os_str().as_encoded_bytes();
            if name.is_empty() || name.contains(&0) {
                return Err(Error::invalid_argument(
                    "current_dir: a folder's name must not be empty or have a NUL byte",
                ));
            }
        }
        self.launchers.iter().try_for_each(Launcher::check)?;
        let has_launchers = !self.launchers.is_empty();
        if has_launchers && self.transport == Transport::Shared {
            return Err(Error::invalid_argument(
                "transport: workers that a launcher starts share no memory with this process; leave \
                 the transport to the pool",
            ));
        }
        let launched = self.launchers.iter().map(|launcher| launcher.workers);
        let launched = launched.fold(0, usize::saturating_add);
        let default_workers = || {
            if has_launchers {
                launched
            } else {
                count_cores()
            }
        };
        let pool = Pool::new(Config {
            name: next_name("ProcessPoolExecutor", &MADE),
            max_workers: self.max_workers.unwrap_or_else(default_workers),
            max_tasks_per_child: self.max_tasks_per_child,
            settings: self.settings,
            on_worker_death: self.on_worker_death,
            queue_capacity: self.queue_capacity,
            record_timing: self.record_timing,
            env: self.env,
            current_dir: self.current_dir,
            transport: match has_launchers {
                true => Transport::Socket,
                false => self.transport.chosen(),
            },
            launchers: self.launchers,
            #[cfg(all(feature = "mpi", target_os = "linux", not(concurrent_futures_loom)))]
            mpi: None,
            initialize: self.initialize.transpose()?,
        })?;
        Ok(ProcessPoolExecutor::from_pool(pool))
    }
}

impl fmt::Debug for ProcessPoolExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutorBuilder")
            .field("max_workers", &self.max_workers)
            .field("max_tasks_per_child", &self.max_tasks_per_child)
            .field("time_limit", &self.settings.time_limit)
            .field("retries", &self.settings.retries)
            .field("on_worker_death", &self.on_worker_death)
            .field("queue_capacity", &self.queue_capacity)
            .field("record_timing", &self.record_timing)
            .field("env", &self.env)
            .field("current_dir", &self.current_dir)
            .field("transport", &self.transport)
            .field("launchers", &self.launchers)
            .field("initializer", &self.initialize.is_some())
            .finish()
    }
}

fn count_cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}
