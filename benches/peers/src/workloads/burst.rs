//! W1: many empty tasks from one thread, then all results.

use std::time::Instant;

use crate::contender::Kind;
use crate::pools::{Pool, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;

const TASKS: u64 = 200_000;
/// CPython takes a hundred times as long.
const PYTHON_TASKS: u64 = 5_000;

#[derive(Clone)]
struct Burst {
    workers: usize,
}

impl Workload for Burst {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(self.workers);
        warm_up(&pool);
        let mut handles = Vec::with_capacity(TASKS as usize);
        let start = Instant::now();
        for n in 0..TASKS {
            handles.push(pool.submit(move || n));
        }
        let sum = P::wait_all(handles);
        let taken = start.elapsed();
        assert_eq!(sum, TASKS * (TASKS - 1) / 2);
        pool.close();
        vec![taken.as_nanos() as f64 / TASKS as f64]
    }
}

/// Returns the row of pools of that many workers.
pub(super) fn row(workers: usize) -> Row {
    let mut contenders = Burst { workers }.on_each();
    contenders.extend(scripts::java(format!("burst {workers} {TASKS}")));
    contenders.extend(scripts::python(format!("burst {workers} {PYTHON_TASKS}")));
    Row {
        id: "W1",
        name: format!("W1 at {workers} workers"),
        metrics: &[Metric {
            name: "a task",
            unit: "ns",
        }],
        contenders,
        bars: vec![
            Bar {
                suffix: "",
                metric: 0,
                rivals: Rivals::Best(|_, kind| kind == Kind::Rust),
                firm: Some(0.4),
                aim: Some(0.2),
            },
            Bar {
                suffix: ", Java",
                metric: 0,
                rivals: Rivals::Best(|_, kind| kind == Kind::Java),
                firm: Some(0.9),
                aim: Some(0.4),
            },
        ],
    }
}
