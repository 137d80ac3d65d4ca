//! A view of the inline executor: each task that is submitted through the view has the
//! view's options.

use super::{InlineExecutor, InlineFuture};
use crate::error::Error;
use crate::executor::{TrySubmitError, With, executor_by_inherent_methods};
use crate::map::{Map, MapOptions};
use crate::panic::{Contained, named};

impl With<'_, InlineExecutor> {
    /// Like [`InlineExecutor::submit`], but with the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("length"));
    /// assert_eq!(view.submit(str::len, "four")?.into_result()?, 4);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] for an option that this executor does not
    /// support, and the errors of [`InlineExecutor::submit`].
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

    /// Like [`InlineExecutor::try_submit`], but with the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().retries(3));
    /// let refused = view.try_submit(str::len, "four").unwrap_err();
    /// assert_eq!(refused.call.1, "four");
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] for an option that this executor does not
    /// support, and the errors of [`InlineExecutor::try_submit`].
    pub fn try_submit<F, A, R>(
        &self,
        f: F,
        args: A,
    ) -> Result<InlineFuture<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R,
        R: 'static,
    {
        let name = match self.options.in_process() {
            Ok(name) => name,
            Err(error) => return Err(TrySubmitError::new(error, f, args)),
        };
        let call = |(f, args): (F, A)| named(name, || f(args));
        let submitted = self.executor.try_submit(call, (f, args));
        submitted.map_err(|refused| TrySubmitError {
            error: refused.error,
            call: refused.call.1,
        })
    }

    /// Like [`InlineExecutor::spawn`], but with the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("answer"));
    /// assert_eq!(view.spawn(|| 42)?.into_result()?, 42);
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

    /// Like [`InlineExecutor::map`], but the task of each item has the options of this
    /// view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("square"));
    /// assert_eq!(view.map(|n: i32| n * n, [1, 2])?.sum::<Result<i32, _>>()?, 5);
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
        let name = self.options.in_process()?;
        self.executor
            .map(|item| named(name.clone(), || f.get()(item)), items)
    }

    /// Like [`InlineExecutor::map_with`], but each task has the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, TaskOptions, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("square"));
    /// let chunks = MapOptions::new().chunk_size(2);
    /// let squares = view.map_with(chunks, |n: i32| n * n, [1, 2, 3])?;
    /// assert_eq!(squares.sum::<Result<i32, _>>()?, 14);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit) and of [`InlineExecutor::map_with`].
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
        let name = self.options.in_process()?;
        let f = move |item| named(name.clone(), || f.get()(item));
        self.executor.map_with(options, f, items)
    }
}

executor_by_inherent_methods!(With<'_, InlineExecutor>, InlineFuture);
