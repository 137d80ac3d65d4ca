//! Deadlock detection: a wait that would close a cycle of waits is refused.
//!
//! A task that has not come as far as a wait demands is *held up by* the thread that
//! has to bring it there: the one that runs its function, or then
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
//! # Waits inside waits
//!
//! A thread has several entries if user code waits that runs inside a wait: a
//! `Deserialize`, or a callback, waker or `Drop` that it calls for. They lie on
//! its stack, so the last to be entered is the first to leave, and the thread is
//! blocked in that one alone: the walk follows a thread's *newest* entry. A
//! thread that runs the finalizer of a task inside its own wait for it is not
//! blocked at all. The walk then finds the task held up by the thread that waits for it,
//! and ends there: that thread is at work.
//!
//! Each entry has a number of its own, and leaving removes exactly that one. So
//! an entry is in the list no longer than its wait takes, which borrows the task.
//!
//! Not found are longer circles through a wait that has no error to say it with (the
//! end of a scope, `wait`, `as_completed`), through an `.await`, or through a
//! promise that is not kept by `run`: the thread that will keep it is unknown. Nor
//! circles through a task that has not begun: any worker might begin it. A wait for several
//! tasks finds those that need its own thread (`needs_this_thread`).

use std::marker::PhantomData;

use super::until::Until;
use super::{Completion, Record};
use crate::error::Error;
use crate::sync::{Mutex, ThreadId, global, thread_id};

global! {
    /// The waits without a limit that have begun.
    static WAITS: Mutex<Waits> = Mutex::new(Waits { entries: Vec::new(), last: 0 });
}

struct Waits {
    /// In the order of entering.
    entries: Vec<Wait>,
    /// The number of the latest entry.
    last: u64,
}

impl Waits {
    /// The wait that a thread is blocked in, if it is in any.
    fn newest_of(&self, thread: ThreadId) -> Option<&Wait> {
        self.entries.iter().rfind(|wait| wait.waiter == thread)
    }
}

struct Wait {
    number: u64,
    waiter: ThreadId,
    task: *const dyn Awaited,
    until: Until,
}

// SAFETY: of the task only `held_up_by` is called, which takes its lock and looks
// at no value, whatever its type; and only under the list's lock, while the entry
// is there, which is no longer than the task is borrowed (`Entered`).
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
    /// Returns the thread that has to bring the task this far; `None` if it is there,
    /// or has not begun.
    fn held_up_by<T>(self, record: &Record<T>) -> Option<ThreadId> {
        if self.reached(record) {
            return None;
        }
        record.runner.or(record.notifier)
    }
}

/// A wait that was entered, by its number: dropping it removes that entry. It
/// borrows the task as long as the entry is there.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    number: u64,
    task: PhantomData<&'a ()>,
}

/// Enters the calling thread's wait for `task`, which ends before the returned
/// value is dropped.
///
/// # Errors
///
/// `WouldDeadlock` if the wait would close a circle.
pub(super) fn enter<T>(task: &Completion<T>, until: Until) -> Result<Entered<'_>, Error> {
    let us = thread_id();
    let mut waits = WAITS.lock();
    let mut held_up_by = task.held_up_by(until);
    while let Some(thread) = held_up_by {
        if thread == us {
            return Err(Error::WouldDeadlock);
        }
        let next = waits.newest_of(thread);
        // SAFETY: it is in the list, so its `Entered` lives, which borrows the task
        // and leaves under the lock that is held here.
        held_up_by = next.and_then(|wait| unsafe { &*wait.task }.held_up_by(wait.until));
        if held_up_by == Some(thread) {
            // It brings what it waits for itself, and is at work on it.
            break;
        }
    }
    let task: *const (dyn Awaited + '_) = task;
    // SAFETY: only the lifetime changes; see `Wait`.
    let task =
        unsafe { std::mem::transmute::<*const (dyn Awaited + '_), *const dyn Awaited>(task) };
    waits.last += 1;
    let number = waits.last;
    waits.entries.push(Wait {
        number,
        waiter: us,
        task,
        until,
    });
    Ok(Entered {
        number,
        task: PhantomData,
    })
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut waits = WAITS.lock();
        let entries = &mut waits.entries;
        if let Some(at) = entries.iter().rposition(|wait| wait.number == self.number) {
            // Not `swap_remove`: the order says which of a thread's is the newest.
            entries.remove(at);
        }
    }
}

/// The list's lock, for a test that forks meanwhile.
#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
pub(super) fn lock_for_ever() -> impl Drop {
    WAITS.lock()
}

/// Returns the number of waits that the calling thread is in, and `true` if one is for
/// `task`.
#[cfg(all(test, concurrent_futures_loom))]
pub(super) fn entries_of_this_thread<T>(task: &Completion<T>) -> (usize, bool) {
    let us = thread_id();
    let waits = WAITS.lock();
    let own = || waits.entries.iter().filter(|wait| wait.waiter == us);
    let is_it = |wait: &Wait| std::ptr::addr_eq(wait.task, task);
    (own().count(), own().any(is_it))
}
