//! The trait [`Executor`], and the types of its options, arguments and results.

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
pub(crate) use self::queue_capacity::{QueueCapacity, WhenFull};

pub use self::initializer::InitializerOutcome;
pub use self::refused::TrySubmitError;
pub use self::shutdown::{ShutdownOptions, ShutdownReport};
pub use self::stats::{LauncherStats, Stats};
pub use self::task_options::{TaskOptions, With};

use crate::error::Error;
use crate::future::Future;
use crate::map::{self, Map, MapOptions};

/// The bound on arguments and results that *every* executor accepts.
///
/// `Portable` is an alias for its supertraits: every type that implements the supertraits
/// implements `Portable`. The inherent methods of the thread pool and the inline executor
/// have weaker bounds.
///
/// A value arrives in another process unchanged, or `submit` or the task fails with an
/// error. A field with `#[serde(skip)]` is an exception: the field is not encoded, and
/// arrives with its default value. So is a part that a type's own `Serialize` leaves out,
/// such as the scope id of a `SocketAddrV6`. In a tuple struct with `skip_serializing` on
/// one field and `skip_deserializing` on another, a value may arrive in the wrong field,
/// because its fields have no names. The process pool refuses types that serde can
/// decode only from a self-describing format (`flatten`, `tag`, `untagged`,
/// `skip_serializing_if`, `serde_json::Value`). Such types work inside the wrapper `Json`
/// of the feature `json`. A `String` or a vector of primitive numbers is copied as one
/// block, so `serde_bytes` is not needed. If a vector of primitive numbers has at least 64
/// KiB, and is the whole argument of `submit` or the whole result, the pool does not even
/// copy the numbers before it sends them.
///
/// A value that contains a struct with `#[serde(alias)]` is decoded twice, first by
/// position and then by name, so that no field is mistaken for another field. The result of
/// the first decoding is dropped.
///
/// ```
/// fn needs<T: concurrent_futures::Portable>() {}
///
/// needs::<(u64, String, Vec<Option<f32>>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "not `Portable`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or for the types inside it; send owned values in place of references, and a `Report` in place of an error of another crate; processes share no memory, so in place of an `Arc`, a `Mutex` or a channel the task returns a value; a task is no `async fn`, and a closure that only panics needs a return type: `|()| -> () {{ .. }}`"
)]
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

// Without this attribute, the compiler's error names serde's traits, and omits the message
// and the note of `Portable`.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// Runs calls on workers, and returns a future for each call.
///
/// The trait is for code that is generic over the executor. Each executor of this crate
/// also has the trait's methods as inherent methods, some with weaker bounds. A program
/// with one kind of executor therefore need not import the trait.
///
/// Any crate may implement the trait: [`promise`](crate::promise()) creates the futures,
/// and the documentation of `promise` has an example of an executor. A reference `&E` to an
/// executor is also an executor. There is no `dyn Executor`, because `submit` is generic.
/// To choose the executor at run time, write a generic function and call the function in
/// the arms of a `match`:
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
    /// The type of the futures that `submit` returns.
    type Future<T: Send + Sync + 'static>: Future<Output = T>
        + IntoFuture<Output = Result<T, Error>, IntoFuture: Send>
        + fmt::Debug
        + Send
        + Sync
        + 'static;

    /// Submits `f(args)` to run on a worker.
    ///
    /// `f` is a function, or a closure that captures nothing. `args` is the argument of
    /// `f`: a tuple for several values, `()` for no value.
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
    /// Returns [`Error::ShutDown`] after a shutdown, [`Error::Broken`] if the pool is
    /// broken, or another error, for example [`Error::Spawn`] if no worker can be started.
    /// After an error, `f` does not run.
    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Self::Future<R>, Error>
    where
        A: Portable,
        R: Portable + Sync;

    /// Like [`submit`](Self::submit), but does not wait while the queue is full, and
    /// returns the function and its arguments if the executor refuses the call.
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
    /// Returns [`Error::QueueFull`] if the queue is full, and the errors of
    /// [`submit`](Self::submit).
    #[expect(clippy::type_complexity, reason = "what comes back is what went in")]
    fn try_submit<A, R>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<Self::Future<R>, TrySubmitError<fn(A) -> R, A>>
    where
        A: Portable,
        R: Portable + Sync;

    /// Submits a call of `f` for each item, and returns the results in the order of the
    /// items.
    ///
    /// `map` submits all items before it returns. [`Map`] describes the returned iterator.
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
    /// Returns the errors of [`submit`](Self::submit). If the submission of an item fails,
    /// `map` cancels those of its tasks that have not begun.
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
    /// An executor may ignore the chunk size in `options` and submit each item as one task.
    /// The chunk size does not change the values. But if a task fails as a whole, for
    /// example because its worker dies, each item of its chunk gets this error.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if the chunk size or the buffer size is 0, and
    /// the errors of [`map`](Self::map).
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
    /// The method does the same as [`shutdown_with`](Self::shutdown_with) with the default
    /// options.
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

    /// Refuses new tasks from now on. `options` say whether the method cancels the pending
    /// tasks, and whether it waits for the submitted tasks.
    ///
    /// Any thread may call this method, any number of times. A call in one of the
    /// executor's own tasks or callbacks does not wait, because the task or callback would
    /// wait for itself. An [`InlineExecutor`](crate::InlineExecutor) never waits.
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

    /// Returns a snapshot of the executor's counts.
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

    /// Returns the largest number of workers that the executor may have.
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

/// Implements [`Executor`] for a type whose inherent methods have the same names, and the
/// same or weaker bounds.
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
