//! Telling: all the foreign code that the end of a task calls for. Wakers first,
//! then the `Drop` of a job that was not called and of an unwanted value, then
//! the callbacks: each once, in the order of adding, one after the other and
//! never one inside the other.
//!
//! # Who tells
//!
//! Whoever ends a task sees to its [`Telling`]. If there are callbacks, it is
//! the task's *teller*, from the move on, under the lock. A callback that comes
//! while there is a teller joins the list and the teller runs it. One that comes
//! when the task is told makes its adder the teller. The teller leaves when it
//! finds the list empty, under the lock: so a callback is either found by it or
//! finds it gone.
//!
//! # Why never nested
//!
//! A callback may complete another task (cancel it, set a promise), whose
//! callbacks may complete a third, and so on; nested calls would make the stack
//! as deep as that chain is long. So a thread inside a callback queues what it
//! completes, and works the queue off when the callback has returned. Only a
//! callback that is added to a task that is told runs at once, even there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem::needs_drop;
use std::sync::Arc;

use super::borrowing::{Later, later};
use super::group::Member;
use super::task::Job;
use super::waiting::Wakers;
use super::{Completion, Record};
use crate::error::Error;
use crate::panic::{contain, contain_drop};
use crate::sync::{MutexGuard, local, thread_id};
use crate::sys::fork::Origin;

/// A callback, before the handle's type is known.
pub(crate) type Callback<T> = Box<dyn FnOnce(&Arc<Completion<T>>) + Send>;

/// The duty to call the foreign code that a task's end calls for, as the final
/// move took it out of the record. Dropped in the order of its fields.
#[must_use = "callbacks and wakers wait for it, and so does `into_result`"]
pub(crate) struct Telling<T> {
    /// One that was not called.
    pub(super) job: Option<Box<dyn Job<T>>>,
    pub(super) wakers: Wakers,
    /// The outcome, if the future is gone and there are no callbacks.
    pub(super) unwanted: Option<Result<T, Error>>,
    /// The task with the callbacks, if it has any.
    pub(super) callbacks: Option<Arc<Completion<T>>>,
    /// The task's place in a scope: to be dropped last.
    pub(super) member: Option<Box<Member>>,
}

impl<T> Telling<T> {
    /// Whether there is foreign code to call.
    pub(crate) fn is_due(&self) -> bool {
        let is_foreign = |outcome: &Result<T, Error>| outcome.is_err() || needs_drop::<T>();
        self.job.is_some()
            || !self.wakers.is_empty()
            || self.unwanted.as_ref().is_some_and(is_foreign)
            || self.callbacks.is_some()
    }

    /// Calls it; the callbacks come now, or after the one that the current
    /// thread is in.
    pub(crate) fn tell(self) {
        self.wakers.wake();
        if let Some(job) = self.job {
            job.discard();
        }
        contain_drop(self.unwanted);
        let member = self.member;
        if let Some(completion) = self.callbacks {
            let origin = Origin::current();
            let rest = move || {
                // A callback before it may have forked: they run in the parent.
                if origin.is_here() {
                    completion.run_callbacks();
                }
                drop(member);
            };
            // SAFETY: it drops the member last, and a task without one borrows
            // nothing.
            take_turns(unsafe { later(rest) });
        }
    }
}

impl<T> fmt::Debug for Telling<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling")
            .field("is_due", &self.is_due())
            .finish_non_exhaustive()
    }
}

impl<T> Completion<T> {
    /// Runs `callback` once the task is done; at once if it is told.
    pub(crate) fn add_callback(self: &Arc<Self>, callback: Callback<T>) {
        let Some(mut record) = self.locked() else {
            return contain_drop(callback);
        };
        record.callbacks.push_back(callback);
        self.tell_if_nobody_does(record);
    }

    /// Runs `callback` after all others. For the handle that gives itself up,
    /// so there is one at most.
    pub(crate) fn set_last(self: &Arc<Self>, callback: Callback<T>) {
        let Some(mut record) = self.locked() else {
            return contain_drop(callback);
        };
        record.last = Some(callback);
        self.tell_if_nobody_does(record);
    }

    fn tell_if_nobody_does(self: &Arc<Self>, mut record: MutexGuard<'_, Record<T>>) {
        if record.state.done() && record.teller.is_none() {
            record.teller = Some(thread_id());
            drop(record);
            in_a_turn(|| self.run_callbacks());
        }
    }

    /// The teller's loop.
    fn run_callbacks(self: &Arc<Self>) {
        let _here = TellingOf::enter(self.home);
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
                record.teller = None;
                let wakers = record.wakers.take();
                let unread = (!record.has_future)
                    // SAFETY: no callback is left, the handle is gone: nobody
                    // lends.
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
    /// `Some` while the thread tells of a task that it ended.
    static QUEUE: RefCell<Option<VecDeque<Later>>> = RefCell::new(None)
}

/// Runs a task's callbacks now, or behind the turn that is on this thread's stack.
fn take_turns(turn: Later) {
    let mut turn = Some(turn);
    // A thread that ends has lost its queue already: there it nests.
    let _ = QUEUE.try_with(|queue| {
        if let Some(queue) = queue.borrow_mut().as_mut() {
            queue.extend(turn.take());
        }
    });
    if let Some(turn) = turn {
        in_a_turn(turn);
    }
}

/// Runs `turn` at once, and behind it what it completes.
fn in_a_turn(turn: impl FnOnce()) {
    let outermost = QUEUE.try_with(|queue| {
        let mut queue = queue.borrow_mut();
        let outermost = queue.is_none();
        queue.get_or_insert_default();
        outermost
    });
    contain(turn);
    if matches!(outermost, Ok(true)) {
        while let Some(turn) = next_turn() {
            contain(turn);
        }
    }
}

/// Runs a task's function: for what it completes it is outside every turn, even
/// if a callback waits for the task and so runs it on its own stack.
pub(crate) fn outside_turns<R>(f: impl FnOnce() -> R) -> R {
    let outer = QUEUE.try_with(RefCell::take).unwrap_or(None);
    let result = f();
    let _ = QUEUE.try_with(|queue| queue.replace(outer));
    result
}

/// The next turn; without one, the thread is outside every turn again.
fn next_turn() -> Option<Later> {
    QUEUE.with(|queue| {
        let mut queue = queue.borrow_mut();
        let next = queue.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *queue = None;
        }
        next
    })
}

local! {
    /// The homes of the tasks whose callbacks are on this thread's stack.
    static TOLD_HERE: RefCell<Vec<usize>> = RefCell::new(Vec::new())
}

/// Whether the current thread is inside a callback of a task of that pool.
pub(crate) fn is_telling_of(home: usize) -> bool {
    let is_there = TOLD_HERE.try_with(|homes| homes.borrow().contains(&home));
    is_there.unwrap_or(false)
}

/// Marks the thread until it is dropped.
pub(super) struct TellingOf;

impl TellingOf {
    pub(super) fn enter(home: usize) -> Self {
        let _ = TOLD_HERE.try_with(|homes| homes.borrow_mut().push(home));
        Self
    }
}

impl Drop for TellingOf {
    fn drop(&mut self) {
        let _ = TOLD_HERE.try_with(|homes| homes.borrow_mut().pop());
    }
}
