//! P3: tasks of 100 us, as many as two workers can do.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::spin::Spin;
use super::super::together::time_together;
use super::{OWN_THREADS, Workload};
use crate::contender::{Contender, Kind};
use crate::pools::{PoolMaker, PortablePool, Transport};
use crate::row::{Bar, Metric, Row};

const TASKS: u64 = 4_000;
const LENGTH: Duration = Duration::from_micros(100);
const WORKERS: u64 = 2;

/// Does the work of a task.
pub(super) fn spin(turns: u64) -> u64 {
    Spin::of_turns(turns).run() & 1
}

#[derive(Clone)]
struct Throughput;

impl Workload for Throughput {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let turns = Spin::of(LENGTH).turns();
        let pool = maker.warm_pool(WORKERS as usize);
        let mut handles = Vec::with_capacity(TASKS as usize);
        let start = Instant::now();
        for _ in 0..TASKS {
            handles.push(pool.submit(spin, turns));
        }
        let sum: u64 = handles.into_iter().map(M::Pool::wait).sum();
        let taken = start.elapsed();
        black_box(sum);
        a_task(taken.as_secs_f64())
    }
}

/// Does the same on threads that share the tasks out beforehand.
fn on_bare_threads() -> Vec<f64> {
    let turns = Spin::of(LENGTH).turns();
    let seconds = time_together(WORKERS as usize, || {
        let sum: u64 = (0..TASKS / WORKERS).map(|_| spin(turns)).sum();
        black_box(sum);
    });
    a_task(seconds)
}

/// Returns the microseconds of a worker for each task, waiting and all.
fn a_task(seconds: f64) -> Vec<f64> {
    vec![seconds * 1e6 * WORKERS as f64 / TASKS as f64]
}

/// Returns the row.
pub(super) fn row(transport: Transport) -> Row {
    let mut contenders = Throughput.on_each(transport);
    contenders.push(Contender::new("bare threads", Kind::Base, on_bare_threads));
    Row {
        id: "P3",
        name: format!("P3, 100 us tasks, {}", transport.short_name()),
        metrics: &[Metric {
            name: "a task",
            unit: "us",
        }],
        contenders,
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: OWN_THREADS,
            firm: Some(1.0 / 0.95),
            aim: Some(1.0),
        }],
    }
}
