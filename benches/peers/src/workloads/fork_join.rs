//! W5b: fork-join, each task waiting for the one that it submitted to the same pool.

use std::pin::Pin;
use std::time::Instant;

use concurrent_futures::ThreadPoolExecutor;
use tokio::runtime::Runtime;

use crate::contender::{Contender, Kind};
use crate::pools::{Own, Pool, TokioSpawn, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const N: u32 = 23;
const FIB_N: u64 = 28_657;
/// Calls that submit one of their two halves: one less than fib(24).
pub(super) const SPAWNS: u64 = 46_367;
const WORKERS: usize = 2;

fn own(pool: &'static ThreadPoolExecutor, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let first = pool.spawn(move || own(pool, n - 1)).expect("it is open");
    let second = own(pool, n - 2);
    first.into_result().expect("it returns") + second
}

fn tokio(n: u32) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n.into();
        }
        let first = tokio::spawn(tokio(n - 1));
        let second = tokio(n - 2).await;
        first.await.expect("it returns") + second
    })
}

fn join(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (first, second) = rayon::join(|| join(n - 1), || join(n - 2));
    first + second
}

/// Returns the nanoseconds for each spawn.
pub(super) fn time(fib: impl FnOnce() -> u64) -> Vec<f64> {
    let start = Instant::now();
    let value = fib();
    let taken = start.elapsed();
    assert_eq!(value, FIB_N);
    vec![taken.as_nanos() as f64 / SPAWNS as f64]
}

/// Returns this crate's contender, whose futures are handles of `spawn`.
pub(super) fn own_contender() -> Contender {
    Contender::new(Own::NAME, Kind::Own, || {
        // Leaked, as for the tree.
        let pool: &'static Own = Box::leak(Box::new(Own::new(WORKERS)));
        warm_up(pool);
        let root = || pool.0.spawn(|| own(&pool.0, N)).expect("it is open");
        time(|| root().into_result().expect("it returns"))
    })
}

/// Returns the number whose Fibonacci number is asked for, and the size of the pools.
pub(super) const fn size() -> (u32, usize) {
    (N, WORKERS)
}

fn tokio_contender() -> Contender {
    Contender::new(TokioSpawn::NAME, Kind::Rust, || {
        let pool = TokioSpawn::new(WORKERS);
        warm_up(&pool);
        let root = |runtime: &Runtime| runtime.spawn(tokio(N));
        time(|| TokioSpawn::wait(root(&pool.0)))
    })
}

fn join_contender() -> Contender {
    Contender::new("rayon::join", Kind::Rust, || {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(WORKERS);
        let pool = builder.build().expect("it starts its threads");
        pool.install(|| join(15));
        time(|| pool.install(|| join(N)))
    })
}

/// Returns the row.
pub(super) fn row() -> Row {
    Row {
        id: "W5b",
        name: format!("W5b, fib({N})"),
        metrics: &[Metric {
            name: "a spawn",
            unit: "ns",
        }],
        contenders: vec![own_contender(), tokio_contender(), join_contender()],
        bars: vec![
            // What has to be reached is told by one rival, and what is wanted by the other.
            Bar {
                suffix: ", tokio",
                metric: 0,
                rivals: Rivals::Best(|name, _| name == TokioSpawn::NAME),
                firm: Some(0.2),
                aim: None,
            },
            Bar {
                suffix: ", rayon::join",
                metric: 0,
                rivals: Rivals::Best(|name, _| name == "rayon::join"),
                firm: None,
                aim: Some(4.0),
            },
        ],
    }
}
