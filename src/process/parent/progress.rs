//! [`Progress`]: a limit on how long nothing comes of what a worker has to do at
//! once: take up a task that was sent, or finish a frame that it began.
//!
//! A worker that was stopped (`SIGSTOP`), or whose stream a task has spoilt,
//! never does. The supervisor looks at such a worker a few times, and ends it
//! when nothing moved in between. Looks are counted, not only time: if this
//! process was frozen together with its workers, they have most of the looks
//! left when all of them go on.

use std::time::{Duration, Instant};

/// The time between two looks.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The number of looks without movement after which it counts as never.
const SPINS: u32 = 5;

#[derive(Debug)]
pub(super) struct Progress {
    next_look: Instant,
    looks_left: u32,
}

impl Progress {
    pub(super) fn from(now: Instant) -> Self {
        Self {
            next_look: now + LOOK,
            looks_left: SPINS,
        }
    }

    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Takes a look; returns `true` if it was the last.
    pub(super) fn is_given_up(&mut self, now: Instant) -> bool {
        if now < self.next_look {
            return false;
        }
        self.next_look = now + LOOK;
        self.looks_left -= 1;
        self.looks_left == 0
    }

    /// Puts the next look into the past, all but the last one taken.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.looks_left = 1;
        self.next_look = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_frozen_finds_its_workers_with_looks_left() {
        let start = Instant::now();
        let mut progress = Progress::from(start);
        let thawed = start + Duration::from_secs(3600);
        assert!(!progress.is_given_up(thawed));
        assert!(!progress.is_given_up(thawed));
        let may_spin = (1..=SPINS).map(|n| thawed + n * LOOK);
        let given_up: Vec<bool> = may_spin
            .map(|at| progress.is_given_up(at))
            .take(4)
            .collect();
        assert_eq!(given_up, [false, false, false, true]);
    }
}
