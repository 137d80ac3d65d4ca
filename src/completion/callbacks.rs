//! The callbacks of a task. Each callback runs at most once. The callbacks run in the order
//! in which they were added, and, with the exceptions below, no callback runs inside
//! another.
//!
//! # The notifier
//!
//! The thread that ends a task runs the task's
//! [`Notification`](super::notification::Notification) (the user code that must run then),
//! or names another thread that will run it. If the task has callbacks, the thread that
//! will run the notification becomes the task's *notifier*: it runs the callbacks. The
//! ending thread records the notifier together with the final state, under the lock of the
//! task's rare box (`rare.rs`), which holds the list of callbacks. A callback that is added
//! while the task has a notifier is appended to the list, and the notifier runs it. A
//! thread that adds a callback after the callbacks are done becomes the notifier itself. A
//! notifier resigns under the lock, when it finds the list empty. So no callback is
//! missed. If there is a notifier when a callback is added, the notifier finds the callback
//! in the list, or beside the list if it is the callback of `then`. Without a notifier
//! there are two cases: if the task has not ended, the thread that ends the task finds the
//! callback; otherwise the adding thread becomes the notifier.
//!
//! # Why never nested
//!
//! The head of `nested_callbacks.rs` says why a callback does not run inside another, and
//! names the first three exceptions. The fourth exception: a callback waits for the
//! callbacks of another task, but the thread of the waiting callback has itself queued
//! these callbacks to run later. Then the callbacks of that other task, and no others, run
//! inside the waiting callback, because otherwise the wait would never end
//! ([`Task::notify_now`]).

use std::cell::RefCell;

use super::nested_callbacks::{put_back, run_with_callback_queue, take_queued};
use super::pool_id::PoolId;
use super::rare::{Callback, RareFields, Task};
use super::stack::{LEAST, NoStack, with_stack};
use super::word::{FINISHED, HANDLE, UNNOTIFIED};
use crate::panic::{contain, contain_drop};
use crate::sync::{MutexGuard, local, thread_id};
use crate::sys::fork::Origin;

impl Task {
    /// Adds a callback, which runs when the task is done. If the task is done and all its
    /// earlier callbacks have run, runs `callback` now, on the calling thread. In a forked
    /// child, drops `callback` if another thread held the lock of the rare box at the fork.
    pub(crate) fn add_callback(&self, callback: Callback) {
        let Some(mut rare) = self.rare() else {
            return contain_drop(callback);
        };
        rare.callbacks.push_back(callback);
        self.notify_if_done(rare);
    }

    /// Adds the callback that runs after all other callbacks. Only `then` calls this
    /// function. Because `then` consumes the task's future, a task has at most one last
    /// callback.
    pub(crate) fn set_last(&self, callback: Callback) {
        let Some(mut rare) = self.rare() else {
            return contain_drop(callback);
        };
        rare.last = Some(callback);
        self.notify_if_done(rare);
    }

    fn notify_if_done(&self, mut rare: MutexGuard<'_, RareFields>) {
        // UNNOTIFIED is set under the rare box's lock. So if the task ends later, the
        // ending thread finds the callback. If the task ended before, this thread sees the
        // end here.
        if self.set(UNNOTIFIED).is_done() && rare.notifier.is_none() {
            rare.notifier = Some(thread_id());
            drop(rare);
            run_with_callback_queue(|| self.run_callbacks());
        }
    }

    /// Called before a wait for this task's callbacks. If the current thread is inside a
    /// callback and has queued this task's callbacks to run afterwards, runs this task's
    /// callbacks now. If these callbacks complete other tasks, the callbacks of those tasks
    /// are queued as usual.
    ///
    /// # Errors
    ///
    /// Returns [`NoStack`] if too little stack is left and no more can be allocated. In
    /// this case the callbacks stay queued.
    pub(crate) fn notify_now(&self) -> Result<(), NoStack> {
        let notifier = self.rare_if_any().and_then(|rare| rare.notifier);
        if notifier.is_none_or(|notifier| notifier != thread_id()) {
            return Ok(());
        }
        let mut callbacks = take_queued(self.address());
        // Callbacks may wait for each other in a long chain, which needs much stack.
        let ran = with_stack(LEAST, || {
            if let Some(callbacks) = callbacks.take() {
                run_with_callback_queue(|| callbacks.run());
            }
        });
        if let Some(callbacks) = callbacks {
            put_back(callbacks);
        }
        ran
    }

    /// Returns `true` if the current thread is inside one of this task's callbacks or
    /// inside its [`Finalizer`](super::rare::Finalizer).
    pub(crate) fn is_notifying_here(&self) -> bool {
        is_notifying_here(|task| task.1 == self.address())
    }

    /// Runs the task's callbacks until none remains. This is the notifier's loop.
    pub(super) fn run_callbacks(&self) {
        let _here = NotifyingFor::enter(self);
        let origin = Origin::current();
        loop {
            let rare = self.rare().filter(|_| origin.is_here());
            let Some(mut rare) = rare else {
                // A callback forked, and this is the child. The parent process runs the
                // remaining callbacks.
                return;
            };
            let next = match rare.callbacks.pop_front() {
                Some(next) => Some(next),
                None => rare.last.take(),
            };
            let Some(next) = next else {
                return self.callbacks_are_done(rare);
            };
            drop(rare);
            contain(|| next(self));
        }
    }

    /// Resigns as the notifier, and wakes the threads and wakers that wait for the
    /// callbacks. Drops an unwanted value.
    fn callbacks_are_done(&self, mut rare: MutexGuard<'_, RareFields>) {
        rare.notifier = None;
        let wakers = rare.wakers.take();
        let word = self.clear(UNNOTIFIED);
        drop(rare);
        self.wake_waiters(word);
        wakers.wake();
        if word.is(FINISHED) && !word.has(HANDLE) {
            // SAFETY: no callback remains and the future was dropped, so the value belongs
            // to this thread.
            unsafe { self.drop_outcome() };
        }
    }
}

local! {
    /// The pool ids and addresses of the tasks for which a [`NotifyingFor`] exists on this
    /// thread.
    static NOTIFYING_FOR: RefCell<Vec<(PoolId, usize)>> = RefCell::new(Vec::new())
}

fn is_notifying_here(is_it: impl Fn(&(PoolId, usize)) -> bool) -> bool {
    let is_there = NOTIFYING_FOR.try_with(|tasks| tasks.borrow().iter().any(is_it));
    is_there.unwrap_or(false)
}

/// Returns `true` if a [`NotifyingFor`] of a task of the pool `pool_id` exists on the
/// current thread.
pub(crate) fn is_notifying_for(pool_id: PoolId) -> bool {
    is_notifying_here(|task| task.0 == pool_id)
}

/// A guard. While it exists, the current thread counts as running the task's callbacks. The
/// guard also exists while the thread runs the task's
/// [`Finalizer`](super::rare::Finalizer).
pub(super) struct NotifyingFor;

impl NotifyingFor {
    pub(super) fn enter(task: &Task) -> Self {
        let task = (task.pool_id(), task.address());
        let _ = NOTIFYING_FOR.try_with(|tasks| tasks.borrow_mut().push(task));
        Self
    }
}

impl Drop for NotifyingFor {
    fn drop(&mut self) {
        let _ = NOTIFYING_FOR.try_with(|tasks| tasks.borrow_mut().pop());
    }
}
