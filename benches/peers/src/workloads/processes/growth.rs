//! The price of a task as there are more tasks, and as there are more workers.

use super::Workload;
use crate::contender::Contender;
use crate::pools::{OwnThreads, PlainThreads, PoolMaker, Transport, time_burst};
use crate::row::{Metric, Row};

const TASKS: [u64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
const WORKERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Workers in the row of numbers of tasks.
const FEW: usize = 2;
/// Tasks in the row of numbers of workers.
const MANY: u64 = 20_000;
/// A burst of few tasks is repeated until it had as many, but not more often than this.
const TIMES: u64 = 200;

const fn of(name: &'static str) -> Metric {
    Metric {
        name,
        unit: "ns a task",
    }
}

#[derive(Clone)]
struct Tasks;

impl Workload for Tasks {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let pool = maker.warm_pool(FEW);
        let time = |tasks: u64| {
            let times = (MANY / tasks).clamp(1, TIMES);
            let taken = (0..times).map(|_| time_burst(&pool, tasks));
            let taken: f64 = taken.map(|taken| taken.as_nanos() as f64).sum();
            taken / (times * tasks) as f64
        };
        TASKS.map(time).to_vec()
    }
}

#[derive(Clone)]
struct Workers;

impl Workload for Workers {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let time = |workers| {
            let pool = maker.warm_pool(workers);
            time_burst(&pool, MANY).as_nanos() as f64 / MANY as f64
        };
        WORKERS.map(time).to_vec()
    }
}

fn contenders(workload: &impl Workload) -> Vec<Contender> {
    let mut contenders: Vec<_> = Transport::ALL
        .into_iter()
        .map(|transport| workload.on(transport))
        .collect();
    contenders.push(workload.on(OwnThreads));
    contenders.push(workload.on(PlainThreads));
    contenders
}

/// Returns the row of numbers of tasks.
pub(super) fn tasks() -> Row {
    Row {
        id: "tasks",
        name: format!("bursts on {FEW} workers"),
        metrics: const {
            &[
                of("1 task"),
                of("10 tasks"),
                of("100 tasks"),
                of("1,000 tasks"),
                of("10,000 tasks"),
                of("100,000 tasks"),
                of("1,000,000 tasks"),
            ]
        },
        contenders: contenders(&Tasks),
        bars: Vec::new(),
    }
}

/// Returns the row of numbers of workers.
pub(super) fn workers() -> Row {
    Row {
        id: "workers",
        name: format!("a burst of {MANY} tasks"),
        metrics: const {
            &[
                of("1 worker"),
                of("2 workers"),
                of("4 workers"),
                of("8 workers"),
                of("16 workers"),
                of("32 workers"),
                of("64 workers"),
            ]
        },
        contenders: contenders(&Workers),
        bars: Vec::new(),
    }
}
