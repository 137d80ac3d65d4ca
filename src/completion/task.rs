//! The worker's end: what a queue holds, and how a worker runs it.

use std::sync::Arc;

use super::borrowing::later;
use super::notification::without_callback_queue;
use super::stack::{NoStack, has_enough_stack, with_enough_stack};
use super::{Completion, Notification};
use crate::error::Error;
use crate::panic::{catch, contain_drop};

/// A submitted call, as its executor packed it.
pub(crate) trait Job<T>: Send {
    /// Runs the user's function.
    fn call(self: Box<Self>) -> T;

    /// Counts the function as one that is not called: `cancelled`, or failed
    /// together with its pool.
    fn on_withdrawn(&self, cancelled: bool);

    /// Drops the function and its arguments, and contains the panics of both.
    fn drop_contained(self: Box<Self>);

    /// The seat of the current thread for a task that it waits for, if it is
    /// one of the workers that could run it. Asked under a lock.
    fn inline_hooks(&self) -> Option<Box<dyn WorkerHooks>>;

    /// The call as bytes, if it is made in another process.
    fn into_encoded(self: Box<Self>) -> Option<EncodedCall> {
        None
    }
}

/// A call as another process gets it: a frame that is written once and sent as it
/// is.
#[derive(Clone)]
pub(crate) struct EncodedCall {
    /// The number by which that process names the task.
    pub(crate) number: u64,
    pub(crate) frame: Arc<Vec<u8>>,
}

/// What a worker tells its pool while it runs a task: whether a new task may
/// count on this worker.
///
/// A worker is free *before* anyone learns of the outcome, so that whoever acts on
/// the result finds it free, and busy again as long as the user's code runs
/// here after that.
pub(crate) trait WorkerHooks {
    /// A task that was queued is about to run here.
    fn begin(&self);

    /// Its function is over, well or not.
    fn call_returned(&self, failed: bool);

    /// Callbacks or wakers are to run here, or a `Drop`.
    fn callbacks_started(&self);

    /// They are over.
    fn callbacks_finished(&self);
}

/// All the foreign code that is left, of a task of any type: for one who settles
/// many tasks before any is told.
pub(crate) type Notifications = Box<dyn FnOnce()>;

/// The worker's end of a task of any type.
pub(crate) trait Task: Send + Sync {
    /// Claims the task for the caller, who must then [`run`](Self::run) it.
    /// `false` if somebody else has, or if it was cancelled.
    fn start(&self) -> bool;

    /// Runs a task that the caller started; tells everybody.
    fn run(self: Arc<Self>, hooks: &dyn WorkerHooks);

    /// Runs a pending task, if the caller is one of the workers that could and
    /// is about to wait for it.
    fn run_inline(self: Arc<Self>);

    /// Ends a pending task with an error in place of its call.
    fn fail(self: Arc<Self>, error: Error) -> Notifications;

    /// Cancels a task that is pending.
    fn cancel(self: Arc<Self>) -> Notifications;
}

impl<T> Completion<T> {
    /// Runs a pending task here and now if the calling thread, which is about
    /// to wait for it, is one of the workers that could: otherwise all workers
    /// might wait, and none be left to run what they wait for.
    ///
    /// This very task and no other, and only for a wait without a limit: an
    /// unrelated task might want a lock that the waiting one holds
    /// (rayon-rs/rayon#592), and a limit could not be kept.
    ///
    /// # Errors
    ///
    /// There is not enough stack left, and no memory for more. The task is
    /// pending as before.
    pub(crate) fn run_inline(self: &Arc<Self>) -> Result<(), NoStack> {
        if !has_enough_stack() && !self.may_help() {
            return Ok(());
        }
        with_enough_stack(|| {
            if let Some((hooks, job)) = self.start_inline() {
                // Its callbacks too: behind a callback that waits for them they
                // would never run.
                without_callback_queue(|| Arc::clone(self).run_started(job, &*hooks));
            }
        })
    }

    /// Calls the job of a task that the caller started; tells everybody.
    fn run_started(self: Arc<Self>, job: Box<dyn Job<T>>, hooks: &dyn WorkerHooks) {
        hooks.begin();
        let outcome = catch(|| job.call()).map_err(Error::Panicked);
        if !self.is_here() {
            // The function forked, and this is the fork: the task ends in the parent.
            return contain_drop(outcome);
        }
        hooks.call_returned(outcome.is_err());
        let Ok(notification) = self.settle(outcome) else {
            unreachable!("a task that runs is ended by its runner alone");
        };
        let is_due = notification.is_due();
        if is_due {
            hooks.callbacks_started();
        }
        notification.notify();
        // A callback may have forked as well.
        if is_due && self.is_here() {
            hooks.callbacks_finished();
        }
    }
}

impl<T: Send> Task for Completion<T> {
    fn start(&self) -> bool {
        Self::start(self)
    }

    fn run(self: Arc<Self>, hooks: &dyn WorkerHooks) {
        match self.take_job() {
            Some(job) => self.run_started(job, hooks),
            None => unreachable!("only the one who started a task runs it"),
        }
    }

    fn run_inline(self: Arc<Self>) {
        // Another worker may run it; there is no error to say otherwise with.
        let _ = Self::run_inline(&self);
    }

    fn fail(self: Arc<Self>, error: Error) -> Notifications {
        notifications(Self::fail(&self, error))
    }

    fn cancel(self: Arc<Self>) -> Notifications {
        notifications(Self::cancel(&self))
    }
}

fn notifications<T>(notification: Option<Notification<T>>) -> Notifications {
    // SAFETY: a telling drops its member last, and of a task without one it
    // borrows nothing.
    unsafe { later(|| notification.map_or((), Notification::notify)) }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::super::NO_POOL;
    use super::*;

    /// A value, a job that returns it, and a seat that writes down what happens.
    struct Says(&'static str, Sender<&'static str>);

    impl Drop for Says {
        fn drop(&mut self) {
            self.1.send(self.0).expect("the test listens");
        }
    }

    struct Returns(Says);

    impl Job<Says> for Returns {
        fn call(self: Box<Self>) -> Says {
            self.0
        }

        fn on_withdrawn(&self, _cancelled: bool) {}

        fn drop_contained(self: Box<Self>) {}

        fn inline_hooks(&self) -> Option<Box<dyn WorkerHooks>> {
            None
        }
    }

    struct Notes(Sender<&'static str>);

    impl Notes {
        fn write(&self, what: &'static str) {
            self.0.send(what).expect("the test listens");
        }
    }

    impl WorkerHooks for Notes {
        fn begin(&self) {
            self.write("begin");
        }

        fn call_returned(&self, _failed: bool) {
            self.write("free");
        }

        fn callbacks_started(&self) {
            self.write("busy");
        }

        fn callbacks_finished(&self) {
            self.write("free again");
        }
    }

    /// Who acts on a result finds the worker free.
    #[test]
    fn a_worker_is_free_before_anybody_knows_the_result() {
        struct Looks(Arc<Completion<Says>>, Sender<&'static str>);
        impl WorkerHooks for Looks {
            fn begin(&self) {}

            fn call_returned(&self, _failed: bool) {
                let known = self.0.state().done();
                let what = if known { "known" } else { "unknown" };
                self.1.send(what).expect("the test listens");
            }

            fn callbacks_started(&self) {}

            fn callbacks_finished(&self) {}
        }
        let (sender, events) = channel();
        let handle = Completion::new(NO_POOL);
        let job = Returns(Says("dropped", sender.clone()));
        // SAFETY: it borrows nothing.
        let task = unsafe { handle.pack(Some(Box::new(job)), None) };
        assert!(task.start());
        task.run(&Looks(Arc::clone(&handle), sender));
        assert!(
            events.try_iter().eq(["unknown"]),
            "the future has the value"
        );
        // SAFETY: the one handle, which lends nothing.
        unsafe { handle.release_handle() };
        assert!(events.try_iter().eq(["dropped"]));
    }

    /// Nobody wants the value any more, and its `Drop` may take its time.
    #[test]
    fn a_worker_is_busy_while_it_drops_an_unwanted_value() {
        let (sender, events) = channel();
        let handle = Completion::new(NO_POOL);
        let job = Returns(Says("dropped", sender.clone()));
        // SAFETY: it borrows nothing.
        let task = unsafe { handle.pack(Some(Box::new(job)), None) };
        assert!(task.start());
        // SAFETY: the one handle, which lends nothing.
        unsafe { handle.release_handle() };
        task.run(&Notes(sender));
        assert!(
            events
                .try_iter()
                .eq(["begin", "free", "busy", "dropped", "free again"])
        );
    }
}
