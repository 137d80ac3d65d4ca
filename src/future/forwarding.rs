//! The traits [`Future`] and [`Waitable`] for [`TaskFuture`]. The implementations call the
//! inherent methods of `TaskFuture`, and the methods of [`Completion`], the future's
//! reference to its task.

use std::task::Waker;
use std::time::Duration;

use super::Future;
use super::handle::TaskFuture;
use crate::completion::{Completion, Until, WakerKey};
use crate::error::Error;
use crate::timing::Timing;
use crate::waitable::{Target, Waitable, sealed};

impl<T, E> Future for TaskFuture<T, E> {
    type Output = T;

    fn result(&self) -> Result<&T, Error> {
        self.result()
    }

    fn result_timeout(&self, timeout: Duration) -> Result<&T, Error> {
        self.result_timeout(timeout)
    }

    fn into_result(self) -> Result<T, Error> {
        self.into_result()
    }

    fn boxed_into_result(self: Box<Self>) -> Result<T, Error> {
        (*self).into_result()
    }

    fn try_into_result(self) -> Result<Result<T, Error>, Self> {
        self.try_into_result()
    }

    fn exception(&self) -> Option<Error> {
        self.exception()
    }

    fn exception_timeout(&self, timeout: Duration) -> Result<Option<Error>, Error> {
        self.exception_timeout(timeout)
    }

    fn cancel(&self) -> bool {
        self.cancel()
    }

    fn cancelled(&self) -> bool {
        self.cancelled()
    }

    fn running(&self) -> bool {
        self.running()
    }

    fn done(&self) -> bool {
        self.done()
    }

    fn add_done_callback(&self, callback: impl FnOnce(&Self) + Send + 'static)
    where
        Self: Sync,
    {
        self.add_done_callback(callback);
    }

    fn then(self, callback: impl FnOnce(Result<T, Error>) + Send + 'static) {
        self.then(callback);
    }

    fn timing(&self) -> Option<Timing> {
        self.timing()
    }

    fn detach(self) {}
}

impl<T, E> Waitable for TaskFuture<T, E> {
    fn target(&self) -> &dyn Target {
        self.completion()
    }

    fn is_sole(&self) -> bool {
        true
    }
}

impl<T, E> sealed::Sealed for TaskFuture<T, E> {}

impl<T> Target for Completion<T> {
    fn id(&self) -> usize {
        self.address()
    }

    fn done(&self) -> bool {
        self.is(Until::Done)
    }

    fn failed(&self) -> bool {
        Self::failed(self)
    }

    fn poll(&self, key: &mut WakerKey, waker: Waker) -> bool {
        self.task().poll(Until::Done, key, || waker)
    }

    fn forget(&self, key: &mut WakerKey) {
        self.task().forget(key);
    }

    fn needs_this_thread(&self) -> bool {
        self.task().needs_this_thread()
    }

    fn may_run_inline(&self) -> bool {
        self.is_here() && self.task().may_run_inline()
    }

    fn run_inline(&self) -> bool {
        self.task().run_inline().is_ok()
    }
}
