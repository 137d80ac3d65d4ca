//! The callbacks of a task: each runs once, in the order of adding, one after the
//! other and never one inside the other.
//!
//! # The notifier
//!
//! The thread that ends a task runs its [`Notification`]. If there are callbacks, it
//! is the task's *notifier* from the transition on, under the rare box's lock. A callback that
//! is added while there is a notifier joins the list, and the notifier runs it. A
//! thread that adds one when the callbacks are done becomes the notifier itself. A
//! notifier resigns when it finds the list empty, under the lock: so each callback is
//! either run by it, or added when there is none.
//!
//! # Why never nested
//!
//! See `nested_callbacks.rs`. There is one exception: a callback may wait for the
//! callbacks of a task that its own thread has queued behind it. Those of that task, and
//! no others, then run inside it: the wait would never end otherwise
//! ([`Task::notify_now`]).

use std::cell::RefCell;

use super::nested_callbacks::{put_back, run_with_callback_queue, take_queued};
use super::pool_id::PoolId;
use super::rare::{Callback, RareFields, Task};
use super::stack::{NoStack, with_enough_stack};
use super::word::{FINISHED, HANDLE, UNNOTIFIED};
use crate::panic::{contain, contain_drop};
use crate::sync::{MutexGuard, local, thread_id};
use crate::sys::fork::Origin;

impl Task {
    /// Runs `callback` once the task is done; at once if all earlier callbacks are.
    pub(crate) fn add_callback(&self, callback: Callback) {
        let Some(mut rare) = self.rare() else {
            return contain_drop(callback);
        };
        rare.callbacks.push_back(callback);
        self.notify_if_done(rare);
    }

    /// Runs `callback` after all others. Only a handle that is consumed adds one, so
    /// there is one at most.
    pub(crate) fn set_last(&self, callback: Callback) {
        let Some(mut rare) = self.rare() else {
            return contain_drop(callback);
        };
        rare.last = Some(callback);
        self.notify_if_done(rare);
    }

    fn notify_if_done(&self, mut rare: MutexGuard<'_, RareFields>) {
        // Under the lock, so the end of the task comes behind it and finds the callback,
        // or was made before.
        if self.set(UNNOTIFIED).is_done() && rare.notifier.is_none() {
            rare.notifier = Some(thread_id());
            drop(rare);
            run_with_callback_queue(|| self.run_callbacks());
        }
    }

    /// Called before a wait for this task's callbacks: if the current thread has queued
    /// them behind the callback that it is in, runs them now. The callbacks of tasks that
    /// these complete are queued as usual.
    ///
    /// # Errors
    ///
    /// Not enough stack is left, and no more can be allocated; the callbacks stay queued.
    pub(crate) fn notify_now(&self) -> Result<(), NoStack> {
        let notifier = self.rare_if_any().and_then(|rare| rare.notifier);
        if notifier.is_none_or(|notifier| notifier != thread_id()) {
            return Ok(());
        }
        let mut callbacks = take_queued(self.address());
        // Each of a chain of callbacks may wait for the next one.
        let ran = with_enough_stack(|| {
            if let Some(callbacks) = callbacks.take() {
                run_with_callback_queue(|| callbacks.run());
            }
        });
        if let Some(callbacks) = callbacks {
            put_back(callbacks);
        }
        ran
    }

    /// Returns `true` if the current thread is inside one of its callbacks.
    pub(crate) fn is_notifying_here(&self) -> bool {
        is_notifying_here(|task| task.1 == self.address())
    }

    /// Runs callbacks until none is left: the notifier's loop.
    pub(super) fn run_callbacks(&self) {
        let _here = NotifyingFor::enter(self);
        let origin = Origin::current();
        loop {
            let rare = self.rare().filter(|_| origin.is_here());
            let Some(mut rare) = rare else {
                // A callback forked, and this is the fork: the parent goes on.
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

    /// Resigns as the notifier.
    fn callbacks_are_done(&self, mut rare: MutexGuard<'_, RareFields>) {
        rare.notifier = None;
        let wakers = rare.wakers.take();
        let word = self.clear(UNNOTIFIED);
        drop(rare);
        self.wake_waiters(word);
        wakers.wake();
        if word.is(FINISHED) && !word.has(HANDLE) {
            // SAFETY: no callback is left and the future is gone, so the value is this
            // thread's.
            unsafe { self.drop_outcome() };
        }
    }
}

local! {
    /// The tasks whose callbacks are on this thread's stack: pool ids and addresses.
    static NOTIFYING_FOR: RefCell<Vec<(PoolId, usize)>> = RefCell::new(Vec::new())
}

fn is_notifying_here(is_it: impl Fn(&(PoolId, usize)) -> bool) -> bool {
    let is_there = NOTIFYING_FOR.try_with(|tasks| tasks.borrow().iter().any(is_it));
    is_there.unwrap_or(false)
}

/// Returns `true` if the current thread runs a callback of a task of that pool.
pub(crate) fn is_notifying_for(pool_id: PoolId) -> bool {
    is_notifying_here(|task| task.0 == pool_id)
}

/// A guard: while it lives, the current thread counts as running the task's callbacks.
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
