//! [`time_together`]: several threads that begin at once.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// Runs `work` on that many threads, and returns the seconds from when the first began until the
/// last had done it.
///
/// Each looks at the clock itself: the thread that waits for them may get a core long after they
/// have begun.
pub(super) fn time_together(threads: usize, work: impl Fn() + Sync) -> f64 {
    let begin = Barrier::new(threads);
    let timed = || {
        begin.wait();
        let start = Instant::now();
        work();
        (start, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(timed)).collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.map(|times| times.expect("it returns")).collect()
    });
    let first = times.iter().map(|(start, _)| *start).min();
    let last = times.iter().map(|(_, end)| *end).max();
    let taken = last.expect("more than none") - first.expect("more than none");
    taken.as_secs_f64()
}
