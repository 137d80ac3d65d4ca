//! The methods of `With<ThreadPoolExecutor>`, which submit tasks with options to a pool.
//!
//! `submit` and `try_submit` submit the function [`call`], whose argument contains the
//! task's name, the user's function and the user's arguments.

use std::sync::Arc;

use super::executor::{ThreadFuture, ThreadPoolExecutor};
use crate::error::Error;
use crate::executor::{TrySubmitError, With, executor_by_inherent_methods};
use crate::map::{Map, MapOptions};
use crate::panic::{Contained, named};

/// A task's name, with the function and the arguments of the user. The task runs [`call`]
/// with this tuple as its only argument.
type Named<F, A> = (Option<Arc<str>>, Contained<F>, Contained<A>);

fn call<F: FnOnce(A) -> R, A, R>((name, f, args): Named<F, A>) -> R {
    let (f, args) = (f.into_inner(), args.into_inner());
    named(name, || f(args))
}

fn with_name<F, A>(name: Option<Arc<str>>, f: F, args: A) -> Named<F, A> {
    (name, Contained::new(f), Contained::new(args))
}

impl With<'_, ThreadPoolExecutor> {
    /// Like [`ThreadPoolExecutor::submit`], but with the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("length"));
    /// assert_eq!(view.submit(str::len, "four")?.into_result()?, 4);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] for an option that a thread pool does not
    /// support, and the errors of [`ThreadPoolExecutor::submit`].
    pub fn submit<F, A, R>(&self, f: F, args: A) -> Result<ThreadFuture<R>, Error>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        match self.options.in_process() {
            Ok(name) => self.executor.submit(call, with_name(name, f, args)),
            Err(error) => Err(TrySubmitError::new(error, f, args).drop_call()),
        }
    }

    /// Like [`ThreadPoolExecutor::try_submit`], but with the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().retries(3));
    /// let refused = view.try_submit(str::len, "four").unwrap_err();
    /// assert_eq!(refused.call.1, "four");
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] for an option that a thread pool does not
    /// support, and the errors of [`ThreadPoolExecutor::try_submit`].
    pub fn try_submit<F, A, R>(
        &self,
        f: F,
        args: A,
    ) -> Result<ThreadFuture<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        let name = match self.options.in_process() {
            Ok(name) => name,
            Err(error) => return Err(TrySubmitError::new(error, f, args)),
        };
        self.executor
            .try_submit(call, with_name(name, f, args))
            .map_err(|refused| {
                let (_, f, args) = refused.call.1;
                TrySubmitError::new(refused.error, f.into_inner(), args.into_inner())
            })
    }

    /// Like [`ThreadPoolExecutor::spawn`], but with the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("answer"));
    /// assert_eq!(view.spawn(|| 42)?.into_result()?, 42);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`submit`](Self::submit).
    pub fn spawn<F, R>(&self, f: F) -> Result<ThreadFuture<R>, Error>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.submit(|()| f(), ())
    }

    /// Like [`ThreadPoolExecutor::map`], but the task of each item has the options of this
    /// view.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
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
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let f = Contained::new(f);
        let name = self.options.in_process()?;
        self.executor
            .map(move |item| named(name.clone(), || f.get()(item)), items)
    }

    /// Like [`ThreadPoolExecutor::map_with`], but each task has the options of this view.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, TaskOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
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
    /// [`ThreadPoolExecutor::map_with`].
    pub fn map_with<'a, F, A, R, I>(
        &'a self,
        options: MapOptions,
        f: F,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
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

executor_by_inherent_methods!(With<'_, ThreadPoolExecutor>, ThreadFuture);
