//! Spinning: a thread that waits without a deadline checks several times for its result
//! before it sleeps. The thread pauses between the first checks, and yields between the
//! later checks.
//!
//! Waking a sleeping thread from another CPU takes many times as long as an empty task. But
//! an idle thread must not use CPU time, so a thread spins only for a short time before it
//! sleeps.
//!
//! # Two ends of a channel
//!
//! The two processes at the ends of a channel wait for each other's frames (messages) once
//! per task. If the processes run on different CPUs, the awaited frame often arrives soon,
//! and spinning is worthwhile. If both processes share a CPU, the sender cannot run while
//! the receiver spins. So each frame contains the number of the CPU on which its sender
//! ran. A worker that waits for its next request spins if the last frame came from another
//! CPU, or if only a part of a frame has arrived. The *supervisor*, the pool's thread that
//! reads the workers' replies, spins in the same cases while it waits for busy workers. A
//! wrong CPU number does no harm, because the number only decides if a thread spins, and
//! which sleeping worker the parent wakes first. A frame that arrives after the last check
//! wakes the sleeping thread as usual.

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) use self::channel::{is_elsewhere, spin};

use std::cell::Cell;
use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// The largest number of checks before the first yield. After each check the thread pauses
/// with one `spin_loop`, which takes 40 ns on the CPU on which these times were measured.
///
/// If the awaited thread runs on another CPU, a thread that pauses sees the result sooner
/// than a thread that yields. With 20 pauses instead of 5, a round trip (the submission of
/// one task and the wait for its result) takes 0.8 of the time. If both threads share a
/// CPU, the awaited thread runs only during yields, so each pause wastes time.
const PAUSES: u32 = 20;

/// The number of checks before the first yield if a poll found no result during its pauses,
/// and no poll has found one there since. ([`RETRY_PAUSES`] tells the exceptions.) If both
/// threads share a CPU, each further check makes the time from the submission of a task to
/// its result longer.
const FEW_PAUSES: u32 = 1;

/// The number of polls of which one makes all [`PAUSES`], while no poll finds a result
/// during its pauses. This one poll finds out if the threads now run on different CPUs. The
/// other polls make only [`FEW_PAUSES`].
const RETRY_PAUSES: u32 = 16;

/// The largest number of times that a thread yields before it sleeps. Waking a sleeping
/// thread costs the waking thread 5 to 13 us. In `benches/threads.rs`, many tasks that a
/// thread submits in a row end a third sooner with 24 yields than without yields. A single
/// task ends several times sooner with 24 yields than without. 64 yields are no better than
/// 24.
const YIELDS: u32 = 24;

/// The largest number of times that a worker yields after it has tried to take a task that
/// another worker was faster to take, if more tasks remain. The *searcher*, the one worker
/// that polls for a task before it sleeps, does not yield, because submitting threads rely
/// on its search.
///
/// Two workers often try to take the same task only if tasks are tiny. Then a cache line
/// moves between the workers once per task, which costs more than the tasks: two workers
/// need twice as much time for many empty tasks as one worker alone. After some yields the
/// other worker has taken several tasks without a conflict, or the submitting thread has
/// run. With 4 yields instead of none, two workers need only 0.6 of the time that they need
/// without yields (W1 of `benches/peers`). 16 yields are no better than 4.
const CONFLICT_YIELDS: u32 = 4;

/// The duration above which a yield is *long*. During a long yield, another thread has used
/// the CPU for a time slice, which lasts some milliseconds. If a thread waits for one
/// result at a time, sleeping is better than a long yield, because the kernel prefers a
/// woken thread to a thread that has yielded. If many results arrive during the yield, the
/// long yield is better, because waking the thread for each result costs the worker as much
/// as a short task.
const LONGEST_YIELD: Duration = Duration::from_micros(200);

/// The smallest number of waits that make a long yield worth its time: waits that find
/// their results already there, and come before the thread must next choose between
/// yielding and sleeping.
const WORTH: u32 = 8;

/// The number of polls in which a thread skips its yields, after its first long yield that
/// was not worth its time ([`WORTH`]). Each further long yield that was not worth its time
/// makes the number eight times larger, up to `MOST_SKIPPED`, until [`Yields::skipped`] is
/// 0 again. The number grows because each long yield costs a time slice, as long as all
/// cores are busy.
const LEAST_SKIPPED: u32 = 16;
const MOST_SKIPPED: u32 = 1024;

/// The record of one thread's pauses. It decides how often the thread pauses.
#[derive(Clone, Copy)]
struct Pauses {
    /// The number of polls that found no result during their pauses, since the last poll
    /// that found a result there. A poll that finds its result at the first check does not
    /// count.
    missed: u32,
}

/// The record of one thread's yields. It decides if the thread yields.
#[derive(Clone, Copy)]
struct Yields {
    /// The number of coming polls that do not yield although they found no result during
    /// their pauses.
    to_skip: u32,
    /// The value to which `to_skip` was set after the last long yield. It is 0 if that long
    /// yield was worth its time, or if a later poll made all [`YIELDS`] and each was short.
    skipped: u32,
    /// `true` if the last yield was long, and it is not yet known if the yield was worth
    /// its time.
    was_long: bool,
    /// The number of waits, since the last long yield, for a result that was already
    /// there.
    over_at_once: u32,
}

thread_local! {
    static PAUSES_OF_THREAD: Cell<Pauses> = const { Cell::new(Pauses { missed: 0 }) };
    static YIELDS_OF_THREAD: Cell<Yields> = const {
        Cell::new(Yields { to_skip: 0, skipped: 0, was_long: false, over_at_once: 0 })
    };
}

/// Counts a wait of the calling thread that did not poll, because the result was already
/// there.
#[inline]
pub(crate) fn over_at_once() {
    let mut yields = YIELDS_OF_THREAD.get();
    yields.over_at_once = yields.over_at_once.wrapping_add(1);
    YIELDS_OF_THREAD.set(yields);
}

/// Returns the number of waits that the calling thread has counted with [`over_at_once`]
/// since its last long yield.
#[cfg(all(test, not(concurrent_futures_loom)))]
pub(crate) fn waits_over_at_once() -> u32 {
    YIELDS_OF_THREAD.get().over_at_once
}

impl Pauses {
    /// Calls `is_there` up to [`PAUSES`] or [`FEW_PAUSES`] times, and pauses after each
    /// call. Returns `true` as soon as `is_there` returns `true`.
    fn poll(&mut self, mut is_there: impl FnMut() -> bool) -> bool {
        let pauses = if self.missed % RETRY_PAUSES == 0 {
            PAUSES
        } else {
            FEW_PAUSES
        };
        for paused in 0..pauses {
            if is_there() {
                // A result at the first check does not show on which CPUs the threads run.
                if paused > 0 {
                    self.missed = 0;
                }
                return true;
            }
            spin_loop();
        }
        self.missed = self.missed.wrapping_add(1);
        false
    }
}

impl Yields {
    /// Returns `true` if the thread should sleep without yielding first.
    fn are_skipped(&mut self) -> bool {
        if std::mem::take(&mut self.was_long) {
            let is_worth_it = self.over_at_once >= WORTH;
            let next = (8 * self.skipped).clamp(LEAST_SKIPPED, MOST_SKIPPED);
            self.skipped = if is_worth_it { 0 } else { next };
            self.to_skip = self.skipped;
        }
        let are_skipped = self.to_skip > 0;
        self.to_skip = self.to_skip.saturating_sub(1);
        are_skipped
    }

    /// Calls `is_there` several times, and yields between the calls. Returns `true` as soon
    /// as `is_there` returns `true`. After a long yield, calls `is_there` only once more.
    fn poll(&mut self, mut is_there: impl FnMut() -> bool) -> bool {
        for _ in 0..YIELDS {
            if is_there() {
                return true;
            }
            let before = Instant::now();
            yield_now();
            if before.elapsed() > LONGEST_YIELD {
                (self.was_long, self.over_at_once) = (true, 0);
                return is_there();
            }
        }
        self.skipped = 0;
        is_there()
    }
}

/// Yields several times to the submitting threads, and to the worker that has just taken
/// the task that the calling worker wanted to take. Stops after a long yield. Does nothing
/// in a loom model.
pub(crate) fn give_way() {
    if cfg!(concurrent_futures_loom) {
        return;
    }
    for _ in 0..CONFLICT_YIELDS {
        let before = Instant::now();
        yield_now();
        if before.elapsed() > LONGEST_YIELD {
            return;
        }
    }
}

/// Calls `is_there` repeatedly for a short time until `is_there` returns `true`. Pauses
/// between the first calls, and then yields to other threads between the calls, or makes
/// only one more call if the yields are skipped ([`LEAST_SKIPPED`]). Returns the last
/// result of `is_there`. In a loom model, this function calls `is_there` only once, because
/// loom itself tries many orders of the threads.
pub(crate) fn poll(mut is_there: impl FnMut() -> bool) -> bool {
    if cfg!(concurrent_futures_loom) {
        return is_there();
    }
    let mut pauses = PAUSES_OF_THREAD.get();
    let found = pauses.poll(&mut is_there);
    PAUSES_OF_THREAD.set(pauses);
    if found {
        return true;
    }
    let mut yields = YIELDS_OF_THREAD.get();
    let found = if yields.are_skipped() {
        is_there()
    } else {
        yields.poll(is_there)
    };
    YIELDS_OF_THREAD.set(yields);
    found
}

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod channel {
    use std::thread::yield_now;

    use crate::sys::current_process;

    /// The number of times that a thread checks a channel before it sleeps. Six checks are
    /// too few if one worker gets many tasks in a row. Sixty checks are hardly better than
    /// twenty.
    const SPINS: u32 = 20;

    /// Returns `true` if the calling thread runs on another CPU than `cpu`, the CPU on
    /// which a frame was sent. Returns `false` if `cpu` is 0, which means that the CPU is
    /// unknown.
    pub(crate) fn is_elsewhere(cpu: u32) -> bool {
        cpu != 0 && cpu != current_process::cpu()
    }

    /// Calls `find` up to [`SPINS`] times, and yields after each call that returns `None`.
    /// Returns the first value that `find` returns.
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

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    /// If two threads share a CPU, the other thread's result seldom arrives during a pause.
    /// So the polls of these threads soon make fewer pauses.
    #[test]
    fn polls_that_end_during_no_pause_get_fewer_pauses() {
        let mut pauses = Pauses { missed: 0 };
        let mut checks = |misses: u32| {
            let mut checks = 0;
            let found = pauses.poll(|| {
                checks += 1;
                checks > misses
            });
            (found, checks)
        };
        for _ in 0..2 {
            assert_eq!(checks(u32::MAX), (false, PAUSES));
            for _ in 1..RETRY_PAUSES {
                assert_eq!(checks(u32::MAX), (false, FEW_PAUSES));
            }
        }
        assert_eq!(checks(2), (true, 3));
        assert_eq!(checks(u32::MAX), (false, PAUSES));
        assert_eq!(checks(0), (true, 1));
        assert_eq!(checks(u32::MAX), (false, FEW_PAUSES));
    }

    #[test]
    fn a_long_yield_is_not_tried_again_soon_unless_it_was_worth_it() {
        let mut yields = Yields {
            to_skip: 0,
            skipped: 0,
            was_long: true,
            over_at_once: WORTH,
        };
        assert!(!yields.are_skipped());
        for most in [16, 128, 1024, 1024] {
            (yields.was_long, yields.over_at_once) = (true, WORTH - 1);
            let skipped = (0..2000).take_while(|_| yields.are_skipped()).count();
            assert_eq!(skipped, most);
        }
        (yields.was_long, yields.over_at_once) = (true, WORTH);
        assert!(!yields.are_skipped());
    }
}
