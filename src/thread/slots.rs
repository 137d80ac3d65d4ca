//! [`Slot`]: the part of a worker's state that other threads use; and [`Slots`]: the slots
//! of a pool.

use std::sync::{Arc, OnceLock};

use super::deque::Deque;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, park, unpark_all};

/// The signal that wakes a sleeping worker so that it searches for a task.
pub(super) const SEARCH: u32 = 1;
/// The signal that wakes a sleeping worker because the queue was closed.
pub(super) const CLOSED: u32 = 2;

/// The state that one worker shares with other threads. Only the worker writes its three
/// counts. The worker, and the threads that start, remove or wake it, write `busy` and
/// `signal`. The worker, and another worker that leaves the queue's list of sleeping
/// workers, write `next`.
#[repr(align(128))]
pub(super) struct Slot {
    /// `true` if the worker is not available to a new task, or if the slot has no worker.
    busy: AtomicBool,
    /// The signal that woke the worker, or 0.
    signal: AtomicU32,
    /// The index, plus 1, of the next worker in the queue's list of sleeping workers, or 0
    /// at the end of the list. The next worker went to sleep before this worker. The
    /// queue's lock protects this field while this worker is in the list.
    pub(super) next: AtomicU32,
    begun: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    /// The worker's own deque, with tasks that were submitted on the worker's thread or
    /// that the worker took from other workers' deques.
    pub(super) own: Deque,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            busy: AtomicBool::new(true),
            signal: AtomicU32::new(0),
            next: AtomicU32::new(0),
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            own: Deque::new(),
        }
    }

    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        // ORDERING: acquire pairs with `set_busy`. A thread that sees the worker busy sees
        // that the worker's task has left the queue, so it does not count this task as
        // queued.
        self.busy.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn set_busy(&self, busy: bool) {
        // ORDERING: release pairs with the acquire in `is_busy`.
        self.busy.store(busy, Ordering::Release);
    }

    #[inline]
    pub(super) fn count_begun(&self) {
        add_one(&self.begun);
    }

    #[inline]
    pub(super) fn count_ended(&self, failed: bool) {
        add_one(if failed { &self.failed } else { &self.finished });
    }

    /// Returns three counts of the worker's tasks: begun, finished, and failed.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        // ORDERING: `begun` is read last, so that each task counted as ended is also
        // counted as begun. Acquire pairs with the release in `add_one`. Relaxed is enough
        // for `begun`, because no later read relies on it. A thread that has seen the
        // result of a task has thereby acquired the counts that the worker made before that
        // result.
        let finished = self.finished.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        (self.begun.load(Ordering::Relaxed), finished, failed)
    }

    /// Resets the signal. Called by a worker that goes to sleep, under the queue's lock.
    pub(super) fn clear_signal(&self) {
        // ORDERING: the queue's lock publishes the store.
        self.signal.store(0, Ordering::Relaxed);
    }

    /// Returns `true` if a thread has woken the worker since the worker went to sleep.
    #[cfg(all(test, concurrent_futures_loom))]
    pub(super) fn is_woken(&self) -> bool {
        // ORDERING: relaxed is enough, because the models call this function after they
        // have joined the threads that wake the worker.
        self.signal.load(Ordering::Relaxed) != 0
    }

    pub(super) fn sleep(&self) -> u32 {
        loop {
            // ORDERING: acquire makes the tasks visible that were queued before the signal
            // was set. Relaxed is enough for the load in `park`, which only decides if this
            // thread sleeps.
            let signal = self.signal.load(Ordering::Acquire);
            if signal != 0 {
                return signal;
            }
            park(
                self.key(),
                || self.signal.load(Ordering::Relaxed) == 0,
                None,
            );
        }
    }

    pub(super) fn wake(&self, signal: u32) {
        // ORDERING: release pairs with the acquire load in `sleep`.
        self.signal.store(signal, Ordering::Release);
        unpark_all(self.key());
    }

    fn key(&self) -> usize {
        (&raw const self.signal).addr()
    }
}

/// Adds one to a number that only the calling thread writes.
#[inline]
fn add_one(number: &AtomicU64) {
    // ORDERING: release pairs with the acquire loads in `counts`. A thread that sees the
    // end of a task counted sees its begin counted too.
    number.store(number.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// The number of slots in the first segment of [`Slots`]. Each further segment has twice
/// as many slots as the segment before it.
const FIRST: usize = 8;

/// The slots of a pool, by index. Slots are allocated in segments as workers start, and
/// never move.
pub(super) struct Slots {
    segments: [OnceLock<Box<[Arc<Slot>]>>; 29],
}

impl Slots {
    pub(super) const MAX: usize = u32::MAX as usize / 2;

    pub(super) fn new() -> Self {
        Self {
            segments: [const { OnceLock::new() }; 29],
        }
    }

    /// Returns the slot with this index. Allocates the slot's segment if it does not exist
    /// yet.
    pub(super) fn get(&self, index: usize) -> &Arc<Slot> {
        let segment = (index / FIRST + 1).ilog2();
        let first = FIRST * ((1 << segment) - 1);
        let make = || {
            (0..FIRST << segment)
                .map(|_| Arc::new(Slot::new()))
                .collect()
        };
        &self.segments[segment as usize].get_or_init(make)[index - first]
    }

    /// Returns the first `count` slots, or all allocated slots if they are fewer.
    pub(super) fn iter(&self, count: usize) -> impl Iterator<Item = &Slot> {
        let made = self.segments.iter().map_while(OnceLock::get);
        made.flat_map(|segment| segment.iter())
            .map(|slot| &**slot)
            .take(count)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_a_slot_of_its_own() {
        let slots = Slots::new();
        for index in 0..100 {
            slots.get(index).count_begun();
        }
        let begun = slots.iter(100).map(|slot| slot.counts().0);
        assert!(begun.eq([1; 100]));
        assert!(slots.iter(3).count() == 3 && slots.iter(1000).count() == 120);
    }
}
