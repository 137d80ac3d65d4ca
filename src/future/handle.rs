//! [`TaskFuture`]: a handle to a submitted task, and the only implementation of
//! [`Future`](super::Future).

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use crate::completion::{Completion, Until};
use crate::error::Error;
use crate::state::State;
use crate::sys::stack::with_room_for;
use crate::timing::Timing;

/// The future of a task that the executor `E` runs.
///
/// [`ThreadFuture`], [`ProcessFuture`], [`ScopedFuture`] and [`InlineFuture`] are aliases
/// of this type. A `TaskFuture` has the size of one pointer. A `TaskFuture` is `Send` if
/// the task's value is `Send`, and `Sync` if the value is `Send` and `Sync`.
///
/// **Dropping the future** does not cancel the task. If the task and its callbacks are
/// done, dropping the future also drops the value. Otherwise the value is dropped when the
/// task has ended and its callbacks have run, usually by the thread that ends the task. In
/// both cases a panic of the value's `Drop` is caught.
///
/// **Memory.** Small tasks that the same thread submits share blocks of 512 bytes of
/// memory. On 64-bit systems a task that
/// [`ThreadPoolExecutor::submit`](crate::ThreadPoolExecutor::submit) creates is small if
/// the function and the arguments together have at most 80 bytes, the value has at most 80
/// bytes, and none of them has an alignment above 8. As long as a future exists, the whole
/// block that contains its task stays allocated. To keep many small values, move them out
/// with [`into_result`](Self::into_result).
///
/// **Awaiting** the future, or a reference to it, works on any async runtime. To functions
/// that need a [`std::future::Future`], such as `join_all` and `tokio::spawn`, pass
/// `future.into_future()`, which is a [`TaskAwait`](crate::TaskAwait). Dropping the
/// `TaskAwait` does not cancel the task.
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// async fn twice() -> Result<i32, Error> {
///     let executor = ThreadPoolExecutor::new()?;
///     let future = executor.spawn(|| 21)?;
///     let lent: &i32 = (&future).await?;
///     assert_eq!(*lent, 21);
///     Ok(2 * future.await?)
/// }
///
/// assert_eq!(pollster::block_on(twice())?, 42);
/// # Ok::<(), Error>(())
/// ```
///
/// [`ThreadFuture`]: crate::ThreadFuture
/// [`InlineFuture`]: crate::InlineFuture
/// [`ProcessFuture`]: crate::ProcessFuture
/// [`ScopedFuture`]: crate::ScopedFuture
#[must_use = "the error of a task is silent until its future is asked; `detach` a future that you do not ask"]
#[repr(transparent)]
pub struct TaskFuture<T, E> {
    /// The reference to the task. The field is a `ManuallyDrop`, so that a method that
    /// consumes the future can move the reference out of the field.
    completion: ManuallyDrop<Completion<T>>,
    /// Makes the future `Sync` only if `T` is `Sync`, because the future lends a `&T`. `E`
    /// only names the executor, and has no effect on `Send` or `Sync`.
    marker: PhantomData<(T, fn() -> E)>,
}

impl<T, E> TaskFuture<T, E> {
    pub(crate) fn new(completion: Completion<T>) -> Self {
        Self {
            completion: ManuallyDrop::new(completion),
            marker: PhantomData,
        }
    }

    pub(crate) fn completion(&self) -> &Completion<T> {
        &self.completion
    }

    /// Casts a reference to a completion into a reference to a future. A callback gets the
    /// returned reference as its argument.
    fn of_callback(completion: &Completion<T>) -> &Self {
        let handle = std::ptr::from_ref(completion).cast::<Self>();
        // SAFETY: `TaskFuture` is `#[repr(transparent)]` over `Completion`, and the
        // reference has the lifetime of `completion`.
        unsafe { &*handle }
    }

    /// Lends the value. Returns the task's error if the task has one, and another error if
    /// the task is not done. Marks a panic as read, because a scope resumes the panic of
    /// one of its tasks only if the program has not read that panic.
    pub(super) fn lend(&self) -> Result<&T, Error> {
        self.peek().inspect_err(Error::mark_read)
    }

    /// Like [`lend`](Self::lend), but does not mark a panic as read.
    fn peek(&self) -> Result<&T, Error> {
        // SAFETY: the outcome is moved out or dropped only when `take`, `then` or `drop`
        // has consumed the task's only handle, which the returned reference borrows, and
        // when the callbacks that get a `&TaskFuture` have returned.
        unsafe { self.completion.lend() }
    }

    /// Moves the outcome out of the task.
    ///
    /// # Safety
    ///
    /// The caller has checked that the task's callbacks are done.
    pub(super) unsafe fn take(self) -> Result<T, Error> {
        let completion = self.into_completion();
        // SAFETY: the callbacks are done and this call consumes the task's only handle, so
        // no reference to the outcome exists any more. The `Drop` of the handle does not
        // run.
        unsafe { completion.take() }.inspect_err(Error::mark_read)
    }

    /// Returns the reference to the task. The caller becomes the owner of the task's value.
    fn into_completion(self) -> Completion<T> {
        let mut future = ManuallyDrop::new(self);
        // SAFETY: `future` is a `ManuallyDrop`, so neither this function nor a `Drop`
        // reads the field `completion` again.
        unsafe { ManuallyDrop::take(&mut future.completion) }
    }
}

impl<T, E> TaskFuture<T, E> {
    /// Waits for the task and lends the task's value. The caller may call this method any
    /// number of times.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let future = executor.submit(|(a, b): (i32, i32)| a * b, (6, 7))?;
    /// assert_eq!(*future.result()?, 42);
    /// assert_eq!(*future.result()?, 42);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the task's error if the task has no value, for example
    /// [`Error::Cancelled`], [`Error::Panicked`] or [`Error::Broken`]. Returns
    /// [`Error::WouldDeadlock`] if the library [detects](crate#in-a-task-that-waits) that
    /// the task waits for the calling thread, directly or through other tasks, or if this
    /// thread has too little stack left to run the task itself. If the task's function
    /// returns an `Err`, this `Err` is the task's value, and the method returns
    /// `Ok(&Err(..))`.
    #[doc(alias = "join")]
    #[doc(alias = "get")]
    pub fn result(&self) -> Result<&T, Error> {
        self.completion.wait(Until::Done, None)?;
        self.lend()
    }

    /// Like [`result`](Self::result), but waits for `timeout` at most.
    ///
    /// A timeout ends the wait, but does not end the task. With a timeout of zero, the
    /// method does not wait. With a timeout that exceeds the range of the clock, the wait
    /// has no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, promise};
    ///
    /// let (promise, future) = promise();
    /// let early = future.result_timeout(Duration::from_millis(1));
    /// assert!(matches!(early, Err(Error::Timeout { unfinished: 1, total: 1 })));
    /// promise.set_result(5)?;
    /// assert_eq!(*future.result_timeout(Duration::ZERO)?, 5);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`], or an error of [`result`](Self::result).
    pub fn result_timeout(&self, timeout: Duration) -> Result<&T, Error> {
        self.wait_for(timeout)?;
        self.lend()
    }

    /// Waits for the task and the task's callbacks, and returns the value.
    ///
    /// The method moves the value out of the task, so the value's type need not be `Clone`.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// struct Unique(String); // not Clone
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let value = executor.spawn(|| Unique("one".into()))?.into_result()?;
    /// assert_eq!(value.0, "one");
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`result`](Self::result). Also returns
    /// [`Error::WouldDeadlock`] in a callback of the task, because the callback would wait
    /// for itself.
    pub fn into_result(self) -> Result<T, Error> {
        self.completion.wait(Until::CallbacksDone, None)?;
        // SAFETY: the wait for `Until::CallbacksDone` has succeeded, so the callbacks are
        // done.
        unsafe { self.take() }
    }

    /// Returns the outcome (the value or the error) if the task and its callbacks are done.
    ///
    /// ```
    /// use concurrent_futures::promise;
    ///
    /// let (promise, future) = promise();
    /// let future = future.try_into_result().unwrap_err();
    /// promise.set_result("now")?;
    /// assert_eq!(future.try_into_result().unwrap()?, "now");
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the future if the task is not done, or if not all of its callbacks have run.
    pub fn try_into_result(self) -> Result<Result<T, Error>, Self> {
        if self.completion.is(Until::CallbacksDone) {
            // SAFETY: `is(Until::CallbacksDone)` has returned `true`, so the callbacks are
            // done.
            Ok(unsafe { self.take() })
        } else {
            Err(self)
        }
    }

    /// Waits for the task, and returns the error of [`result`](Self::result), or `None` if
    /// the task has a value.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let well = executor.submit(|n: u8| n.checked_add(1), 255)?;
    /// assert!(well.exception().is_none()); // the task's value, a `None`, is no error
    /// let badly = executor.submit(|n: u8| n.checked_add(1).unwrap(), 255)?;
    /// assert!(matches!(badly.exception(), Some(Error::Panicked(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn exception(&self) -> Option<Error> {
        self.result().err()
    }

    /// Like [`exception`](Self::exception), but waits for `timeout` at most.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, promise};
    ///
    /// let (promise, future) = promise::<i32>();
    /// let early = future.exception_timeout(Duration::ZERO);
    /// assert!(matches!(early, Err(Error::Timeout { .. })));
    /// promise.set_exception(Error::other("no luck"))?;
    /// let error = future.exception_timeout(Duration::ZERO)?.unwrap();
    /// assert_eq!(error.to_string(), "no luck");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] if the task is not done within `timeout`, or another
    /// error of the wait itself, for example in a forked child.
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<Error>, Error> {
        self.wait_for(timeout)?;
        Ok(self.lend().err())
    }

    fn wait_for(&self, timeout: Duration) -> Result<(), Error> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.completion.wait(Until::Done, Some(deadline)),
            None => self.completion.wait(Until::Done, None),
        }
    }

    /// Returns `true` if the task was cancelled.
    ///
    /// ```
    /// use concurrent_futures::promise;
    ///
    /// let (_promise, future) = promise::<i32>();
    /// assert!(!future.cancelled());
    /// future.cancel();
    /// assert!(future.cancelled());
    /// ```
    pub fn cancelled(&self) -> bool {
        self.completion.state() == State::Cancelled
    }

    /// Returns `true` if the task has begun and is not done, even while it waits for a retry.
    ///
    /// ```
    /// use concurrent_futures::promise;
    ///
    /// let (promise, future) = promise();
    /// assert!(!future.running());
    /// promise.start();
    /// assert!(future.running());
    /// promise.set_result(1)?;
    /// assert!(!future.running());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn running(&self) -> bool {
        self.completion.state() == State::Running
    }

    /// Returns `true` if the task was cancelled, or ended with a value or an error.
    ///
    /// If `done` returns `true`, the calling thread also sees all writes of the task.
    ///
    /// ```
    /// use concurrent_futures::promise;
    ///
    /// let (promise, future) = promise();
    /// assert!(!future.done());
    /// promise.set_result(1)?;
    /// assert!(future.done());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    #[doc(alias = "is_finished")]
    pub fn done(&self) -> bool {
        self.completion.state().done()
    }

    /// Returns the times at which the task was queued, started and finished, if the
    /// executor records them.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let plain = ThreadPoolExecutor::new()?;
    /// assert!(plain.spawn(|| 1)?.timing().is_none());
    /// let timed = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// assert!(timed.spawn(|| 1)?.timing().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn timing(&self) -> Option<Timing> {
        self.completion.timing()
    }

    /// Drops the future without cancelling the task.
    ///
    /// The method does the same as dropping the future, but shows the intent. If the task
    /// panics, the panic hook reports the panic. The end of a [`Scope`](crate::Scope) also
    /// resumes the first unread panic of its tasks.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let executor = ThreadPoolExecutor::new()?;
    /// executor.spawn(move || sender.send("done"))?.detach();
    /// assert_eq!(receiver.recv(), Ok("done"));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn detach(self) {}

    /// Cancels the task if it has not begun.
    ///
    /// Returns `true` if the task was cancelled, by this call or before it. A cancelled
    /// task never runs. A task that already runs is not cancelled, and continues to run.
    /// The call that cancels the task wakes the threads that wait for the task, drops the
    /// function and its arguments, and runs the task's callbacks before it returns. If the
    /// caller is a callback of another task, these callbacks run after the caller has
    /// returned.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    /// use std::sync::mpsc;
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(1)?;
    /// let (gate, closed) = mpsc::channel::<()>();
    /// let first = executor.spawn(move || closed.recv())?;
    /// let second = executor.spawn(|| unreachable!("cancelled"))?;
    /// assert!(second.cancel()); // the only worker runs `first`
    /// let () = match second.exception() {
    ///     Some(Error::Cancelled) => drop(gate),
    ///     other => panic!("{other:?}"),
    /// };
    /// assert!(first.result()?.is_err() && !first.cancel());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        match self.completion.cancel() {
            Some(notification) => {
                notification.notify();
                true
            }
            None => self.cancelled(),
        }
    }

    /// Registers `callback`, which is called with this future when the task is done.
    ///
    /// Each callback runs once, usually in the thread that ends or cancels the task. The
    /// callbacks run in the order in which they were added. If the task is already done,
    /// the callback runs at once in the calling thread, or, if earlier callbacks still run,
    /// after these in their thread. If a callback panics, the panic hook reports the panic,
    /// and the other callbacks still run. If a callback completes another task, the
    /// callbacks of that task run after this callback has returned, unless this callback
    /// waits for them. So a long chain of callbacks needs no deep stack.
    ///
    /// The value must be `Sync`, because the callback shares the value with the holder
    /// of the future. [`then`](Self::then) does not need a `Sync` value.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let executor = ThreadPoolExecutor::new()?;
    /// let future = executor.spawn(|| 6 * 7)?;
    /// future.add_done_callback(move |future| {
    ///     sender.send(future.result().copied().ok()).unwrap();
    /// });
    /// assert_eq!(receiver.recv(), Ok(Some(42)));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + Send + 'static)
    where
        Self: Sync,
    {
        self.completion.add_callback(Box::new(move |task| {
            callback(Self::of_callback(Completion::of_task(task)));
        }));
    }

    /// Passes the outcome (the value or the error) to `callback` when the task is done and
    /// all other callbacks have run.
    ///
    /// `callback` usually runs in the thread that ends or cancels the task. If the task and
    /// its callbacks are already done, `callback` runs at once in the calling thread. It
    /// owns the value, so the value need not be `Sync` or `Clone`. To get a future for the
    /// result of `callback`, let `callback` set a [`promise`](crate::promise()).
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::sync::mpsc;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let executor = ThreadPoolExecutor::new()?;
    /// executor.spawn(|| Cell::new(1))?.then(move |cell| {
    ///     sender.send(cell.map(Cell::into_inner)).unwrap();
    /// });
    /// assert_eq!(receiver.recv().unwrap()?, 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn then(self, callback: impl FnOnce(Result<T, Error>) + Send + 'static) {
        // `into_completion` makes the callback the owner of the value.
        self.into_completion().set_last(Box::new(move |task| {
            // SAFETY: `then` has consumed the handle, and this callback runs at most once.
            let take = || unsafe { Completion::<T>::of_task(task).take() };
            let run = || callback(take().inspect_err(Error::mark_read));
            with_room_for(size_of::<Result<T, Error>>(), run);
        }));
    }
}

impl<T, E> Drop for TaskFuture<T, E> {
    fn drop(&mut self) {
        // SAFETY: `drop` runs once, and no code reads the field `completion` after `drop`.
        let completion = unsafe { ManuallyDrop::take(&mut self.completion) };
        // SAFETY: `self` is the task's only handle. All references to the outcome borrowed
        // the handle, so no such reference exists any more, except in a callback of the
        // task.
        unsafe { completion.release_handle() };
    }
}

// A `TaskFuture` is unwind safe, because a panic of the task becomes the task's error and
// leaves no incomplete state in the future.
impl<T, E> UnwindSafe for TaskFuture<T, E> {}
impl<T, E> RefUnwindSafe for TaskFuture<T, E> {}

impl<T, E> fmt::Debug for TaskFuture<T, E> {
    /// Writes the state of the task. For a finished task, the text also contains the type
    /// of the value, or the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.completion.state();
        write!(f, "TaskFuture({state}")?;
        if state == State::Finished {
            match self.peek() {
                Ok(_) => write!(f, ", returned {}", std::any::type_name::<T>())?,
                Err(error) => write!(f, ", raised {error:?}")?,
            }
        }
        f.write_str(")")
    }
}
