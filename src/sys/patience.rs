//! [`Patience`]: the pauses of a thread that must poll for messages again and again.
//!
//! MPI has no descriptor that the system call `poll` could watch. A thread that polls
//! without pauses sees each message at once, but takes a CPU from the tasks. So the pauses
//! grow with the time for which the thread has waited:
//!
//! | time waited so far | next pause |
//! |---|---|
//! | less than 100 us | none, the thread only yields |
//! | longer | a 32nd of the time waited, at least 20 us and at most 5 ms |
//!
//! The thread sees a message at most one pause after the message has arrived. A thread that
//! waits for ever takes about 1 % of a CPU.

use std::time::{Duration, Instant};

/// The time at the beginning of a wait during which the thread only yields.
const YIELDS: Duration = Duration::from_micros(100);

/// The time waited so far, divided by this number, is the length of the next pause.
const PART: u32 = 32;

const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(5);

/// The time at which a thread's current wait began, from which the length of the next pause
/// follows.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// Ends the current wait. The next call of [`pause`](Self::pause) begins a new one.
    pub(crate) fn begin_anew(&mut self) {
        self.since = None;
    }

    /// Returns the next pause, which is zero if the thread should only yield.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        match waited < YIELDS {
            true => Duration::ZERO,
            false => (waited / PART).clamp(SHORTEST, LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_with_the_wait() {
        let start = Instant::now();
        let mut patience = Patience::default();
        let mut after = |micros| patience.pause(start + Duration::from_micros(micros));
        assert_eq!([after(0), after(99)], [Duration::ZERO; 2]);
        assert_eq!([after(100), after(640)], [SHORTEST; 2]);
        assert_eq!(after(32_000), Duration::from_millis(1));
        assert_eq!(after(10_000_000), LONGEST);
        patience.begin_anew();
        assert_eq!(patience.pause(start + LONGEST), Duration::ZERO);
    }
}
