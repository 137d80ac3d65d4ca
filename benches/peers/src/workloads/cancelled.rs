//! Memory that a million cancelled tasks give back, with their handles and without.

use super::gate::Gate;
use crate::allocator::{counts, start_counting, stop_counting};
use crate::contender::{Contender, Kind};
use crate::pools::{Own, Pool, warm_up};
use crate::row::{Metric, Row};

const TASKS: u64 = 1_000_000;
const WORKERS: usize = 2;

fn run() -> Vec<f64> {
    let pool = Own::new(WORKERS);
    warm_up(&pool);
    let gate = Gate::close(&pool, WORKERS);
    let mut futures = Vec::with_capacity(TASKS as usize);
    // Not below zero: what the last tasks leave in the allocator may go while this counts.
    let a_task = || counts().chunks.max(0) as f64 / TASKS as f64;
    start_counting();
    for n in 0..TASKS {
        futures.push(pool.submit(move || n));
    }
    let pending = a_task();
    for future in &futures {
        assert!(future.cancel());
    }
    let cancelled = a_task();
    futures.clear();
    let dropped = a_task();
    gate.open();
    // It is behind all others.
    assert_eq!(Own::wait(pool.submit(|| 1)), 1);
    let passed = a_task();
    stop_counting();
    vec![pending, cancelled, dropped, passed]
}

/// Returns the row.
pub(super) fn row() -> Row {
    Row {
        id: "cancelled",
        name: "a million cancelled tasks".into(),
        metrics: &[
            Metric {
                name: "pending",
                unit: "B",
            },
            Metric {
                name: "cancelled",
                unit: "B",
            },
            Metric {
                name: "handles dropped",
                unit: "B",
            },
            Metric {
                name: "workers went on",
                unit: "B",
            },
        ],
        contenders: vec![Contender::new(Own::NAME, Kind::Own, run)],
        bars: Vec::new(),
    }
}
