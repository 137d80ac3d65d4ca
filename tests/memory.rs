//! Memory stays where it was: counted by an allocator that counts.
//!
//! One test at a time: another one's allocations would be counted too.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod counting;

use self::counting::{ALLOCATIONS, LIVE};
use concurrent_futures::{ReturnWhen, as_completed, completions, promise, wait};

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

/// The whole of the test above: 100,000 waits over the same 1,000 futures take
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
