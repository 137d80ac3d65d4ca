//! [`Stats`]: a snapshot of an executor's counts.

/// A snapshot of an executor's counts, which
/// [`Executor::stats`](crate::Executor::stats) returns.
///
/// To create a `Stats` in an implementation of `Executor`, call `Stats::default()` and set
/// the fields.
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
    /// The number of workers that were started and have not ended. A thread pool starts one
    /// thread at a time. The pool also counts the threads that it will start next.
    pub workers: usize,
    /// The number of workers that are available for a new task.
    pub idle: usize,
    /// The number of tasks that wait for a worker, or that a worker is about to begin.
    pub queued: usize,
    /// The number of tasks whose function runs.
    pub running: usize,
    /// The number of tasks that returned, including the tasks that returned an `Err`.
    pub finished: u64,
    /// The number of tasks that panicked, or that failed because of their worker or their
    /// pool.
    pub failed: u64,
    /// The number of tasks that were cancelled.
    pub cancelled: u64,
    /// The number of workers that the pool has started to replace workers that had ended.
    pub replaced: u64,
    /// The process ids of the workers. The list is empty for a thread pool, because its
    /// workers share one process.
    pub pids: Vec<u32>,
    /// `true` if the pool is broken and refuses tasks.
    pub broken: bool,
}
