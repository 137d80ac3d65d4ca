//! Memory stays where it was: counted by an allocator that counts.
//!
//! One test at a time: another one's allocations would be counted too.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod counting;

use self::counting::{ALLOCATIONS, LIVE};
use concurrent_futures::{ReturnWhen, as_completed, completions, promise, wait};

/// Waits until no other test of this file runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures one more `f`: the number of allocations, and the bytes that stay.
fn cost(f: impl FnOnce()) -> (usize, isize) {
    let before = (
        ALLOCATIONS.load(Ordering::Relaxed),
        LIVE.load(Ordering::Relaxed),
    );
    f();
    (
        ALLOCATIONS.load(Ordering::Relaxed) - before.0,
        LIVE.load(Ordering::Relaxed) - before.1,
    )
}

/// Does `f` so many times; each costs what the first did, and nothing stays.
fn cost_does_not_grow(times: usize, mut f: impl FnMut()) {
    // The futures keep the room that they once needed for wakers.
    f();
    let first = cost(&mut f);
    let (_, stayed) = cost(|| (0..times).for_each(|_| f()));
    assert_eq!(stayed, 0, "bytes after {times} rounds");
    assert_eq!(cost(&mut f), first, "after {times} rounds");
}

/// Many futures a few times, and a few of the same futures very often: a wait
/// treats each future alike, so what it might leave behind shows in either.
#[test]
fn waits_leave_nothing_behind_in_the_futures() {
    let _alone = alone();
    let pairs: Vec<_> = (0..1000).map(|_| promise::<u8>()).collect();
    let futures: Vec<_> = pairs.iter().map(|(_, future)| future).collect();
    for (some, rounds) in [(&futures[..], 100), (&futures[500..504], 100_000)] {
        for limit in [Duration::ZERO, Duration::from_nanos(1)] {
            cost_does_not_grow(rounds, || {
                let some = some.iter().copied();
                let left = some.len();
                let waited = wait(some, ReturnWhen::FirstCompleted, Some(limit));
                assert_eq!(waited.not_done.len(), left);
            });
        }
        cost_does_not_grow(rounds / 10, || {
            let limit = Duration::from_nanos(1);
            assert!(as_completed(some.iter()).next_timeout(limit).is_err());
        });
    }

    let (_promise, future) = promise::<u8>();
    let future = Arc::new(future);
    cost_does_not_grow(100_000, || drop(completions([future.clone()])));
}

/// A kept future keeps the block of memory in which its task lies, and no more. A thread that
/// ends keeps nothing.
#[test]
fn kept_futures_and_ended_threads_keep_few_bytes() {
    const KEPT: usize = 1000;
    const BLOCK: isize = 512;
    let _alone = alone();
    let (_, stayed) = cost(|| {
        let mut kept = Vec::with_capacity(KEPT);
        let (_, stayed) = cost(|| {
            for _ in 0..KEPT {
                kept.push(promise::<u8>().1);
                (0..19).for_each(|_| drop(promise::<u8>()));
            }
        });
        let most = BLOCK * isize::try_from(KEPT).unwrap() + 2 * BLOCK;
        assert!(stayed > 0 && stayed <= most, "{stayed} bytes");
    });
    assert!(
        stayed <= BLOCK,
        "{stayed} bytes after the futures were dropped"
    );

    let in_a_thread = || {
        let thread = std::thread::spawn(|| drop(promise::<u8>()));
        thread.join().unwrap();
    };
    in_a_thread();
    let (_, stayed) = cost(|| (0..100).for_each(|_| in_a_thread()));
    assert_eq!(stayed, 0, "bytes after 100 threads");
}

/// All of the first test: 100,000 waits over the same 1,000 futures take
/// minutes without optimization.
#[test]
#[ignore = "for an optimized build: `--config profile.dev.opt-level=2 -- --ignored`"]
fn a_hundred_thousand_waits_for_a_thousand_futures_leave_nothing_behind() {
    let pairs: Vec<_> = (0..1000).map(|_| promise::<u8>()).collect();
    cost_does_not_grow(100_000, || {
        let all = pairs.iter().map(|(_, future)| future);
        let waited = wait(all, ReturnWhen::FirstCompleted, Some(Duration::ZERO));
        assert_eq!(waited.not_done.len(), 1000);
    });
}
