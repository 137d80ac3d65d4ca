//! [`Promise`]: the producer's end of a future. The promise's owner sets the outcome.
//!
//! A promise is used to implement an [`Executor`](crate::Executor), or to control a future
//! in a test. A promise belongs to no pool, so the owner of the promise runs the task.

use std::fmt;
use std::marker::PhantomData;

use crate::completion::{Completion, NO_POOL, outside_wakers};
use crate::error::Error;
use crate::future::TaskFuture;
use crate::panic::{catch, unnamed, watch_panics};
use crate::state::State;
use crate::sys::fork::Origin;
use crate::thread::ThreadFuture;

/// The producer's end of a [`ThreadFuture`]. The owner of the promise sets the outcome of
/// the future.
///
/// The function [`promise`] creates a promise together with its future. **Dropping the
/// promise** without an outcome ends the future with [`Error::Abandoned`], so that no
/// thread waits for ever.
///
/// ```
/// use concurrent_futures::{Error, Promise, ThreadFuture, promise};
///
/// let (kept, future): (Promise<i32>, ThreadFuture<i32>) = promise();
/// kept.set_result(42)?;
/// assert_eq!(future.into_result()?, 42);
/// let (broken, future) = promise::<i32>();
/// drop(broken);
/// assert!(matches!(future.into_result(), Err(Error::Abandoned)));
/// # Ok::<(), Error>(())
/// ```
#[must_use = "dropped at once, it abandons its future"]
pub struct Promise<T: 'static> {
    completion: Completion<T>,
    /// Makes `Promise<T>` invariant in `T`. Otherwise, safe code could convert a
    /// `Promise<for<'a> fn(&'a str)>` to a `Promise<fn(&'static str)>`, and set a function
    /// that only accepts a `&'static str`. But the future lets its owner call the function
    /// with any `&str`.
    takes: PhantomData<fn(T) -> T>,
}

/// Creates a promise, and the future whose outcome the promise sets.
///
/// A promise is enough to implement an [`Executor`](crate::Executor). The executor in this
/// example starts a new thread for each task:
///
/// ```
/// use std::thread::{self, JoinHandle};
/// use std::sync::Mutex;
/// use concurrent_futures::{
///     Error, Executor, Portable, ShutdownOptions, ShutdownReport, Stats, ThreadFuture,
///     TrySubmitError, promise,
/// };
///
/// /// The threads of the tasks, or `None` after the shutdown.
/// struct ThreadPerTask(Mutex<Option<Vec<JoinHandle<()>>>>);
///
/// impl Executor for ThreadPerTask {
///     type Future<T: Send + Sync + 'static> = ThreadFuture<T>;
///
///     fn submit<A: Portable, R: Portable + Sync>(
///         &self,
///         f: fn(A) -> R,
///         args: A,
///     ) -> Result<ThreadFuture<R>, Error> {
///         self.try_submit(f, args).map_err(|refused| refused.error)
///     }
///
///     fn try_submit<A: Portable, R: Portable + Sync>(
///         &self,
///         f: fn(A) -> R,
///         args: A,
///     ) -> Result<ThreadFuture<R>, TrySubmitError<fn(A) -> R, A>> {
///         let mut threads = self.0.lock().unwrap();
///         let Some(threads) = &mut *threads else {
///             return Err(TrySubmitError { error: Error::ShutDown, call: (f, args) });
///         };
///         let (promise, future) = promise();
///         threads.push(thread::spawn(move || promise.run(|| f(args))));
///         Ok(future)
///     }
///
///     fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
///         let threads = self.0.lock().unwrap().take();
///         for thread in threads.into_iter().flatten().filter(|_| options.waits()) {
///             thread.join().unwrap();
///         }
///         self.stats().into()
///     }
///
///     fn stats(&self) -> Stats {
///         let mut stats = Stats::default();
///         stats.workers = self.0.lock().unwrap().as_ref().map_or(0, Vec::len);
///         stats
///     }
///
///     fn max_workers(&self) -> usize {
///         usize::MAX
///     }
/// }
///
/// let executor = ThreadPerTask(Mutex::new(Some(Vec::new())));
/// assert_eq!(executor.submit(|n: i32| 2 * n, 21)?.into_result()?, 42);
/// let squares = executor.map(|n: i32| n * n, [1, 2, 3])?; // comes with the trait
/// assert_eq!(squares.sum::<Result<i32, _>>()?, 14);
/// executor.shutdown();
/// # Ok::<(), Error>(())
/// ```
///
/// An executor that catches panics itself converts a panic's payload with
/// [`Panic::from_payload`](crate::Panic::from_payload).
#[doc(alias = "oneshot")]
pub fn promise<T: 'static>() -> (Promise<T>, ThreadFuture<T>) {
    watch_panics();
    // `Origin::new` makes this process detect forks, and fails only if there is not enough
    // memory. The error is ignored: if forks are not detected, a wait for the future still
    // works in this process, and only a wait in a forked child may never end.
    let _ = Origin::new();
    let completion = Completion::new(NO_POOL);
    let future = TaskFuture::new(completion.clone());
    let takes = PhantomData;
    (Promise { completion, takes }, future)
}

impl<T: 'static> Promise<T> {
    /// Marks the task as begun, so that the task can no longer be cancelled.
    ///
    /// Returns `false` if the task was cancelled, has already begun, or has already ended.
    /// If the method returns `false`, the caller must not run the task.
    ///
    /// ```
    /// use concurrent_futures::promise;
    ///
    /// let (promise, future) = promise::<i32>();
    /// assert!(promise.start());
    /// assert!(!promise.start());
    /// assert!(future.running() && !future.cancel());
    /// ```
    pub fn start(&self) -> bool {
        self.completion.start()
    }

    /// Ends the task with a value, even if the task was not started.
    ///
    /// ```
    /// use concurrent_futures::{Error, State, promise};
    ///
    /// let (promise, future) = promise();
    /// promise.set_result(1)?;
    /// let second = promise.set_result(2).unwrap_err();
    /// assert!(matches!(second, Error::InvalidState(State::Finished)));
    /// assert_eq!(*future.result()?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidState`] if the task ended or was cancelled before. The task
    /// keeps its first outcome, and `value` is dropped.
    pub fn set_result(&self, value: T) -> Result<(), Error> {
        self.settle(Ok(value))
    }

    /// Ends the task with an error, even if the task was not started.
    ///
    /// ```
    /// use concurrent_futures::{Error, promise};
    ///
    /// let (promise, future) = promise::<i32>();
    /// promise.set_exception(Error::other("out of paper"))?;
    /// assert_eq!(future.exception().unwrap().to_string(), "out of paper");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidState`] if the task ended or was cancelled before. The task
    /// keeps its first outcome.
    pub fn set_exception(&self, error: Error) -> Result<(), Error> {
        self.settle(Err(error))
    }

    /// Starts the task unless it was [started](Self::start), calls `f`, and sets the
    /// value or the panic of `f` as the outcome.
    ///
    /// Does nothing if the task was cancelled or already has an outcome.
    ///
    /// ```
    /// use concurrent_futures::{Error, promise};
    ///
    /// let (promise, future) = promise();
    /// promise.run(|| "12".parse::<i32>().unwrap());
    /// assert_eq!(*future.result()?, 12);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn run(self, f: impl FnOnce() -> T) {
        // If the task is running, this promise has started it, and only `self` can end it.
        if self.start() || self.completion.state() == State::Running {
            self.completion.runs_here();
            let outcome = outside_wakers(|| unnamed(|| catch(f)));
            let outcome = outcome.map_err(Error::Panicked);
            // `settle` cannot fail, because only `self` can end the running task.
            let _ = self.settle(outcome);
        }
    }

    fn settle(&self, outcome: Result<T, Error>) -> Result<(), Error> {
        match self.completion.settle(outcome) {
            Ok(notification) => {
                notification.notify();
                Ok(())
            }
            Err((state, _)) => Err(Error::InvalidState(state)),
        }
    }
}

impl<T: 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        // An error of `settle` is ignored, because the task usually has an outcome already.
        let _ = self.settle(Err(Error::Abandoned));
    }
}

impl<T: 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: State = self.completion.state();
        write!(f, "Promise({state})")
    }
}
