//! W6: memory of pending tasks, all handles kept.
//!
//! Counted are the bytes by which the heap in use grows, and the calls that allocate, from the
//! first submit to the last, divided by the number of tasks: the task's own blocks, with the word
//! that malloc has in front of each, and its share in the pool's queue. The handle counts with its
//! size; the vector that holds them has its room before. The closure captures one `u64` and returns
//! one. (`blocking` keeps its queue's memory from one round to the next, so that it is charged for
//! 8 bytes a task less than a new one would be.)

use super::gate::Gate;
use crate::allocator::{counts, start_counting, stop_counting};
use crate::pools::{Pool, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const TASKS: u64 = 1_000_000;
const WORKERS: usize = 2;

#[derive(Clone)]
struct Memory;

impl Workload for Memory {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let gate = Gate::close(&pool, WORKERS);
        let mut handles = Vec::with_capacity(TASKS as usize);
        start_counting();
        for n in 0..TASKS {
            handles.push(pool.submit(move || n));
        }
        let counts = counts();
        stop_counting();
        gate.open();
        assert_eq!(P::wait_all(handles), TASKS * (TASKS - 1) / 2);
        pool.close();
        let a_task = |count: i64| count as f64 / TASKS as f64;
        vec![
            a_task(counts.requested),
            // To a byte: a ring that doubles its room has some left.
            (a_task(counts.chunks) + size_of::<P::Handle>() as f64).round(),
            // To a tenth: a block of the queue that many tasks share is no allocation of each.
            (a_task(counts.calls) * 10.0).round() / 10.0,
        ]
    }
}

/// Returns the row.
pub(super) fn row() -> Row {
    let bar = |suffix, metric, firm, aim| Bar {
        suffix,
        metric,
        rivals: Rivals::None,
        firm: Some(firm),
        aim: Some(aim),
    };
    Row {
        id: "W6",
        name: "W6, pending tasks".into(),
        metrics: &[
            Metric {
                name: "requested",
                unit: "B",
            },
            Metric {
                name: "in all",
                unit: "B",
            },
            Metric {
                name: "allocations",
                unit: "",
            },
        ],
        contenders: Memory.on_each(),
        bars: vec![
            bar(", bytes", 1, 80.0, 64.0),
            bar(", allocations", 2, 1.0, 1.0),
        ],
    }
}
