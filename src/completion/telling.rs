//! Telling: running a done task's callbacks, each once, in the order of adding,
//! one after the other and never one inside the other.
//!
//! # Who tells
//!
//! Whoever ends a task that has callbacks is its *teller*, from that moment,
//! under the lock. A callback that comes while there is a teller joins the list
//! and the teller runs it. One that comes when the task is told makes its adder
//! the teller. The teller leaves when it finds the list empty, under the lock:
//! so a callback is either found by it or finds it gone.
//!
//! # Why never nested
//!
//! A callback may complete another task (cancel it, set a promise), whose
//! callbacks may complete a third, and so on; nested calls would make the stack
//! as deep as that chain is long. So a thread inside a callback queues what it
//! completes, and works the queue off when the callback has returned.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Completion, Record};
use crate::panic::contain;
use crate::sync::{MutexGuard, local, thread_id};

/// A callback, before the handle's type is known.
pub(crate) type Callback<T> = Box<dyn FnOnce(&Arc<Completion<T>>) + Send>;

/// The duty to run the callbacks of a task that the current thread ended.
#[derive(Debug)]
#[must_use = "callbacks wait for it, and so does `into_result`"]
pub(crate) struct Telling<T>(Option<Arc<Completion<T>>>);

impl<T> Telling<T> {
    pub(super) fn new(due: Option<Arc<Completion<T>>>) -> Self {
        Self(due)
    }

    /// Whether there are callbacks to run.
    pub(crate) fn is_due(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: 'static> Telling<T> {
    /// Runs them: now, or after the callback that the current thread is in.
    pub(crate) fn tell(self) {
        if let Some(completion) = self.0 {
            take_turns(move || completion.run_callbacks());
        }
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
            self.run_callbacks();
        }
    }

    /// The teller's loop.
    fn run_callbacks(self: &Arc<Self>) {
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
    let outermost = QUEUE.try_with(|queue| {
        let mut queue = queue.borrow_mut();
        let outermost = queue.is_none();
        queue.get_or_insert_default().extend(turn.take());
        outermost
    });
    match outermost {
        Ok(false) => {}
        Ok(true) => {
            while let Some(turn) = next_turn() {
                contain(turn);
            }
        }
        // A thread that ends has lost its queue already: there it nests.
        Err(_) => {
            if let Some(turn) = turn {
                contain(turn);
            }
        }
    }
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
