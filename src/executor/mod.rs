//! The trait [`Executor`], and beside it the plain values that go in and out of
//! one.

mod initializer;
mod pools;
mod queue_capacity;
mod refused;
mod shutdown;
mod stats;
mod task_options;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::pools::{join, next_name, refuse_zeros};
pub(crate) use self::queue_capacity::QueueCapacity;

pub use self::initializer::InitializerOutcome;
pub use self::refused::TrySubmitError;
pub use self::shutdown::{ShutdownOptions, ShutdownReport};
pub use self::stats::Stats;
pub use self::task_options::{TaskOptions, With};

use crate::error::Error;
use crate::future::Future;
use crate::map::{self, Map, MapOptions};

/// Bound on arguments and results that can be used with *every* executor.
///
/// A name for the bounds, implemented for all that meet them. A task that runs
/// in this process needs less: see the inherent methods of the executors.
///
/// A value arrives in another process as it was, or there is an error; but a field with
/// `#[serde(skip)]`, of which nothing is written, arrives as its default. Types that
/// serde reads by looking at what comes (`flatten`, `untagged`,
/// `skip_serializing_if`, `serde_json::Value`) are refused; they go in the wrapper
/// `Json` of the feature `json`. Vectors of numbers and texts are copied as they
/// are, without `serde_bytes`.
///
/// A struct with aliases is read twice, and the first value dropped: by position and by
/// name, so that no field is taken for another one.
///
/// ```
/// fn needs<T: concurrent_futures::Portable>() {}
///
/// needs::<(u64, String, Vec<Option<f32>>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "not `Portable`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or for the types inside it; send owned values in place of references, and a `Report` in place of an error of another crate"
)]
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

// Or the compiler would name serde's traits, and not this one with its advice.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// Runs calls on workers, and returns a future for each.
///
/// For code that is generic over where its tasks run. Each executor also has
/// these methods inherent, with looser bounds where its kind allows, so that a
/// program with one executor imports nothing.
///
/// Any crate may implement it: [`promise`](crate::promise()) makes the futures,
/// and shows how.
/// It is implemented for `&E` as well. It cannot be made into `dyn Executor`,
/// since `submit` is generic; write a generic function, or choose by `match`:
///
/// ```
/// use concurrent_futures::{Error, Executor, Future, InlineExecutor, ThreadPoolExecutor};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// fn sum_of_squares<E: Executor>(executor: &E) -> Result<u64, Error> {
///     executor.map(square, 1..=10)?.sum()
/// }
///
/// let sum = match "threads" {
///     "inline" => sum_of_squares(&InlineExecutor::new()?),
///     _ => sum_of_squares(&ThreadPoolExecutor::new()?),
/// };
/// assert_eq!(sum?, 385);
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    note = "a pointer to an executor is none itself: lend what it points to, as in `&*executor`"
)]
pub trait Executor {
    /// The futures that it gives.
    type Future<T: Send + Sync + 'static>: Future<Output = T>
        + IntoFuture<Output = Result<T, Error>, IntoFuture: Send>
        + fmt::Debug
        + Send
        + Sync
        + 'static;

    /// Submits `f(args)` to run on a worker.
    ///
    /// `f` is a function, or a closure that captures nothing; what it needs
    /// comes in `args`: a tuple for several values, `()` for none.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, Future};
    ///
    /// fn power(base: u32, exponent: u32) -> u32 {
    ///     base.pow(exponent)
    /// }
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let future = executor.submit(|(b, e)| power(b, e), (2, 10))?;
    ///     assert_eq!(*future.result()?, 1024);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`], [`Error::Broken`], or [`Error::Spawn`] if no worker
    /// can be started; nothing runs then.
    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Self::Future<R>, Error>
    where
        A: Portable,
        R: Portable + Sync;

    /// Like [`submit`](Self::submit), but never waits for room in a queue, and
    /// gives the call back if it is refused.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor};
    ///
    /// fn demo<E: Executor>(executor: &E) {
    ///     executor.shutdown();
    ///     let refused = executor.try_submit(|n: i32| n + 1, 1).unwrap_err();
    ///     assert!(matches!(refused.error, Error::ShutDown));
    ///     let (f, args) = refused.call;
    ///     assert_eq!(f(args), 2);
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`], and those of [`submit`](Self::submit).
    #[expect(clippy::type_complexity, reason = "what comes back is what went in")]
    fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<Self::Future<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable + Sync;

    /// Submits `f` for each of `items`; the results come in the order of the items.
    ///
    /// All items are submitted before it returns. See [`Map`] for what the
    /// iterator does.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let lengths = executor.map(|s: String| s.len(), ["a".into(), "bcd".into()])?;
    ///     assert_eq!(lengths.collect::<Result<Vec<_>, _>>()?, [1, 3]);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit); what was submitted is cancelled.
    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
    {
        map::eager(
            MapOptions::new(),
            self.max_workers(),
            items,
            map::one_by_one(|item| self.submit(f, item)),
        )
    }

    /// Like [`map`](Self::map), with [`MapOptions`].
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, MapOptions};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let options = MapOptions::new().buffer_size(4);
    ///     let mut squares = executor.map_with(options, |n: u64| n * n, 1..)?; // endless
    ///     assert_eq!(squares.nth(9).unwrap()?, 100);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// An executor may submit item by item whatever the chunk size: the results
    /// are the same.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a size of 0, and those of
    /// [`map`](Self::map).
    fn map_with<'a, A, R, I>(
        &'a self,
        options: MapOptions,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        let submit = map::one_by_one(move |item| self.submit(f, item));
        map::with(options.unchunked()?, self.max_workers(), items, submit)
    }

    /// Refuses new tasks, and waits until all submitted tasks are done.
    ///
    /// The same as [`shutdown_with`](Self::shutdown_with) without options.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor};
    ///
    /// fn demo<E: Executor>(executor: &E) {
    ///     executor.shutdown();
    ///     assert!(matches!(executor.submit(|n: i32| n, 1), Err(Error::ShutDown)));
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?);
    /// # Ok::<(), Error>(())
    /// ```
    fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// Refuses new tasks; cancels and waits as `options` say.
    ///
    /// May be called from any thread and more than once. Inside one of the
    /// executor's own tasks or callbacks it does not wait: that would wait for
    /// itself.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, Future, ShutdownOptions};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     let future = executor.submit(|n: i32| n, 1)?;
    ///     executor.shutdown_with(ShutdownOptions::new().cancel_pending(true));
    ///     assert!(future.done()); // it ran, or it was cancelled
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport;

    /// Returns a cheap snapshot of the executor's counts.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, Future};
    ///
    /// fn demo<E: Executor>(executor: &E) -> Result<(), Error> {
    ///     executor.submit(|n: i32| n, 1)?.into_result()?;
    ///     assert_eq!(executor.stats().finished, 1);
    ///     Ok(())
    /// }
    /// # demo(&concurrent_futures::ThreadPoolExecutor::new()?)?;
    /// # Ok::<(), Error>(())
    /// ```
    fn stats(&self) -> Stats;

    /// Returns the largest number of workers.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, ThreadPoolExecutor};
    ///
    /// fn demo<E: Executor>(executor: &E) -> usize {
    ///     executor.max_workers()
    /// }
    /// assert_eq!(demo(&ThreadPoolExecutor::with_max_workers(3)?), 3);
    /// # Ok::<(), Error>(())
    /// ```
    fn max_workers(&self) -> usize;
}

impl<E: Executor> Executor for &E {
    type Future<T: Send + Sync + 'static> = E::Future<T>;

    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Self::Future<R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
    {
        (**self).submit(f, args)
    }

    fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<Self::Future<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable + Sync,
    {
        (**self).try_submit(f, args)
    }

    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Map<'static, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
    {
        (**self).map(f, items)
    }

    fn map_with<'a, A, R, I>(
        &'a self,
        options: MapOptions,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        A: Portable,
        R: Portable + Sync,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        (**self).map_with(options, f, items)
    }

    fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        (**self).shutdown_with(options)
    }

    fn stats(&self) -> Stats {
        (**self).stats()
    }

    fn max_workers(&self) -> usize {
        (**self).max_workers()
    }
}

/// Implements [`Executor`] by the inherent methods of the same names, which have
/// looser bounds.
macro_rules! executor_by_inherent_methods {
    ($type:ty, $future:ident) => {
        impl crate::executor::Executor for $type {
            type Future<T: Send + Sync + 'static> = $future<T>;

            fn submit<A, R>(
                &self,
                f: fn(A) -> R,
                args: A,
            ) -> Result<$future<R>, crate::error::Error>
            where
                A: crate::executor::Portable,
                R: crate::executor::Portable + Sync,
            {
                self.submit(f, args)
            }

            fn try_submit<A, R>(
                &self,
                f: fn(A) -> R,
                args: A,
            ) -> Result<$future<R>, crate::executor::TrySubmitError<fn(A) -> R, A>>
            where
                A: crate::executor::Portable,
                R: crate::executor::Portable + Sync,
            {
                self.try_submit(f, args)
            }

            fn map_with<'a, A, R, I>(
                &'a self,
                options: crate::map::MapOptions,
                f: fn(A) -> R,
                items: I,
            ) -> Result<crate::map::Map<'a, R>, crate::error::Error>
            where
                A: crate::executor::Portable,
                R: crate::executor::Portable + Sync,
                I: IntoIterator<Item = A>,
                I::IntoIter: 'a,
            {
                self.map_with(options, f, items)
            }

            fn shutdown_with(
                &self,
                options: crate::executor::ShutdownOptions,
            ) -> crate::executor::ShutdownReport {
                self.shutdown_with(options)
            }

            fn stats(&self) -> crate::executor::Stats {
                self.stats()
            }

            fn max_workers(&self) -> usize {
                self.max_workers()
            }
        }
    };
}
pub(crate) use executor_by_inherent_methods;
