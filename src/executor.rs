//! The trait [`Executor`], and the plain values that go in and out of one.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::future::Future;
use crate::map::{self, Map, MapOptions};
use crate::panic::contain_drop;

/// What a value must be able to do to reach *any* executor.
///
/// A name for the bounds, implemented for all that meet them. A task that runs
/// in this process needs less: see the inherent methods of the executors.
///
/// ```
/// fn needs<T: concurrent_futures::Portable>() {}
///
/// needs::<(u64, String, Vec<Option<f32>>)>();
/// ```
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// Runs calls somewhere, and gives a future for each.
///
/// For code that is generic over where its tasks run. Each executor also has
/// these methods inherent, with looser bounds where its kind allows, so that a
/// program with one executor imports nothing.
///
/// Anybody may implement it: [`promise`](crate::promise()) makes the futures,
/// and shows how.
/// It is implemented for `&E` as well. It cannot be made into `dyn Executor`,
/// since `submit` is generic; write a generic function, or choose by `match`:
///
/// ```
/// use concurrent_futures::{Error, Executor, Future, InlineExecutor, ThreadPoolExecutor};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// fn sum_of_squares<E: Executor>(executor: &E) -> Result<u64, Error> {
///     executor.map(square, 1..=10)?.sum()
/// }
///
/// let sum = match "threads" {
///     "inline" => sum_of_squares(&InlineExecutor::new()?),
///     _ => sum_of_squares(&ThreadPoolExecutor::new()?),
/// };
/// assert_eq!(sum?, 385);
/// # Ok::<(), Error>(())
/// ```
pub trait Executor {
    /// The futures that it gives.
    type Future<T: Send + Sync + 'static>: Future<Output = T>
        + IntoFuture<Output = Result<T, Error>, IntoFuture: Send>
        + fmt::Debug
        + Send
        + Sync
        + 'static;

    /// Has `f(args)` run.
    ///
    /// `f` is a function, or a closure that captures nothing; what it needs
    /// comes in `args`: a tuple for several values, `()` for none.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, Future};
    ///
    /// fn power(base: u32, exponent: u32) -> u32 {
    ///     base.pow(exponent)
    /// }
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let future = executor.submit(|(b, e)| power(b, e), (2, 10))?;
    ///     assert_eq!(*future.result()?, 1024);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`], [`Error::Broken`], or [`Error::Spawn`] if no worker
    /// can be started; nothing runs then.
    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Self::Future<R>, Error>
    where
        A: Portable,
        R: Portable + Sync;

    /// Like [`submit`](Self::submit), but never waits for room in a queue, and
    /// gives the call back if it is refused.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor};
    ///
    /// fn demo<E: Executor>(executor: &E) {
    ///     executor.shutdown();
    ///     let refused = executor.try_submit(|n: i32| n + 1, 1).unwrap_err();
    ///     assert!(matches!(refused.error, Error::ShutDown));
    ///     let (f, args) = refused.call;
    ///     assert_eq!(f(args), 2);
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`], and those of [`submit`](Self::submit).
    #[expect(clippy::type_complexity, reason = "what comes back is what went in")]
    fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<Self::Future<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable + Sync;

    /// Has `f` run on each of `items`; the results come in the order of items.
    ///
    /// All items are submitted before it returns. See [`Map`] for what the
    /// iterator does.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let lengths = executor.map(|s: String| s.len(), ["a".into(), "bcd".into()])?;
    ///     assert_eq!(lengths.collect::<Result<Vec<_>, _>>()?, [1, 3]);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit); what was submitted is cancelled.
    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
    {
        map::eager(
            MapOptions::new(),
            self.max_workers(),
            items,
            map::one_by_one(|item| self.submit(f, item)),
        )
    }

    /// Like [`map`](Self::map), with [`MapOptions`].
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, MapOptions};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let options = MapOptions::new().buffer_size(4);
    ///     let mut squares = executor.map_with(options, |n: u64| n * n, 1..)?; // endless
    ///     assert_eq!(squares.nth(9).unwrap()?, 100);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// An executor may submit item by item whatever the chunk size: the results
    /// are the same.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a size of 0, and those of
    /// [`map`](Self::map).
    fn map_with<'a, A, R, I>(
        &'a self,
        options: MapOptions,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        let submit = map::one_by_one(move |item| self.submit(f, item));
        map::with(options.unchunked()?, self.max_workers(), items, submit)
    }

    /// Takes no new tasks, and waits until those submitted are done.
    ///
    /// The same as [`shutdown_with`](Self::shutdown_with) without options.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor};
    ///
    /// fn demo<E: Executor>(executor: &E) {
    ///     executor.shutdown();
    ///     assert!(matches!(executor.submit(|n: i32| n, 1), Err(Error::ShutDown)));
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?);
    /// # Ok::<(), Error>(())
    /// ```
    fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// Takes no new tasks; cancels and waits as `options` say.
    ///
    /// May be called from any thread and more than once. Inside one of the
    /// executor's own tasks or callbacks it does not wait: that would wait for
    /// itself.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, Future, ShutdownOptions};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let future = executor.submit(|n: i32| n, 1)?;
    ///     executor.shutdown_with(ShutdownOptions::new().cancel_pending(true));
    ///     assert!(future.done()); // it ran, or it was cancelled
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport;

    /// What the executor is doing, in one cheap snapshot.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, Future};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     executor.submit(|n: i32| n, 1)?.into_result()?;
    ///     assert_eq!(executor.stats().finished, 1);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    fn stats(&self) -> Stats;

    /// How many workers there may be.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, ThreadPoolExecutor};
    ///
    /// fn demo<E: Executor>(executor: &E) -> usize {
    ///     executor.max_workers()
    /// }
    /// assert_eq!(demo(&ThreadPoolExecutor::with_max_workers(3)?), 3);
    /// # Ok::<(), Error>(())
    /// ```
    fn max_workers(&self) -> usize;
}

impl<E: Executor> Executor for &E {
    type Future<T: Send + Sync + 'static> = E::Future<T>;

    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Self::Future<R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
    {
        (**self).submit(f, args)
    }

    fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<Self::Future<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable + Sync,
    {
        (**self).try_submit(f, args)
    }

    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
    {
        (**self).map(f, items)
    }

    fn map_with<'a, A, R, I>(
        &'a self,
        options: MapOptions,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        (**self).map_with(options, f, items)
    }

    fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        (**self).shutdown_with(options)
    }

    fn stats(&self) -> Stats {
        (**self).stats()
    }

    fn max_workers(&self) -> usize {
        (**self).max_workers()
    }
}

/// A call that [`Executor::try_submit`] refused, and why.
///
/// Nothing is lost: the function and its arguments come back.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, TrySubmitError};
///
/// let executor = ThreadPoolExecutor::new()?;
/// executor.shutdown();
/// let text = String::from("kept");
/// let TrySubmitError { error, call: (_, text) } =
///     executor.try_submit(|text: String| text.len(), text).unwrap_err();
/// assert_eq!(text, "kept");
/// assert!(error.to_string().contains("shut down"));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub struct TrySubmitError<F, A> {
    /// Why it was refused.
    pub error: Error,
    /// The function and its arguments.
    pub call: (F, A),
}

impl<F, A> TrySubmitError<F, A> {
    /// For the calls that do not give back: a panic in the `Drop` of what they
    /// drop is contained.
    pub(crate) fn drop_call(self) -> Error {
        let (f, args) = self.call;
        contain_drop(f);
        contain_drop(args);
        self.error
    }
}

impl<F, A> fmt::Debug for TrySubmitError<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySubmitError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<F, A> fmt::Display for TrySubmitError<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<F, A> std::error::Error for TrySubmitError<F, A> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// What an executor is doing, as [`Executor::stats`] gives it.
///
/// Those who write executors begin with `Stats::default()` and set the fields.
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
    /// Workers that were started and have not ended.
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
    /// Whether the pool is broken and refuses tasks.
    pub broken: bool,
}

/// How [`Executor::shutdown_with`] shuts down.
///
/// ```
/// use concurrent_futures::{ShutdownOptions, ThreadPoolExecutor};
/// use std::time::Duration;
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
    /// Waits without a limit and cancels nothing.
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

    /// Whether to wait until the tasks are done and the workers have ended.
    ///
    /// Without waiting, submitted tasks still run, as long as `main` does: Rust
    /// has no exit hook that could wait for them, and dropping the executor then
    /// does not wait either.
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

    /// Whether to cancel the tasks that have not begun. Their callbacks run in
    /// the calling thread.
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

    /// The limit of the wait. The tasks go on after it. It does not count for
    /// the callbacks of what is cancelled.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::ShutdownOptions;
    ///
    /// let second = Duration::from_secs(1);
    /// assert_eq!(ShutdownOptions::new().timeout(second).limit(), Some(second));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether to wait; for those who write executors.
    ///
    /// ```
    /// assert!(concurrent_futures::ShutdownOptions::default().waits());
    /// ```
    pub fn waits(&self) -> bool {
        self.wait
    }

    /// Whether to cancel what has not begun; for those who write executors.
    ///
    /// ```
    /// assert!(!concurrent_futures::ShutdownOptions::default().cancels_pending());
    /// ```
    pub fn cancels_pending(&self) -> bool {
        self.cancel_pending
    }

    /// The limit of the wait; for those who write executors.
    ///
    /// ```
    /// assert!(concurrent_futures::ShutdownOptions::default().limit().is_none());
    /// ```
    pub fn limit(&self) -> Option<Duration> {
        self.timeout
    }
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Executor::shutdown_with`] found when it returned; the counts are of
/// the executor's whole life.
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
    /// Tasks that returned.
    pub finished: u64,
    /// Tasks that panicked, or failed with their pool.
    pub failed: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks that still run.
    pub running: usize,
    /// Tasks that still wait for a worker, and will run.
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
