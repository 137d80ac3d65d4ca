//! The memory of tasks that their parent has awaited, counted by an allocator that counts.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

mod counting;

use self::counting::LIVE;
use concurrent_futures::ThreadPoolExecutor;

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
