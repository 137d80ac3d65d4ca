//! The trait [`Future`], which the futures of all executors implement.
//!
//! `handle.rs` has [`TaskFuture`], the only type that implements the trait. `awaiting.rs`
//! implements `.await`. This module does not depend on any executor.

mod awaiting;
mod forwarding;
mod handle;

use std::time::Duration;

pub use self::awaiting::{TaskAwait, TaskAwaitRef};
pub use self::handle::TaskFuture;

use crate::error::Error;
use crate::timing::Timing;
use crate::waitable::Waitable;

/// A handle to a submitted task. Its methods wait for the task, read the task's result, or
/// cancel the task.
///
/// The futures of all executors implement this trait, and have its methods, except
/// [`boxed_into_result`], also as inherent methods. Therefore only code that is generic
/// over the executor, or uses a `dyn Future`, needs to import the trait. The trait is
/// sealed. A `dyn Future` has the methods that are not generic and take `&self`.
/// [`boxed_into_result`] consumes a `Box<dyn Future>`.
///
/// The trait follows Python's `concurrent.futures.Future`. A [`std::future::Future`] runs
/// only when it is polled. A future of this trait is eager: the task runs even if no thread
/// waits for the task. `.await` works on a [`TaskFuture`].
///
/// ```
/// use concurrent_futures::{Error, Executor, Future, InlineExecutor, ThreadPoolExecutor};
///
/// fn double(n: i32) -> i32 {
///     2 * n
/// }
///
/// fn doubled<E: Executor>(executor: &E) -> Result<i32, Error> {
///     let future: E::Future<i32> = executor.submit(double, 21)?;
///     future.into_result()
/// }
///
/// assert_eq!(doubled(&InlineExecutor::new()?)?, 42);
/// assert_eq!(doubled(&ThreadPoolExecutor::new()?)?, 42);
/// # Ok::<(), Error>(())
/// ```
///
/// [`boxed_into_result`]: Future::boxed_into_result
#[doc(alias = "JoinHandle")]
pub trait Future: Waitable {
    /// The type that the task returns.
    type Output;

    /// Waits for the task and lends the task's value; see [`TaskFuture::result`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// fn shown<F: Future<Output = i32>>(future: &F) -> String {
    ///     future.result().map_or_else(|error| error.to_string(), i32::to_string)
    /// }
    /// let (promise, future) = promise();
    /// promise.set_result(42).unwrap();
    /// assert_eq!(shown(&future), "42");
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`TaskFuture::result`].
    fn result(&self) -> Result<&Self::Output, Error>;

    /// Like [`result`](Self::result), but waits for `timeout` at most; see
    /// [`TaskFuture::result_timeout`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// use std::time::Duration;
    ///
    /// fn is_ready<F: Future>(future: &F) -> bool {
    ///     future.result_timeout(Duration::ZERO).is_ok()
    /// }
    /// let (_promise, future) = promise::<i32>();
    /// assert!(!is_ready(&future));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] if the task is not done within `timeout`, or an error of
    /// [`result`](Self::result).
    fn result_timeout(&self, timeout: Duration) -> Result<&Self::Output, Error>;

    /// Waits for the task and returns the task's value; see [`TaskFuture::into_result`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    ///     futures.into_iter().filter_map(|future| future.into_result().ok()).collect()
    /// }
    /// let (promise, future) = promise();
    /// promise.set_result(42).unwrap();
    /// assert_eq!(all(vec![future]), [42]);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`TaskFuture::into_result`].
    fn into_result(self) -> Result<Self::Output, Error>
    where
        Self: Sized;

    /// Does the same as [`into_result`](Self::into_result), for a `Box<dyn Future>`.
    ///
    /// ```
    /// use concurrent_futures::{Future, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let future: Box<dyn Future<Output = i32>> = Box::new(executor.spawn(|| 1)?);
    /// assert_eq!(future.boxed_into_result()?, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`TaskFuture::into_result`].
    fn boxed_into_result(self: Box<Self>) -> Result<Self::Output, Error>;

    /// Returns the outcome (the value or the error) if the task and its callbacks are done,
    /// and otherwise returns the future; see [`TaskFuture::try_into_result`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// fn is_over<F: Future>(future: F) -> bool {
    ///     future.try_into_result().is_ok()
    /// }
    /// let (_promise, future) = promise::<i32>();
    /// assert!(!is_over(future));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the future if the task is not done, or if not all of its callbacks have run.
    fn try_into_result(self) -> Result<Result<Self::Output, Error>, Self>
    where
        Self: Sized;

    /// Waits for the task, and returns the error of [`result`](Self::result), if there is
    /// one; see [`TaskFuture::exception`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// fn failures<F: Future>(futures: &[F]) -> usize {
    ///     futures.iter().filter_map(|future| future.exception()).count()
    /// }
    /// let (_promise, future) = promise::<i32>();
    /// future.cancel();
    /// assert_eq!(failures(&[future]), 1);
    /// ```
    fn exception(&self) -> Option<Error>;

    /// Like [`exception`](Self::exception), but waits for `timeout` at most; see
    /// [`TaskFuture::exception_timeout`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// use std::time::Duration;
    ///
    /// fn has_failed<F: Future>(future: &F) -> bool {
    ///     matches!(future.exception_timeout(Duration::ZERO), Ok(Some(_)))
    /// }
    /// let (_promise, future) = promise::<i32>();
    /// assert!(!has_failed(&future));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`TaskFuture::exception_timeout`].
    fn exception_timeout(&self, timeout: Duration) -> Result<Option<Error>, Error>;

    /// Cancels the task if it has not begun; see [`TaskFuture::cancel`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// fn cancel_all<F: Future>(futures: &[F]) -> usize {
    ///     futures.iter().filter(|future| future.cancel()).count()
    /// }
    /// let (_promise, future) = promise::<i32>();
    /// assert_eq!(cancel_all(&[future]), 1);
    /// ```
    fn cancel(&self) -> bool;

    /// Returns `true` if the task was cancelled; see [`TaskFuture::cancelled`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// let (_promise, future) = promise::<i32>();
    /// future.cancel();
    /// assert!(Future::cancelled(&future));
    /// ```
    fn cancelled(&self) -> bool;

    /// Returns `true` if the task has begun and is not done; see [`TaskFuture::running`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// let (promise, future) = promise::<i32>();
    /// promise.start();
    /// assert!(Future::running(&future));
    /// ```
    fn running(&self) -> bool;

    /// Returns `true` if the task ended or was cancelled; see [`TaskFuture::done`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// let (promise, future) = promise();
    /// promise.set_result(42).unwrap();
    /// assert!(Future::done(&future));
    /// ```
    fn done(&self) -> bool;

    /// Registers `callback` to run when the task is done; see
    /// [`TaskFuture::add_done_callback`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// fn report<F: Future + Sync>(future: &F) {
    ///     future.add_done_callback(|future| println!("done: {}", future.done()));
    /// }
    /// let (promise, future) = promise();
    /// report(&future);
    /// promise.set_result(42).unwrap(); // prints
    /// assert!(future.done());
    /// ```
    fn add_done_callback(&self, callback: impl FnOnce(&Self) + Send + 'static)
    where
        Self: Sized + Sync;

    /// Passes the outcome (the value or the error) to `callback` after all other callbacks
    /// have run; see [`TaskFuture::then`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// use std::sync::mpsc;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let (promise, future) = promise();
    /// Future::then(future, move |value| sender.send(value.unwrap()).unwrap());
    /// promise.set_result(42).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(42));
    /// ```
    fn then(self, callback: impl FnOnce(Result<Self::Output, Error>) + Send + 'static)
    where
        Self: Sized;

    /// Returns the task's timestamps; see [`TaskFuture::timing`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// let (_promise, future) = promise::<i32>();
    /// assert!(Future::timing(&future).is_none()); // a promise records no times
    /// ```
    fn timing(&self) -> Option<Timing>;

    /// Drops the future without cancelling the task; see [`TaskFuture::detach`].
    ///
    /// ```
    /// use concurrent_futures::{Future, promise};
    ///
    /// let (promise, future) = promise();
    /// Future::detach(future);
    /// promise.set_result(42).unwrap();
    /// ```
    fn detach(self)
    where
        Self: Sized;
}
