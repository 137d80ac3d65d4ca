//! The callbacks of a task: each runs once, in the order of adding, one after the
//! other and never one inside the other.
//!
//! # The notifier
//!
//! The thread that ends a task runs its [`Notification`]. If there are callbacks, it
//! is the task's *notifier* from the transition on, under the lock. A callback that
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
//! ([`Completion::notify_now`]).

use std::cell::RefCell;
use std::sync::Arc;

use super::nested_callbacks::{put_back, run_with_callback_queue, take_queued};
use super::stack::{NoStack, with_enough_stack};
use super::{Completion, Record};
use crate::panic::{contain, contain_drop};
use crate::sync::{MutexGuard, local, thread_id};
use crate::sys::fork::Origin;

/// A callback that gets the task itself, and need not know the type of its future.
pub(crate) type Callback<T> = Box<dyn FnOnce(&Arc<Completion<T>>) + Send>;

impl<T> Completion<T> {
    /// Runs `callback` once the task is done; at once if all earlier callbacks are.
    pub(crate) fn add_callback(self: &Arc<Self>, callback: Callback<T>) {
        let Some(mut record) = self.locked() else {
            return contain_drop(callback);
        };
        record.callbacks.push_back(callback);
        self.notify_if_done(record);
    }

    /// Runs `callback` after all others. Only a handle that is consumed adds one, so
    /// there is one at most.
    pub(crate) fn set_last(self: &Arc<Self>, callback: Callback<T>) {
        let Some(mut record) = self.locked() else {
            return contain_drop(callback);
        };
        record.last = Some(callback);
        self.notify_if_done(record);
    }

    fn notify_if_done(self: &Arc<Self>, mut record: MutexGuard<'_, Record<T>>) {
        if record.state.done() && record.notifier.is_none() {
            record.notifier = Some(thread_id());
            drop(record);
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
    pub(crate) fn notify_now(self: &Arc<Self>) -> Result<(), NoStack> {
        let notifier = self.locked().and_then(|record| record.notifier);
        if notifier.is_none_or(|notifier| notifier != thread_id()) {
            return Ok(());
        }
        let mut callbacks = take_queued(self.address());
        // Each of a chain of callbacks may wait for the next one.
        let ran = with_enough_stack(|| {
            if let Some(callbacks) = callbacks.take() {
                run_with_callback_queue(callbacks.run);
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

    /// Returns the address of the task, which identifies it as long as it lives.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Runs callbacks until none is left: the notifier's loop.
    pub(super) fn run_callbacks(self: &Arc<Self>) {
        let _here = NotifyingFor::enter(self);
        let origin = Origin::current();
        loop {
            let record = self.locked().filter(|_| origin.is_here());
            let Some(mut record) = record else {
                // A callback forked, and this is the fork: the parent goes on.
                return;
            };
            let next = match record.callbacks.pop_front() {
                Some(next) => Some(next),
                None => record.last.take(),
            };
            let Some(next) = next else {
                record.notifier = None;
                let wakers = record.wakers.take();
                let unread = (!record.has_future)
                    // SAFETY: no callback is left and the handle is gone: no
                    // reference is lent.
                    .then(|| unsafe { self.outcome.take() });
                drop(record);
                self.changed.notify_all();
                wakers.wake();
                return contain_drop(unread);
            };
            drop(record);
            contain(|| next(self));
        }
    }
}

local! {
    /// The tasks whose callbacks are on this thread's stack: pool ids and addresses.
    static NOTIFYING_FOR: RefCell<Vec<(usize, usize)>> = RefCell::new(Vec::new())
}

fn is_notifying_here(is_it: impl Fn(&(usize, usize)) -> bool) -> bool {
    let is_there = NOTIFYING_FOR.try_with(|tasks| tasks.borrow().iter().any(is_it));
    is_there.unwrap_or(false)
}

/// Returns `true` if the current thread runs a callback of a task of that pool.
pub(crate) fn is_notifying_for(pool_id: usize) -> bool {
    is_notifying_here(|task| task.0 == pool_id)
}

/// A guard: while it lives, the current thread counts as running the task's callbacks.
pub(super) struct NotifyingFor;

impl NotifyingFor {
    pub(super) fn enter<T>(task: &Completion<T>) -> Self {
        let task = (task.pool_id, task.address());
        let _ = NOTIFYING_FOR.try_with(|tasks| tasks.borrow_mut().push(task));
        Self
    }
}

impl Drop for NotifyingFor {
    fn drop(&mut self) {
        let _ = NOTIFYING_FOR.try_with(|tasks| tasks.borrow_mut().pop());
    }
}
