//! [`kill`](TaskFuture::kill): the call that only futures of processes have.

use std::time::Duration;

use super::executor::ProcessPoolExecutor;
use super::parent::find;
use crate::error::Error;
use crate::future::TaskFuture;

impl<T: 'static> TaskFuture<T, ProcessPoolExecutor> {
    /// Ends the task even while it runs, by ending its worker.
    ///
    /// Returns `true` if this ends the task with [`Error::Killed`], or cancels it since
    /// it was not yet sent to a worker; also if either had happened before. No other
    /// task is affected: a new worker replaces the old one. It does not wait until the
    /// worker has ended; `result` does.
    ///
    /// ```
    /// use concurrent_futures::{Error, ProcessPoolExecutor};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let endless = executor.submit(|()| -> () { loop {} }, ())?;
    /// assert!(endless.kill());
    /// assert!(matches!(endless.exception(), Some(Error::Killed(_) | Error::Cancelled)));
    /// let done = executor.submit(|n: u8| n, 1)?;
    /// assert_eq!(*done.result()?, 1);
    /// assert!(!done.kill());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn kill(&self) -> bool {
        let completion = self.completion();
        let pool = find(completion.pool_id());
        let kill = || pool.is_some_and(|pool| pool.kill(completion.address()));
        // In between, the worker that it was sent to may die, which requeues the task.
        let is_ended = self.cancel() || kill() || self.cancel();
        is_ended
            || matches!(
                self.exception_timeout(Duration::ZERO),
                Ok(Some(Error::Killed(_)))
            )
    }
}
