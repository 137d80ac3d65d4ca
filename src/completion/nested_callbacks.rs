//! The callbacks that a thread has yet to run for the tasks that it completed.
//!
//! # Why callbacks are never nested
//!
//! A callback may complete another task (cancel it, set a promise), whose
//! callbacks may complete a third, and so on; nested calls would make the stack
//! as deep as that chain is long. So a thread that runs a callback queues the
//! callbacks of what it completes, and runs them when that callback has returned.
//! Only a callback that is added to a task whose callbacks are done runs at once,
//! even there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::rare::Task;
use super::scope_guard::ScopeGuard;
use crate::panic::contain;
use crate::sync::local;
use crate::sys::fork::Origin;

/// The callbacks of one task, which are due on the thread that has them.
pub(super) struct Callbacks {
    task: Task,
    /// Dropped behind them.
    scope_guard: Option<ScopeGuard>,
    /// The process in which they are due: one before them may fork.
    origin: Origin,
}

impl Callbacks {
    pub(super) fn of(task: Task, scope_guard: Option<ScopeGuard>) -> Self {
        Self {
            task,
            scope_guard,
            origin: Origin::current(),
        }
    }

    pub(super) fn run(self) {
        if self.origin.is_here() {
            self.task.run_callbacks();
        }
        drop(self.scope_guard);
    }
}

struct CallbackQueues {
    /// `Some` while the thread runs callbacks.
    queue: Option<VecDeque<Callbacks>>,
    /// The queues that were suspended, the innermost last.
    suspended: Vec<VecDeque<Callbacks>>,
}

local! {
    static QUEUES: RefCell<CallbackQueues> =
        RefCell::new(CallbackQueues { queue: None, suspended: Vec::new() })
}

local! {
    /// `true` while the thread has a queue: for a look that costs less.
    static HAS_QUEUE: Cell<bool> = Cell::new(false)
}

fn set_has_queue(has_queue: bool) {
    let _ = HAS_QUEUE.try_with(|place| place.set(has_queue));
}

/// Runs the callbacks of a task, now or after the callback that the thread is in.
pub(super) fn run_or_enqueue(callbacks: Callbacks) {
    let mut callbacks = Some(callbacks);
    // A thread that ends has lost its queue already: there it nests.
    let _ = QUEUES.try_with(|queues| {
        if let Some(queue) = &mut queues.borrow_mut().queue {
            queue.extend(callbacks.take());
        }
    });
    if let Some(callbacks) = callbacks {
        run_with_callback_queue(|| callbacks.run());
    }
}

/// Runs `callbacks` at once; what they complete is notified after them.
pub(super) fn run_with_callback_queue(callbacks: impl FnOnce()) {
    let is_outermost = QUEUES.try_with(|queues| {
        let queue = &mut queues.borrow_mut().queue;
        let is_outermost = queue.is_none();
        queue.get_or_insert_default();
        is_outermost
    });
    set_has_queue(is_outermost.is_ok());
    contain(callbacks);
    // An inner call leaves the queue to the outermost one, or it would nest.
    if matches!(is_outermost, Ok(true)) {
        while let Some(next) = next_queued() {
            contain(|| next.run());
        }
    }
}

/// Takes the next callbacks; if there are none, ends the queue.
fn next_queued() -> Option<Callbacks> {
    QUEUES.with(|queues| {
        let queue = &mut queues.borrow_mut().queue;
        let next = queue.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *queue = None;
            set_has_queue(false);
        }
        next
    })
}

/// Takes the callbacks of this task out of the current thread's queues.
pub(super) fn take_queued(task: usize) -> Option<Callbacks> {
    let found = QUEUES.try_with(|queues| {
        let queues = &mut *queues.borrow_mut();
        let innermost_last = queues.suspended.iter_mut().chain(&mut queues.queue);
        let find = |queue: &mut VecDeque<Callbacks>| {
            let at = queue
                .iter()
                .position(|callbacks| callbacks.task.address() == task)?;
            queue.remove(at)
        };
        // The innermost queue first: the task's callbacks are most likely there.
        innermost_last.rev().find_map(find)
    });
    found.unwrap_or(None)
}

/// Puts callbacks that [`take_queued`] took out back, as the next ones.
pub(super) fn put_back(callbacks: Callbacks) {
    let _ = QUEUES.try_with(|queues| {
        let queues = &mut *queues.borrow_mut();
        if let Some(queue) = queues.queue.as_mut().or(queues.suspended.last_mut()) {
            queue.push_front(callbacks);
        }
    });
}

/// Runs code that a callback waits for on its own stack: what the code completes is
/// notified at once, as it would be on a thread of its own.
#[inline]
pub(crate) fn without_callback_queue<R>(f: impl FnOnce() -> R) -> R {
    if !HAS_QUEUE.try_with(Cell::get).unwrap_or(false) {
        return f();
    }
    let _suspended = Suspended::enter();
    f()
}

/// The queue of the callback that the thread is in, suspended until this is dropped.
struct Suspended;

impl Suspended {
    /// Returns `None` outside every callback, which is the usual case.
    fn enter() -> Option<Self> {
        let suspended = QUEUES.try_with(|queues| {
            let queues = &mut *queues.borrow_mut();
            let queue = queues.queue.take()?;
            queues.suspended.push(queue);
            set_has_queue(false);
            Some(Self)
        });
        suspended.unwrap_or(None)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let _ = QUEUES.try_with(|queues| {
            let queues = &mut *queues.borrow_mut();
            queues.queue = queues.suspended.pop();
            set_has_queue(queues.queue.is_some());
        });
    }
}
