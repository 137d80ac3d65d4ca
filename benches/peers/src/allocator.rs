//! The global allocator, which counts while it is asked to.
//!
//! It counts requested bytes and, for each block, what the block takes from the heap: glibc's
//! chunk, which is the usable size and one word in front of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug)]
struct Counting;

/// Read at each call by all threads, and written only between measurements: it costs next to
/// nothing where nothing is counted.
static COUNTS: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicI64 = AtomicI64::new(0);
static REQUESTED: AtomicI64 = AtomicI64::new(0);
static CHUNKS: AtomicI64 = AtomicI64::new(0);

/// The word that malloc keeps in front of each block.
const HEADER: i64 = size_of::<usize>() as i64;

/// Differences since the counting began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Calls that gave a block, or another size to a block.
    pub(crate) calls: i64,
    /// Bytes asked for, without those that were given back.
    pub(crate) requested: i64,
    /// Bytes of the heap in use, without those that were given back.
    pub(crate) chunks: i64,
}

/// Begins to count, from zero.
pub(crate) fn start_counting() {
    for counter in [&CALLS, &REQUESTED, &CHUNKS] {
        // ORDERING: a measurement has no other thread that allocates meanwhile.
        counter.store(0, Ordering::Relaxed);
    }
    COUNTS.store(true, Ordering::SeqCst);
}

/// Returns what was counted so far.
pub(crate) fn counts() -> Counts {
    // ORDERING: as above; the numbers are of one moment if nothing allocates.
    let read = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
    Counts {
        calls: read(&CALLS),
        requested: read(&REQUESTED),
        chunks: read(&CHUNKS),
    }
}

/// Ends the counting.
pub(crate) fn stop_counting() {
    COUNTS.store(false, Ordering::SeqCst);
}

/// Counts a block that came (`sign` is 1) or went (-1).
fn count(block: *mut u8, size: usize, sign: i64) {
    // ORDERING: blocks that come and go while the flag changes are not those that are measured.
    if !COUNTS.load(Ordering::Relaxed) || block.is_null() {
        return;
    }
    // SAFETY: the block is from malloc, as all of `System` are here, and is not freed yet.
    let usable = unsafe { libc::malloc_usable_size(block.cast()) };
    REQUESTED.fetch_add(sign * size as i64, Ordering::Relaxed);
    CHUNKS.fetch_add(sign * (usable as i64 + HEADER), Ordering::Relaxed);
    if sign > 0 {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all calls go to `System`, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are those of this function.
        let block = unsafe { System.alloc(layout) };
        count(block, layout.size(), 1);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { System.alloc_zeroed(layout) };
        count(block, layout.size(), 1);
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(block, layout.size(), -1);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(block, layout, size) };
        count(moved, size, 1);
        moved
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(block, layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}
