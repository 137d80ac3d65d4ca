//! Telling: all the foreign code that the end of a task calls for. Wakers first,
//! then the `Drop` of a job that was not called, then the callbacks: each once,
//! in the order of adding, one after the other and never one inside the other.
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
use std::sync::Arc;

use super::task::Job;
use super::waiting::Wakers;
use super::{Completion, Record};
use crate::panic::contain;
use crate::sync::{MutexGuard, local, thread_id};

/// A callback, before the handle's type is known.
pub(crate) type Callback<T> = Box<dyn FnOnce(&Arc<Completion<T>>) + Send>;

/// What a final move took out of the record.
pub(super) struct Foreign<T> {
    pub(super) job: Option<Box<dyn Job<T>>>,
    pub(super) wakers: Wakers,
    pub(super) has_callbacks: bool,
}

/// The duty to call the foreign code that a task's end calls for.
#[must_use = "callbacks and wakers wait for it, and so does `into_result`"]
pub(crate) struct Telling<T> {
    job: Option<Box<dyn Job<T>>>,
    wakers: Wakers,
    /// The task with the callbacks, if it has any.
    callbacks: Option<Arc<Completion<T>>>,
}

impl<T> Telling<T> {
    pub(super) fn new(completion: &Arc<Completion<T>>, foreign: Foreign<T>) -> Self {
        Self {
            job: foreign.job,
            wakers: foreign.wakers,
            callbacks: foreign.has_callbacks.then(|| Arc::clone(completion)),
        }
    }

    /// Whether there is anything to do.
    pub(crate) fn is_due(&self) -> bool {
        self.job.is_some() || !self.wakers.is_empty() || self.callbacks.is_some()
    }
}

impl<T: 'static> Telling<T> {
    /// Does it; the callbacks come now, or after the one that the current
    /// thread is in.
    pub(crate) fn tell(self) {
        self.wakers.wake();
        if let Some(job) = self.job {
            job.discard();
        }
        if let Some(completion) = self.callbacks {
            take_turns(move || completion.run_callbacks());
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
        let mut record = self.record.lock();
        record.callbacks.push_back(callback);
        self.tell_if_nobody_does(record);
    }

    /// Runs `callback` after all others. For the handle that gives itself up,
    /// so there is one at most.
    pub(crate) fn set_last(self: &Arc<Self>, callback: Callback<T>) {
        let mut record = self.record.lock();
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
        loop {
            let mut record = self.record.lock();
            let next = match record.callbacks.pop_front() {
                Some(next) => Some(next),
                None => record.last.take(),
            };
            let Some(next) = next else {
                record.teller = None;
                let wakers = record.wakers.take();
                drop(record);
                self.changed.notify_all();
                return wakers.wake();
            };
            drop(record);
            contain(|| next(self));
        }
    }
}

/// Runs the callbacks of one task.
type Turn = Box<dyn FnOnce()>;

local! {
    /// `Some` while the thread tells of a task that it ended.
    static QUEUE: RefCell<Option<VecDeque<Turn>>> = RefCell::new(None)
}

/// Runs `turn` now, or behind the turn that is on this thread's stack.
fn take_turns(turn: impl FnOnce() + 'static) {
    let mut turn: Option<Turn> = Some(Box::new(turn));
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
fn next_turn() -> Option<Turn> {
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
struct TellingOf;

impl TellingOf {
    fn enter(home: usize) -> Self {
        let _ = TOLD_HERE.try_with(|homes| homes.borrow_mut().push(home));
        Self
    }
}

impl Drop for TellingOf {
    fn drop(&mut self) {
        let _ = TOLD_HERE.try_with(|homes| homes.borrow_mut().pop());
    }
}
