//! [`Timing`]: the times at which a task was queued, started and finished.

use std::time::{Duration, Instant};

/// The timestamps of a task: the times at which the task was queued, started and finished.
///
/// Only the tasks of a pool that was built with
/// [`record_timing`](crate::ThreadPoolExecutorBuilder::record_timing) have timestamps,
/// because reading the clock slows down small tasks.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
/// let future = executor.spawn(|| 6 * 7)?;
/// assert_eq!(*future.result()?, 42);
/// let timing = future.timing().unwrap();
/// println!("waited {:?}, ran {:?}", timing.waited(), timing.ran());
/// assert!(timing.queued() <= timing.started().unwrap());
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    queued: Instant,
    started: Option<Instant>,
    finished: Option<Instant>,
}

impl Timing {
    pub(crate) fn queued_now() -> Self {
        Self {
            queued: Instant::now(),
            started: None,
            finished: None,
        }
    }

    pub(crate) fn start(&mut self) {
        self.started = Some(Instant::now());
    }

    pub(crate) fn finish(&mut self) {
        self.finished = Some(Instant::now());
    }

    /// Returns the time at which the executor created the task. If `submit` waits for room
    /// in a bounded queue, a process pool creates the task before this wait, and a thread
    /// pool creates the task after it.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// let before = std::time::Instant::now();
    /// assert!(executor.spawn(|| 1)?.timing().unwrap().queued() >= before);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn queued(&self) -> Instant {
        self.queued
    }

    /// Returns the time at which a worker first called the task's function, or `None` if no
    /// worker has called the function. If the worker is another process, returns the time
    /// at which the pool learned of the call.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// let future = executor.spawn(|| 1)?;
    /// future.result()?;
    /// assert!(future.timing().unwrap().started().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Returns the time at which the task ended or was cancelled, or `None` if the task
    /// is not done.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// let future = executor.spawn(|| 1)?;
    /// future.result()?;
    /// assert!(future.timing().unwrap().finished().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn finished(&self) -> Option<Instant> {
        self.finished
    }

    /// Returns the time from [`queued`](Self::queued) to [`started`](Self::started), or
    /// `None` if the task has not begun.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// let future = executor.spawn(|| 1)?;
    /// future.result()?;
    /// let timing = future.timing().unwrap();
    /// assert_eq!(timing.waited(), Some(timing.started().unwrap() - timing.queued()));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn waited(&self) -> Option<Duration> {
        Some(self.started? - self.queued)
    }

    /// Returns the time from [`started`](Self::started) to [`finished`](Self::finished), or
    /// `None` if one of these times is `None`.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    /// use std::time::Duration;
    ///
    /// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// let future = executor.submit(std::thread::sleep, Duration::from_millis(2))?;
    /// future.result()?;
    /// assert!(future.timing().unwrap().ran().unwrap() >= Duration::from_millis(2));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn ran(&self) -> Option<Duration> {
        Some(self.finished? - self.started?)
    }
}
