//! A view of a process pool: each task that is submitted through the view has the view's
//! options. A process pool supports all task options.

use super::executor::{ProcessFuture, ProcessPoolExecutor};
use super::submitter::Submitter;
use crate::error::Error;
use crate::executor::{Portable, TrySubmitError, With, executor_by_inherent_methods};
use crate::map::{Map, MapOptions};

impl With<'_, ProcessPoolExecutor> {
    fn submitter(&self) -> Submitter<'_> {
        self.executor.submitter_with(&self.options)
    }

    /// Calls [`ProcessPoolExecutor::submit`] with the options of the view.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor, TaskOptions};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("exit"));
    /// let future = view.submit(|code| -> () { std::process::exit(code) }, 3)?;
    /// let Some(Error::WorkerDied(death)) = future.exception() else {
    ///     unreachable!("it exits")
    /// };
    /// assert_eq!((death.task(), death.exit_code()), (Some("exit"), Some(3)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`ProcessPoolExecutor::submit`].
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`ProcessPoolExecutor::submit`].
    pub fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<ProcessFuture<R>, Error>
    where
        A: Portable,
        R: Portable,
    {
        self.submitter().submit(f, args)
    }

    /// Calls [`ProcessPoolExecutor::try_submit`] with the options of the view.
    ///
    /// ```
    /// use concurrent_futures::{ProcessPoolExecutor, TaskOptions};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().retries(3));
    /// assert_eq!(view.try_submit(|n: u8| n + 1, 1).unwrap().into_result()?, 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`ProcessPoolExecutor::try_submit`].
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`ProcessPoolExecutor::submit`].
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

    /// Calls [`ProcessPoolExecutor::map`]. The task of each item has the options of the
    /// view.
    ///
    /// ```
    /// use concurrent_futures::{ProcessPoolExecutor, TaskOptions};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("square"));
    /// assert_eq!(view.map(|n: i32| n * n, [1, 2])?.sum::<Result<i32, _>>()?, 5);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`ProcessPoolExecutor::submit`].
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable,
        I: IntoIterator<Item = A>,
    {
        self.submitter().map(f, items)
    }

    /// Calls [`ProcessPoolExecutor::map_with`]. Each task has the options of the view. A
    /// chunk of items is one task, so a time limit applies to the whole chunk.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ProcessPoolExecutor, TaskOptions};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("square"));
    /// let chunks = MapOptions::new().chunk_size(2);
    /// let squares = view.map_with(chunks, |n: i32| n * n, [1, 2, 3])?;
    /// assert_eq!(squares.sum::<Result<i32, _>>()?, 14);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit) and of
    /// [`ProcessPoolExecutor::map_with`].
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`ProcessPoolExecutor::submit`].
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
}

executor_by_inherent_methods!(With<'_, ProcessPoolExecutor>, ProcessFuture);
