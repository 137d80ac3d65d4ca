//! A guard: empty tasks while one of two workers has a long one.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use super::super::spin::Spin;
use super::Workload;
use super::throughput::spin;
use crate::pools::{PoolMaker, PortablePool, Transport, same};
use crate::row::{Bar, Metric, Rivals, Row};

const TASKS: u64 = 20;
const LONG: Duration = Duration::from_millis(200);
const WORKERS: usize = 2;

/// The time in which the long task begins on any pool.
const SETTLE: Duration = Duration::from_millis(10);

#[derive(Clone)]
struct BesideLong;

impl Workload for BesideLong {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let turns = Spin::of(LONG).turns();
        let pool = maker.warm_pool(WORKERS);
        let long = pool.submit(spin, turns);
        thread::sleep(SETTLE);
        let start = Instant::now();
        let handles: Vec<_> = (0..TASKS).map(|n| pool.submit(same, n)).collect();
        let sum: u64 = handles.into_iter().map(M::Pool::wait).sum();
        let taken = start.elapsed();
        assert_eq!(sum, TASKS * (TASKS - 1) / 2);
        black_box(M::Pool::wait(long));
        vec![taken.as_secs_f64() * 1e6]
    }
}

/// Returns the row.
pub(super) fn row(transport: Transport) -> Row {
    Row {
        id: "P-guard",
        name: format!("guard, one long, {}", transport.short_name()),
        metrics: &[Metric {
            name: "20 empty tasks",
            unit: "us",
        }],
        contenders: BesideLong.on_each(transport),
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::None,
            firm: Some(1_000.0),
            aim: None,
        }],
    }
}
