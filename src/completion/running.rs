//! Running a task: on a worker that took it from a queue, or on one that waits
//! for it.

use super::inline_worker::{is_registered_for, with_hooks};
use super::nested_callbacks::without_callback_queue;
use super::rare::Task;
use super::scope_guard::ScopeGuard;
use super::stack::{NoStack, with_enough_stack};
use super::storage::Called;
use super::wakers::outside_wakers;
use super::word::{FINISHED, HANDLE, RARE, WAITER, Word};
use super::worker_hooks::WorkerHooks;
use crate::error::Error;

/// Runs a task inline before a wait that has no error to say that it could not: if there
/// is no stack for it, another worker may run it.
pub(crate) fn run_inline(task: &Task) {
    let _ = task.run_inline();
}

impl Task {
    /// Runs a task that a worker took from a queue, with the queue's reference. Returns
    /// `false` if it is past pending.
    pub(crate) fn run(self, hooks: &impl WorkerHooks) -> bool {
        if self.word().is_detached() {
            self.run_detached(hooks);
            return true;
        }
        if self.start_here() {
            self.run_started(hooks, false);
            return true;
        }
        self.let_go_of_entry(hooks);
        false
    }

    /// Returns `true` if the calling thread could run the task inline now.
    #[inline]
    pub(crate) fn may_run_inline(&self) -> bool {
        is_registered_for(self.pool_id()) && self.word().is_free()
    }

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
    #[inline]
    pub(crate) fn run_inline(&self) -> Result<(), NoStack> {
        if !self.may_run_inline() {
            return Ok(());
        }
        self.run_inline_if_pending()
    }

    fn run_inline_if_pending(&self) -> Result<(), NoStack> {
        with_enough_stack(|| {
            with_hooks(self.pool_id(), |hooks| {
                // A fork of a worker is no worker.
                if !self.is_here() {
                    return;
                }
                let popped = hooks.pop_if(self);
                let leaves_entry = popped.is_none();
                if self.start_here() {
                    let task = popped.unwrap_or_else(|| self.clone());
                    // Not behind the callback that the thread may be in, which waits for
                    // them: there they would never run.
                    outside_wakers(|| {
                        without_callback_queue(|| task.run_started(hooks, leaves_entry));
                    });
                } else if let Some(popped) = popped {
                    popped.let_go_of_entry(hooks);
                }
            });
        })
    }

    /// Drops an entry of a queue whose task is past pending.
    fn let_go_of_entry(self, hooks: &(impl WorkerHooks + ?Sized)) {
        // A thread that is ending the task still uses the pool: wait until it has.
        self.wait_for_ending();
        hooks.entry_was_stale();
    }

    /// Calls the job of a task that the caller started; runs its notification.
    #[inline]
    fn run_started(self, hooks: &(impl WorkerHooks + ?Sized), leaves_entry: bool) {
        // SAFETY: the caller started it.
        let called = unsafe { self.call_job(hooks, leaves_entry) };
        let Some((_, scope_guard)) = called else {
            return;
        };
        let Some(task) = self.finish_unwatched() else {
            return drop(scope_guard);
        };
        let mut notification = task.end(FINISHED, None);
        notification.scope_guard = scope_guard;
        let is_due = notification.is_due();
        if is_due {
            hooks.callbacks_started();
        }
        notification.notify();
        // A callback may have forked as well.
        if is_due && task.is_here() {
            hooks.callbacks_finished();
        }
    }

    /// Calls the job, and keeps its panic for the task's scope. Returns `None` in a fork
    /// that the job made.
    ///
    /// # Safety
    ///
    /// The caller started the task, and calls this once.
    #[inline]
    unsafe fn call_job(
        &self,
        hooks: &(impl WorkerHooks + ?Sized),
        leaves_entry: bool,
    ) -> Option<Called> {
        hooks.begin(leaves_entry);
        // SAFETY: as the caller says.
        let (failed, scope_guard) = unsafe { self.call() };
        if !self.is_here() {
            // The task ends in the parent.
            // SAFETY: written just now, and the fork's task is never finished.
            unsafe { self.drop_outcome() };
            return None;
        }
        hooks.call_returned(failed);
        if failed {
            self.keep_panic(scope_guard.as_ref());
        }
        Some((failed, scope_guard))
    }

    /// Runs a task of which the worker has the only reference: no other thread sees its
    /// states.
    fn run_detached(self, hooks: &impl WorkerHooks) {
        self.pass_unseen(|word| word.started_by(None));
        // SAFETY: started just now, as far as it can be seen.
        let called = unsafe { self.call_job(hooks, false) };
        let Some((failed, scope_guard)) = called else {
            return;
        };
        self.pass_unseen(|word| word.ended_as(FINISHED));
        if failed || self.value_needs_drop() {
            hooks.callbacks_started();
            // SAFETY: there is no future, so the value is this thread's.
            unsafe { self.drop_outcome() };
            if self.is_here() {
                hooks.callbacks_finished();
            }
        }
        drop(scope_guard);
    }

    /// Keeps the panic that is the outcome for the task's scope, if it is in one.
    #[cold]
    fn keep_panic(&self, scope_guard: Option<&ScopeGuard>) {
        // SAFETY: the outcome was written, and this thread has not yet given it away.
        let error = unsafe { self.error() };
        if let (Some(scope_guard), Some(Error::Panicked(panic))) = (scope_guard, error) {
            scope_guard.panicked(panic.clone());
        }
    }

    /// `Running -> Finished` for a task whose future lives, while no thread waits for it
    /// and nothing is attached: the transition gives up the reference as well, so nothing
    /// is touched after it. Returns the task if it is another one.
    #[inline]
    fn finish_unwatched(self) -> Option<Self> {
        let finish = |word: Word| {
            let is_unwatched = word.has(HANDLE) && !word.has(WAITER) && !word.has(RARE);
            is_unwatched.then(|| word.ended_as(FINISHED).released())
        };
        if self.update(finish).is_err() {
            return Some(self);
        }
        // SAFETY: `released` took it out of the word; the future has another one.
        unsafe { self.forget_reference() };
        None
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::super::job::Job;
    use super::super::{Completion, NO_POOL};
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
        fn call(self) -> Says {
            self.0
        }

        fn on_withdrawn(&self, _cancelled: bool) {}
    }

    /// Returns a task that returns a value which notes its drop.
    fn noting(sender: &Sender<&'static str>) -> Completion<Says> {
        let job = Returns(Says("dropped", sender.clone()));
        // SAFETY: it borrows nothing.
        unsafe { Completion::with_job(NO_POOL, job) }.0
    }

    struct Notes(Sender<&'static str>);

    impl Notes {
        fn write(&self, what: &'static str) {
            self.0.send(what).expect("the test listens");
        }
    }

    impl WorkerHooks for Notes {
        fn begin(&self, _leaves_entry: bool) {
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
        struct Looks(Completion<Says>, Sender<&'static str>);
        impl WorkerHooks for Looks {
            fn begin(&self, _leaves_entry: bool) {}

            fn call_returned(&self, _failed: bool) {
                let known = self.0.state().done();
                let what = if known { "known" } else { "unknown" };
                self.1.send(what).expect("the test listens");
            }

            fn callbacks_started(&self) {}

            fn callbacks_finished(&self) {}
        }
        let (sender, events) = channel();
        let handle = noting(&sender);
        let task = handle.task().clone();
        assert!(task.run(&Looks(handle.clone(), sender)));
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
        let handle = noting(&sender);
        let task = handle.task().clone();
        // SAFETY: the one handle, which lends nothing.
        unsafe { handle.release_handle() };
        assert!(task.run(&Notes(sender)));
        assert!(
            events
                .try_iter()
                .eq(["begin", "free", "busy", "dropped", "free again"])
        );
    }
}
