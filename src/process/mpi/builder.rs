//! [`MpiPoolExecutorBuilder`]: the options of a pool of ranks, and the start and end of the
//! MPI job. A *rank* is one of the processes of the job.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::executor::MpiPoolExecutor;
use crate::encoded::Encoded;
use crate::error::Error;
use crate::executor::{InitializerOutcome, ShutdownOptions, next_name, refuse_zeros};
use crate::panic::{contain_drop, watch_panics};
use crate::process::launcher::Launcher;
use crate::process::parent::{Pool, end_pools_of_ranks};
use crate::process::settings::{Config, OnWorkerDeath, TaskSettings, Transport};
use crate::process::transport::Mpi;
use crate::process::wire::message::exit;
use crate::process::worker::rank;

/// The [`Launcher::silence_limit`] of a rank: the time after which a pool counts a worker
/// as lost if nothing has arrived from it. This time is so long that it never passes. The
/// pool needs no limit, because MPI itself notices the death of a rank.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

static MADE: AtomicUsize = AtomicUsize::new(0);

/// Configures and starts a pool whose workers are the ranks of an MPI job.
///
/// ```no_run
/// use concurrent_futures::{Error, MpiPoolExecutor};
///
/// let answer = MpiPoolExecutor::builder()
///     .in_flight(2)
///     .run(|executor| executor.submit(|n: u32| n + 1, 41)?.into_result())?;
/// assert_eq!(answer?, 42);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a builder starts nothing before `run`"]
pub struct MpiPoolExecutorBuilder {
    max_workers: Option<usize>,
    in_flight: Option<usize>,
    queue_capacity: Option<usize>,
    record_timing: bool,
    initialize: Option<Result<Arc<Encoded>, Error>>,
}

impl MpiPoolExecutor {
    /// Starts MPI, and runs the closure in rank 0, with an executor whose workers are the
    /// other ranks.
    ///
    /// Each rank has to call `run` once, from its main thread, and must not start MPI in
    /// another way. In the other ranks `run` returns only if MPI cannot be started. When
    /// the closure has returned or panicked, and all tasks are done, `run` ends the
    /// processes of the other ranks. In rank 0, `run` then returns the closure's value, or
    /// resumes the closure's panic. After that, MPI cannot be used any more.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// let workers = MpiPoolExecutor::run(|executor| executor.max_workers())?;
    /// println!("there were {workers}"); // by rank 0 only
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unsupported`] if the job has one rank, if MPI was started before,
    /// or if the MPI library does not allow calls by several threads. Returns
    /// [`Error::Spawn`] if the system is short of descriptors or memory.
    pub fn run<R>(f: impl FnOnce(&Self) -> R) -> Result<R, Error> {
        Self::builder().run(f)
    }

    /// Returns a builder, which sets the options of the pool.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::builder().in_flight(8).run(|executor| {
    ///     println!("{executor:?}");
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn builder() -> MpiPoolExecutorBuilder {
        MpiPoolExecutorBuilder::new()
    }
}

impl MpiPoolExecutorBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            in_flight: None,
            queue_capacity: None,
            record_timing: false,
            initialize: None,
        }
    }

    /// Sets the largest number of ranks that are workers. The default and the maximum are
    /// all ranks except rank 0.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// let workers = MpiPoolExecutor::builder().max_workers(1).run(|it| it.max_workers())?;
    /// assert_eq!(workers, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn max_workers(mut self, ranks: usize) -> Self {
        self.max_workers = Some(ranks);
        self
    }

    /// Sets a function that a rank runs each time it becomes a worker of the pool; see
    /// [`ProcessPoolExecutorBuilder::initializer`](crate::ProcessPoolExecutorBuilder::initializer).
    /// A rank becomes a worker of the pool only when a submitted task needs one more
    /// worker.
    ///
    /// ```no_run
    /// use std::sync::OnceLock;
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// static SEED: OnceLock<u32> = OnceLock::new();
    ///
    /// let seed = MpiPoolExecutor::builder()
    ///     .initializer(|seed| SEED.set(seed).expect("each rank is set up once"), 42)
    ///     .run(|executor| executor.submit(|()| SEED.get().copied(), ())?.into_result())?;
    /// assert_eq!(seed?, Some(42));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the `Serialize` of `args` panics. If the `Serialize` returns an error,
    /// [`run`](Self::run) and [`build`](Self::build) return that error.
    pub fn initializer<A, O>(mut self, f: fn(A) -> O, args: A) -> Self
    where
        A: Serialize + DeserializeOwned,
        O: InitializerOutcome,
    {
        self.initialize = Some(Pool::encode_initializer(f, &args));
        contain_drop(args);
        self
    }

    /// Sets the largest number of tasks that a rank has at once. By default the pool
    /// chooses the number from the times that tasks and messages take, and sends long tasks
    /// one by one; see [`Launcher::in_flight`](crate::Launcher::in_flight).
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::builder().in_flight(1).run(|_executor| ())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn in_flight(mut self, tasks: usize) -> Self {
        self.in_flight = Some(tasks);
        self
    }

    /// Limits the number of tasks that wait for a rank; see
    /// [`ProcessPoolExecutorBuilder::queue_capacity`](crate::ProcessPoolExecutorBuilder::queue_capacity).
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::builder().queue_capacity(100).run(|_executor| ())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Records the times at which each task was submitted, started and finished; see
    /// [`Timing`](crate::Timing). By default no times are recorded.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::builder().record_timing(true).run(|executor| {
    ///     let future = executor.submit(|n: u8| n, 1)?;
    ///     future.result()?;
    ///     assert!(future.timing().unwrap().ran().is_some());
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn record_timing(mut self, record: bool) -> Self {
        self.record_timing = record;
        self
    }

    /// Starts MPI, and runs the closure in rank 0; see [`MpiPoolExecutor::run`].
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// let workers = MpiPoolExecutor::builder().run(|executor| executor.max_workers())?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`MpiPoolExecutor::run`] and of [`build`](Self::build).
    pub fn run<R>(self, f: impl FnOnce(&MpiPoolExecutor) -> R) -> Result<R, Error> {
        watch_panics();
        let mpi = Mpi::start().map_err(Error::unsupported)?;
        if mpi.rank() > 0 {
            rank::run(mpi);
        }
        let ran = self.run_in_first(f);
        // If the closure forks this process, the child may also return from the closure.
        // The child is not a rank of the MPI job, so it must not end the job.
        if mpi.is_here() {
            end_job(mpi);
        }
        ran?.map_err(|panic| resume_unwind(panic))
    }

    /// Runs the closure in rank 0, and waits until all tasks are done.
    fn run_in_first<R>(
        self,
        f: impl FnOnce(&MpiPoolExecutor) -> R,
    ) -> Result<thread::Result<R>, Error> {
        let executor = match self.build() {
            Ok(executor) => executor,
            Err(error) => {
                // A panic in the `Drop` of what the closure has captured must not keep
                // `run` from ending the job.
                contain_drop(f);
                return Err(error);
            }
        };
        let ran = catch_unwind(AssertUnwindSafe(|| f(&executor)));
        // The closure may have shut the pool down without a wait for its tasks. This call
        // waits.
        executor.shutdown_with(ShutdownOptions::new());
        Ok(ran)
    }

    /// Creates one more pool inside of [`MpiPoolExecutor::run`], for example with another
    /// initializer. A pool takes ranks when tasks are submitted. Each rank is a worker of
    /// at most one pool at a time. A pool gives back an idle rank that another pool needs.
    /// All ranks of a pool are free for other pools once the pool is dropped. The statics
    /// of a rank keep what tasks of earlier pools have set.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::run(|_executor| {
    ///     let one = MpiPoolExecutor::builder().max_workers(1).build()?;
    ///     assert_eq!(one.submit(|n: u32| n + 1, 41)?.into_result()?, 42);
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if an option is 0, and the error of an
    /// initializer that cannot be sent to the ranks. Returns [`Error::Unsupported`] outside
    /// of `run`, in a task, or if the job has only one rank. Returns [`Error::Spawn`] if
    /// the system is short of descriptors or memory.
    pub fn build(self) -> Result<MpiPoolExecutor, Error> {
        refuse_zeros(&[
            ("max_workers", self.max_workers.map(|n| n as u64)),
            ("in_flight", self.in_flight.map(|n| n as u64)),
            ("queue_capacity", self.queue_capacity.map(|n| n as u64)),
        ])?;
        let mpi = Mpi::running().filter(|mpi| mpi.rank() == 0);
        let mpi = mpi.ok_or_else(|| {
            Error::unsupported(
                "only rank 0 has pools of ranks, inside of `MpiPoolExecutor::run`; a task can have \
                 a pool of threads or of processes",
            )
        })?;
        let ranks = mpi.size() - 1;
        if ranks == 0 {
            return Err(Error::unsupported(
                "the MPI job has one rank, which has no other to run tasks in; start the program by \
                 `mpirun -n 3`, for example, or by `srun --mpi=pmix -n 3`",
            ));
        }
        let workers = self.max_workers.map_or(ranks, |workers| workers.min(ranks));
        let mut launcher = Launcher::command(["mpi"]).workers(workers);
        launcher.silence_limit = NEVER;
        launcher.in_flight = self.in_flight;
        let pool = Pool::new(Config {
            name: next_name("MpiPoolExecutor", &MADE),
            max_workers: workers,
            max_tasks_per_child: None,
            settings: TaskSettings::default(),
            on_worker_death: OnWorkerDeath::default(),
            queue_capacity: self.queue_capacity,
            record_timing: self.record_timing,
            env: Vec::new(),
            current_dir: None,
            transport: Transport::Socket,
            launchers: vec![launcher],
            mpi: Some(mpi),
            initialize: self.initialize.transpose()?,
        })?;
        // While this function makes the pool, the main thread may end the job. Then
        // `end_job` finds the pool and ends it, or `running` returns `None` here, or both.
        match Mpi::running() {
            Some(_) => Ok(MpiPoolExecutor::from_pool(pool)),
            None => Err(Error::unsupported("the MPI job is about to end")),
        }
    }
}

/// Ends the MPI job. First waits for the tasks of all pools that still exist, and ends
/// these pools. Then no rank is a worker any more, and each other rank ends when it gets
/// the message `Exit`.
fn end_job(mpi: &Mpi) {
    mpi.close();
    end_pools_of_ranks();
    for rank in 1..mpi.size() {
        mpi.send(rank, &[&exit()]);
    }
    mpi.finish();
}

impl fmt::Debug for MpiPoolExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiPoolExecutorBuilder")
            .field("max_workers", &self.max_workers)
            .field("in_flight", &self.in_flight)
            .field("queue_capacity", &self.queue_capacity)
            .field("record_timing", &self.record_timing)
            .field("initializer", &self.initialize.is_some())
            .finish()
    }
}
