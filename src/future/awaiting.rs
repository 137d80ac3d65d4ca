//! `.await` on a [`TaskFuture`] or on a reference to a [`TaskFuture`], on any async
//! runtime.
//!
//! [`TaskAwait`] and [`TaskAwaitRef`] register a waker with the task. Their `Drop` removes
//! the waker. A worker of a thread pool that polls a pending task of its own pool runs the
//! task inside the poll, as in a wait without a time limit. If too little stack is left for
//! the task, the poll returns [`Error::WouldDeadlock`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::handle::TaskFuture;
use crate::completion::{Until, WakerKey};
use crate::error::Error;
use crate::state::State;

/// The async future of `future.await`, which owns the [`TaskFuture`] and returns the task's
/// value.
///
/// A `TaskAwait` is ready when the task is done and the task's callbacks have run. A poll
/// returns [`Error::WouldDeadlock`] if perhaps the task or its callbacks cannot end before
/// the polling thread continues. That is so if this thread runs the task, decodes its
/// value, runs one of its callbacks, or runs an initializer of the task's thread pool. It
/// is also so on the thread on which the task's process pool decodes values and runs
/// callbacks. Some async runtimes poll inside the call of a waker. A poll inside a waker
/// returns `Pending` instead of this error, because a waker does not block the thread. A
/// poll on a worker of the task's own thread pool runs a task that has not begun [inside
/// the poll](crate#in-a-task-that-waits). It returns [`Error::WouldDeadlock`] if too little
/// stack is left for the task or its callbacks. Dropping the `TaskAwait` also drops the
/// [`TaskFuture`], which does not cancel the task. A poll after the poll that returned the
/// task's value or error returns [`Error::InvalidState`].
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::new()?;
/// let future = executor.spawn(|| String::from("owned"))?;
/// let value: String = pollster::block_on(async { future.await })?;
/// assert_eq!(value, "owned");
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "it does nothing unless polled"]
pub struct TaskAwait<T, E> {
    future: Option<TaskFuture<T, E>>,
    key: WakerKey,
}

/// The async future of `(&future).await`, which borrows the [`TaskFuture`] and lends the
/// task's value.
///
/// A `TaskAwaitRef` is ready when the task is done. A poll returns [`Error::WouldDeadlock`]
/// in the same cases as a poll of a [`TaskAwait`], except the cases that concern the task's
/// callbacks, because the task is already done when its callbacks run. Dropping the
/// `TaskAwaitRef` has no effect on the task.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::new()?;
/// let future = executor.spawn(|| 42)?;
/// let value: &i32 = pollster::block_on(async { (&future).await })?;
/// assert_eq!(*value, 42);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "it does nothing unless polled"]
pub struct TaskAwaitRef<'a, T, E> {
    future: &'a TaskFuture<T, E>,
    key: WakerKey,
}

impl<T, E> IntoFuture for TaskFuture<T, E> {
    type Output = Result<T, Error>;
    type IntoFuture = TaskAwait<T, E>;

    fn into_future(self) -> TaskAwait<T, E> {
        TaskAwait {
            future: Some(self),
            key: WakerKey::default(),
        }
    }
}

impl<'a, T, E> IntoFuture for &'a TaskFuture<T, E> {
    type Output = Result<&'a T, Error>;
    type IntoFuture = TaskAwaitRef<'a, T, E>;

    fn into_future(self) -> TaskAwaitRef<'a, T, E> {
        TaskAwaitRef {
            future: self,
            key: WakerKey::default(),
        }
    }
}

impl<T, E> std::future::Future for TaskAwait<T, E> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(future) = &this.future else {
            return Poll::Ready(Err(Error::InvalidState(State::Finished)));
        };
        let completion = future.completion();
        if completion.run_inline().is_err() || completion.notify_now().is_err() {
            return Poll::Ready(Err(Error::WouldDeadlock));
        }
        let waker = || context.waker().clone();
        let callbacks_done = future
            .completion()
            .poll(Until::CallbacksDone, &mut this.key, waker);
        if !callbacks_done && future.completion().await_would_deadlock() {
            return Poll::Ready(Err(Error::WouldDeadlock));
        }
        match this.future.take_if(|_| callbacks_done) {
            Some(future) if !future.completion().is_here() => {
                let taken = future.try_into_result();
                Poll::Ready(taken.unwrap_or_else(|_| Err(Error::forked_task())))
            }
            // SAFETY: `poll` has returned `true` for `Until::CallbacksDone`, and this
            // process is not a forked child, so the callbacks are done.
            Some(future) => Poll::Ready(unsafe { future.take() }),
            None => Poll::Pending,
        }
    }
}

impl<'a, T, E> std::future::Future for TaskAwaitRef<'a, T, E> {
    type Output = Result<&'a T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let future = this.future;
        if future.completion().run_inline().is_err() {
            return Poll::Ready(Err(Error::WouldDeadlock));
        }
        if future
            .completion()
            .poll(Until::Done, &mut this.key, || context.waker().clone())
        {
            return Poll::Ready(future.lend());
        }
        if future.completion().await_would_deadlock() {
            return Poll::Ready(Err(Error::WouldDeadlock));
        }
        Poll::Pending
    }
}

impl<T, E> Drop for TaskAwait<T, E> {
    fn drop(&mut self) {
        if let Some(future) = &self.future {
            future.completion().forget(&mut self.key);
        }
    }
}

impl<T, E> Drop for TaskAwaitRef<'_, T, E> {
    fn drop(&mut self) {
        self.future.completion().forget(&mut self.key);
    }
}

impl<T, E> Unpin for TaskAwait<T, E> {}

impl<T, E> fmt::Debug for TaskAwait<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskAwait").finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for TaskAwaitRef<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskAwaitRef").finish_non_exhaustive()
    }
}
