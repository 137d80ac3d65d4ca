//! Memory stays where it was: counted by an allocator that counts.
//!
//! One test alone: another one's allocations would be counted too.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use concurrent_futures::{ReturnWhen, as_completed, completions, promise, wait};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize, sign: isize) {
    LIVE.fetch_add(sign * isize::try_from(bytes).unwrap(), Ordering::Relaxed);
}

// SAFETY: hands everything to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn waits_leave_nothing_behind_in_the_futures() {
    let pairs: Vec<_> = (0..1000).map(|_| promise::<u8>()).collect();
    let all = || pairs.iter().map(|(_, future)| future);
    let short = Duration::from_nanos(1);
    let use_all = || {
        let waited = wait(all(), ReturnWhen::FirstCompleted, Some(short));
        assert_eq!(waited.not_done.len(), 1000);
        assert!(as_completed(all()).next_timeout(short).is_err());
    };
    // The futures keep the room that they once needed for wakers.
    use_all();
    let before = LIVE.load(Ordering::Relaxed);
    for _ in 0..100 {
        use_all();
    }
    assert_eq!(LIVE.load(Ordering::Relaxed), before);

    let (_promise, future) = promise::<u8>();
    let future = std::sync::Arc::new(future);
    drop(completions([future.clone()]));
    let before = LIVE.load(Ordering::Relaxed);
    for _ in 0..100 {
        drop(completions([future.clone()]));
    }
    assert_eq!(LIVE.load(Ordering::Relaxed), before);
}
