//! [`Stats`]: a snapshot of an executor's counts.

/// A snapshot of an executor's counts, as
/// [`Executor::stats`](crate::Executor::stats) returns it.
///
/// An executor of your own begins with `Stats::default()` and sets the fields.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::new()?;
/// executor.spawn(|| 1)?.into_result()?;
/// let stats = executor.stats();
/// // A worker counts as idle before its result is known.
/// assert_eq!((stats.workers, stats.idle, stats.finished), (1, 1, 1));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that were started and have not ended. Also those that a thread pool starts
    /// next, as soon as the thread runs that is on its way, if they are needed still.
    pub workers: usize,
    /// Workers that a new task can count on.
    pub idle: usize,
    /// Tasks that wait for a worker, or are just being started by one.
    pub queued: usize,
    /// Tasks whose function runs.
    pub running: usize,
    /// Tasks that returned, also those that returned an `Err` of their own.
    pub finished: u64,
    /// Tasks that panicked, or failed with their pool.
    pub failed: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Workers that were started in the place of one that ended.
    pub replaced: u64,
    /// The processes of the workers; of threads none, since they share one.
    pub pids: Vec<u32>,
    /// `true` if the pool is broken and refuses tasks.
    pub broken: bool,
}
