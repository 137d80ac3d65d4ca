//! P4: tasks of very different lengths, and the time until the last of them is done.
//!
//! The first of each fifty is the long one: one at the end would be a tail that no pool can avoid.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::spin::Spin;
use super::super::together::time_together;
use super::Workload;
use super::throughput::spin;
use crate::pools::{PoolMaker, PortablePool, Transport};
use crate::row::{Bar, Metric, Rivals, Row};

const TASKS: usize = 400;
const LONG: Duration = Duration::from_millis(5);
const SHORT: Duration = Duration::from_micros(100);
const LONG_ONE_IN: usize = 50;
const WORKERS: usize = 2;

#[derive(Clone)]
struct Makespan;

impl Workload for Makespan {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let turns = lengths();
        // Before and after, so that a machine that gets slower meanwhile is not the pool's fault.
        let before = ideal(&turns);
        let taken = on_pool(maker, &turns);
        let ideal = (before + ideal(&turns)) / 2.0;
        vec![taken / ideal]
    }
}

/// Returns the turns of each task.
fn lengths() -> Vec<u64> {
    let [long, short] = [LONG, SHORT].map(|length| Spin::of(length).turns());
    let length = |n: usize| {
        if n.is_multiple_of(LONG_ONE_IN) {
            long
        } else {
            short
        }
    };
    (0..TASKS).map(length).collect()
}

fn on_pool<M: PoolMaker>(maker: M, turns: &[u64]) -> f64 {
    let pool = maker.warm_pool(WORKERS);
    let start = Instant::now();
    let handles: Vec<_> = turns
        .iter()
        .map(|&turns| pool.submit(spin, turns))
        .collect();
    let sum: u64 = handles.into_iter().map(M::Pool::wait).sum();
    let taken = start.elapsed();
    black_box(sum);
    taken.as_secs_f64()
}

/// Returns the seconds that it takes bare threads, each of which has its share of all turns.
fn ideal(turns: &[u64]) -> f64 {
    let share = turns.iter().sum::<u64>() / WORKERS as u64;
    time_together(WORKERS, || {
        black_box(spin(share));
    })
}

/// Returns the row.
pub(super) fn row(transport: Transport) -> Row {
    Row {
        id: "P4",
        name: format!("P4, mixed tasks, {}", transport.short_name()),
        metrics: &[Metric {
            name: "over the ideal",
            unit: "x",
        }],
        contenders: Makespan.on_each(transport),
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::None,
            firm: Some(1.15),
            aim: Some(1.05),
        }],
    }
}
