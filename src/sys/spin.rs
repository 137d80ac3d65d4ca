//! Spinning: a few looks, with yields in between, before a thread sleeps.
//!
//! Both ends of a channel wait for each other once a task. If they run on two
//! CPUs, what one waits for is often under way, while to sleep and be woken from
//! another CPU takes many times as long as an empty task. On one CPU the other end
//! cannot go on before this one sleeps, and every look is time taken from it.
//!
//! The terms: each frame says on which CPU its sender ran when it was written. A
//! worker, before it waits for the next request, and the supervisor, before it
//! waits for workers that have tasks, look [`SPINS`] times without waiting, and
//! let others run in between, if the last frame came from another CPU. Then they
//! sleep: who has nothing to do uses no CPU. What was said may be old, or
//! nonsense; it decides on a few looks and on nothing else, and what comes after
//! the last look ends the sleep at once, as it would without any.

use std::thread::yield_now;

use super::current_process;

/// The number of looks before a sleep. Six are too few for bursts with one worker,
/// and sixty gain little more.
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
