//! [`InlineExecutor`]: runs each call inside `submit`.

mod builder;
mod with;

use std::fmt;

pub use self::builder::InlineExecutorBuilder;

use crate::completion::{Completion, NO_POOL, outside_wakers, without_callback_queue};
use crate::error::Error;
use crate::executor::{
    ShutdownOptions, ShutdownReport, Stats, TaskOptions, TrySubmitError, With,
    executor_by_inherent_methods,
};
use crate::future::TaskFuture;
use crate::map::{self, Map, MapOptions};
use crate::panic::{Contained, catch, unnamed, watch_panics};
use crate::sync::Mutex;
use crate::sys::fork::Origin;
use crate::worker::{self, PoolKind, Worker};

/// Runs each call at once, on the thread that submits the call.
///
/// With this executor, a program that uses executors becomes synchronous, for tests,
/// debugging and comparison. A future is done when `submit` returns it.
///
/// **Dropping the executor** does nothing, because all its tasks are done.
///
/// ```
/// use concurrent_futures::InlineExecutor as PoolExecutor;
///
/// let executor = PoolExecutor::new()?;
/// let future = executor.submit(str::len, "four")?;
/// assert!(future.done());
/// assert_eq!(*future.result()?, 4);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub struct InlineExecutor {
    state: Mutex<ExecutorState>,
    record_timing: bool,
    /// The process that created the executor. In a forked child, the executor's lock may be
    /// held for ever by a thread that only the parent has.
    origin: Origin,
}

/// The future of a task of an [`InlineExecutor`]. The future is done from the start.
///
/// ```
/// use concurrent_futures::{InlineExecutor, InlineFuture};
///
/// let future: InlineFuture<i32> = InlineExecutor::new()?.submit(|n| n + 1, 1)?;
/// assert_eq!(future.into_result()?, 2);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub type InlineFuture<T> = TaskFuture<T, InlineExecutor>;

#[derive(Debug, Default)]
struct ExecutorState {
    shut_down: bool,
    running: usize,
    finished: u64,
    failed: u64,
}

impl InlineExecutor {
    /// Creates an executor.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// assert_eq!(InlineExecutor::new()?.max_workers(), 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Spawn`] if the system has no memory for the handler by which the
    /// executor detects that its process forked.
    pub fn new() -> Result<Self, Error> {
        watch_panics();
        Ok(Self {
            state: Mutex::new(ExecutorState::default()),
            record_timing: false,
            origin: Origin::new().map_err(Error::spawn)?,
        })
    }

    /// Runs `f(args)`, and then returns the future of this call, which is done.
    ///
    /// A panic of `f` becomes the future's error, as on every executor.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::new()?;
    /// let mut seen = Vec::new(); // nothing needs to be `Send`
    /// executor.submit(|n| seen.push(n), 3)?.into_result()?;
    /// assert_eq!(seen, [3]);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::ShutDown`] after a shutdown, and another error in a
    /// [forked child](crate#after-a-fork).
    pub fn submit<F, A, R>(&self, f: F, args: A) -> Result<InlineFuture<R>, Error>
    where
        F: FnOnce(A) -> R,
        R: 'static,
    {
        match self.try_submit(f, args) {
            Ok(future) => Ok(future),
            Err(refused) => Err(refused.drop_call()),
        }
    }

    /// Like [`submit`](Self::submit), but returns `f` and `args` if the executor refuses
    /// the call.
    ///
    /// ```
    /// use concurrent_futures::{Error, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// executor.shutdown();
    /// let refused = executor.try_submit(str::len, "four").unwrap_err();
    /// assert!(matches!(refused.error, Error::ShutDown));
    /// assert_eq!(refused.call.1, "four");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    pub fn try_submit<F, A, R>(
        &self,
        f: F,
        args: A,
    ) -> Result<InlineFuture<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R,
        R: 'static,
    {
        if let Err(error) = self.begin() {
            return Err(TrySubmitError::new(error, f, args));
        }
        let completion = Completion::new(NO_POOL);
        if self.record_timing {
            completion.record_timing();
            completion.start();
        }
        let outcome = self.inside(|| catch(|| f(args)).map_err(Error::Panicked));
        self.end(outcome.is_err());
        // No other thread has the task yet. So `settle` accepts the outcome, and the
        // returned notification has no callbacks.
        let _ = completion.settle(outcome);
        Ok(TaskFuture::new(completion))
    }

    /// Calls `run` as a worker of this executor.
    fn inside<R>(&self, run: impl FnOnce() -> R) -> R {
        let _inside = worker::enter(Worker::new(PoolKind::Inline, 0, "InlineExecutor"));
        // A named task may have submitted this call. Its name is not the name of this call.
        outside_wakers(|| without_callback_queue(|| unnamed(run)))
    }

    /// Counts one more task, unless the executor was shut down.
    fn begin(&self) -> Result<(), Error> {
        if !self.origin.is_here() {
            return Err(Error::forked_pool());
        }
        let mut state = self.state.lock();
        if state.shut_down {
            return Err(Error::ShutDown);
        }
        state.running += 1;
        Ok(())
    }

    fn end(&self, failed: bool) {
        if !self.origin.is_here() {
            // The call forked the process, and this is the child.
            return;
        }
        let mut state = self.state.lock();
        state.running -= 1;
        if failed {
            state.failed += 1;
        } else {
            state.finished += 1;
        }
    }

    /// Runs `f()`, and then returns its future: [`submit`](Self::submit) without arguments.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let future = InlineExecutor::new()?.spawn(|| 6 * 7)?;
    /// assert_eq!(*future.result()?, 42);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    pub fn spawn<F, R>(&self, f: F) -> Result<InlineFuture<R>, Error>
    where
        F: FnOnce() -> R,
        R: 'static,
    {
        self.submit(|()| f(), ())
    }

    /// Runs `f` on each item, and then returns the results; see
    /// [`Executor::map`](crate::Executor::map).
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::new()?;
    /// let sum: Result<i32, _> = executor.map(|n| n * n, [1, 2, 3])?.sum();
    /// assert_eq!(sum?, 14);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    pub fn map<F, A, R, I>(&self, f: F, items: I) -> Result<Map<'static, R>, Error>
    where
        F: Fn(A) -> R,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let f = Contained::new(f);
        let submit = map::one_by_one(|item| self.submit(f.get(), item));
        map::eager(MapOptions::new(), self.max_workers(), items, submit)
    }

    /// Like [`map`](Self::map), with [`MapOptions`]. The chunk size has no effect, because
    /// this executor runs each item as one task.
    ///
    /// ```
    /// use concurrent_futures::{InlineExecutor, MapOptions};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let lazy = MapOptions::new().buffer_size(1);
    /// let mut squares = executor.map_with(lazy, |n: u64| n * n, 0..)?;
    /// assert_eq!(squares.nth(5).unwrap()?, 25);
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
        F: Fn(A) -> R + 'a,
        A: 'a,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        let f = Contained::new(f);
        let submit = map::one_by_one(move |item| self.submit(f.get(), item));
        map::with(options.unchunked()?, self.max_workers(), items, submit)
    }

    /// Returns a view of this executor. Each task that is submitted through the view has
    /// the given options; see [`With`].
    ///
    /// ```
    /// use concurrent_futures::{InlineExecutor, TaskOptions};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let future = executor.with(TaskOptions::new().name("sum")).spawn(|| 1 + 1)?;
    /// assert_eq!(future.into_result()?, 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn with(&self, options: TaskOptions) -> With<'_, Self> {
        With::new(self, options)
    }

    /// Refuses tasks from now on. Does not wait, not even for a call that another thread
    /// makes at the moment.
    ///
    /// ```
    /// use concurrent_futures::{Error, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// executor.shutdown();
    /// assert!(matches!(executor.spawn(|| 1), Err(Error::ShutDown)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// Does the same as [`shutdown`](Self::shutdown), because no option has an effect on
    /// this executor.
    ///
    /// ```
    /// use concurrent_futures::{InlineExecutor, ShutdownOptions};
    ///
    /// let executor = InlineExecutor::new()?;
    /// executor.spawn(|| 1)?.detach();
    /// let report = executor.shutdown_with(ShutdownOptions::new().wait(false));
    /// assert_eq!(report.finished, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn shutdown_with(&self, _options: ShutdownOptions) -> ShutdownReport {
        if self.origin.is_here() {
            self.state.lock().shut_down = true;
        }
        self.stats().into()
    }

    /// Returns counts of the tasks so far. The submitting thread counts as the only worker.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::new()?;
    /// executor.spawn(|| 1)?.detach();
    /// assert_eq!(executor.stats().finished, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        if !self.origin.is_here() {
            return Stats::default();
        }
        let state = self.state.lock();
        Stats {
            workers: 1,
            idle: usize::from(state.running == 0),
            running: state.running,
            finished: state.finished,
            failed: state.failed,
            ..Stats::default()
        }
    }

    /// Returns 1, because the only worker is the submitting thread.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// assert_eq!(InlineExecutor::new()?.max_workers(), 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn max_workers(&self) -> usize {
        1
    }
}

executor_by_inherent_methods!(InlineExecutor, InlineFuture);

impl fmt::Debug for InlineExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineExecutor")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
