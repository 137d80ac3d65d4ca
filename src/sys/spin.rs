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

/// The number of looks before the first yield.
pub(crate) const PAUSES: u32 = if cfg!(concurrent_futures_loom) { 0 } else { 10 };

/// The number of times that a thread yields before it sleeps until a task is done. A
/// sleep costs the thread that wakes it 5 to 13 us; in `benches/threads.rs` 24 make a
/// burst a third faster and a round trip several times, and 64 are no better. A model
/// tries every order anyhow.
pub(crate) const YIELDS: u32 = if cfg!(concurrent_futures_loom) { 0 } else { 24 };

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
