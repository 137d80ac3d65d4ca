//! [`ProcessPoolExecutor`]: the public API of the process pool.

use std::fmt;
use std::sync::Arc;

use super::parent::Pool;
use super::submitter::Submitter;
use crate::error::Error;
use crate::executor::{
    Portable, ShutdownOptions, ShutdownReport, Stats, TaskOptions, TrySubmitError, With,
    executor_by_inherent_methods,
};
use crate::future::TaskFuture;
use crate::map::{Map, MapOptions};

/// Runs calls in worker processes. Each worker runs the same program as this process.
///
/// A process pool is for code that crashes, leaks memory, hangs, or does not support
/// threads. By default a worker's failure affects neither this process nor the tasks of
/// other workers. If a worker dies, the task that it runs fails with [`Error::WorkerDied`],
/// which describes the death, or is run again if it has
/// [retries](crate::ProcessPoolExecutorBuilder::retries). A new worker replaces the dead
/// worker if more tasks wait.
///
/// Functions are sent to workers as addresses, and values as bytes. So
/// [`submit`](Self::submit) takes a function, or a closure that captures nothing, and
/// arguments and results must be serializable. [`Portable`] lists the types that can be
/// sent, and the types that need a wrapper. Strings, and vectors of primitive numbers, are
/// copied as blocks of bytes. A vector of primitive numbers that has at least 64 KiB
/// travels faster as the whole argument or the whole result than as a part of another
/// value. A task prints to the standard output of this process, or in a worker of a
/// [`Launcher`](crate::Launcher) to the error output of this process. The standard input of
/// a task is empty.
///
/// The pool starts a worker when a task is submitted and no worker is idle. The pool never
/// has more than `max_workers` workers. Your program needs no extra code to have workers:
/// any program that links this crate can be started as a worker, tests and examples
/// included. If the feature `worker-hook` is off, or if the pool has launchers, `main` has
/// to begin with `concurrent_futures::init()`.
///
/// **A worker has nothing that `main` set up**: a worker is the same program started again,
/// and runs nothing of `main`, or only the part before `init`. In a worker, statics,
/// loggers and panic hooks have the state that they have at the start of a program. The
/// command-line arguments of this process are not passed to workers. Set up the state that
/// tasks need with [`initializer`](crate::ProcessPoolExecutorBuilder::initializer), or pass
/// that state as an argument.
///
/// ```
/// use std::sync::OnceLock;
/// use concurrent_futures::{Error, ProcessPoolExecutor};
///
/// static GREETING: OnceLock<String> = OnceLock::new();
///
/// fn set_up(greeting: String) {
///     GREETING.set(greeting).expect("each worker is set up once");
/// }
///
/// fn greet(name: String) -> Option<String> {
///     Some(format!("{} {name}", GREETING.get()?))
/// }
///
/// GREETING.set("Hello".to_owned()).expect("it is set here only");
/// let bare = ProcessPoolExecutor::new()?;
/// assert_eq!(bare.submit(greet, "you".to_owned())?.into_result()?, None);
/// let executor = ProcessPoolExecutor::builder().initializer(set_up, "Hello".to_owned()).build()?;
/// let greeted = executor.submit(greet, "you".to_owned())?;
/// assert_eq!(greeted.into_result()?.as_deref(), Some("Hello you"));
/// # Ok::<(), Error>(())
/// ```
///
/// By default a worker starts in the current directory that this process has at the start
/// of the worker. [`current_dir`](crate::ProcessPoolExecutorBuilder::current_dir) sets
/// another directory.
///
/// **Signals.** A worker that no launcher has started belongs to the process group of this
/// process. Workers ignore SIGINT, which Ctrl-C sends to the whole group. If SIGTERM or
/// SIGHUP is sent to the whole group, the workers end, and their tasks fail with
/// [`Error::WorkerDied`], even if this process handles the signal. So send SIGTERM or
/// SIGHUP to this process alone: the workers end when this process ends. A worker ignores
/// SIGTERM or SIGHUP if this process ignored the same signal when the worker started. If
/// this process ignores SIGCHLD, its workers ignore SIGCHLD too, and a task cannot wait for
/// processes that the task starts.
///
/// **Descriptors.** A pool keeps descriptors open in this process and in its workers. A
/// program that closes descriptors that it did not open (`close_range`, a library that
/// makes a daemon) must do this before it creates the pool. If the pool's descriptors are
/// closed, its tasks may never become done.
///
/// **Panics.** Printing the panic message and its backtrace is part of the task's run time,
/// and counts against the task's time limit.
///
/// **Dropping the pool** calls [`shutdown`](Self::shutdown), which waits until all
/// submitted tasks are done. So a block in which a pool is created waits at its end for the
/// pool's tasks. Dropping the pool inside a callback of one of its tasks does not wait.
/// After an explicit shutdown the drop does nothing, unless the pool has killed or
/// terminated all its workers ([`kill_workers`](Self::kill_workers)): the drop then waits
/// until they have ended. If the explicit shutdown did not wait, unfinished tasks are
/// killed when `main` returns. The workers end when this process ends, for any reason. In
/// async code the drop blocks the runtime, and may hang for ever: see
/// [In async code](crate#in-async-code).
///
/// **Callbacks**, and the `Deserialize` of results, run on one thread of the pool, except
/// in the cases below. While a callback or a `Deserialize` runs on this thread, another
/// task of the pool becomes done only if a thread cancels it, or already waits for it
/// without a time limit when its answer arrives. So keep callbacks short. If such a
/// callback waits without a time limit for an unfinished task of the pool, the wait
/// returns [`Error::WouldDeadlock`], and with a time limit it ends when the limit is
/// over. In such a callback, `wait`, `as_completed` and `completions` without a time
/// limit do not wait for such a task: they return its future, and `result` of this future
/// returns [`Error::WouldDeadlock`].
///
/// The callbacks of a cancelled task run on the thread that cancels it, and a callback that
/// is added to a done task runs on the thread that adds it. The `Deserialize` of a small
/// result may also run on another thread: a thread that waits for the task without a time
/// limit may decode the result itself. The `Deserialize` then sees the thread locals of the
/// waiting thread, and hangs if it takes a lock that the waiting thread holds.
///
/// If a task creates a process pool, the new pool has its own workers. So if the tasks of a
/// pool in a `static` use this `static`, each worker creates a pool of its own.
///
/// ```
/// use concurrent_futures::{Error, ProcessPoolExecutor};
///
/// fn careless(n: u32) -> u32 {
///     if n == 2 {
///         std::process::abort(); // not even a panic
///     }
///     10 * n
/// }
///
/// let executor = ProcessPoolExecutor::with_max_workers(2)?;
/// let futures = [1, 2, 3].map(|n| executor.submit(careless, n));
/// let [one, two, three] = futures.map(|future| future.expect("the pool is open"));
/// assert_eq!((*one.result()?, *three.result()?), (10, 30));
/// let Some(Error::WorkerDied(death)) = two.exception() else {
///     unreachable!("it aborts")
/// };
/// assert_eq!(death.signal(), Some("SIGABRT"));
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "ProcessPool")]
pub struct ProcessPoolExecutor {
    pool: Arc<Pool>,
}

/// The future of a task of a [`ProcessPoolExecutor`].
///
/// [`running`](TaskFuture::running) is `true` from the time at which this process reads the
/// worker's report of the start until the task is done, also while the task waits to be run
/// again. `cancel` returns `true` if no worker has taken the task. With
/// [`Transport::Socket`](crate::Transport::Socket) or `max_tasks_per_child`, a worker has
/// taken a task as soon as the pool has sent the task to it. A worker that a
/// [`Launcher`](crate::Launcher) has started is an exception: `cancel` asks this worker to
/// give the task back, and returns `true` if the task has not begun.
///
/// ```
/// use concurrent_futures::{ProcessFuture, ProcessPoolExecutor};
///
/// let executor = ProcessPoolExecutor::new()?;
/// let future: ProcessFuture<u32> = executor.submit(|n| n + 1, 41)?;
/// assert_eq!(future.into_result()?, 42);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub type ProcessFuture<T> = TaskFuture<T, ProcessPoolExecutor>;

impl ProcessPoolExecutor {
    pub(super) fn from_pool(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// Submits `f(args)` to run in a process of the pool.
    ///
    /// The arguments are encoded before `submit` returns. If the pool has a
    /// [`queue_capacity`](crate::ProcessPoolExecutorBuilder::queue_capacity), `submit`
    /// waits while the queue is full. In [async code](crate#in-async-code) this wait blocks
    /// the runtime. [`try_submit`](Self::try_submit) never waits. An `async fn` does not
    /// compile as `f`, because the future that the `async fn` returns cannot be serialized.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let future = executor.submit(|text: String| text.len(), "four".to_owned())?;
    /// assert_eq!(*future.result()?, 4);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::ShutDown`] or [`Error::Broken`] if the pool accepts no tasks,
    /// [`Error::Encode`] if `args` cannot be encoded, [`Error::NotShippable`] if `f` is
    /// code of a shared library and not of the main program, [`Error::Spawn`] if the pool
    /// cannot start its own threads, and [`Error::Other`] in a fork of the process that
    /// made the pool. If `submit` returns an error, the call does not run.
    ///
    /// # Panics
    ///
    /// Panics if the `Serialize` of `args` panics. The call does not run then.
    pub fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<ProcessFuture<R>, Error>
    where
        A: Portable,
        R: Portable,
    {
        self.submitter().submit(f, args)
    }

    /// Submits `f(args)` like [`submit`](Self::submit), but never waits for room in the
    /// queue. If the pool refuses the call, the error contains `f` and `args`.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// executor.shutdown();
    /// let refused = executor.try_submit(|n: u32| n + 1, 41).unwrap_err();
    /// assert!(matches!(refused.error, Error::ShutDown));
    /// assert_eq!(refused.call.1, 41);
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
    ) -> Result<ProcessFuture<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable,
    {
        self.submitter().try_submit(f, args)
    }

    /// Runs `f` on each item; see [`Executor::map`](crate::Executor::map) and [`Map`].
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let mut tens = executor.map(|n: i32| 10 * n, [1, 2, 3])?;
    /// assert_eq!(tens.next().unwrap()?, 10);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit). If the submission of an item fails,
    /// `map` cancels the tasks that it has already submitted.
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

    /// Runs `f` on each item like [`map`](Self::map), but with [`MapOptions`]. Each chunk
    /// of items is one task.
    ///
    /// If `f` panics for an item, or an item cannot be decoded, only this item fails. If
    /// `f` ends the worker, all items of the chunk fail, unless the task has retries.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let chunks = MapOptions::new().chunk_size(100);
    /// let sum: Result<u64, _> = executor.map_with(chunks, |n: u64| n, 0..1000)?.sum();
    /// assert_eq!(sum?, 499_500);
    /// assert_eq!(executor.shutdown().finished, 10);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if a size in `options` is 0, and the errors of
    /// [`submit`](Self::submit).
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
    /// options; see [`With`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, ProcessPoolExecutor, TaskOptions};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let hasty = TaskOptions::new().time_limit(Duration::from_millis(50));
    /// let future = executor.with(hasty).submit(|()| -> () { loop {} }, ())?;
    /// assert!(matches!(future.exception(), Some(Error::TimeLimit(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with(&self, options: TaskOptions) -> With<'_, Self> {
        With::new(self, options)
    }

    /// Refuses new tasks, and waits until all submitted tasks are done and all worker
    /// processes have ended.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let future = executor.submit(|n: u8| n, 1)?;
    /// assert_eq!(executor.shutdown().finished, 1);
    /// assert!(future.done());
    /// assert!(matches!(executor.submit(|n: u8| n, 2), Err(Error::ShutDown)));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "join")]
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// Refuses new tasks. `options` say if pending tasks are cancelled, and if the call
    /// waits.
    ///
    /// Any thread may call this method, any number of times. Inside a callback of one of
    /// the pool's tasks, or the `Deserialize` of a result, the call does not wait.
    ///
    /// ```
    /// use concurrent_futures::{ProcessPoolExecutor, ShutdownOptions};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let future = executor.submit(|n: u8| n, 1)?;
    /// executor.shutdown_with(ShutdownOptions::new().wait(false));
    /// assert_eq!(*future.result()?, 1); // the work goes on
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        self.pool.shutdown(options)
    }

    /// Kills all workers at once, and shuts the pool down.
    ///
    /// Tasks that have begun, and tasks that a worker has, end with [`Error::Killed`]. All
    /// other tasks are cancelled, and new tasks are refused. `kill_workers` does not wait
    /// until the processes have ended, but [`shutdown`](Self::shutdown) does.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let endless = executor.submit(|()| -> () { loop {} }, ())?;
    /// while !endless.running() {
    ///     std::thread::yield_now();
    /// }
    /// executor.kill_workers();
    /// assert!(matches!(endless.exception(), Some(Error::Killed(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn kill_workers(&self) {
        self.pool.stop_workers(true);
    }

    /// Sends `SIGTERM` to all workers, and shuts the pool down like
    /// [`kill_workers`](Self::kill_workers).
    ///
    /// A task may have a handler for `SIGTERM`, or ignore `SIGTERM`. If a task that handles
    /// or ignores `SIGTERM` returns, its future gets the returned value.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// executor.terminate_workers(); // none yet
    /// assert!(matches!(executor.submit(|()| (), ()), Err(Error::ShutDown)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn terminate_workers(&self) {
        self.pool.stop_workers(false);
    }

    /// Returns a snapshot of the pool's counts.
    ///
    /// This call first reads the messages that have arrived from the workers. So a task
    /// counts as running from its first instruction, unless a
    /// [`Launcher`](crate::Launcher) has started its worker.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// assert_eq!(executor.stats().workers, 0);
    /// let pid = executor.submit(|()| std::process::id(), ())?.into_result()?;
    /// let stats = executor.stats();
    /// assert_eq!((stats.workers, stats.idle, stats.queued), (1, 1, 0));
    /// assert_eq!(stats.pids, [pid]);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// Returns the largest number of worker processes that the pool may have.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// assert_eq!(ProcessPoolExecutor::with_max_workers(2)?.max_workers(), 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn max_workers(&self) -> usize {
        self.pool.config().max_workers
    }

    fn submitter(&self) -> Submitter<'_> {
        Submitter::new(&self.pool)
    }

    /// Returns the [`Submitter`] of a view ([`With`]) that has these options.
    pub(super) fn submitter_with(&self, options: &TaskOptions) -> Submitter<'_> {
        Submitter::with(&self.pool, options)
    }
}

executor_by_inherent_methods!(ProcessPoolExecutor, ProcessFuture);

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        if !self.pool.needs_no_shutdown() {
            self.shutdown();
        }
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor")
            .field("max_workers", &self.max_workers())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
