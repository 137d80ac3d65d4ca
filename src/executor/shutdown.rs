//! [`ShutdownOptions`], and the [`ShutdownReport`] of a shutdown.

use std::time::{Duration, Instant};

use super::stats::Stats;

/// Options for [`Executor::shutdown_with`](crate::Executor::shutdown_with).
///
/// ```
/// use concurrent_futures::{ShutdownOptions, ThreadPoolExecutor};
/// use std::time::{Duration, Instant};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let report = executor.shutdown_with(
///     ShutdownOptions::new()
///         .cancel_pending(true)
///         .timeout(Duration::from_secs(5)),
/// );
/// assert_eq!((report.running, report.queued), (0, 0));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct ShutdownOptions {
    wait: bool,
    cancel_pending: bool,
    timeout: Option<Duration>,
}

impl ShutdownOptions {
    /// Creates options with which the shutdown waits without a limit and cancels no
    /// task.
    ///
    /// ```
    /// use concurrent_futures::ShutdownOptions;
    ///
    /// let options = ShutdownOptions::new();
    /// assert!(options.waits() && !options.cancels_pending());
    /// assert_eq!(options.limit(), None);
    /// ```
    pub fn new() -> Self {
        Self {
            wait: true,
            cancel_pending: false,
            timeout: None,
        }
    }

    /// Sets whether the shutdown waits until the tasks are done and the workers have
    /// ended.
    ///
    /// If the shutdown does not wait, the submitted tasks continue to run, but the process
    /// ends them when `main` returns. Rust has no exit hook that could wait for the tasks.
    /// Dropping the executor after a shutdown without a wait does not wait either.
    ///
    /// ```
    /// use concurrent_futures::ShutdownOptions;
    ///
    /// assert!(!ShutdownOptions::new().wait(false).waits());
    /// ```
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Sets whether the shutdown cancels the tasks that have not begun. The callbacks of
    /// these tasks run in the thread that shuts down the executor. A worker of a thread
    /// pool may also cancel such a task, and then runs the task's callbacks itself.
    ///
    /// ```
    /// use concurrent_futures::ShutdownOptions;
    ///
    /// assert!(ShutdownOptions::new().cancel_pending(true).cancels_pending());
    /// ```
    pub fn cancel_pending(mut self, cancel: bool) -> Self {
        self.cancel_pending = cancel;
        self
    }

    /// Limits the time for which the shutdown waits. Running tasks continue after that
    /// time. The limit does not apply to the callbacks of cancelled tasks: the shutdown
    /// always runs these callbacks to their end.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use concurrent_futures::ShutdownOptions;
    ///
    /// let second = Duration::from_secs(1);
    /// assert_eq!(ShutdownOptions::new().timeout(second).limit(), Some(second));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns `true` if the shutdown waits. Only an implementation of
    /// [`Executor`](crate::Executor) needs this method.
    ///
    /// ```
    /// assert!(concurrent_futures::ShutdownOptions::default().waits());
    /// ```
    pub fn waits(&self) -> bool {
        self.wait
    }

    /// Returns `true` if the shutdown cancels the tasks that have not begun. Only an
    /// implementation of [`Executor`](crate::Executor) needs this method.
    ///
    /// ```
    /// assert!(!concurrent_futures::ShutdownOptions::default().cancels_pending());
    /// ```
    pub fn cancels_pending(&self) -> bool {
        self.cancel_pending
    }

    /// Returns the time limit of the wait, or `None` if the wait has no limit. Only an
    /// implementation of [`Executor`](crate::Executor) needs this method.
    ///
    /// ```
    /// assert!(concurrent_futures::ShutdownOptions::default().limit().is_none());
    /// ```
    pub fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the deadline of a wait that begins now. Returns `None` if the wait has no
    /// limit, or a limit beyond the largest `Instant`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.limit()
            .and_then(|limit| Instant::now().checked_add(limit))
    }
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The result of [`Executor::shutdown_with`](crate::Executor::shutdown_with). The report
/// counts all tasks that were ever submitted to the executor.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::new()?;
/// for n in 0..3 {
///     executor.submit(|n: i32| n * n, n)?.detach();
/// }
/// let report = executor.shutdown();
/// assert_eq!((report.finished, report.cancelled, report.running), (3, 0, 0));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The number of tasks that returned, including the tasks that returned an `Err`.
    pub finished: u64,
    /// The number of tasks that ended with an error, for example because they panicked or
    /// because their worker died. Cancelled tasks are not included.
    pub failed: u64,
    /// The number of tasks that were cancelled.
    pub cancelled: u64,
    /// The number of tasks that still run.
    pub running: usize,
    /// The number of tasks that still wait for a worker. These tasks may run after the
    /// shutdown has returned.
    pub queued: usize,
}

impl From<Stats> for ShutdownReport {
    fn from(stats: Stats) -> Self {
        Self {
            finished: stats.finished,
            failed: stats.failed,
            cancelled: stats.cancelled,
            running: stats.running,
            queued: stats.queued,
        }
    }
}
