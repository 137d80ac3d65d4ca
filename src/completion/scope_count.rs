//! [`ScopeCount`]: the number of tasks of a scope that have not ended.
//!
//! The count is spread over several *lines*: counters that each have a cache line. Each
//! thread uses one line, which it shares with some of the other threads. The thread adds
//! one task to the line when it enters a task into the scope, and subtracts one task when
//! it ends a task. A task may enter at one line and leave at another, so only the sum of
//! all lines is the number of tasks.
//!
//! The sum is needed once, by the thread that waits for the end of the scope. That thread
//! *freezes* each line: it sets the flag FROZEN in the line and adds the line's value to
//! the sum. A thread that finds FROZEN when it changes a line was too late for the sum, so
//! it changes the counter `left` as well. So each entry and each leave of a task is counted
//! once, in the sum or in `left`. The waiting thread adds the sum to `left` last. From then
//! on `left` is the number of tasks, and the thread that brings `left` to 0 wakes the
//! waiting thread.
//!
//! # The last touch
//!
//! The scope may be freed as soon as another thread can see that the last task has left. So
//! changing the count is the last access to the scope by a thread whose task leaves. To
//! wake the waiting thread, the leaving thread needs no access to the scope, because it
//! computes the key for the wake-up from the scope's address. If the thread's line is not
//! yet frozen, the change of the line is the last access. If the line is frozen, the sum
//! does not contain this change. Then the task counts until the thread changes `left` as
//! well, so the change of `left` is the last access.

use std::ptr::NonNull;

use crate::panic::Panic;
use crate::sync::{AtomicI64, Mutex, Ordering, park, thread_id, unpark_all};
use crate::sys::fork::{Origin, forget};

/// The number of lines, which is a power of two.
pub(super) const LINES: usize = if cfg!(concurrent_futures_loom) { 2 } else { 8 };

/// The number that one task adds to a line. Bit 0 of a line is FROZEN.
const TASK: i64 = 2;
const FROZEN: i64 = 1;

pub(super) struct ScopeCount {
    lines: [Line; LINES],
    /// The number of tasks that have not ended, once the waiting thread has added the sum
    /// of the lines.
    left: AtomicI64,
    /// The panics of tasks that ended. The owner of a task's future may have read some of
    /// these panics since.
    panics: Mutex<Vec<Panic>>,
    /// The process that created the scope. A forked child has none of the other threads
    /// that run the tasks.
    pub(super) origin: Origin,
}

#[repr(align(128))]
struct Line(AtomicI64);

/// Returns the index of the calling thread's line.
pub(super) fn line_of_thread() -> usize {
    thread_id().bits() as usize % LINES
}

/// Returns the address by which the thread that waits for the scope parks. The address is
/// not inside the scope, because the scope may be freed before the wake-up. The freed
/// memory may then contain a lock. Threads that wait for that lock park by an address in
/// this memory, and the wake-up would wake them.
fn key(scope: *const ScopeCount) -> usize {
    static KEYS: [u8; 64] = [0; 64];
    let key = scope.addr() / align_of::<ScopeCount>() % KEYS.len();
    (&raw const KEYS[key]).addr()
}

impl ScopeCount {
    pub(super) fn new() -> Self {
        Self {
            lines: std::array::from_fn(|_| Line(AtomicI64::new(0))),
            left: AtomicI64::new(0),
            panics: Mutex::new(Vec::new()),
            origin: Origin::current(),
        }
    }

    /// Counts one more task.
    pub(super) fn enter(&self) {
        // ORDERING: relaxed is enough, because the new task is submitted by the scope's
        // closure or by another task of the scope. The scope cannot end before that task or
        // closure does.
        let line = &self.lines[line_of_thread()].0;
        if line.fetch_add(TASK, Ordering::Relaxed) & FROZEN != 0 {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one task less.
    ///
    /// # Safety
    ///
    /// The task was [entered](Self::enter). The caller does not use the scope afterwards,
    /// because the scope may be freed.
    pub(super) unsafe fn leave(this: NonNull<Self>) {
        // SAFETY: the caller promises that the task was entered, and the scope exists until
        // the task has left.
        let scope = unsafe { this.as_ref() };
        let (line, left) = (&scope.lines[line_of_thread()].0, &scope.left);
        // ORDERING: release publishes the task's writes to the thread that waits.
        if line.fetch_sub(TASK, Ordering::Release) & FROZEN == 0 {
            return;
        }
        // ORDERING: release publishes the task's writes to the thread that waits. Acquire
        // sees the writes of the tasks that left before.
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            unpark_all(key(this.as_ptr()));
        }
    }

    /// Freezes the lines, and adds their sum to `left`. The thread that waits for the end
    /// of the scope calls this function once.
    pub(super) fn freeze(&self) {
        let freeze = |line: &Line| {
            // ORDERING: acquire sees the writes of the tasks that have left.
            line.0.fetch_or(FROZEN, Ordering::Acquire) >> 1
        };
        let sum: i64 = self.lines.iter().map(freeze).sum();
        // ORDERING: acquire and release pair with the change of `left` in `leave`.
        self.left.fetch_add(sum, Ordering::AcqRel);
    }

    /// Returns `true` if no task remains. Must be called after [`freeze`](Self::freeze).
    pub(super) fn is_over(&self) -> bool {
        // ORDERING: acquire sees the writes of the tasks that have left.
        self.left.load(Ordering::Acquire) == 0
    }

    /// Blocks until no task remains or [`wake`](Self::wake) is called. Returns at once if
    /// `may_sleep` returns `false`. The function may also return although tasks remain.
    pub(super) fn sleep(&self, may_sleep: impl Fn() -> bool) {
        park(key(self), || !self.is_over() && may_sleep(), None);
    }

    /// Wakes the thread that waits for the end of the scope.
    pub(super) fn wake(&self) {
        unpark_all(key(self));
    }

    /// Stores the panic that ended a task, so that the scope can report it if the future's
    /// outcome is not read.
    pub(super) fn keep_panic(&self, panic: Panic) {
        self.panics.lock().push(panic);
    }

    /// Returns the first stored panic that was not read through its future.
    pub(super) fn unread_panic(&self) -> Option<Panic> {
        let panics = self.panics.lock();
        panics.iter().find(|panic| !panic.is_read()).cloned()
    }

    /// Returns the number of tasks that have not ended. Other threads may change this
    /// number at any time.
    pub(super) fn tasks(&self) -> i64 {
        // ORDERING: the number is only shown in `Debug` output.
        let in_line = |line: &Line| line.0.load(Ordering::Relaxed) >> 1;
        self.lines.iter().map(in_line).sum()
    }
}

impl Drop for ScopeCount {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            forget(self.panics.get_mut());
        }
    }
}
