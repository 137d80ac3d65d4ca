//! Who waits for whom: a wait that would close a circle is refused.
//!
//! A task that has not come as far as somebody waits for is *held up by* the
//! thread that has to bring it there: the one that runs its function, or then
//! its callbacks. That thread may itself wait, for a task that is held up by
//! another, and so on. If the thread at the end is the one that is about to wait,
//! none of them would ever go on.
//!
//! # Why every such circle is found
//!
//! A wait without a limit is entered in one list before it begins, and only
//! after a walk along the list that does not come back to the entering thread;
//! both in one step under the list's lock. Nothing else closes a circle: a thread
//! that waits begins no task, and ends none. So the last of the waits finds the
//! others in the list.
//!
//! # Why nothing else is taken for one
//!
//! The last step of the walk found a task held up by the entering thread, which
//! is here and brings it nowhere. So the step before it still holds: that task's
//! waiter still waits. And so on back to the first.
//!
//! Not found are circles through a wait that has no error to say it with (the
//! end of a scope, `wait`, `as_completed`), through an `.await`, or through a
//! promise that is not kept by `run`: nobody knows whose turn it is there. Nor
//! circles through a task that nobody has begun: any worker might.

use super::waiting::Until;
use super::{Completion, Record};
use crate::error::Error;
use crate::sync::{Mutex, ThreadId, global, thread_id};

global! {
    /// The waits without a limit that have begun.
    pub(super) static WAITS: Mutex<Vec<Wait>> = Mutex::new(Vec::new());
}

pub(super) struct Wait {
    waiter: ThreadId,
    task: *const dyn Awaited,
    until: Until,
}

// SAFETY: of the task only `held_up_by` is called, which no type of value
// matters to, while the waiter sees to it that the task lives.
unsafe impl Send for Wait {}

/// A task of any type, as the walk sees it.
trait Awaited {
    fn held_up_by(&self, until: Until) -> Option<ThreadId>;
}

impl<T> Awaited for Completion<T> {
    fn held_up_by(&self, until: Until) -> Option<ThreadId> {
        until.held_up_by(&self.record.lock())
    }
}

impl Until {
    /// The thread that has to bring the task this far; `None` if it is there,
    /// or if nobody has begun.
    fn held_up_by<T>(self, record: &Record<T>) -> Option<ThreadId> {
        if self.reached(record) {
            return None;
        }
        record.runner.or(record.teller)
    }
}

/// A wait that was entered; leaving it out again is what its drop is for.
#[derive(Debug)]
pub(super) struct Entered(ThreadId);

/// Enters the calling thread's wait for `task`, which ends before the returned
/// value is dropped.
///
/// # Errors
///
/// `WouldDeadlock` if the wait would close a circle.
pub(super) fn enter<T>(task: &Completion<T>, until: Until) -> Result<Entered, Error> {
    let us = thread_id();
    let mut waits = WAITS.lock();
    let mut held_up_by = task.held_up_by(until);
    while let Some(thread) = held_up_by {
        if thread == us {
            return Err(Error::WouldDeadlock);
        }
        let next = waits.iter().find(|wait| wait.waiter == thread);
        // SAFETY: it is in the list, so its waiter has not returned, and borrows
        // the task until then.
        held_up_by = next.and_then(|wait| unsafe { &*wait.task }.held_up_by(wait.until));
    }
    let task: *const (dyn Awaited + '_) = task;
    // SAFETY: only the lifetime changes; see `Wait`.
    let task =
        unsafe { std::mem::transmute::<*const (dyn Awaited + '_), *const dyn Awaited>(task) };
    waits.push(Wait {
        waiter: us,
        task,
        until,
    });
    Ok(Entered(us))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut waits = WAITS.lock();
        if let Some(at) = waits.iter().position(|wait| wait.waiter == self.0) {
            waits.swap_remove(at);
        }
    }
}
