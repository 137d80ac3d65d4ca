//! `.await` on a task's future, by value and by reference, on any runtime.
//!
//! Both register a waker with the task and take it back when dropped. A poll is
//! a wait without a limit: on a worker that could run the task, it does.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::handle::TaskFuture;
use crate::completion::{Until, WakerKey};
use crate::error::Error;
use crate::state::State;

/// Awaits a [`TaskFuture`] that it owns, and returns its value.
///
/// Ready when the task is done and its callbacks have run. Ready with
/// [`Error::WouldDeadlock`] if the polling thread is needed for that: in the task itself,
/// in one of its callbacks, in any callback of its process pool, in an initializer of
/// its thread pool; but not where a waker polls, which does not block. Dropping it does
/// nothing to the task. Polled again after the value was given, it is ready with
/// [`Error::InvalidState`].
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

/// Awaits a [`TaskFuture`] that it borrows, and lends its value.
///
/// Ready when the task is done; or with [`Error::WouldDeadlock`] like [`TaskAwait`],
/// but in its own callbacks the task is done. Dropping it does nothing to the task.
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
        let callbacks_done =
            future
                .completion()
                .poll(Until::CallbacksDone, &mut this.key, context.waker());
        if !callbacks_done && future.completion().await_would_deadlock() {
            return Poll::Ready(Err(Error::WouldDeadlock));
        }
        match this.future.take_if(|_| callbacks_done) {
            Some(future) if !future.completion().is_here() => {
                let taken = future.try_into_result();
                Poll::Ready(taken.unwrap_or_else(|_| Err(Error::forked_task())))
            }
            // SAFETY: the callbacks are done, by the poll.
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
            .poll(Until::Done, &mut this.key, context.waker())
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
