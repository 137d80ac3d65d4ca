//! [`PortablePool`]: pools of processes, and pools of threads that take the same calls.

use std::collections::HashSet;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::Portable;

use crate::contender::Kind;

/// A pool whose tasks are functions that capture nothing, with arguments and results that can
/// travel to another process.
pub(crate) trait PortablePool {
    /// The way back of a result.
    type Handle<R: Portable + Sync>;

    fn submit<A: Portable, R: Portable + Sync>(&self, f: fn(A) -> R, args: A) -> Self::Handle<R>;

    fn wait<R: Portable + Sync>(handle: Self::Handle<R>) -> R;
}

/// A party of the process rows: it makes pools.
pub(crate) trait PoolMaker: Copy + 'static {
    type Pool: PortablePool;

    fn name(self) -> &'static str;

    fn kind(self) -> Kind;

    /// Makes a pool of exactly that many workers.
    fn pool(self, workers: usize) -> Self::Pool;

    /// Makes a pool, all workers of which have started and have run something.
    fn warm_pool(self, workers: usize) -> Self::Pool {
        let pool = self.pool(workers);
        warm_up(&pool, workers, self.name());
        pool
    }
}

/// The empty task of all process rows.
pub(crate) fn same(n: u64) -> u64 {
    n
}

/// Submits empty tasks from one thread, then takes all results; returns how long both took.
pub(crate) fn time_burst<P: PortablePool>(pool: &P, tasks: u64) -> Duration {
    let mut handles = Vec::with_capacity(tasks as usize);
    let start = Instant::now();
    for n in 0..tasks {
        handles.push(pool.submit(same, n));
    }
    let sum: u64 = handles.into_iter().map(P::wait).sum();
    let taken = start.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    taken
}

/// The length of a task that keeps its worker from running all the others of its kind.
const OCCUPIED: Duration = Duration::from_millis(1);

/// A limit on what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Empty tasks after all workers have started.
const WARM_UP: u64 = 500;

/// Occupies a worker for a little, and returns the worker's process and thread. The thread is told
/// by the address of something that each thread has.
fn occupy((): ()) -> (u32, u64) {
    thread_local! {
        static OWN: u8 = const { 0 };
    }
    thread::sleep(OCCUPIED);
    (process::id(), OWN.with(|own| &raw const *own as u64))
}

fn warm_up<P: PortablePool>(pool: &P, workers: usize, name: &str) {
    let start = Instant::now();
    let mut seen = HashSet::new();
    while seen.len() < workers {
        assert!(start.elapsed() < LIMIT, "{name} has fewer workers");
        let submit = |_| pool.submit(occupy, ());
        let handles: Vec<_> = (0..2 * workers).map(submit).collect();
        seen.extend(handles.into_iter().map(P::wait));
    }
    time_burst(pool, WARM_UP);
}
