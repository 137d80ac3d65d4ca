//! W4: tasks of 10 us, beside bare threads that do the same.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::spin::Spin;
use super::together::time_together;
use crate::pools::{Pool, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const TASKS: u64 = 20_000;
const LENGTH: Duration = Duration::from_micros(10);
const WORKERS: u64 = 2;

#[derive(Clone)]
struct ShortTasks;

impl Workload for ShortTasks {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let spin = Spin::of(LENGTH);
        // Before and after, so that a machine that gets slower meanwhile is not the pool's fault.
        let before = on_bare_threads(spin);
        let taken = on_pool::<P>(spin);
        let bare = (before + on_bare_threads(spin)) / 2.0;
        vec![100.0 * (taken / bare - 1.0)]
    }
}

/// Returns the seconds that it takes a pool.
fn on_pool<P: Pool>(spin: Spin) -> f64 {
    let pool = P::new(WORKERS as usize);
    warm_up(&pool);
    let mut handles = Vec::with_capacity(TASKS as usize);
    let start = Instant::now();
    for _ in 0..TASKS {
        handles.push(pool.submit(move || spin.run() & 1));
    }
    P::wait_all(handles);
    let taken = start.elapsed();
    pool.close();
    taken.as_secs_f64()
}

/// Returns the seconds that it takes threads that share the tasks out beforehand.
fn on_bare_threads(spin: Spin) -> f64 {
    time_together(WORKERS as usize, || {
        let sum: u64 = (0..TASKS / WORKERS).map(|_| spin.run() & 1).sum();
        black_box(sum);
    })
}

/// Returns the row.
pub(super) fn row() -> Row {
    Row {
        id: "W4",
        name: "W4, over bare threads".into(),
        metrics: &[Metric {
            name: "overhead",
            unit: "%",
        }],
        contenders: ShortTasks.on_each(),
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::None,
            firm: Some(4.0),
            aim: Some(1.5),
        }],
    }
}
