//! [`Slot`]: one worker as the other threads see it; and [`Slots`], those of a pool.

use std::sync::{Arc, OnceLock};

use super::deque::Deque;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, park, unpark_all};

/// The reason why a sleeping worker was woken.
pub(super) const SEARCH: u32 = 1;
pub(super) const CLOSED: u32 = 2;

/// The place of a worker. Its first cache line is written by the worker, and by the
/// threads that wake or start it.
#[repr(align(128))]
pub(super) struct Slot {
    /// `true` if no new task may count on the worker; also in a place without a thread.
    busy: AtomicBool,
    /// The reason why the worker was woken, or 0.
    signal: AtomicU32,
    /// The sleeper that lay down before it, plus 1; under the queue's lock.
    pub(super) next: AtomicU32,
    begun: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    /// The tasks that its tasks submitted.
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
        // ORDERING: a thread that sees it busy sees that its task has left the queue;
        // one that sees it free sees what it counted.
        self.busy.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn set_busy(&self, busy: bool) {
        // ORDERING: see `is_busy`.
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

    /// The tasks that it began, finished and failed.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        // ORDERING: the ends before the beginnings, so that no task has ended and not
        // begun. A thread that has seen a result has acquired what was counted before.
        let finished = self.finished.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        (self.begun.load(Ordering::Acquire), finished, failed)
    }

    /// Called by the worker that lies down, under the queue's lock.
    pub(super) fn clear_signal(&self) {
        // ORDERING: published by the lock.
        self.signal.store(0, Ordering::Relaxed);
    }

    /// Returns `true` if it was woken since it lay down.
    #[cfg(all(test, concurrent_futures_loom))]
    pub(super) fn is_woken(&self) -> bool {
        self.signal.load(Ordering::Acquire) != 0
    }

    /// Sleeps until a signal comes, and returns it.
    pub(super) fn sleep(&self) -> u32 {
        loop {
            // ORDERING: acquire shows what was queued before the signal.
            let signal = self.signal.load(Ordering::Acquire);
            if signal != 0 {
                return signal;
            }
            park(
                self.key(),
                || self.signal.load(Ordering::Acquire) == 0,
                None,
            );
        }
    }

    pub(super) fn wake(&self, signal: u32) {
        // ORDERING: see `sleep`.
        self.signal.store(signal, Ordering::Release);
        unpark_all(self.key());
    }

    fn key(&self) -> usize {
        (&raw const self.signal).addr()
    }
}

/// Adds one to a number that the calling thread alone writes.
#[inline]
fn add_one(number: &AtomicU64) {
    // ORDERING: published by what follows, such as the end of the task.
    number.store(number.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// The number of slots in the first segment; each further one has twice as many as the
/// one before.
const FIRST: usize = 8;

/// The slots of a pool, by index. They are made in segments as workers start, and never
/// move.
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

    /// Returns a slot, which is made with its segment if it is the first of that.
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

    /// The first `count` slots.
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
