//! [`TaskOptions`], and [`With`], a view of an executor that applies the options to each
//! task.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Executor, ShutdownOptions, ShutdownReport, Stats};
use crate::error::Error;

/// Options for a single task. [`With`] submits tasks with these options.
///
/// An executor never ignores an option: `submit` returns an error if the executor does not
/// support the option. The thread pool and the inline executor support only the name. These
/// two have no time limits, because Rust cannot end a function that runs in this process.
/// They have no retries, because a task can be lost only if its worker is another process.
/// An MPI pool also supports only the name. A
/// [`ProcessPoolExecutor`](crate::ProcessPoolExecutor) supports all options.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{Error, TaskOptions, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let limited = TaskOptions::new().time_limit(Duration::from_secs(1));
/// let refused = executor.with(limited).spawn(|| 1).unwrap_err();
/// assert!(matches!(refused, Error::InvalidArgument(_)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct TaskOptions {
    name: Option<Arc<str>>,
    time_limit: Option<Duration>,
    retries: Option<u32>,
}

impl TaskOptions {
    /// Creates options without a name, a time limit or retries.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let plain = executor.with(TaskOptions::new()).spawn(|| 1)?;
    /// assert_eq!(plain.into_result()?, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the task. Errors show this name.
    ///
    /// ```
    /// use concurrent_futures::{Error, TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let named = executor.with(TaskOptions::new().name("thumb"));
    /// let future = named.submit(|n: i32| assert!(n > 0), -1)?;
    /// let error = future.exception().unwrap();
    /// assert!(error.to_string().starts_with("the task thumb panicked"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Limits the run time of the task's function.
    ///
    /// If the function runs longer, the pool kills the task's worker, and the task fails
    /// with [`Error::TimeLimit`](crate::Error::TimeLimit). The limit is not exact: the
    /// function may run a millisecond longer, and longer still on a busy machine. The time
    /// in which a panic prints its message and its backtrace, or in which a result is
    /// encoded, counts as well. The pool does not kill processes that the task has started
    /// ([recipe](crate::recipes#a-hard-limit-around-foreign-code)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::TaskOptions;
    ///
    /// let options = TaskOptions::new().time_limit(Duration::from_secs(5));
    /// assert_ne!(options, TaskOptions::new());
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Sets how many times the pool may begin the task again if the task's worker dies. Set
    /// retries only for a task that may run twice.
    ///
    /// ```
    /// use concurrent_futures::TaskOptions;
    ///
    /// assert_ne!(TaskOptions::new().retries(2), TaskOptions::new());
    /// ```
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = Some(times);
        self
    }

    /// Returns the three options: the name, the time limit and the number of retries.
    pub(crate) fn parts(&self) -> (Option<Arc<str>>, Option<Duration>, Option<u32>) {
        (self.name.clone(), self.time_limit, self.retries)
    }

    /// Returns the name, or an error if another option is set. A task in this process
    /// supports only the name.
    pub(crate) fn in_process(&self) -> Result<Option<Arc<str>>, Error> {
        self.refuse_all_but_the_name(
            "time_limit: a function that runs in this process cannot be ended; \
             use a `ProcessPoolExecutor`, or `result_timeout` to end only the wait",
            "retries: a task in this process is not lost with its worker; \
             leave it at 0",
        )?;
        Ok(self.name.clone())
    }

    /// Checks that no option except the name is set. A task in a rank (a process) of an MPI
    /// job supports only the name.
    #[cfg(feature = "mpi")]
    pub(crate) fn in_rank(&self) -> Result<(), Error> {
        self.refuse_all_but_the_name(
            "time_limit: a rank of an MPI job cannot be ended alone; use `result_timeout` to end the \
             wait",
            "retries: an MPI job ends with its first rank; leave it at 0",
        )
    }

    /// Returns an error with the text `time_limit` if the options have a time limit, or
    /// with the text `retries` if they have retries.
    fn refuse_all_but_the_name(&self, time_limit: &str, retries: &str) -> Result<(), Error> {
        if self.time_limit.is_some() {
            return Err(Error::invalid_argument(time_limit));
        }
        if self.retries.is_some_and(|times| times > 0) {
            return Err(Error::invalid_argument(retries));
        }
        Ok(())
    }
}

/// A view of an executor. All tasks that are submitted through the view have the view's
/// [`TaskOptions`].
///
/// The view borrows the executor, and is itself an [`Executor`](crate::Executor). Use a
/// view to set options for one call or for a part of a program. The view's `shutdown` shuts
/// down the borrowed executor.
///
/// ```
/// use concurrent_futures::{Error, Executor, Future, TaskOptions, ThreadPoolExecutor};
///
/// fn half<E: Executor>(executor: E, n: i32) -> Result<i32, Error> {
///     executor.submit(|n: i32| n / 2, n)?.into_result()
/// }
///
/// let executor = ThreadPoolExecutor::new()?;
/// let view = executor.with(TaskOptions::new().name("half"));
/// assert_eq!(half(&view, 84)?, 42);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a view does nothing unless something is submitted to it"]
pub struct With<'a, E> {
    pub(crate) executor: &'a E,
    pub(crate) options: TaskOptions,
}

impl<'a, E> With<'a, E> {
    pub(crate) fn new(executor: &'a E, options: TaskOptions) -> Self {
        Self { executor, options }
    }
}

impl<E: Executor> With<'_, E> {
    /// Calls [`Executor::shutdown`] of the borrowed executor.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(2)?;
    /// let view = executor.with(TaskOptions::new().name("length"));
    /// assert_eq!(view.submit(str::len, "four")?.into_result()?, 4);
    /// assert_eq!(view.shutdown().finished, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn shutdown(&self) -> ShutdownReport {
        self.executor.shutdown()
    }

    /// Calls [`Executor::shutdown_with`] of the borrowed executor.
    ///
    /// ```
    /// use concurrent_futures::{ShutdownOptions, TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(2)?;
    /// let view = executor.with(TaskOptions::new().name("length"));
    /// assert_eq!(view.submit(str::len, "four")?.into_result()?, 4);
    /// assert_eq!(view.shutdown_with(ShutdownOptions::new()).finished, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        self.executor.shutdown_with(options)
    }

    /// Returns [`Executor::stats`] of the borrowed executor.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(2)?;
    /// let view = executor.with(TaskOptions::new().name("length"));
    /// assert_eq!(view.submit(str::len, "four")?.into_result()?, 4);
    /// assert_eq!(view.stats().finished, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.executor.stats()
    }

    /// Returns [`Executor::max_workers`] of the borrowed executor.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(2)?;
    /// let view = executor.with(TaskOptions::new().name("length"));
    /// assert_eq!(view.submit(str::len, "four")?.into_result()?, 4);
    /// assert_eq!(view.max_workers(), 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn max_workers(&self) -> usize {
        self.executor.max_workers()
    }
}

impl<E: fmt::Debug> fmt::Debug for With<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("With")
            .field("executor", self.executor)
            .field("options", &self.options)
            .finish()
    }
}
