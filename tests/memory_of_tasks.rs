//! The memory that tasks take, counted by an allocator that counts. One test alone: another
//! test's allocations would be counted too.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::sync::atomic::Ordering;

mod counting;

use self::counting::LIVE;
use concurrent_futures::promise;

/// Returns the bytes by which the memory in use grows while `f` runs.
fn growth(f: impl FnOnce()) -> isize {
    let before = LIVE.load(Ordering::Relaxed);
    f();
    LIVE.load(Ordering::Relaxed) - before
}

/// A kept future keeps the block of memory in which its task lies, and no more. A thread that
/// ends keeps nothing.
#[test]
fn kept_futures_and_ended_threads_keep_few_bytes() {
    const KEPT: usize = 1000;
    const BLOCK: isize = 512;
    /// The thread's current block, and allocations of the test harness in its own thread.
    const OTHERS: isize = 65_536;
    let stayed = growth(|| {
        let mut kept = Vec::with_capacity(KEPT);
        let stayed = growth(|| {
            for _ in 0..KEPT {
                kept.push(promise::<u8>().1);
                (0..19).for_each(|_| drop(promise::<u8>()));
            }
        });
        let most = BLOCK * isize::try_from(KEPT).unwrap() + OTHERS;
        assert!(stayed > 0 && stayed <= most, "{stayed} bytes");
    });
    assert!(
        stayed <= OTHERS,
        "{stayed} bytes after the futures were dropped"
    );

    let in_a_thread = || {
        let thread = std::thread::spawn(|| drop(promise::<u8>()));
        thread.join().unwrap();
    };
    in_a_thread();
    let stayed = growth(|| (0..KEPT).for_each(|_| in_a_thread()));
    assert!(stayed <= OTHERS, "{stayed} bytes after {KEPT} threads");
}
