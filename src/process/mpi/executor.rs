//! [`MpiPoolExecutor`]: the public API of the pool whose workers are ranks of an MPI job.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::executor::{
    Portable, ShutdownOptions, ShutdownReport, Stats, TaskOptions, TrySubmitError, With,
    executor_by_inherent_methods,
};
use crate::future::TaskFuture;
use crate::map::{Map, MapOptions};
use crate::process::parent::Pool;
use crate::process::submitter::Submitter;

/// Runs calls in the ranks (the processes) of an MPI job. This type needs the feature
/// `mpi`.
///
/// `mpirun -n 17 program` starts 17 ranks. Each rank calls [`run`](Self::run). Rank 0 runs
/// the closure, which gets an executor with 16 workers. The other ranks are these workers:
/// in them `run` does not return. Under Slurm, `srun --mpi=pmix -n 17 program` does the
/// same if Slurm has been built with PMIx.
///
/// ```no_run
/// use concurrent_futures::MpiPoolExecutor;
///
/// fn word_count(path: String) -> usize {
///     std::fs::read_to_string(path).map_or(0, |text| text.split_whitespace().count())
/// }
///
/// fn main() -> Result<(), concurrent_futures::Error> {
///     MpiPoolExecutor::run(|executor| {
///         let paths = (0..100).map(|n| format!("/data/{n}.txt"));
///         let counts = executor.map(word_count, paths)?;
///         println!("{}", counts.sum::<Result<usize, _>>()?);
///         Ok(())
///     })?
/// }
/// ```
///
/// Functions and values travel as in a
/// [`ProcessPoolExecutor`](crate::ProcessPoolExecutor#): all ranks run the same file, a
/// called closure captures nothing, and arguments and results can be serialized. Futures,
/// errors, callbacks and maps also work as in that pool. The pool of ranks may send several
/// short tasks to a rank at once. A task that has not begun can still be cancelled, and the
/// pool may move it to another rank that has nothing to do.
///
/// **A rank that dies ends the job.** That is how MPI works: a task that aborts, or that
/// calls `exit`, ends all ranks, rank 0 included. So the pool can neither kill a task, nor
/// limit its time, nor run it again. If tasks may crash, let each rank have a process pool
/// of its own, or use a process pool with [launchers](crate::clusters) in place of MPI.
///
/// **Building** needs an MPI (Open MPI, MPICH, or another with `mpicc`) and libclang, with
/// which the build reads the MPI's header files. The MPI library has to support
/// `MPI_THREAD_SERIALIZED`. Inside of `run` only this crate may call MPI. Other code of the
/// program must not call MPI, because only one thread may call MPI at a time.
///
/// **Waiting.** A rank that waits for a task looks for messages from time to time, because
/// any other wait with MPI takes a whole CPU. The waiting rank takes about 1 % of a CPU. It
/// notices a new task after a delay of at most about a thirtieth of the time that it has
/// waited, and at most 5 milliseconds.
///
/// **Dropping** the executor is not possible in the closure of `run`, which only borrows
/// it. Dropping an executor that [`build`](crate::MpiPoolExecutorBuilder::build) has made
/// calls [`shutdown`](Self::shutdown).
///
/// The idea comes from `mpi4py.futures.MPIPoolExecutor`.
pub struct MpiPoolExecutor {
    pool: Arc<Pool>,
}

/// The future of a task of an [`MpiPoolExecutor`].
///
/// [`running`](TaskFuture::running) is `true` from the time at which rank 0 reads the
/// report that the task has begun until the task is done. `cancel` returns `true` if no
/// rank has begun the task. If the task was sent to a rank, `cancel` asks this rank to give
/// the task back.
///
/// ```no_run
/// use concurrent_futures::{Error, MpiFuture, MpiPoolExecutor};
///
/// let sum = MpiPoolExecutor::run(|executor| {
///     let future: MpiFuture<u32> = executor.submit(|n| n + 1, 41)?;
///     future.into_result()
/// })?;
/// assert_eq!(sum?, 42);
/// # Ok::<(), Error>(())
/// ```
pub type MpiFuture<T> = TaskFuture<T, MpiPoolExecutor>;

impl MpiPoolExecutor {
    pub(super) fn from_pool(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Submits `f(args)` to run in a rank; see
    /// [`ProcessPoolExecutor::submit`](crate::ProcessPoolExecutor::submit).
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// let length = MpiPoolExecutor::run(|executor| {
    ///     executor.submit(|text: String| text.len(), "four".to_owned())?.into_result()
    /// })?;
    /// assert_eq!(length?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of
    /// [`ProcessPoolExecutor::submit`](crate::ProcessPoolExecutor::submit).
    ///
    /// # Panics
    ///
    /// Panics if the `Serialize` of `args` panics. The call does not run then.
    pub fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<MpiFuture<R>, Error>
    where
        A: Portable,
        R: Portable,
    {
        self.submitter().submit(f, args)
    }

    /// Submits `f(args)` like [`submit`](Self::submit), but never waits for room in the
    /// queue. If the pool refuses the call, the error contains `f` and `args`.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     executor.shutdown();
    ///     let refused = executor.try_submit(|n: u32| n + 1, 41).unwrap_err();
    ///     assert!(matches!(refused.error, Error::ShutDown));
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::QueueFull`] if the queue is full, and the errors of
    /// [`submit`](Self::submit).
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`submit`](Self::submit).
    #[expect(clippy::type_complexity, reason = "what comes back is what went in")]
    pub fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<MpiFuture<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable,
    {
        self.submitter().try_submit(f, args)
    }

    /// Submits a call for each item, and returns an iterator over the results in the order
    /// of the items; see [`ProcessPoolExecutor::map`](crate::ProcessPoolExecutor::map).
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// let sum: Result<u64, Error> =
    ///     MpiPoolExecutor::run(|executor| executor.map(|n: u64| n * n, 1..=3)?.sum())?;
    /// assert_eq!(sum?, 14);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`submit`](Self::submit).
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable,
        I: IntoIterator<Item = A>,
    {
        self.submitter().map(f, items)
    }

    /// Runs `f` on each item like [`map`](Self::map), but with [`MapOptions`] (chunk size,
    /// buffer size and timeout); see
    /// [`ProcessPoolExecutor::map_with`](crate::ProcessPoolExecutor::map_with).
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MapOptions, MpiPoolExecutor};
    ///
    /// let sum: Result<u64, Error> = MpiPoolExecutor::run(|executor| {
    ///     let chunks = MapOptions::new().chunk_size(100);
    ///     executor.map_with(chunks, |n: u64| n, 0..1000)?.sum()
    /// })?;
    /// assert_eq!(sum?, 499_500);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of
    /// [`ProcessPoolExecutor::map_with`](crate::ProcessPoolExecutor::map_with).
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`submit`](Self::submit).
    pub fn map_with<'a, A, R, I>(
        &'a self,
        options: MapOptions,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        A: Portable,
        R: Portable,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        self.submitter().map_with(options, f, items)
    }

    /// Returns a view of this executor. A task that is submitted through the view has these
    /// options; see [`With`]. A pool of ranks supports only the option `name`.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor, TaskOptions};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     let named = executor.with(TaskOptions::new().name("half"));
    ///     assert_eq!(named.submit(|n: i32| n / 2, 84)?.into_result()?, 42);
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with(&self, options: TaskOptions) -> With<'_, Self> {
        With::new(self, options)
    }

    /// Makes the pool refuse tasks from now on, and waits until all its tasks are done.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     let future = executor.submit(|n: u32| n + 1, 41)?;
    ///     assert_eq!(executor.shutdown().finished, 1);
    ///     assert!(future.done());
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "join")]
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// Makes the pool refuse tasks from now on, with the given [`ShutdownOptions`]. Even
    /// after a shutdown that does not wait, [`run`](Self::run) waits for the tasks.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor, ShutdownOptions};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     executor.shutdown_with(ShutdownOptions::new().cancel_pending(true));
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        self.pool.shutdown(options)
    }

    /// Returns a snapshot of the pool's counts. [`Stats::launchers`] has one entry, with
    /// the name `mpi` and the hosts and pids of the ranks that are workers.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     executor.submit(|n: u32| n + 1, 41)?.into_result()?;
    ///     let stats = executor.stats();
    ///     assert_eq!((stats.finished, stats.launchers[0].hosts.len()), (1, 1));
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// Returns the largest number of ranks that are workers of the pool at once.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor};
    ///
    /// let workers = MpiPoolExecutor::run(|executor| executor.max_workers())?;
    /// assert!(workers > 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn max_workers(&self) -> usize {
        self.pool.config().max_workers
    }

    fn submitter(&self) -> Submitter<'_> {
        Submitter::new(&self.pool)
    }
}

executor_by_inherent_methods!(MpiPoolExecutor, MpiFuture);

impl Drop for MpiPoolExecutor {
    fn drop(&mut self) {
        if !self.pool.needs_no_shutdown() {
            self.shutdown();
        }
    }
}

impl fmt::Debug for MpiPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiPoolExecutor")
            .field("max_workers", &self.max_workers())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
