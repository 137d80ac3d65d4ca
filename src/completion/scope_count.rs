//! [`ScopeCount`]: the number of tasks of a scope that have not ended.
//!
//! Each thread counts in a cache line that it shares with few others: one more when it
//! enters a task into the scope, one less when it ends one. A line alone says nothing, for
//! a task may enter at one line and leave at another; their sum is the number of tasks.
//!
//! The sum is needed once, by the thread that waits for the end. It *freezes* each line: it
//! sets FROZEN there and adds up what it finds. A thread whose own change of a line shows
//! FROZEN was too late for that sum, and counts in `left` as well. So each task that enters
//! or leaves is counted once, in the sum or in `left`. The sum is added to `left` last; from
//! then on `left` is the number of tasks, and the thread that brings it to 0 wakes the
//! waiter.
//!
//! # The last touch
//!
//! The scope may be gone as soon as the count of a thread that leaves can be seen. So that
//! is the last thing that the thread does to it; a waiter that sleeps is woken by a key
//! that is made of the address. Before FROZEN the last touch is the change of the line.
//! After FROZEN that change is in no sum, so the task still counts until `left` is changed.

use std::ptr::NonNull;

use crate::panic::Panic;
use crate::sync::{AtomicI64, Mutex, Ordering, park, thread_id, unpark_all};
use crate::sys::fork::Origin;

/// The number of lines. A power of two.
pub(super) const LINES: usize = if cfg!(concurrent_futures_loom) { 2 } else { 8 };

/// One task in a line, above FROZEN.
const TASK: i64 = 2;
const FROZEN: i64 = 1;

pub(super) struct ScopeCount {
    lines: [Line; LINES],
    /// The number of tasks, once the waiter has added the lines' sum.
    left: AtomicI64,
    /// Of tasks that ended; perhaps read in the meantime.
    panics: Mutex<Vec<Panic>>,
    /// The process that it was made in. A fork has none of the threads that run the
    /// tasks.
    pub(super) origin: Origin,
}

#[repr(align(128))]
struct Line(AtomicI64);

/// Returns the index of the calling thread's line.
pub(super) fn line_of_thread() -> usize {
    thread_id().bits() as usize % LINES
}

/// Returns the address by which the thread that waits for that scope sleeps. Not one
/// inside the scope: there may be another program's lock by the time of the waking.
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
        // ORDERING: the calling thread's own task, or the block of the scope, keeps the
        // number above 0 until it has submitted the new one.
        let line = &self.lines[line_of_thread()].0;
        if line.fetch_add(TASK, Ordering::Relaxed) & FROZEN != 0 {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one task less.
    ///
    /// # Safety
    ///
    /// The task was [entered](Self::enter). The scope is not used by the caller afterwards:
    /// it may be gone.
    pub(super) unsafe fn leave(this: NonNull<Self>) {
        // SAFETY: the scope lasts until the task has left.
        let scope = unsafe { this.as_ref() };
        let (line, left) = (&scope.lines[line_of_thread()].0, &scope.left);
        // ORDERING: release shows what the task did to the thread that waits.
        if line.fetch_sub(TASK, Ordering::Release) & FROZEN == 0 {
            return;
        }
        // ORDERING: as above; and what others did whose tasks left before.
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            unpark_all(key(this.as_ptr()));
        }
    }

    /// Freezes the lines; called once, by the thread that waits.
    pub(super) fn freeze(&self) {
        let freeze = |line: &Line| {
            // ORDERING: acquire shows what the tasks did that have left.
            line.0.fetch_or(FROZEN, Ordering::Acquire) >> 1
        };
        let sum: i64 = self.lines.iter().map(freeze).sum();
        // ORDERING: as in `leave`.
        self.left.fetch_add(sum, Ordering::AcqRel);
    }

    /// Returns `true` if no task is left; called behind [`freeze`](Self::freeze).
    pub(super) fn is_over(&self) -> bool {
        // ORDERING: acquire shows what the tasks did before they left.
        self.left.load(Ordering::Acquire) == 0
    }

    /// Blocks until no task is left, or [`wake`](Self::wake) is called, unless
    /// `may_sleep` says otherwise. May return earlier.
    pub(super) fn sleep(&self, may_sleep: impl Fn() -> bool) {
        park(key(self), || !self.is_over() && may_sleep(), None);
    }

    /// Wakes the thread that waits.
    pub(super) fn wake(&self) {
        unpark_all(key(self));
    }

    /// Keeps the panic that ended a task, for a scope whose futures are not read.
    pub(super) fn keep_panic(&self, panic: Panic) {
        self.panics.lock().push(panic);
    }

    /// Returns the first panic of a task that was not read.
    pub(super) fn unread_panic(&self) -> Option<Panic> {
        let panics = self.panics.lock();
        panics.iter().find(|panic| !panic.is_read()).cloned()
    }

    /// Returns the number of tasks, which may be another one by then.
    pub(super) fn tasks(&self) -> i64 {
        // ORDERING: a number to be shown.
        let in_line = |line: &Line| line.0.load(Ordering::Relaxed) >> 1;
        self.lines.iter().map(in_line).sum()
    }
}
