//! Running a task: on a worker that took it from a queue, or on one that waits
//! for it.

use std::sync::Arc;

use super::borrowing::later;
use super::nested_callbacks::without_callback_queue;
use super::stack::{NoStack, has_enough_stack, with_enough_stack};
use super::task::{Job, Notifications, Task, WorkerHooks};
use super::wakers::outside_wakers;
use super::{Completion, Notification};
use crate::error::Error;
use crate::panic::{catch, contain_drop};

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
        if !has_enough_stack() && !self.may_run_inline() {
            return Ok(());
        }
        with_enough_stack(|| {
            if let Some((hooks, job)) = self.start_inline() {
                // Not behind the callback that the thread may be in, which waits for
                // them: there they would never run.
                outside_wakers(|| {
                    without_callback_queue(|| Arc::clone(self).run_started(job, &*hooks));
                });
            }
        })
    }

    /// Calls the job of a task that the caller started; runs its notification.
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
    // SAFETY: a notification drops its scope guard last, and the notification of a
    // task without one borrows nothing.
    unsafe { later(|| notification.map_or((), Notification::notify)) }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::super::NO_POOL;
    use super::*;

    /// A value that notes its drop.
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

    /// A caller that acts on a result finds the worker free.
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

    /// The value is unwanted, and its `Drop` may take its time.
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
