//! [`Scope`]: tasks that borrow from the block that waits for them.
//!
//! The API follows [`std::thread::scope`]. The closure that
//! [`ThreadPoolExecutor::scope`] calls must accept every lifetime `'scope`, so no value
//! whose type contains `'scope` can leave the closure. This file makes the scope wait for
//! its tasks, even if the closure panics. The reasons why borrowed data outlives the tasks
//! are in `completion/cell.rs` and `completion/scope_end.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::executor::ThreadPoolExecutor;
use super::pool::Pool;
use crate::completion::{Completion, ScopeTasks, Task, without_callback_queue};
use crate::error::Error;
use crate::executor::{TrySubmitError, WhenFull};
use crate::future::TaskFuture;
use crate::panic::contain_drop;

/// A scope for tasks that borrow local data. [`ThreadPoolExecutor::scope`] creates the
/// scope and lends it to a closure.
///
/// A task of the scope may submit more tasks to the scope. A scope has no `map`, so for
/// many items, use the `map` of an iterator:
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
    /// The markers make `Scope` invariant in both lifetimes. Otherwise a task could borrow
    /// data that does not live as long as the scope.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The future of a task of a [`Scope`]. The future cannot leave the scope, and its value
/// may borrow the same data as the task.
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
    /// Lends `f` a [`Scope`] for tasks that borrow local data, and returns when all tasks
    /// of the scope have ended.
    ///
    /// A task has ended when its callbacks have run and its function and arguments were
    /// dropped. If the task's future was dropped, the task's value was dropped too. If a
    /// worker of this pool waits at the end of the scope, this worker itself runs the tasks
    /// of the scope that have not begun.
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
    /// Resumes the panic of `f`, if `f` panicked. Otherwise, resumes the first panic of a
    /// task whose outcome was not read. In both cases the panic is raised only after all
    /// tasks have ended.
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
        // Run the tasks' callbacks at once, not after the callback that this thread may be
        // inside: that callback waits for the end of the scope, and the scope waits for its
        // tasks' callbacks.
        let outcome = without_callback_queue(|| {
            let outcome = catch_unwind(AssertUnwindSafe(|| f(&scope)));
            scope.scope_tasks.wait(Task::run_inline);
            outcome
        });
        match (outcome, scope.scope_tasks.unread_panic()) {
            (Err(payload), _) => resume_unwind(payload),
            (Ok(value), Some(panic)) => {
                // Drop the value first: a panic of its `Drop` while unwinding would abort.
                contain_drop(value);
                panic.resume()
            }
            (Ok(value), None) => value,
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Submits `f(args)`. Both `f` and `args` may borrow data that outlives the scope.
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
    /// Returns the errors of [`ThreadPoolExecutor::submit`].
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
        match self.enqueue(f, args, WhenFull::Wait) {
            Ok(completion) => Ok(TaskFuture::new(completion)),
            Err(refused) => Err(refused.drop_call()),
        }
    }

    /// Like [`submit`](Self::submit), but never waits for room in a bounded queue, and
    /// returns `f` and `args` if the pool refuses the call.
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
    /// Returns the errors of [`ThreadPoolExecutor::try_submit`].
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
        self.enqueue(f, args, WhenFull::Refuse).map(TaskFuture::new)
    }

    /// Submits `f()`: [`submit`](Self::submit) without arguments.
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
    /// Returns the errors of [`ThreadPoolExecutor::submit`].
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
        when_full: WhenFull,
    ) -> Result<Completion<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'scope,
        A: Send + 'scope,
        R: Send + 'scope,
    {
        // SAFETY: the borrowed data outlives `'scope`, and `&'scope self` keeps the scope
        // in place. `'scope` ends only after `ThreadPoolExecutor::scope` has waited for the
        // scope's tasks.
        unsafe { self.pool.submit_to(&self.scope_tasks, f, args, when_full) }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("tasks", &self.scope_tasks)
            .finish_non_exhaustive()
    }
}
