//! A view of a pool of ranks: each task that is submitted through the view has the view's
//! options. A pool of ranks (the processes of an MPI job) supports only the option `name`.

use super::executor::{MpiFuture, MpiPoolExecutor};
use crate::error::Error;
use crate::executor::{Portable, TrySubmitError, With, executor_by_inherent_methods};
use crate::map::{Map, MapOptions};
use crate::panic::contain_drop;
use crate::process::submitter::Submitter;

impl With<'_, MpiPoolExecutor> {
    fn submitter(&self) -> Result<Submitter<'_>, Error> {
        self.options.in_rank()?;
        Ok(Submitter::with(self.executor.pool(), &self.options))
    }

    /// Calls [`MpiPoolExecutor::submit`] with the options of the view.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor, TaskOptions};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     let view = executor.with(TaskOptions::new().retries(1));
    ///     let refused = view.submit(|n: u8| n, 1);
    ///     assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if the view's options have a time limit or
    /// retries, and the errors of [`MpiPoolExecutor::submit`].
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`MpiPoolExecutor::submit`].
    pub fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<MpiFuture<R>, Error>
    where
        A: Portable,
        R: Portable,
    {
        match self.submitter() {
            Ok(submitter) => submitter.submit(f, args),
            Err(error) => {
                contain_drop(args);
                Err(error)
            }
        }
    }

    /// Calls [`MpiPoolExecutor::try_submit`] with the options of the view.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor, TaskOptions};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     let view = executor.with(TaskOptions::new().name("next"));
    ///     assert_eq!(view.try_submit(|n: u8| n + 1, 1).unwrap().into_result()?, 2);
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if the view's options have a time limit or
    /// retries, and the errors of [`MpiPoolExecutor::try_submit`].
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`MpiPoolExecutor::submit`].
    #[expect(clippy::type_complexity, reason = "what comes back is what went in")]
    pub fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<MpiFuture<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable,
    {
        match self.submitter() {
            Ok(submitter) => submitter.try_submit(f, args),
            Err(error) => Err(TrySubmitError::new(error, f, args)),
        }
    }

    /// Calls [`MpiPoolExecutor::map`]. The task of each item has the options of the view.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MpiPoolExecutor, TaskOptions};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     let view = executor.with(TaskOptions::new().name("square"));
    ///     assert_eq!(view.map(|n: i32| n * n, [1, 2])?.sum::<Result<i32, _>>()?, 5);
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`MpiPoolExecutor::submit`].
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable,
        I: IntoIterator<Item = A>,
    {
        self.submitter()?.map(f, items)
    }

    /// Calls [`MpiPoolExecutor::map_with`]. Each task has the options of the view.
    ///
    /// ```no_run
    /// use concurrent_futures::{Error, MapOptions, MpiPoolExecutor, TaskOptions};
    ///
    /// MpiPoolExecutor::run(|executor| {
    ///     let view = executor.with(TaskOptions::new().name("square"));
    ///     let pairs = MapOptions::new().chunk_size(2);
    ///     let squares = view.map_with(pairs, |n: i32| n * n, [1, 2, 3, 4])?;
    ///     assert_eq!(squares.sum::<Result<i32, _>>()?, 30);
    ///     Ok::<(), Error>(())
    /// })??;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit) and of [`MpiPoolExecutor::map_with`].
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`MpiPoolExecutor::submit`].
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
        self.submitter()?.map_with(options, f, items)
    }
}

executor_by_inherent_methods!(With<'_, MpiPoolExecutor>, MpiFuture);
