//! [`ThreadPoolExecutor`]: the public API of the thread pool.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::pool::Pool;
use crate::error::Error;
use crate::executor::{
    ShutdownOptions, ShutdownReport, Stats, TaskOptions, TrySubmitError, WhenFull, With,
    executor_by_inherent_methods,
};
use crate::future::TaskFuture;
use crate::map::{self, Batch, Map, MapOptions, Part};
use crate::panic::Contained;

/// Runs calls on a thread pool.
///
/// The pool starts a thread when more tasks wait than workers are idle, and never has more
/// than `max_workers` workers. Workers take tasks that are submitted from outside the pool
/// in the order of their submission. A task that another task of the pool submits goes to
/// the worker that runs the submitting task. Each worker usually first takes the newest
/// task that its own tasks submitted. Other workers that have no tasks take the oldest of
/// these tasks. A task that waits for another task of the same pool may run that task
/// itself.
///
/// **Dropping the pool** calls [`shutdown`](Self::shutdown), which waits until all
/// submitted tasks are done. So a block that owns a pool ends only after the pool's tasks.
/// A drop on one of the pool's own workers, or inside a callback of one of the pool's
/// tasks, does not wait. If you have called a shutdown method before, dropping the pool
/// does nothing. If that shutdown did not wait, tasks that still run when `main` returns
/// end with the process. In async code the drop blocks the runtime, and may hang for ever:
/// see [In async code](crate#in-async-code).
///
/// **A task may wait for a task of the same pool.** If the awaited task has not begun, the
/// waiting worker runs it inside the wait. So the pool makes progress even while all its
/// workers wait for tasks of the pool that have not begun. The waiting worker runs no other
/// task, so no unrelated task runs under a lock that the waiting task holds. The waiting
/// task and the awaited task share the thread's state: its thread locals, and the locks
/// that it holds during the wait. A wait with a timeout runs no task, and relies on another
/// worker to run the awaited task. A task that waits for itself, or in a cycle of any
/// number of tasks and threads, gets [`Error::WouldDeadlock`] from `result`, `into_result`
/// and `exception`. A cycle hangs, as with plain threads, if it goes through a wait that
/// the library [does not detect](crate#in-a-task-that-waits), for example the end of a
/// [`scope`](Self::scope), [`wait()`](crate::wait()),
/// [`as_completed`](crate::as_completed), an `.await`, a channel or a lock, or through a
/// task that has not begun. A cycle of the last kind exists, for example, if all workers of
/// each of two pools wait for queued tasks of the other pool.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// fn sum(executor: &Arc<ThreadPoolExecutor>, numbers: Vec<u64>) -> Result<u64, Error> {
///     if numbers.len() < 2 {
///         return Ok(numbers.into_iter().sum());
///     }
///     let (inner, half) = (Arc::clone(executor), numbers[1..].to_vec());
///     let rest = executor.spawn(move || sum(&inner, half))?;
///     Ok(numbers[0] + rest.into_result()??)
/// }
///
/// let executor = Arc::new(ThreadPoolExecutor::with_max_workers(1)?); // one is enough
/// let inner = Arc::clone(&executor);
/// let total = executor.spawn(move || sum(&inner, (1..=10).collect()))?;
/// assert_eq!(total.into_result()??, 55);
/// # Ok::<(), Error>(())
/// ```
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor as PoolExecutor;
///
/// fn area(width: u32, height: u32) -> u32 {
///     width * height
/// }
///
/// let mut areas = Vec::new();
/// {
///     let executor = PoolExecutor::new()?;
///     for n in 1..=3 {
///         areas.push(executor.submit(|(w, h)| area(w, h), (n, 10))?);
///     }
/// } // waits for all of it
/// assert!(areas.iter().all(|area| area.done()));
/// assert_eq!(*areas[2].result()?, 30);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[doc(alias = "ThreadPool")]
pub struct ThreadPoolExecutor {
    pool: Arc<Pool>,
}

/// The future of a task of a [`ThreadPoolExecutor`], or the future that
/// [`promise`](crate::promise()) returns.
///
/// ```
/// use concurrent_futures::{ThreadFuture, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let future: ThreadFuture<usize> = executor.submit(str::len, "four")?;
/// assert_eq!(future.into_result()?, 4);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub type ThreadFuture<T> = TaskFuture<T, ThreadPoolExecutor>;

impl ThreadPoolExecutor {
    pub(super) fn from_pool(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Submits `f(args)` to run on a thread of the pool.
    ///
    /// Like [`Executor::submit`](crate::Executor::submit), but `f` may capture variables,
    /// and no type needs serde. Waits while a bounded queue is full, which blocks the
    /// runtime in async code; see
    /// [`queue_capacity`](crate::ThreadPoolExecutorBuilder::queue_capacity) and
    /// [`try_submit`](Self::try_submit). Submitting an `async fn` runs nothing, because the
    /// pool never polls [the future that the `async fn` returns](crate#in-async-code). A
    /// task may run [inside the wait of another task](crate#in-a-task-that-waits), and then
    /// shares that task's thread locals and locks.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let factor = 3;
    /// let future = executor.submit(move |n| factor * n, 14)?;
    /// assert_eq!(*future.result()?, 42);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::ShutDown`] after a shutdown, [`Error::Broken`] if the pool is
    /// broken, and [`Error::Spawn`] if the pool has no thread and cannot start one. Also
    /// returns an error in a [forked child](crate#after-a-fork). In each case `f` does not
    /// run, and `f` and `args` are dropped.
    pub fn submit<F, A, R>(&self, f: F, args: A) -> Result<ThreadFuture<R>, Error>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.submit_unless_full(f, args, WhenFull::Wait)
    }

    fn submit_unless_full<F, A, R>(
        &self,
        f: F,
        args: A,
        when_full: WhenFull,
    ) -> Result<ThreadFuture<R>, Error>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        match self.pool.submit(f, args, when_full) {
            Ok(completion) => Ok(TaskFuture::new(completion)),
            Err(refused) => Err(refused.drop_call()),
        }
    }

    /// Like [`submit`](Self::submit), but never waits for room in a bounded queue, and
    /// returns `f` and `args` if the pool refuses the call.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::builder()
    ///     .max_workers(1)
    ///     .queue_capacity(1)
    ///     .build()?;
    /// let (begun, beginning) = mpsc::channel();
    /// let (gate, closed) = mpsc::channel::<()>();
    /// executor.spawn(move || (begun.send(()), closed.recv()))?.detach();
    /// beginning.recv()?; // the worker is held
    /// executor.submit(str::len, "the queue has room for one")?.detach();
    ///
    /// let refused = executor.try_submit(str::len, "and not for two").unwrap_err();
    /// assert!(matches!(refused.error, Error::QueueFull));
    /// let (f, args) = refused.call;
    /// drop(gate);
    /// assert_eq!(executor.submit(f, args)?.into_result()?, 15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::QueueFull`] if the queue is full, and the errors of
    /// [`submit`](Self::submit).
    pub fn try_submit<F, A, R>(
        &self,
        f: F,
        args: A,
    ) -> Result<ThreadFuture<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.pool
            .submit(f, args, WhenFull::Refuse)
            .map(TaskFuture::new)
    }

    /// Submits `f()`: [`submit`](Self::submit) without arguments.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let text = String::from("captured");
    /// let future = executor.spawn(move || text.len())?;
    /// assert_eq!(*future.result()?, 8);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    pub fn spawn<F, R>(&self, f: F) -> Result<ThreadFuture<R>, Error>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.submit(|()| f(), ())
    }

    /// Submits `f` for each item; see [`Executor::map`](crate::Executor::map) and [`Map`].
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let factor = 10;
    /// let mut tens = executor.map(move |n: i32| factor * n, [1, 2, 3])?;
    /// assert_eq!(tens.next().unwrap()?, 10);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit). On an error, `map` cancels the tasks
    /// that it has already submitted and that have not begun.
    pub fn map<F, A, R, I>(&self, f: F, items: I) -> Result<Map<'static, R>, Error>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        map::eager(
            MapOptions::new(),
            self.max_workers(),
            items,
            self.submit_batches(f),
        )
    }

    /// Like [`map`](Self::map), with [`MapOptions`]. Each chunk of items is one task.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let chunks = MapOptions::new().chunk_size(100);
    /// let sum: Result<u64, _> = executor.map_with(chunks, |n: u64| n, 0..1000)?.sum();
    /// assert_eq!(sum?, 499_500);
    /// assert_eq!(executor.shutdown().finished, 10);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] for a chunk size or a buffer size of 0, and the
    /// errors of [`submit`](Self::submit).
    pub fn map_with<'a, F, A, R, I>(
        &'a self,
        options: MapOptions,
        f: F,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        map::with(options, self.max_workers(), items, self.submit_batches(f))
    }

    fn submit_batches<F, A, R>(
        &self,
        f: F,
    ) -> impl FnMut(Batch<A>, Option<Instant>) -> Result<Part<R>, Error> + use<'_, F, A, R>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        let f = Arc::new(Contained::new(f));
        move |batch, deadline| {
            let f = Arc::clone(&f);
            let when_full = WhenFull::wait_until(deadline);
            match batch {
                Batch::One(item) => {
                    let call = move |item| f.get()(item);
                    self.submit_unless_full(call, item, when_full)
                        .map(Part::one)
                }
                Batch::Many(items, timer) => {
                    let size = items.len();
                    let call = move |items| map::each(f.get(), items, timer.as_ref());
                    let submitted = self.submit_unless_full(call, items, when_full);
                    submitted.map(|future| Part::many(future, size))
                }
            }
        }
    }

    /// Returns a view of this executor. Each task that is submitted through the view has
    /// the given options; see [`With`].
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, TaskOptions};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let future = executor.with(TaskOptions::new().name("sum")).spawn(|| 1 + 1)?;
    /// assert_eq!(future.into_result()?, 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn with(&self, options: TaskOptions) -> With<'_, Self> {
        With::new(self, options)
    }

    /// Refuses new tasks, and waits until all submitted tasks are done and all threads
    /// have ended; see [`shutdown_with`](Self::shutdown_with).
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let future = executor.spawn(|| 1)?;
    /// assert_eq!(executor.shutdown().finished, 1);
    /// assert!(future.done());
    /// assert!(matches!(executor.spawn(|| 2), Err(Error::ShutDown)));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "join")]
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// Refuses new tasks. Depending on `options`, also cancels the pending tasks, and waits
    /// until all threads have ended.
    ///
    /// Any thread may call this method, any number of times. A call inside one of the
    /// pool's own tasks, or inside a callback of such a task, does not wait.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use concurrent_futures::{ShutdownOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(1)?;
    /// let (begun, beginning) = mpsc::channel();
    /// let (gate, closed) = mpsc::channel::<()>();
    /// executor.spawn(move || (begun.send(()), closed.recv()))?.detach();
    /// beginning.recv()?;
    /// let second = executor.spawn(|| 2)?;
    ///
    /// let hurry = ShutdownOptions::new().wait(false).cancel_pending(true);
    /// let report = executor.shutdown_with(hurry);
    /// assert_eq!((report.running, report.cancelled), (1, 1));
    /// assert!(second.cancelled());
    /// # drop(gate);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        self.pool.shutdown(options)
    }

    /// Returns the pool's counts. Counts that change during the call may not match each
    /// other.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// assert_eq!(executor.stats().workers, 0);
    /// executor.spawn(|| ())?.into_result()?;
    /// let stats = executor.stats();
    /// assert_eq!((stats.workers, stats.idle, stats.queued), (1, 1, 0));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// Returns the largest number of threads that the pool may have.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// assert_eq!(ThreadPoolExecutor::with_max_workers(2)?.max_workers(), 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn max_workers(&self) -> usize {
        self.pool.config().max_workers
    }
}

executor_by_inherent_methods!(ThreadPoolExecutor, ThreadFuture);

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        if !self.pool.is_shut_down() {
            self.shutdown();
        }
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("max_workers", &self.max_workers())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
