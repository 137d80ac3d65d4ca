//! W3: several threads that submit at once, each of which then takes its results.

use super::together::time_together;
use crate::contender::Kind;
use crate::pools::{Pool, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;

const WORKERS: usize = 2;

#[derive(Clone)]
struct Submitters {
    threads: usize,
    /// Tasks of each thread.
    tasks: u64,
}

impl Workload for Submitters {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let taken = time_together(self.threads, || {
            let mut handles = Vec::with_capacity(self.tasks as usize);
            for n in 0..self.tasks {
                handles.push(pool.submit(move || n));
            }
            assert_eq!(P::wait_all(handles), self.tasks * (self.tasks - 1) / 2);
        });
        pool.close();
        let tasks = self.threads as u64 * self.tasks;
        vec![taken * 1e9 / tasks as f64]
    }
}

const METRICS: &[Metric] = &[Metric {
    name: "a task",
    unit: "ns",
}];

/// Returns the row of four threads.
pub(super) fn row() -> Row {
    let (threads, tasks) = (4, 50_000);
    let mut contenders = Submitters { threads, tasks }.on_each();
    contenders.extend(scripts::java(format!(
        "submitters {WORKERS} {threads} {tasks}"
    )));
    contenders.extend(scripts::python(format!(
        "submitters {WORKERS} {threads} 1000"
    )));
    Row {
        id: "W3",
        name: format!("W3, {threads} submitters"),
        metrics: METRICS,
        contenders,
        bars: vec![
            Bar {
                suffix: "",
                metric: 0,
                rivals: Rivals::Best(|_, kind| kind == Kind::Rust),
                firm: Some(0.35),
                aim: Some(0.15),
            },
            Bar {
                suffix: ", Java",
                metric: 0,
                rivals: Rivals::Best(|_, kind| kind == Kind::Java),
                firm: Some(0.5),
                aim: Some(0.25),
            },
        ],
    }
}

/// Returns the row of 64 threads.
pub(super) fn many() -> Row {
    let (threads, tasks) = (64, 3_000);
    Row {
        id: "submitters",
        name: format!("{threads} submitting threads"),
        metrics: METRICS,
        contenders: Submitters { threads, tasks }.on_each(),
        bars: Vec::new(),
    }
}
