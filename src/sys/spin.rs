//! Spinning: a waiting thread checks a few times, and yields in between, before it
//! sleeps.
//!
//! Sleeping and being woken from another CPU takes many times as long as an empty task.
//! But an idle thread is to use no CPU time: it spins a few times and then sleeps.
//!
//! # Two ends of a channel
//!
//! Both ends of a channel wait for each other once per task. If they run on different
//! CPUs, what one waits for is often under way already. If they share a CPU, the other
//! end cannot go on until this one sleeps, and spinning takes time away from it. So each
//! frame says on which CPU its sender ran when it was written. A worker that waits for
//! the next request, and the supervisor that waits for busy workers, spin if the last
//! frame came from another CPU. That number may be stale or forged: it only decides
//! whether to spin, and what arrives after the last check ends the sleep as usual.

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) use self::channel::{is_elsewhere, spin};

use std::cell::Cell;
use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// The number of looks before the first yield. A pause takes 40 ns: with ten of them a round
/// trip on one core is a tenth slower, and a burst no faster.
const PAUSES: u32 = 5;

/// The number of times that a thread yields before it sleeps. A sleep costs the thread
/// that wakes it 5 to 13 us; in `benches/threads.rs` 24 make a burst a third faster and a
/// round trip several times, and 64 are no better.
const YIELDS: u32 = 24;

/// A yield that takes longer gave the CPU to a thread that has nothing to do with this
/// one, for a time slice of milliseconds. Then it is better to sleep: a thread that is
/// woken is preferred to one that has yielded.
const LONGEST_YIELD: Duration = Duration::from_micros(200);

/// After such a yield a thread goes to sleep without any so many times at least, after the
/// next one eight times as often, and so on up to the most: while all cores are busy, each
/// try costs a time slice.
const LEAST_SKIPPED: u32 = 16;
const MOST_SKIPPED: u32 = 1024;

thread_local! {
    /// The number of times that the thread is to skip its yields, and by how much it did
    /// so the last time.
    static SKIPS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Calls `is_there` for a moment until it returns `true`, and yields to other threads in
/// between; returns its last answer. A model tries every order anyhow.
pub(crate) fn poll(mut is_there: impl FnMut() -> bool) -> bool {
    if cfg!(concurrent_futures_loom) {
        return is_there();
    }
    for _ in 0..PAUSES {
        if is_there() {
            return true;
        }
        spin_loop();
    }
    let (left, skipped) = SKIPS.get();
    if left > 0 {
        SKIPS.set((left - 1, skipped));
        return is_there();
    }
    for _ in 0..YIELDS {
        if is_there() {
            return true;
        }
        let before = Instant::now();
        yield_now();
        if before.elapsed() > LONGEST_YIELD {
            let next = (8 * skipped).clamp(LEAST_SKIPPED, MOST_SKIPPED);
            SKIPS.set((next, next));
            return is_there();
        }
    }
    SKIPS.set((0, 0));
    is_there()
}

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod channel {
    use std::thread::yield_now;

    use crate::sys::current_process;

    /// The number of looks at a channel before a sleep. Six are too few for bursts with
    /// one worker, and sixty gain little more.
    const SPINS: u32 = 20;

    /// Returns `true` if a frame with that CPU came from another CPU than this.
    pub(crate) fn is_elsewhere(cpu: u32) -> bool {
        cpu != 0 && cpu != current_process::cpu()
    }

    /// Polls `find` up to [`SPINS`] times, yielding in between; returns the first result.
    pub(crate) fn spin<T>(mut find: impl FnMut() -> Option<T>) -> Option<T> {
        (0..SPINS).find_map(|_| {
            let found = find();
            if found.is_none() {
                yield_now();
            }
            found
        })
    }
}
