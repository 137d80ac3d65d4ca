//! [`InlineExecutorBuilder`]: the settings that the thread pool and the process pool have
//! in common, for the inline executor.

use std::fmt;

use super::InlineExecutor;
use crate::error::{BrokenPart, Error};
use crate::executor::{InitializerOutcome, refuse_zeros};
use crate::panic::{Contained, catch};

/// Sets the options of an [`InlineExecutor`], see [`InlineExecutor::builder`].
///
/// The builder has the settings that the thread pool and the process pool have in common.
/// So a program that sets only these settings also runs on this executor, after a change of
/// the executor's name. The calling thread is the only worker of this executor, and no task
/// is ever queued. So only [`initializer`](Self::initializer) and
/// [`record_timing`](Self::record_timing) change what the executor does.
///
/// Dropping the builder drops the initializer.
///
/// ```
/// use concurrent_futures::InlineExecutor as PoolExecutor;
///
/// let executor = PoolExecutor::builder().max_workers(4).queue_capacity(100).build()?;
/// assert_eq!(executor.submit(str::len, "four")?.into_result()?, 4);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "a builder makes nothing before `build`"]
pub struct InlineExecutorBuilder {
    max_workers: Option<usize>,
    queue_capacity: Option<usize>,
    record_timing: bool,
    initializer: Option<Box<dyn FnOnce() -> Result<(), Error>>>,
}

impl InlineExecutor {
    /// Creates an executor. Checks that `max_workers` is not 0, and otherwise ignores it,
    /// because the calling thread is the only worker.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// assert_eq!(InlineExecutor::with_max_workers(4)?.max_workers(), 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`build`](InlineExecutorBuilder::build).
    pub fn with_max_workers(max_workers: usize) -> Result<Self, Error> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Returns a builder, which sets further options before it creates the executor.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::builder().record_timing(true).build()?;
    /// assert!(executor.spawn(|| 1)?.timing().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn builder() -> InlineExecutorBuilder {
        InlineExecutorBuilder {
            max_workers: None,
            queue_capacity: None,
            record_timing: false,
            initializer: None,
        }
    }
}

impl InlineExecutorBuilder {
    /// Has no effect, except that the number must be at least 1.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::builder().max_workers(4).build()?;
    /// assert_eq!(executor.max_workers(), 1);
    /// assert!(InlineExecutor::builder().max_workers(0).build().is_err());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Makes [`build`](Self::build) call `f(args)` once, on the thread that calls `build`.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use concurrent_futures::{Error, InlineExecutor};
    ///
    /// thread_local!(static SEED: Cell<u64> = const { Cell::new(0) });
    ///
    /// let executor = InlineExecutor::builder()
    ///     .initializer(|seed| SEED.set(seed), 42)
    ///     .build()?;
    /// assert_eq!(executor.spawn(|| SEED.get())?.into_result()?, 42);
    ///
    /// let broken = InlineExecutor::builder().initializer(|()| Err("no licence"), ());
    /// let error = broken.build().unwrap_err();
    /// assert!(matches!(&error, Error::Broken(cause) if cause.to_string() == "no licence"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn initializer<F, A, O>(mut self, f: F, args: A) -> Self
    where
        F: FnOnce(A) -> O + 'static,
        A: 'static,
        O: InitializerOutcome,
    {
        let call = Contained::new((f, args));
        self.initializer = Some(Box::new(move || {
            let (f, args) = call.into_inner();
            f(args).into_result()
        }));
        self
    }

    /// Has no effect, except that the number must be at least 1: each call runs at once, so
    /// no task waits in a queue.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::builder().queue_capacity(2).build()?;
    /// let squares = executor.map(|n: u64| n * n, 1..=100)?;
    /// assert_eq!(squares.sum::<Result<u64, _>>()?, 338_350);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Makes each task record the times when it was queued, started and finished; see
    /// [`Timing`](crate::Timing). By default tasks record no times.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::builder().record_timing(true).build()?;
    /// let future = executor.spawn(|| 1)?;
    /// assert!(future.timing().unwrap().ran().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn record_timing(mut self, record: bool) -> Self {
        self.record_timing = record;
        self
    }

    /// Creates the executor, and runs the initializer.
    ///
    /// ```
    /// use concurrent_futures::InlineExecutor;
    ///
    /// let executor = InlineExecutor::builder().build()?;
    /// assert_eq!(*executor.spawn(|| 6 * 7)?.result()?, 42);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if `max_workers` or `queue_capacity` is 0, and
    /// [`Error::Broken`] if the initializer panics or returns an `Err`. (The `build` of a
    /// pool does not return this error, because a worker runs the initializer later.) Also
    /// returns the errors of [`InlineExecutor::new`].
    pub fn build(self) -> Result<InlineExecutor, Error> {
        refuse_zeros(&[
            ("max_workers", self.max_workers.map(|n| n as u64)),
            ("queue_capacity", self.queue_capacity.map(|n| n as u64)),
        ])?;
        let executor = InlineExecutor {
            record_timing: self.record_timing,
            ..InlineExecutor::new()?
        };
        if let Some(initializer) = self.initializer {
            let initialized = executor.inside(|| catch(initializer));
            initialized
                .unwrap_or_else(|panic| Err(Error::Panicked(panic)))
                .map_err(|cause| cause.broken(BrokenPart::Initializer))?;
        }
        Ok(executor)
    }
}

impl fmt::Debug for InlineExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineExecutorBuilder")
            .field("max_workers", &self.max_workers)
            .field("queue_capacity", &self.queue_capacity)
            .field("record_timing", &self.record_timing)
            .field("initializer", &self.initializer.is_some())
            .finish()
    }
}
