//! P1: many empty tasks from one thread, then all results.

use super::{OWN_THREADS, PROCESS_POOLS, Workload, of_workers};
use crate::pools::{
    OwnThreads, Plain, PlainThreads, Pool, PoolMaker, Procspawn, Transport, time_burst,
};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;

const TASKS: u64 = 200_000;
/// Processes take several times as long as threads.
const PROCESS_TASKS: u64 = 50_000;
/// `procspawn` holds three descriptors for each of its tasks.
const PROCSPAWN_TASKS: u64 = 5_000;
/// CPython takes a thousand times as long as threads.
const PYTHON_TASKS: u64 = 2_000;

#[derive(Clone)]
struct Burst {
    workers: usize,
    tasks: u64,
}

impl Workload for Burst {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let pool = maker.warm_pool(self.workers);
        let taken = time_burst(&pool, self.tasks);
        vec![taken.as_nanos() as f64 / self.tasks as f64]
    }
}

/// Returns the row of pools of that many workers.
pub(super) fn row(transport: Transport, workers: usize) -> Row {
    let burst = |tasks| Burst { workers, tasks };
    let mut contenders = vec![
        burst(PROCESS_TASKS).on(transport),
        burst(TASKS).on(OwnThreads),
        burst(TASKS).on(PlainThreads),
        burst(PROCSPAWN_TASKS).on(Procspawn),
    ];
    contenders.extend(scripts::python_processes(format!(
        "burst {workers} {PYTHON_TASKS}"
    )));
    let bar = |suffix, rivals, firm, aim| Bar {
        suffix,
        metric: 0,
        rivals,
        firm,
        aim,
    };
    let plain = Rivals::Best(|name, _| name == Plain::NAME);
    let procspawn = Rivals::Best(|name, _| name == Procspawn::NAME);
    Row {
        id: "P1",
        name: format!("P1, {}, {}", of_workers(workers), transport.short_name()),
        metrics: &[Metric {
            name: "a task",
            unit: "ns",
        }],
        contenders,
        bars: match transport {
            Transport::Shared => vec![
                bar(", plain", plain, Some(1.0), None),
                bar(", threads", OWN_THREADS, None, Some(1.25)),
                bar(", rivals", PROCESS_POOLS, Some(0.01), Some(0.002)),
            ],
            Transport::Socket => vec![bar(", procspawn", procspawn, Some(1.0 / 3.0), None)],
        },
    }
}
