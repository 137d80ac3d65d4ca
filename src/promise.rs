//! [`Promise`]: a worker's end in the user's hand, to settle a future by hand.
//!
//! It is what an executor of somebody else's is made of, and what tests are
//! made of. It knows no pool: whoever holds it is the worker.

use std::fmt;
use std::sync::Arc;

use crate::completion::Completion;
use crate::error::Error;
use crate::future::TaskFuture;
use crate::panic::{catch, watch_panics};
use crate::state::State;
use crate::thread::ThreadFuture;

/// The other end of a [`ThreadFuture`]: whoever holds it gives the outcome.
///
/// Made by [`promise`]. **Dropping it** without an outcome ends the future with
/// [`Error::Abandoned`], so no waiter hangs.
#[must_use = "dropped at once, it abandons its future"]
pub struct Promise<T: 'static> {
    completion: Arc<Completion<T>>,
}

/// A future and the promise that settles it.
///
/// With [`Promise::run`] and [`Panic::from_payload`](crate::Panic::from_payload)
/// that is enough to write an [`Executor`](crate::Executor):
///
/// ```
/// use std::thread;
/// use concurrent_futures::{ThreadFuture, promise};
///
/// fn on_a_new_thread<T>(f: impl FnOnce() -> T + Send + 'static) -> ThreadFuture<T>
/// where
///     T: Send + 'static,
/// {
///     let (promise, future) = promise();
///     thread::spawn(|| promise.run(f));
///     future
/// }
///
/// assert_eq!(on_a_new_thread(|| 6 * 7).into_result()?, 42);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[doc(alias = "oneshot")]
pub fn promise<T: 'static>() -> (Promise<T>, ThreadFuture<T>) {
    watch_panics();
    let completion = Completion::new(0, None);
    let future = TaskFuture::new(Arc::clone(&completion));
    (Promise { completion }, future)
}

impl<T: 'static> Promise<T> {
    /// Says that the task has begun: from now on it cannot be cancelled.
    ///
    /// `false` if it was cancelled, or has begun or ended before; the caller
    /// then leaves it alone.
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

    /// Ends the task with a value, begun or not.
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
    /// [`Error::InvalidState`] if the task ended or was cancelled before; the
    /// first outcome stays, and `value` is dropped.
    pub fn set_result(&self, value: T) -> Result<(), Error> {
        self.settle(Ok(value))
    }

    /// Ends the task with an error, begun or not.
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
    /// [`Error::InvalidState`] if the task ended or was cancelled before; the
    /// first outcome stays.
    pub fn set_exception(&self, error: Error) -> Result<(), Error> {
        self.settle(Err(error))
    }

    /// Starts the task, calls `f`, and sets what comes of it, a panic too.
    ///
    /// Does nothing if the task was cancelled.
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
        if self.start() {
            self.completion.runs_here();
            let outcome = catch(f).map_err(Error::Panicked);
            // Refused only if a `set_*` on another thread came first.
            let _ = self.settle(outcome);
        }
    }

    fn settle(&self, outcome: Result<T, Error>) -> Result<(), Error> {
        match self.completion.settle(outcome) {
            Ok(telling) => {
                telling.tell();
                Ok(())
            }
            Err((state, _)) => Err(Error::InvalidState(state)),
        }
    }
}

impl<T: 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        // Refused if there is an outcome, which is the usual case.
        let _ = self.settle(Err(Error::Abandoned));
    }
}

impl<T: 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: State = self.completion.state();
        write!(f, "Promise({state})")
    }
}
