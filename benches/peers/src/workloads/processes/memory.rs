//! Memory of a queued task, its handle kept: on the heap of this process, and resident in all. The
//! latter counts the handle, and the pages that this process shares with its workers.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, ShutdownOptions};

use super::shared_file::SharedFile;
use crate::allocator::{counts, start_counting, stop_counting};
use crate::contender::{Contender, Kind};
use crate::pools::{OwnExecutor, OwnThreads, PoolMaker, Transport, same};
use crate::row::{Metric, Row};

const TASKS: u64 = 1_000_000;
const WORKERS: usize = 2;

/// A time between two looks at a shared word.
const PAUSE: Duration = Duration::from_millis(1);
/// A limit on what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

const BEGUN: u64 = 1;
const OPEN: u64 = 2;

/// Keeps its worker busy until the file says that it may end.
fn stay_until_open(path: String) -> u64 {
    let gate = SharedFile::open(&path);
    gate.set(BEGUN);
    while gate.get() != OPEN {
        thread::sleep(PAUSE);
    }
    0
}

/// Occupies all workers of the pool; returns a gate for each when all have begun.
fn close_gates<E: Executor>(pool: &E) -> Vec<SharedFile> {
    let gates: Vec<_> = (0..WORKERS).map(|_| SharedFile::new()).collect();
    for gate in &gates {
        let future = pool.submit(stay_until_open, gate.path());
        drop(future.expect("it is open"));
    }
    let start = Instant::now();
    while gates.iter().any(|gate| gate.get() != BEGUN) {
        assert!(start.elapsed() < LIMIT, "it runs on all its workers");
        thread::sleep(PAUSE);
    }
    gates
}

/// Returns the bytes of this process that are in memory.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = pages.split_whitespace().nth(1).map(str::parse::<f64>);
    let pages = pages.expect("its second word").expect("it is a number");
    pages * rustix::param::page_size() as f64
}

fn run<E: Executor>(maker: impl PoolMaker<Pool = OwnExecutor<E>>) -> Vec<f64> {
    let OwnExecutor(pool) = maker.warm_pool(WORKERS);
    let gates = close_gates(&pool);
    let mut futures = Vec::with_capacity(TASKS as usize);
    // SAFETY: the function has no preconditions. It gives free memory back to the system, so that
    // tasks do not find room in pages that this process has already.
    unsafe { libc::malloc_trim(0) };
    let resident_before = resident();
    start_counting();
    for n in 0..TASKS {
        futures.push(pool.submit(same, n).expect("it is open"));
    }
    let counts = counts();
    stop_counting();
    let resident = resident() - resident_before;
    pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(true));
    for gate in &gates {
        gate.set(OPEN);
    }
    [counts.chunks as f64, counts.calls as f64, resident]
        .map(|count| count / TASKS as f64)
        .to_vec()
}

/// Returns the row.
pub(super) fn row() -> Row {
    let mut contenders: Vec<_> = Transport::ALL
        .map(|transport| Contender::new(transport.name(), Kind::Own, move || run(transport)))
        .into();
    let threads = Contender::new(OwnThreads.name(), OwnThreads.kind(), || run(OwnThreads));
    contenders.push(threads);
    Row {
        id: "memory",
        name: "a million queued tasks".into(),
        metrics: &[
            Metric {
                name: "heap, a task",
                unit: "B",
            },
            Metric {
                name: "allocations, a task",
                unit: "",
            },
            Metric {
                name: "resident, a task",
                unit: "B",
            },
        ],
        contenders,
        bars: Vec::new(),
    }
}
