//! P2: one task there and back, then the next; and the same after a rest, in which pool and caller
//! have fallen asleep.

use std::thread;
use std::time::{Duration, Instant};

use super::{OWN_THREADS, Workload, of_workers};
use crate::pools::{
    OwnThreads, PlainThreads, PoolMaker, PortablePool, Procspawn, SharedRival, Transport, same,
};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;
use crate::statistics::percentile;

const TRIPS: u64 = 20_000;
/// The trips of pools that take fifty times as long.
const SLOW_TRIPS: u64 = 2_000;

const ASLEEP_TRIPS: u64 = 25;
const REST: Duration = Duration::from_millis(20);

#[derive(Clone)]
struct RoundTrip {
    workers: usize,
    trips: u64,
}

impl Workload for RoundTrip {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let pool = maker.warm_pool(self.workers);
        let hot: Vec<f64> = (0..self.trips).map(|n| time_trip(&pool, n)).collect();
        let asleep = (0..ASLEEP_TRIPS).map(|n| {
            thread::sleep(REST);
            time_trip(&pool, n)
        });
        let asleep: Vec<f64> = asleep.collect();
        vec![
            percentile(&hot, 0.5),
            percentile(&hot, 0.99),
            percentile(&asleep, 0.5),
        ]
    }
}

/// Returns the nanoseconds of one trip.
fn time_trip<P: PortablePool>(pool: &P, n: u64) -> f64 {
    let start = Instant::now();
    let answer = P::wait(pool.submit(same, n));
    let taken = start.elapsed();
    assert_eq!(answer, n);
    taken.as_nanos() as f64
}

/// Returns the row of pools of that many workers.
pub(super) fn row(transport: Transport, workers: usize) -> Row {
    let round_trip = |trips| RoundTrip { workers, trips };
    let mut contenders = vec![
        round_trip(TRIPS).on(transport),
        round_trip(TRIPS).on(OwnThreads),
        round_trip(TRIPS).on(PlainThreads),
        round_trip(SLOW_TRIPS).on(Procspawn),
    ];
    if transport == Transport::Socket {
        contenders.push(round_trip(TRIPS).on(SharedRival));
    }
    let rest = REST.as_millis();
    contenders.extend(scripts::python_processes(format!(
        "round_trip {workers} {SLOW_TRIPS} {ASLEEP_TRIPS} {rest}"
    )));
    let bar = |suffix, metric, rivals, firm, aim| Bar {
        suffix,
        metric,
        rivals,
        firm,
        aim,
    };
    let shared = Rivals::Best(|name, _| name == SharedRival::NAME);
    Row {
        id: "P2",
        name: format!("P2, {}, {}", of_workers(workers), transport.short_name()),
        metrics: &[
            Metric {
                name: "hot, p50",
                unit: "ns",
            },
            Metric {
                name: "hot, p99",
                unit: "ns",
            },
            Metric {
                name: "asleep, p50",
                unit: "ns",
            },
        ],
        contenders,
        bars: match transport {
            Transport::Shared => vec![
                bar(", hot", 0, Rivals::None, Some(2_000.0), Some(500.0)),
                bar(", asleep", 2, OWN_THREADS, Some(1.6), Some(1.1)),
            ],
            Transport::Socket => vec![bar(", asleep", 2, shared, Some(2.0), None)],
        },
    }
}
