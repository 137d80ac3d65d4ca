//! [`Stats`]: a snapshot of an executor's counts. [`LauncherStats`]: the part of a snapshot
//! for one [`Launcher`](crate::Launcher) of a process pool.

/// A snapshot of an executor's counts. [`Executor::stats`](crate::Executor::stats) returns
/// it.
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
/// // A worker counts as idle before `into_result` returns. A task's waker is woken while
/// // the worker still counts as busy.
/// assert_eq!((stats.workers, stats.idle, stats.finished), (1, 1, 1));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of workers that have not ended. Workers that the pool has decided to
    /// start, but has not started yet, are included.
    pub workers: usize,
    /// The number of workers that are available for a new task.
    pub idle: usize,
    /// The number of tasks that wait for a worker, or that a worker is about to begin.
    pub queued: usize,
    /// The number of tasks whose function runs. In a process pool, tasks that wait for a
    /// retry, and tasks whose answer is not decoded yet, are included.
    pub running: usize,
    /// The number of tasks that returned, including the tasks that returned an `Err`.
    pub finished: u64,
    /// The number of tasks that ended with an error, for example because they panicked or
    /// because their worker died. Cancelled tasks are not included.
    pub failed: u64,
    /// The number of tasks that were cancelled.
    pub cancelled: u64,
    /// The number of workers that the pool has started to replace workers that had ended.
    pub replaced: u64,
    /// The process ids of the workers. The list is empty for a thread pool and an inline
    /// executor, because their workers are threads of this process. A worker that a
    /// [`Launcher`](crate::Launcher) has started on another host is listed by its id on
    /// that host, or, while the worker starts, by the id of the launcher's command.
    pub pids: Vec<u32>,
    /// The launchers of a process pool, in the order of the calls of
    /// [`launcher`](crate::ProcessPoolExecutorBuilder::launcher). The list is empty for a
    /// pool without launchers.
    pub launchers: Vec<LauncherStats>,
    /// `true` if the pool is broken and refuses tasks.
    pub broken: bool,
}

/// A snapshot of the workers that one [`Launcher`](crate::Launcher) has started.
///
/// ```
/// use concurrent_futures::{Launcher, ProcessPoolExecutor};
///
/// concurrent_futures::init();
/// let executor = ProcessPoolExecutor::builder()
///     .launcher(Launcher::command(["nice"]))
///     .build()?;
/// executor.submit(|()| (), ())?.into_result()?;
/// let nice = &executor.stats().launchers[0];
/// assert_eq!((&*nice.name, nice.pids.len()), ("nice", 1));
/// assert_eq!(nice.left_out, None);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LauncherStats {
    /// The name of the launcher, or the words of its command.
    pub name: String,
    /// The names of the hosts on which the launcher's workers run, without duplicates. Each
    /// name is the name that the host gives itself. The host of a worker that is still
    /// starting may be missing, because the worker has not yet sent the name.
    pub hosts: Vec<String>,
    /// The process ids of the launcher's workers that have started. Each id is the id that
    /// the process has on its own host.
    pub pids: Vec<u32>,
    /// The number of starts that have failed in a row. The count becomes 0 when a worker of
    /// this launcher begins its first task. A failure that comes two minutes or more after
    /// the previous failure counts as the first.
    pub failed_starts: u32,
    /// The reason why the pool starts no more workers by this launcher, or `None` if the
    /// pool still uses the launcher.
    pub left_out: Option<String>,
}
