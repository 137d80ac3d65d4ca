//! Running a task: on a worker that took the task from a queue, or on a worker that waits
//! for the task.

use super::inline_worker::{is_registered_for, with_hooks};
use super::nested_callbacks::without_callback_queue;
use super::rare::Task;
use super::scope_guard::ScopeGuard;
use super::stack::{LEAST, NoStack, with_stack};
use super::storage::Called;
use super::wakers::outside_wakers;
use super::word::{FINISHED, HANDLE, RARE, WAITER, Word};
use super::worker_hooks::WorkerHooks;
use crate::error::Error;
use crate::panic::unnamed;
use crate::worker::as_worker_of_pool;

impl Task {
    /// Runs a task that a worker took from a queue, and consumes the queue's reference to
    /// the task. Returns `false` if the task is no longer pending, or if another thread is
    /// ending it.
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

    /// Returns `true` if the calling thread could run the task now instead of waiting for
    /// it.
    #[inline]
    pub(crate) fn may_run_inline(&self) -> bool {
        is_registered_for(self.pool_id()) && self.word().is_free()
    }

    /// Runs a pending task on the calling thread, which is about to wait for the task, if
    /// the thread is a worker of the task's pool. Without such runs, all workers might wait
    /// at the same time, and no worker could run the tasks that they wait for.
    ///
    /// The waiting worker runs only the awaited task, because an unrelated task might want
    /// a lock that the waiting task holds (rayon-rs/rayon#592). A wait with a deadline runs
    /// no task, because the task could run past the deadline.
    ///
    /// # Errors
    ///
    /// Returns [`NoStack`] if too little stack is left and no more can be allocated. This
    /// thread has not begun the task then.
    #[inline]
    pub(crate) fn run_inline(&self) -> Result<(), NoStack> {
        if !self.may_run_inline() {
            return Ok(());
        }
        self.run_inline_if_pending()
    }

    fn run_inline_if_pending(&self) -> Result<(), NoStack> {
        let ran = with_hooks(self.pool_id(), |hooks| {
            with_stack(hooks.stack_size().max(LEAST), || {
                // In a forked child this thread is no worker, so it runs nothing.
                if !self.is_here() {
                    return;
                }
                let popped = hooks.pop_if(self);
                let leaves_entry = popped.is_none();
                if self.start_here() {
                    let task = popped.unwrap_or_else(|| self.clone());
                    // The name of the task that waits is not the name of this task.
                    let run = || unnamed(|| task.run_started(hooks, leaves_entry));
                    // This thread may be inside a callback that waits for the task's
                    // callbacks. So run the task's callbacks at once, not after that
                    // callback, which would never return.
                    outside_wakers(|| without_callback_queue(|| as_worker_of_pool(run)));
                } else if let Some(popped) = popped {
                    popped.let_go_of_entry(hooks);
                }
            })
        });
        ran.unwrap_or(Ok(()))
    }

    /// Drops a queue entry whose task another thread has begun, has ended, or is ending.
    fn let_go_of_entry(self, hooks: &(impl WorkerHooks + ?Sized)) {
        // Another thread may still be ending the task, and use the pool meanwhile. Wait for
        // that thread.
        self.wait_for_ending();
        hooks.entry_was_stale();
    }

    /// Calls the job (the function with its arguments) of a task that the caller started,
    /// and ends the task. Then runs the *notification*: the wakers, callbacks and drops
    /// that follow the end.
    #[inline]
    fn run_started(self, hooks: &(impl WorkerHooks + ?Sized), leaves_entry: bool) {
        // SAFETY: the caller started the task.
        let called = unsafe { self.call_job(hooks, leaves_entry) };
        let Some((_, scope_guard)) = called else {
            return;
        };
        // `end` wakes the threads that wait for the task (`transitions.rs`). No thread is
        // parked for a task that `finish_unwatched` ends.
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
        // Report nothing in a child process that a callback forked.
        if is_due && task.is_here() {
            hooks.callbacks_finished();
        }
    }

    /// Calls the job, and stores the job's panic in the task's scope, if there is one.
    /// Returns `None` in a child process that the job forked.
    ///
    /// # Safety
    ///
    /// The caller started the task, and calls this function once.
    #[inline]
    unsafe fn call_job(
        &self,
        hooks: &(impl WorkerHooks + ?Sized),
        leaves_entry: bool,
    ) -> Option<Called> {
        // The worker counts as busy from here until `call_returned`, or longer if the task
        // runs inside a wait (`thread/hooks.rs`).
        hooks.begin(leaves_entry);
        // Runs the user's function, and writes the outcome (`storage.rs`).
        // SAFETY: the caller started the task, and calls this function once.
        let (failed, scope_guard) = unsafe { self.call() };
        if !self.is_here() {
            // The job forked, and this is the child. The task ends only in the parent
            // process. SAFETY: `call` wrote the outcome just now, and no other thread of
            // the child reads it.
            unsafe { self.drop_outcome() };
            return None;
        }
        hooks.call_returned(failed);
        if failed {
            self.keep_panic(scope_guard.as_ref());
        }
        Some((failed, scope_guard))
    }

    /// Runs a task to which the worker has the only reference, so no other thread sees the
    /// task's state.
    fn run_detached(self, hooks: &impl WorkerHooks) {
        self.pass_unseen(|word| word.started_by(None));
        // SAFETY: this thread started the task just now, and no other thread can reach the
        // task.
        let called = unsafe { self.call_job(hooks, false) };
        let Some((failed, scope_guard)) = called else {
            return;
        };
        self.pass_unseen(|word| word.ended_as(FINISHED));
        if failed || self.value_needs_drop() {
            hooks.callbacks_started();
            // SAFETY: the future was dropped, so the value belongs to this thread.
            unsafe { self.drop_outcome() };
            if self.is_here() {
                hooks.callbacks_finished();
            }
        }
        drop(scope_guard);
    }

    /// If the task is in a scope and its outcome is a panic, stores the panic in the scope.
    #[cold]
    fn keep_panic(&self, scope_guard: Option<&ScopeGuard>) {
        // SAFETY: `call` has written the outcome, and the task has not ended, so the
        // outcome still belongs to this thread.
        let error = unsafe { self.error() };
        if let (Some(scope_guard), Some(Error::Panicked(panic))) = (scope_guard, error) {
            scope_guard.panicked(panic.clone());
        }
    }

    /// `Running -> Finished`, if the task's future exists, no thread has set WAITER, and
    /// the task has no rare box (callbacks, wakers, times). Otherwise returns the task
    /// unchanged. The write to the task's [`Word`] that finishes the task also releases the
    /// worker's reference, so this thread does not touch the task afterwards.
    #[inline]
    fn finish_unwatched(self) -> Option<Self> {
        let finish = |word: Word| {
            let is_unwatched = word.has(HANDLE) && !word.has(WAITER) && !word.has(RARE);
            is_unwatched.then(|| word.ended_as(FINISHED).released())
        };
        if self.update(finish).is_err() {
            return Some(self);
        }
        // SAFETY: `released` subtracted this reference from the word, and the future has
        // another reference.
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

    /// A value that sends a message when it is dropped.
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

    fn noting(sender: &Sender<&'static str>) -> Completion<Says> {
        let job = Returns(Says("dropped", sender.clone()));
        // SAFETY: job and value borrow nothing, and both are `Send`.
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

    /// A caller that submits a task after it has read a result must find the worker free.
    /// So when the worker becomes free (`call_returned`), the future has no result yet.
    #[test]
    fn a_worker_is_free_before_its_result_can_be_seen() {
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
        // SAFETY: `handle` is the only handle, and no reference to its value is alive.
        unsafe { handle.release_handle() };
        assert!(events.try_iter().eq(["dropped"]));
    }

    /// The worker counts as busy while it drops a value without a future, because the
    /// `Drop` may take long.
    #[test]
    fn a_worker_is_busy_while_it_drops_an_unwanted_value() {
        let (sender, events) = channel();
        let handle = noting(&sender);
        let task = handle.task().clone();
        // SAFETY: `handle` is the only handle, and no reference to its value is alive.
        unsafe { handle.release_handle() };
        assert!(task.run(&Notes(sender)));
        assert!(
            events
                .try_iter()
                .eq(["begin", "free", "busy", "dropped", "free again"])
        );
    }
}
