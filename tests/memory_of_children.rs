//! The memory of tasks that their parent has awaited, counted by an allocator that counts.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use concurrent_futures::ThreadPoolExecutor;

struct Counting;

/// Bytes that are allocated now.
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

/// The entries of children that their parent ran itself stayed in the queue, with the
/// memory of their values, until the parent ended.
#[test]
fn children_that_their_parent_awaits_in_order_give_their_memory_back() {
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(1).unwrap());
    let parent = Arc::clone(&executor);
    let most = executor.spawn(move || {
        let before = LIVE.load(Ordering::Relaxed);
        (0..100)
            .map(|_| {
                let children: Vec<_> = (0..300)
                    .map(|_| parent.spawn(|| [0_u8; 4096]).unwrap())
                    .collect();
                for child in children {
                    assert_eq!(child.into_result().unwrap()[0], 0);
                }
                LIVE.load(Ordering::Relaxed) - before
            })
            .max()
    });
    let most = most.unwrap().into_result().unwrap().unwrap();
    // A deque of 256, and a queue that is swept every 256 entries.
    assert!(most < 1000 * 4200, "{most} bytes after 30,000 children");
}
