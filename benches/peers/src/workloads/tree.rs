//! W5a: a tree of tasks that submit tasks, and nothing waits for any of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::pools::{Pool, RayonOneshot, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const DEPTH: u32 = 16;
/// A binary tree: 2^17 - 1 tasks, of which 2^16 submit nothing.
const LEAVES: u64 = 1 << DEPTH;
const TASKS: u64 = 2 * LEAVES - 1;

#[derive(Clone)]
struct Tree;

/// The leaves that have not run, and the thread that is woken by the last.
struct Countdown {
    left: AtomicU64,
    waiter: Thread,
}

impl Workload for Tree {
    fn run<P: Pool>(&self) -> Vec<f64> {
        // Leaked: a reference count for each task would cost more than the task, and a pool that a
        // task can reach may not be dropped by a thread that is not sure that the last one is over.
        let pool: &'static P = Box::leak(Box::new(P::new(2)));
        let countdown: &'static Countdown = Box::leak(Box::new(Countdown {
            left: AtomicU64::new(LEAVES),
            waiter: thread::current(),
        }));
        warm_up(pool);
        let start = Instant::now();
        pool.detach(move || grow(pool, countdown, DEPTH));
        // ORDERING: nothing is read that the tasks have written.
        while countdown.left.load(Ordering::Relaxed) > 0 {
            thread::park();
        }
        vec![start.elapsed().as_nanos() as f64 / TASKS as f64]
    }
}

fn grow<P: Pool>(pool: &'static P, countdown: &'static Countdown, depth: u32) {
    if depth == 0 {
        // ORDERING: it counts, and hands nothing over.
        if countdown.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            countdown.waiter.unpark();
        }
        return;
    }
    for _ in 0..2 {
        pool.detach(move || grow(pool, countdown, depth - 1));
    }
}

/// Returns the row.
pub(super) fn row() -> Row {
    Row {
        id: "W5a",
        name: "W5a, a tree".into(),
        metrics: &[Metric {
            name: "a task",
            unit: "ns",
        }],
        contenders: Tree.on_each(),
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            // It needs no result, so that one of rayon's two is enough.
            rivals: Rivals::Best(|name, _| name == RayonOneshot::NAME),
            firm: Some(0.6),
            aim: Some(0.35),
        }],
    }
}
