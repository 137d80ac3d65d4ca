//! [`Scope`]: tasks that borrow from the block that waits for them.
//!
//! The shape is that of [`std::thread::scope`]: the lifetime `'scope` is any one
//! that the closure cannot know, so nothing that names it leaves the closure.
//! Why what is borrowed outlives all that reaches it stands with the two places
//! that rely on it, `completion/cell.rs` and `completion/scope_end.rs`; here the
//! block is made to wait, whatever happens in it.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::executor::ThreadPoolExecutor;
use super::pool::Pool;
use crate::completion::{Completion, ScopeTasks, run_inline, without_callback_queue};
use crate::error::Error;
use crate::executor::TrySubmitError;
use crate::future::TaskFuture;
use crate::panic::contain_drop;

/// A scope for tasks that borrow, as [`ThreadPoolExecutor::scope`] lends it.
///
/// It is shared freely: a task of the scope may submit more to it. For many items
/// there is the iterator's own `map`:
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let words = ["to", "be", "or"].map(String::from);
/// let lengths = executor.scope(|scope| {
///     let futures: Vec<_> = words.iter().map(|word| scope.submit(String::len, word)).collect();
///     futures.into_iter().map(|future| future?.into_result()).collect::<Result<Vec<_>, Error>>()
/// })?;
/// assert_eq!(lengths, [2, 2, 2]);
/// # Ok::<(), Error>(())
/// ```
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let words = ["to", "be"].map(String::from);
/// let total = executor.scope(|scope| {
///     let (first, second) = (&words[0], &words[1]);
///     let outer = scope.spawn(move || {
///         let inner = scope.spawn(|| second.len())?; // from within a task
///         Ok::<_, Error>(first.len() + inner.into_result()?)
///     })?;
///     outer.into_result()?
/// })?;
/// assert_eq!(total, 4);
/// # Ok::<(), Error>(())
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    pool: Arc<Pool>,
    scope_tasks: ScopeTasks,
    /// Invariant in both, or a task could be told that it may borrow for less
    /// than the scope takes.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The future of a task of a [`Scope`]. It cannot leave the scope, and its value
/// may borrow what the task may.
///
/// ```
/// use concurrent_futures::{Error, ScopedFuture, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let text = String::from("to be or not to be");
/// let longest = executor.scope(|scope| {
///     let future: ScopedFuture<'_, '_, Option<&str>> =
///         scope.spawn(|| text.split(' ').max_by_key(|word| word.len()))?;
///     future.into_result()
/// })?;
/// assert_eq!(longest, Some("not"));
/// # Ok::<(), Error>(())
/// ```
pub type ScopedFuture<'scope, 'env, T> = TaskFuture<T, Scope<'scope, 'env>>;

impl ThreadPoolExecutor {
    /// Lends `f` a [`Scope`] for tasks that borrow, and returns when all tasks
    /// submitted to it have ended.
    ///
    /// A task has ended when its function, arguments and callbacks are gone, and
    /// so is its value, unless the future has it. On a worker of this pool the
    /// end of the scope runs those that have not begun itself.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let mut numbers = vec![1, 2, 3, 4];
    /// executor.scope(|scope| {
    ///     for half in numbers.chunks_mut(2) {
    ///         scope.spawn(move || half.reverse())?.detach();
    ///     }
    ///     Ok::<(), Error>(())
    /// })?;
    /// assert_eq!(numbers, [2, 1, 4, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// With the panic of `f`; or, if `f` returned, with that of the first task
    /// that panicked and whose outcome nobody asked for, as
    /// [`std::thread::scope`] does. Not before all tasks have ended.
    pub fn scope<'env, F, R>(&self, f: F) -> R
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    {
        let scope = Scope {
            pool: Arc::clone(self.pool()),
            scope_tasks: ScopeTasks::new(),
            scope: PhantomData,
            env: PhantomData,
        };
        // Outside the callback that it may be in, whose turn would come after the
        // end of the scope, which waits for the callbacks of its tasks.
        let outcome = without_callback_queue(|| {
            let outcome = catch_unwind(AssertUnwindSafe(|| f(&scope)));
            scope.scope_tasks.wait(run_inline);
            outcome
        });
        match (outcome, scope.scope_tasks.unread_panic()) {
            (Err(payload), _) => resume_unwind(payload),
            (Ok(value), Some(panic)) => {
                // Not while it unwinds: a panic of this `Drop` would abort.
                contain_drop(value);
                panic.resume()
            }
            (Ok(value), None) => value,
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Has `f(args)` run; both may borrow what outlives the scope.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let text = String::from("borrowed");
    /// let length = executor.scope(|scope| scope.submit(str::len, &text)?.into_result())?;
    /// assert_eq!(length, text.len());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`ThreadPoolExecutor::submit`].
    pub fn submit<F, A, R>(
        &'scope self,
        f: F,
        args: A,
    ) -> Result<ScopedFuture<'scope, 'env, R>, Error>
    where
        F: FnOnce(A) -> R + Send + 'scope,
        A: Send + 'scope,
        R: Send + 'scope,
    {
        match self.enqueue(f, args, true) {
            Ok(completion) => Ok(TaskFuture::new(completion)),
            Err(refused) => Err(refused.drop_call()),
        }
    }

    /// Like [`submit`](Self::submit), but never waits for room in a bounded
    /// queue, and gives the call back if it is refused.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// executor.shutdown();
    /// let text = String::from("borrowed");
    /// executor.scope(|scope| {
    ///     let refused = scope.try_submit(str::len, &text).unwrap_err();
    ///     assert!(matches!(refused.error, Error::ShutDown));
    ///     assert_eq!(refused.call.1, "borrowed");
    /// });
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`ThreadPoolExecutor::try_submit`].
    pub fn try_submit<F, A, R>(
        &'scope self,
        f: F,
        args: A,
    ) -> Result<ScopedFuture<'scope, 'env, R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'scope,
        A: Send + 'scope,
        R: Send + 'scope,
    {
        self.enqueue(f, args, false).map(TaskFuture::new)
    }

    /// Has `f()` run: [`submit`](Self::submit) without arguments.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let count = AtomicU32::new(0);
    /// executor.scope(|scope| {
    ///     for _ in 0..10 {
    ///         scope.spawn(|| count.fetch_add(1, Ordering::Relaxed))?.detach();
    ///     }
    ///     Ok::<(), Error>(())
    /// })?; // waits for all ten
    /// assert_eq!(count.into_inner(), 10);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`ThreadPoolExecutor::submit`].
    pub fn spawn<F, R>(&'scope self, f: F) -> Result<ScopedFuture<'scope, 'env, R>, Error>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        self.submit(|()| f(), ())
    }

    fn enqueue<F, A, R>(
        &'scope self,
        f: F,
        args: A,
        waits: bool,
    ) -> Result<Completion<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'scope,
        A: Send + 'scope,
        R: Send + 'scope,
    {
        // SAFETY: what is borrowed outlives `'scope`, which lasts until
        // `ThreadPoolExecutor::scope` has waited for the scope's tasks.
        unsafe { self.pool.submit_to(&self.scope_tasks, f, args, waits) }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("tasks", &self.scope_tasks)
            .finish_non_exhaustive()
    }
}
