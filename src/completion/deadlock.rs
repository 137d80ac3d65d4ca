//! Deadlock detection: a wait that would close a cycle of waits is refused.
//!
//! A task that has begun in this process, but has not reached the state that a wait
//! demands, is *held up by* a thread: the thread that runs the task's function or decodes
//! the task's value or, after that, runs the task's callbacks. That thread may itself wait
//! for a task that is held up by another thread, and so on. If the last thread of this
//! chain is the thread that is about to wait, the wait would block all threads of the chain
//! for ever.
//!
//! # Why every cycle of waits is found
//!
//! All blocking waits without a deadline for a single task are in one list. Before a thread
//! begins such a wait, it follows the chain that starts at the awaited task. The list shows
//! for which task each thread of the chain waits. The thread enters its own wait in the
//! list only if this walk does not come back to the thread itself. The thread holds the
//! list's lock from the start of the walk until it has entered its wait. Only entering a
//! wait can close a cycle, because a thread that is blocked in a wait begins no task and
//! ends none. So the thread that enters the last wait of a cycle finds the other waits in
//! the list.
//!
//! # Why a wait that closes no cycle is never refused
//!
//! When [`enter`] refuses a wait, the last step of the walk has found a task that is held
//! up by the entering thread itself. The entering thread is about to block, so it does not
//! end that task, and the thread that waits for the task stays blocked. For the same
//! reason, each thread at an earlier step of the walk stays blocked too.
//!
//! # Waits inside waits
//!
//! A thread has several entries if user code that runs inside a wait (a `Deserialize`,
//! callback, waker or `Drop`) waits as well. These waits are nested on the thread's stack,
//! and the thread is blocked only in the innermost wait. So the walk follows a thread's
//! *newest* entry. A thread that waits for a task of a process pool may run the task's
//! finalizer (the closure that decodes the answer and ends the task) inside that wait.
//! Meanwhile the thread is not blocked. A walk that comes to this thread finds that it
//! waits for a task that it holds up itself, and stops there.
//!
//! Each entry has a unique number. So at the end of a wait, the thread removes exactly the
//! entry of this wait.
//!
//! # Cycles that are not found
//!
//! Cycles are not found if they go through an `.await`, or through a wait that cannot
//! return an error (such as the end of a scope, `wait` or `as_completed`). A cycle through
//! a promise is found only if `Promise::run` sets the promise, because otherwise it is
//! unknown which thread will set the promise. A cycle through a task that has not begun is
//! not found, because any worker might begin the task. A wait for several tasks does not
//! use the list. It ends early only if perhaps none of the tasks can end while the waiting
//! thread blocks (`needs_this_thread`).

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::rare::Task;
use super::until::Until;
use super::word::Word;
use crate::error::Error;
use crate::sync::{Mutex, ThreadId, global, thread_id};
use crate::sys::fork::Origin;

global! {
    /// The waits for a single task, without a deadline, that are in progress.
    static WAITS: Mutex<Waits> = Mutex::new(Waits { entries: Vec::new(), last: 0 });
}

struct Waits {
    /// The entries in the order in which the waits were entered.
    entries: Vec<Wait>,
    /// The unique number of the newest entry.
    last: u64,
}

impl Waits {
    /// Returns the innermost wait of the thread, if the list contains a wait of this
    /// thread.
    fn newest_of(&self, thread: ThreadId) -> Option<&Wait> {
        self.entries.iter().rfind(|wait| wait.waiter == thread)
    }
}

struct Wait {
    number: u64,
    waiter: ThreadId,
    /// The awaited task, borrowed as long as this entry is in the list.
    task: ManuallyDrop<Task>,
    until: Until,
}

/// Returns the thread that holds up the task (see the head of this file). Returns `None` if
/// the task has reached `until`, or if no thread of this process is known to hold it up.
fn held_up_by(task: &Task, until: Until) -> Option<ThreadId> {
    let word: Word = task.word();
    if until.reached(word) {
        return None;
    }
    let notifier = || task.rare_if_any().and_then(|rare| rare.notifier);
    word.runner().or_else(notifier)
}

/// A guard of a wait that is in the list, with the unique number of the wait's entry.
/// Dropping the guard removes the entry from the list. Until then the guard borrows the
/// task.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    number: u64,
    /// The process that entered the wait. A forked child has another list.
    origin: Origin,
    task: PhantomData<&'a Task>,
}

/// Enters the calling thread's wait for `task` in the list of waits. The wait must end
/// before the returned guard is dropped.
///
/// # Errors
///
/// Returns `WouldDeadlock` if the wait would close a cycle.
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
            // The thread `thread` itself works on the task that it waits for, so it is not
            // blocked.
            break;
        }
    }
    waits.last += 1;
    let number = waits.last;
    waits.entries.push(Wait {
        number,
        waiter: us,
        // SAFETY: the entry is removed when the returned guard is dropped, and the guard
        // borrows the task.
        task: unsafe { task.uncounted() },
        until,
    });
    let task = PhantomData;
    let origin = Origin::current();
    Ok(Entered {
        number,
        origin,
        task,
    })
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        let mut waits = WAITS.lock();
        let entries = &mut waits.entries;
        let at = entries.iter().rposition(|wait| wait.number == self.number);
        // Do not use `swap_remove`: the order of the entries shows which entry of a thread
        // is the newest.
        if let Some(at) = at {
            entries.remove(at);
        }
    }
}

/// Returns the list's lock guard, for a test that forks while the list is locked.
#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
pub(super) fn lock_for_ever() -> impl Drop {
    WAITS.lock()
}

/// Returns the number of waits that the calling thread has entered, and `true` if one of
/// these waits is for `task`.
#[cfg(all(test, concurrent_futures_loom))]
pub(super) fn entries_of_this_thread(task: &Task) -> (usize, bool) {
    let us = thread_id();
    let waits = WAITS.lock();
    let own = || waits.entries.iter().filter(|wait| wait.waiter == us);
    let is_it = |wait: &Wait| wait.task.address() == task.address();
    (own().count(), own().any(is_it))
}

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod tests {
    use super::super::{Completion, NO_POOL};
    use super::*;
    use crate::sys::fork::tests::is_true_in_a_fork;

    /// User code inside a wait of the parent may fork. Then this wait ends in the child
    /// too, and must not remove a wait that the child has entered since, although the
    /// numbers of the two waits may be equal.
    #[test]
    fn a_wait_that_was_entered_before_a_fork_removes_no_wait_of_the_child() {
        Origin::new().expect("there is memory");
        let task = Completion::<u8>::new(NO_POOL);
        let before = enter(&task, Until::Done).expect("it closes no cycle");
        assert!(is_true_in_a_fork(|| {
            let enters = |_| enter(&task, Until::Done).expect("it closes no cycle");
            let waits: Vec<_> = (0..before.number).map(enters).collect();
            drop(before);
            WAITS.lock().entries.len() == waits.len()
        }));
    }
}
