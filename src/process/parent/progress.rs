//! [`Progress`]: a time limit for a step that takes a worker only a moment, unless the
//! worker is stopped or its stream is corrupt. [`Checks`]: the times at which the pool asks
//! a worker that runs user code if it waits for a message.
//!
//! A `Progress` limits the time of a worker
//!
//! * to start the task that it has taken or that it was sent, or to ask for the task's call
//!   or decline the task (`WorkerHandle::progress`),
//! * to send the remaining bytes of a message, or to read those of a message from the pool
//!   (`progress` too),
//! * to take an offer (`offers.rs`) while it is idle (`WorkerHandle::take_limit`),
//! * to send any bytes, if a launcher's command has started it (`launched.rs`).
//!
//! A worker that was stopped (`SIGSTOP`), or whose stream a task has corrupted, makes no
//! progress. The supervisor checks a worker a few times, and kills the worker if no byte
//! was sent or received between these checks. The limit to take an offer does not depend on
//! bytes: it ends when the worker has taken an offer, or sleeps because it has found none.
//! The last check of the limit to take an offer does not count while no offer is open,
//! because other workers may have taken the offers.
//!
//! If a launcher's command has started the worker, the first two of these limits are longer
//! by the launcher's *silence limit*: the time for which the connection may be down
//! (`launched.rs`).
//!
//! A `Progress` is over only after a number of checks, with a pause before each check. If
//! this process and its workers are frozen together and later thawed, most of the checks
//! still remain, and the supervisor does not kill the workers. After the first check, a
//! worker counts as *late*: an idle worker that is late does not count as awake
//! (`offers.rs`). If the pool can make no further offer, the supervisor also kills a worker
//! that is late to copy the call of its offer.
//!
//! The `Checks` are for a worker that runs user code: a message of the worker may have been
//! destroyed in the shared memory (`transport/mod.rs`). A check does not harm a worker
//! whose task still runs: the pool only asks, and the worker itself says if it waits.

use std::time::{Duration, Instant};

pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// The number of checks without progress after which the supervisor kills the worker.
const CHECKS: u32 = 5;

/// The time that [`CHECKS`] checks without progress take together.
pub(super) const LIMIT: Duration = INTERVAL.saturating_mul(CHECKS);

#[derive(Debug)]
pub(super) struct Progress {
    interval: Duration,
    next_check: Instant,
    checks_left: u32,
}

impl Progress {
    pub(super) fn from(now: Instant) -> Self {
        Self::within(LIMIT, now)
    }

    pub(super) fn within(limit: Duration, now: Instant) -> Self {
        let interval = limit / CHECKS;
        Self {
            interval,
            next_check: now + interval,
            checks_left: CHECKS,
        }
    }

    pub(super) fn next_check(&self) -> Instant {
        self.next_check
    }

    pub(super) fn is_late(&self) -> bool {
        self.checks_left < CHECKS
    }

    /// Counts one check if the next check is due. Returns `true` if it was due and no
    /// checks remain.
    pub(super) fn is_given_up(&mut self, now: Instant) -> bool {
        self.is_given_up_if(now, true)
    }

    /// Like [`is_given_up`](Self::is_given_up), but counts the last check only if
    /// `is_needed` is set.
    pub(super) fn is_given_up_if(&mut self, now: Instant, is_needed: bool) -> bool {
        if now < self.next_check {
            return false;
        }
        self.next_check = now + self.interval;
        if is_needed || self.checks_left > 1 {
            self.checks_left = self.checks_left.saturating_sub(1);
        }
        self.checks_left == 0
    }

    /// Sets the limit to its state after one check without progress.
    #[cfg(test)]
    pub(super) fn miss_a_check(&mut self) {
        self.checks_left = CHECKS - 1;
    }

    /// Leaves only the last check, and makes it due now.
    #[cfg(any(test, concurrent_futures_fuzz))]
    pub(super) fn hurry(&mut self) {
        self.checks_left = 1;
        self.next_check = Instant::now();
    }
}

/// The times at which the supervisor asks a worker that runs user code if the worker waits
/// for a message, and looks for threads of the worker that asked to be traced. The
/// intervals grow, because long tasks are common, and tasks that ask to be traced or that
/// destroy a message are rare.
#[derive(Debug)]
pub(super) struct Checks {
    next: Instant,
    interval: Duration,
    was_made: bool,
}

const FIRST_CHECK: Duration = Duration::from_millis(500);
const LONGEST_INTERVAL: Duration = Duration::from_secs(8);

impl Checks {
    /// Returns the times of the checks of a worker that begins to run user code now.
    pub(super) fn from(now: Instant) -> Self {
        Self {
            next: now + FIRST_CHECK,
            interval: FIRST_CHECK,
            was_made: false,
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Returns `true` if a check is due and `may_be_made` is set. The caller then makes
    /// this check.
    pub(super) fn is_due(&mut self, now: Instant, may_be_made: bool) -> bool {
        if now < self.next {
            return false;
        }
        self.interval = (2 * self.interval).min(LONGEST_INTERVAL);
        self.next = now + self.interval;
        self.was_made |= may_be_made;
        may_be_made
    }

    pub(super) fn was_made(&self) -> bool {
        self.was_made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_soon_at_first_and_rare_later() {
        let start = Instant::now();
        let mut checks = Checks::from(start);
        assert!(!checks.is_due(start, true) && !checks.was_made());
        let mut now = start;
        let intervals = [500, 1000, 2000, 4000, 8000, 8000, 8000];
        for interval in intervals.map(Duration::from_millis) {
            assert!(!checks.is_due(checks.next() - Duration::from_nanos(1), true));
            assert_eq!(checks.next() - now, interval);
            now = checks.next();
            assert!(checks.is_due(now, true) && checks.was_made());
        }
    }

    #[test]
    fn a_check_that_may_not_be_made_was_not_made() {
        let mut checks = Checks::from(Instant::now());
        assert!(!checks.is_due(checks.next(), false) && !checks.was_made());
        assert!(checks.is_due(checks.next(), true) && checks.was_made());
    }

    #[test]
    fn a_process_that_was_frozen_finds_its_workers_with_looks_left() {
        let start = Instant::now();
        let mut progress = Progress::from(start);
        let thawed = start + Duration::from_secs(3600);
        assert!(!progress.is_given_up(thawed));
        assert!(!progress.is_given_up(thawed));
        let checks = (1..=CHECKS).map(|n| thawed + n * INTERVAL);
        let given_up: Vec<bool> = checks.map(|at| progress.is_given_up(at)).take(4).collect();
        assert_eq!(given_up, [false, false, false, true]);
    }
}
