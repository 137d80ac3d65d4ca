//! [`as_completed`]: an iterator over futures in the order in which their tasks end.

use std::fmt;
use std::time::{Duration, Instant};

use crate::completion_set::CompletionSet;
use crate::error::Error;
use crate::waitable::Waitable;

/// Yields each future when its task ends. Futures that are already done come first.
///
/// The items of `futures` are futures, references to futures, or pairs of a key and a
/// future, see [`Waitable`]. The key of a pair tells the caller which future is done. A
/// future that the caller passes twice is yielded once.
///
/// If the wait has no time limit, and no remaining task can end while the calling thread
/// waits, the iterator yields the remaining futures, although their tasks are not done. A
/// task counts as unable to end if the calling thread runs the task itself or the
/// initializer of the task's thread pool, or if the calling thread is the one in which the
/// task's process pool runs callbacks. The iterator also yields a future that is not done
/// if the calling thread is a worker that would run the task itself, but has too little
/// stack left. In a forked child, where the tasks of the parent process never end, the
/// iterator also yields futures that are not done. The
/// [`result`](crate::TaskFuture::result) of a future that is not done returns an error that
/// says why, in most cases [`Error::WouldDeadlock`].
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, as_completed};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let mut work = Vec::new();
/// for name in ["one", "three"] {
///     work.push((name, executor.submit(str::len, name)?));
/// }
/// for (name, length) in as_completed(work) {
///     assert_eq!(length.into_result()?, name.len());
/// }
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub fn as_completed<F: Waitable>(futures: impl IntoIterator<Item = F>) -> AsCompleted<F> {
    let mut all = AsCompleted {
        completion_set: CompletionSet::new(),
        total: 0,
    };
    all.extend(futures);
    all
}

/// The iterator of [`as_completed`].
///
/// The iterator keeps no reference to the futures that it has yielded. **Dropping the
/// iterator** removes the wakers that it has registered with tasks, and cancels no task.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, as_completed};
///
/// // Counts down: the value of each task is the argument of the next task.
/// let executor = ThreadPoolExecutor::new()?;
/// let less = |n: u32| n.checked_sub(1);
/// let mut countdown = as_completed([executor.submit(less, 3)?]);
/// let mut seen = Vec::new();
/// while let Some(future) = countdown.next() {
///     if let Some(n) = future.into_result()? {
///         seen.push(n);
///         countdown.add(executor.submit(less, n)?);
///     }
/// }
/// assert_eq!(seen, [2, 1, 0]);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "it waits for nothing unless iterated"]
pub struct AsCompleted<F: Waitable> {
    completion_set: CompletionSet<F>,
    /// The number of all futures that were added, including the yielded futures.
    total: u32,
}

impl<F: Waitable> AsCompleted<F> {
    /// Adds one more future. Has no effect if the iterator already has this future and has
    /// not yielded it yet.
    ///
    /// ```
    /// use concurrent_futures::{as_completed, promise};
    ///
    /// let (promise, future) = promise();
    /// let mut all = as_completed([]);
    /// all.add(&future);
    /// promise.set_result(1)?;
    /// assert_eq!(*all.next().unwrap().result()?, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn add(&mut self, future: F) {
        if self.completion_set.add(future) {
            self.total = self.total.saturating_add(1);
        }
    }

    /// Waits until a task ends, for `timeout` at most, and returns the future of this task.
    /// Returns `None` if no future remains.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, as_completed, promise};
    ///
    /// let (promise, future) = promise::<i32>();
    /// let mut all = as_completed([future]);
    /// let early = all.next_timeout(Duration::ZERO);
    /// assert!(matches!(early, Err(Error::Timeout { unfinished: 1, total: 1 })));
    /// promise.set_result(1)?;
    /// assert!(all.next_timeout(Duration::ZERO)?.is_some());
    /// assert!(all.next_timeout(Duration::ZERO)?.is_none());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] if no future is done within `timeout`. The iterator keeps
    /// all futures, so the caller may call this method again.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<F>, Error> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// Returns an iterator that yields each future as `Ok`. If the iterator still waits for
    /// a task when `timeout` has passed since this call, it yields [`Error::Timeout`] and
    /// ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, as_completed, promise};
    ///
    /// let (one, [first, second]) = (promise(), [promise(), promise()]);
    /// one.0.set_result(1)?;
    /// let futures = [one.1, first.1, second.1];
    /// let mut all = as_completed(futures).timeout(Duration::ZERO);
    /// assert_eq!(all.next().unwrap()?.into_result()?, 1);
    /// let late = all.next().unwrap();
    /// assert!(matches!(late, Err(Error::Timeout { unfinished: 2, total: 3 })));
    /// assert!(all.next().is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn timeout(self, timeout: Duration) -> AsCompletedTimeout<F> {
        AsCompletedTimeout {
            deadline: Instant::now().checked_add(timeout),
            all: Some(self),
        }
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<F>, Error> {
        if self.completion_set.len() == 0 {
            return Ok(None);
        }
        match self.completion_set.take_next(deadline) {
            Some(future) => Ok(Some(future)),
            None => Err(Error::Timeout {
                unfinished: u32::try_from(self.completion_set.len()).unwrap_or(u32::MAX),
                total: self.total,
            }),
        }
    }
}

impl<F: Waitable> Iterator for AsCompleted<F> {
    type Item = F;

    fn next(&mut self) -> Option<F> {
        // `next_until` cannot fail here, because without a deadline there is no
        // timeout.
        self.next_until(None).unwrap_or(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.completion_set.len(), Some(self.completion_set.len()))
    }
}

impl<F: Waitable> Extend<F> for AsCompleted<F> {
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        for future in futures {
            self.add(future);
        }
    }
}

impl<F: Waitable> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("left", &self.completion_set.len())
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// The iterator of [`AsCompleted::timeout`].
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{ThreadPoolExecutor, as_completed};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let futures = [executor.spawn(|| 1)?, executor.spawn(|| 2)?];
/// for future in as_completed(futures).timeout(Duration::from_secs(60)) {
///     assert!(future?.into_result()? > 0);
/// }
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it waits for nothing unless iterated"]
pub struct AsCompletedTimeout<F: Waitable> {
    /// The iterator over the futures, or `None` after the iterator has yielded the timeout
    /// error.
    all: Option<AsCompleted<F>>,
    deadline: Option<Instant>,
}

impl<F: Waitable> Iterator for AsCompletedTimeout<F> {
    type Item = Result<F, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.all.as_mut()?.next_until(self.deadline);
        if next.is_err() {
            self.all = None;
        }
        next.transpose()
    }
}
