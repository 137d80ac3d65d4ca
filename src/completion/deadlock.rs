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
//! Each entry has a number of its own, and leaving removes exactly that one.
//!
//! Not found are longer circles through a wait that has no error to say it with (the
//! end of a scope, `wait`, `as_completed`), through an `.await`, or through a
//! promise that is not kept by `run`: the thread that will keep it is unknown. Nor
//! circles through a task that has not begun: any worker might begin it. A wait for several
//! tasks finds those that need its own thread (`needs_this_thread`).

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::rare::Task;
use super::until::Until;
use super::word::Word;
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
    /// Borrowed as long as the entry is there.
    task: ManuallyDrop<Task>,
    until: Until,
}

/// Returns the thread that has to bring the task this far; `None` if it is there,
/// or has not begun.
fn held_up_by(task: &Task, until: Until) -> Option<ThreadId> {
    let word: Word = task.word();
    if until.reached(word) {
        return None;
    }
    let notifier = || task.rare_if_any().and_then(|rare| rare.notifier);
    word.runner().or_else(notifier)
}

/// A wait that was entered, by its number: dropping it removes that entry. It
/// borrows the task as long as the entry is there.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    number: u64,
    task: PhantomData<&'a Task>,
}

/// Enters the calling thread's wait for `task`, which ends before the returned
/// value is dropped.
///
/// # Errors
///
/// `WouldDeadlock` if the wait would close a circle.
pub(super) fn enter(task: &Task, until: Until) -> Result<Entered<'_>, Error> {
    let us = thread_id();
    let mut waits = WAITS.lock();
    let mut held_up = held_up_by(task, until);
    while let Some(thread) = held_up {
        if thread == us {
            return Err(Error::WouldDeadlock);
        }
        let next = waits.newest_of(thread);
        held_up = next.and_then(|wait| held_up_by(&wait.task, wait.until));
        if held_up == Some(thread) {
            // It brings what it waits for itself, and is at work on it.
            break;
        }
    }
    waits.last += 1;
    let number = waits.last;
    waits.entries.push(Wait {
        number,
        waiter: us,
        // SAFETY: the entry leaves with the value that is returned, which borrows the task.
        task: unsafe { task.uncounted() },
        until,
    });
    let task = PhantomData;
    Ok(Entered { number, task })
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut waits = WAITS.lock();
        let entries = &mut waits.entries;
        let at = entries.iter().rposition(|wait| wait.number == self.number);
        // Not `swap_remove`: the order says which of a thread's is the newest.
        if let Some(at) = at {
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
pub(super) fn entries_of_this_thread(task: &Task) -> (usize, bool) {
    let us = thread_id();
    let waits = WAITS.lock();
    let own = || waits.entries.iter().filter(|wait| wait.waiter == us);
    let is_it = |wait: &Wait| wait.task.address() == task.address();
    (own().count(), own().any(is_it))
}
