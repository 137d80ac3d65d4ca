//! A million pending tasks: submitting them while all workers are busy, and then running them.

use std::time::Instant;

use super::gate::Gate;
use crate::pools::{Pool, Workload, warm_up};
use crate::row::{Metric, Row};

const TASKS: u64 = 1_000_000;
const WORKERS: usize = 2;

#[derive(Clone)]
struct Pending;

impl Workload for Pending {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let gate = Gate::close(&pool, WORKERS);
        let mut handles = Vec::with_capacity(TASKS as usize);
        let start = Instant::now();
        for n in 0..TASKS {
            handles.push(pool.submit(move || n));
        }
        let submitted = start.elapsed();
        let start = Instant::now();
        gate.open();
        assert_eq!(P::wait_all(handles), TASKS * (TASKS - 1) / 2);
        let finished = start.elapsed();
        pool.close();
        [submitted, finished]
            .map(|taken| taken.as_nanos() as f64 / TASKS as f64)
            .to_vec()
    }
}

/// Returns the row.
pub(super) fn row() -> Row {
    Row {
        id: "pending",
        name: "a million pending tasks".into(),
        metrics: &[
            Metric {
                name: "submit, a task",
                unit: "ns",
            },
            Metric {
                name: "then finish, a task",
                unit: "ns",
            },
        ],
        contenders: Pending.on_each(),
        bars: Vec::new(),
    }
}
