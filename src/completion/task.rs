//! The worker's end: what a queue holds, and how a worker runs it.

use std::any::Any;
use std::sync::Arc;

use super::Completion;
use crate::error::Error;
use crate::panic::catch;

/// A submitted call, as its executor packed it.
pub(crate) trait Job<T>: Send {
    /// Runs the user's function.
    fn call(self: Box<Self>) -> T;

    /// Counts the function as one that is not called: `cancelled`, or failed
    /// together with its pool.
    fn withdrawn(&self, cancelled: bool);

    /// Drops the function and its arguments, and contains the panics of both.
    fn discard(self: Box<Self>);

    /// Itself, for the executor that made it and knows what it is.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;

    /// The seat of the current thread for a task that it waits for, if it is
    /// one of the workers that could run it. Asked under a lock.
    fn helper(&self) -> Option<Box<dyn Seat>>;
}

/// What a worker tells its pool while it runs a task: whether a new task may
/// count on this worker.
///
/// A worker is free *before* anyone learns of the outcome, so that whoever acts on
/// the result finds it free, and busy again as long as the user's code runs
/// here after that.
pub(crate) trait Seat {
    /// A task that was queued is about to run here.
    fn begin(&self);

    /// Its function is over, well or not.
    fn free(&self, failed: bool);

    /// Callbacks or wakers are to run here, or a `Drop`.
    fn busy(&self);

    /// They are over.
    fn free_again(&self);
}

/// A telling of any type, for one who settles many tasks before any is told.
pub(crate) type Tidings = Option<Box<dyn FnOnce()>>;

/// The worker's end of a task of any type.
pub(crate) trait Task: Send + Sync {
    /// Claims the task for the caller, who must then [`run`](Self::run) it.
    /// `false` if somebody else has, or if it was cancelled.
    fn start(&self) -> bool;

    /// Runs a task that the caller started; tells everybody.
    fn run(self: Arc<Self>, seat: &dyn Seat);

    /// Ends a task with an error in place of its call, unless it is done.
    fn fail(self: Arc<Self>, error: Error) -> Tidings;

    /// Cancels a task that is pending.
    fn cancel(self: Arc<Self>) -> Tidings;
}

impl<T: 'static> Completion<T> {
    /// Runs a pending task here and now if the calling thread, which is about
    /// to wait for it, is one of the workers that could: otherwise all workers
    /// might wait, and none be left to run what they wait for.
    ///
    /// This very task and no other, and only for a wait without a limit: an
    /// unrelated task might want a lock that the waiting one holds
    /// (rayon-rs/rayon#592), and a limit could not be kept.
    pub(crate) fn help(self: &Arc<Self>) {
        if let Some(seat) = self.start_as_helper() {
            Arc::clone(self).run_started(&*seat);
        }
    }

    /// Runs a task that the caller started; tells everybody.
    fn run_started(self: Arc<Self>, seat: &dyn Seat) {
        let Some(job) = self.take_job() else {
            unreachable!("only the one who started a task runs it")
        };
        seat.begin();
        let outcome = catch(|| job.call()).map_err(Error::Panicked);
        seat.free(outcome.is_err());
        match self.settle(outcome) {
            Ok(telling) if telling.is_due() => {
                seat.busy();
                telling.tell();
                drop(self);
                seat.free_again();
            }
            _ => {
                // With the handle gone and the value unread, it ends here.
                let unread = Arc::into_inner(self).filter(Completion::has_unread);
                if unread.is_some() {
                    seat.busy();
                    drop(unread);
                    seat.free_again();
                }
            }
        }
    }
}

impl<T: Send + 'static> Task for Completion<T> {
    fn start(&self) -> bool {
        Self::start(self)
    }

    fn run(self: Arc<Self>, seat: &dyn Seat) {
        self.run_started(seat);
    }

    fn fail(self: Arc<Self>, error: Error) -> Tidings {
        let telling = self.settle(Err(error)).ok()?;
        Some(Box::new(|| telling.tell()))
    }

    fn cancel(self: Arc<Self>) -> Tidings {
        let telling = Self::cancel(&self)?;
        Some(Box::new(|| telling.tell()))
    }
}
