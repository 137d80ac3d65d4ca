//! [`Spin`]: work of a known length that does not look at the clock.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// So many turns of a loop as take a given time on an idle core.
///
/// A loop that watched the clock would hide what it is to measure: time in which the thread is
/// off its core would count as work done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spin {
    turns: u64,
}

impl Spin {
    /// Returns work of that length.
    pub(super) fn of(length: Duration) -> Self {
        static TURNS_A_SECOND: OnceLock<f64> = OnceLock::new();
        let rate = TURNS_A_SECOND.get_or_init(calibrate);
        let turns = (length.as_secs_f64() * rate) as u64;
        Self { turns }
    }

    /// Returns the work of that many turns of the loop.
    pub(super) const fn of_turns(turns: u64) -> Self {
        Self { turns }
    }

    /// Returns the turns of the loop: with them another process does the same work.
    pub(super) const fn turns(self) -> u64 {
        self.turns
    }

    /// Does the work.
    ///
    /// One function for all callers, and its state in a register: inlined, and with a
    /// `black_box` in each turn, it took three times as long in some callers as in others.
    #[inline(never)]
    pub(super) fn run(self) -> u64 {
        let mut state = black_box(1_u64);
        for turn in 0..self.turns {
            // Each turn waits for the one before it, and no formula replaces them.
            state = (state ^ turn).wrapping_mul(6_364_136_223_846_793_005);
        }
        state
    }
}

/// Returns the turns a second of the fastest of some tries, which nothing interrupted.
fn calibrate() -> f64 {
    let turns = 1_000_000;
    let spin = Spin { turns };
    let time = |_| {
        let start = Instant::now();
        black_box(spin.run());
        start.elapsed().as_secs_f64()
    };
    let fastest = (0..50).map(time).min_by(f64::total_cmp);
    turns as f64 / fastest.expect("it has tried")
}
