//! [`kill`](TaskFuture::kill): the method that only futures of a process pool have.

use std::time::Duration;

use super::executor::ProcessPoolExecutor;
use super::parent::find;
use crate::error::Error;
use crate::future::TaskFuture;

impl<T: 'static> TaskFuture<T, ProcessPoolExecutor> {
    /// Ends the task by killing its worker, even while the task runs.
    ///
    /// Returns `true` if this call ends the task with [`Error::Killed`], or cancels the
    /// task because it has not begun. Returns `true` also if the task was already killed
    /// or cancelled. Other tasks are not affected, with one exception: a task that was
    /// sent ahead ([`Launcher::in_flight`](crate::Launcher::in_flight)) may fail if the
    /// worker has begun it already, or cannot give it back within a second. If more tasks
    /// wait, a new worker replaces the killed worker. `kill` does not wait until the
    /// worker has ended, but `result` does.
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
        // A worker that has taken the task may die between the first `cancel` and `kill`,
        // before the task begins. The pool then puts the task back into the queue, where
        // only the second `cancel` can end it.
        let is_ended = self.cancel() || kill() || self.cancel();
        is_ended
            || matches!(
                self.exception_timeout(Duration::ZERO),
                Ok(Some(Error::Killed(_)))
            )
    }
}
