//! W2: one task there and back, then the next.

use std::time::Instant;

use crate::pools::{Pool, RayonChannel, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;
use crate::statistics::percentile;

const TRIPS: u64 = 20_000;
const PYTHON_TRIPS: u64 = 2_000;

#[derive(Clone)]
struct RoundTrip {
    workers: usize,
}

impl Workload for RoundTrip {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(self.workers);
        warm_up(&pool);
        let mut times = Vec::with_capacity(TRIPS as usize);
        for n in 0..TRIPS {
            let start = Instant::now();
            let answer = P::wait(pool.submit(move || n));
            times.push(start.elapsed().as_nanos() as f64);
            assert_eq!(answer, n);
        }
        pool.close();
        vec![percentile(&times, 0.5), percentile(&times, 0.99)]
    }
}

/// Returns the row of pools of that many workers.
pub(super) fn row(workers: usize) -> Row {
    let mut contenders = RoundTrip { workers }.on_each();
    contenders.extend(scripts::java(format!("round_trip {workers} {TRIPS}")));
    contenders.extend(scripts::python(format!(
        "round_trip {workers} {PYTHON_TRIPS}"
    )));
    let bar = |suffix, metric, firm, aim| Bar {
        suffix,
        metric,
        rivals: Rivals::Best(|name, _| name == RayonChannel::NAME),
        firm: Some(firm),
        aim: Some(aim),
    };
    Row {
        id: "W2",
        name: format!("W2 at {workers} workers"),
        metrics: &[
            Metric {
                name: "p50",
                unit: "ns",
            },
            Metric {
                name: "p99",
                unit: "ns",
            },
        ],
        contenders,
        bars: vec![bar(", p50", 0, 0.5, 0.2), bar(", p99", 1, 1.25, 0.5)],
    }
}
