//! W7: making a pool, and its whole life until all its threads are gone.
//!
//! In its life it runs one empty task for each of its workers, at once. A pool is free to start
//! fewer threads than it may have.

use std::fs::File;
use std::thread;
use std::time::Instant;

use crate::contender::Kind;
use crate::pools::{Blocking, Pool, Workload};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::statistics::median;

const WORKERS: usize = 8;
/// Pools in a round, whose median is its sample.
const POOLS: usize = 15;

#[derive(Clone)]
struct Lifetime;

impl Workload for Lifetime {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let threads = Threads::new();
        let mut created = Vec::new();
        let mut gone = Vec::new();
        for _ in 0..POOLS {
            let before = threads.count();
            let start = Instant::now();
            let pool = P::new(WORKERS);
            created.push(start.elapsed().as_nanos() as f64 / 1e3);
            let handles = (0..WORKERS as u64)
                .map(|n| pool.submit(move || n))
                .collect();
            P::wait_all(handles);
            pool.close();
            while threads.count() > before {
                thread::yield_now();
            }
            gone.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
        vec![median(&created), median(&gone)]
    }
}

/// The threads of this process, as the system counts them.
#[derive(Debug)]
struct Threads {
    folder: File,
}

impl Threads {
    fn new() -> Self {
        let folder = File::open("/proc/self/task").expect("Linux has it");
        Self { folder }
    }

    /// Returns their number. The folder has a link for each: that is one system call.
    fn count(&self) -> u64 {
        let stat = rustix::fs::fstat(&self.folder).expect("it is open");
        stat.st_nlink
    }
}

/// Returns the row.
pub(super) fn row() -> Row {
    // `blocking` has the threads of the whole process, which do not end with anything.
    let mut contenders = Lifetime.on_each();
    contenders.retain(|contender| contender.name != Blocking::NAME);
    Row {
        id: "W7",
        name: format!("W7, {WORKERS} workers"),
        metrics: &[
            Metric {
                name: "create",
                unit: "us",
            },
            Metric {
                name: "gone",
                unit: "us",
            },
        ],
        contenders,
        bars: vec![
            Bar {
                suffix: ", create",
                metric: 0,
                rivals: Rivals::None,
                firm: Some(5.0),
                aim: Some(1.0),
            },
            Bar {
                suffix: ", gone",
                metric: 1,
                rivals: Rivals::Best(|_, kind| kind == Kind::Rust),
                firm: Some(0.5),
                aim: Some(0.3),
            },
        ],
    }
}
