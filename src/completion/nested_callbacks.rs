//! The queue of callbacks that a thread still has to run for the tasks that it completed.
//!
//! # Why callbacks are never nested
//!
//! A callback may complete another task (cancel the task, set a promise), whose callbacks
//! may complete a third task, and so on. Nested calls would make the stack as deep as that
//! chain is long. So a callback that completes other tasks only queues their callbacks. The
//! thread runs the queued callbacks when the callbacks of the current task have returned.
//! There are three exceptions. First, a callback that is added to a task whose callbacks
//! are done runs at once, even inside another callback. Second, inside a callback the
//! thread may run code that perhaps waits for the callbacks of the tasks that it ends: a
//! task that runs inside a wait, a task of an inline executor, a scope, or a shutdown. The
//! callbacks of these tasks run at once ([`without_callback_queue`]). Third, a thread that
//! has already dropped its thread locals has no queue, and runs all callbacks at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::rare::Task;
use super::scope_guard::ScopeGuard;
use super::wakers::outside_wakers;
use crate::panic::contain;
use crate::sync::local;
use crate::sys::fork::Origin;

/// The callbacks of one task. The thread that owns this value must run them.
pub(super) struct Callbacks {
    task: Task,
    /// The guard of a task in a scope, dropped after the callbacks have run.
    scope_guard: Option<ScopeGuard>,
    /// The process in which the callbacks must run. A callback that runs before them may
    /// fork, and the child must not run them.
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
    /// The callbacks that run next. `Some` while the thread runs callbacks, unless a
    /// [`Suspended`] guard has set the queue aside.
    queue: Option<VecDeque<Callbacks>>,
    /// The queues that [`Suspended`] guards have set aside, from the outermost to the
    /// innermost.
    suspended: Vec<VecDeque<Callbacks>>,
}

local! {
    static QUEUES: RefCell<CallbackQueues> =
        RefCell::new(CallbackQueues { queue: None, suspended: Vec::new() })
}

local! {
    /// `true` while the thread has a queue. Reading this flag is cheaper than borrowing
    /// `QUEUES`.
    static HAS_QUEUE: Cell<bool> = Cell::new(false)
}

fn set_has_queue(has_queue: bool) {
    let _ = HAS_QUEUE.try_with(|place| place.set(has_queue));
}

/// Appends the callbacks of a task to the thread's queue, or runs them now if the thread
/// has no queue.
pub(super) fn run_or_enqueue(callbacks: Callbacks) {
    let mut callbacks = Some(callbacks);
    // A thread that is ending may have destroyed its queue already. Such a thread runs the
    // callbacks at once, even inside another callback.
    let _ = QUEUES.try_with(|queues| {
        if let Some(queue) = &mut queues.borrow_mut().queue {
            queue.extend(callbacks.take());
        }
    });
    if let Some(callbacks) = callbacks {
        run_with_callback_queue(|| callbacks.run());
    }
}

/// Runs `callbacks` at once. If they complete other tasks, the callbacks of those tasks run
/// afterwards.
pub(super) fn run_with_callback_queue(callbacks: impl FnOnce()) {
    let is_outermost = QUEUES.try_with(|queues| {
        let queue = &mut queues.borrow_mut().queue;
        let is_outermost = queue.is_none();
        queue.get_or_insert_default();
        is_outermost
    });
    set_has_queue(is_outermost.is_ok());
    outside_wakers(|| {
        contain(callbacks);
        // Only the outermost call runs the queued callbacks, because they would be nested
        // otherwise.
        if matches!(is_outermost, Ok(true)) {
            while let Some(next) = next_queued() {
                contain(|| next.run());
            }
        }
    });
}

/// Takes the next callbacks from the queue. Removes the queue if it is empty.
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

/// Takes the callbacks of the task with the address `task` out of the current thread's
/// queues.
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
        // Search the innermost queue first, because the task's callbacks are most likely in
        // it.
        innermost_last.rev().find_map(find)
    });
    found.unwrap_or(None)
}

/// Puts callbacks that [`take_queued`] has taken at the front of the thread's innermost
/// queue.
pub(super) fn put_back(callbacks: Callbacks) {
    let _ = QUEUES.try_with(|queues| {
        let queues = &mut *queues.borrow_mut();
        if let Some(queue) = queues.queue.as_mut().or(queues.suspended.last_mut()) {
            queue.push_front(callbacks);
        }
    });
}

/// Runs code for which a callback of this thread may be waiting. If the code completes
/// tasks, their callbacks run at once, as they would on another thread.
#[inline]
pub(crate) fn without_callback_queue<R>(f: impl FnOnce() -> R) -> R {
    if !HAS_QUEUE.try_with(Cell::get).unwrap_or(false) {
        return f();
    }
    let _suspended = Suspended::enter();
    f()
}

/// A guard that suspends the callback queue of the current thread until the guard is
/// dropped.
struct Suspended;

impl Suspended {
    /// Suspends the queue. Returns `None` if the thread has no queue.
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
