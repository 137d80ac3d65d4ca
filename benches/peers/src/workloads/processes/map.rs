//! P8: `map` over a million items of 1 us, with chunks chosen automatically, beside a loop.

use std::time::{Duration, Instant};

use concurrent_futures::{Executor, MapOptions};

use super::super::spin::Spin;
use super::throughput::spin;
use crate::contender::{Contender, Kind};
use crate::pools::{OwnExecutor, OwnThreads, PoolMaker, Transport};
use crate::row::{Bar, Metric, Rivals, Row};

const ITEMS: u64 = 1_000_000;
const LENGTH: Duration = Duration::from_micros(1);
const WORKERS: usize = 2;
const LOOP: &str = "a loop";

/// The number of an item, and the turns of its work.
type Item = (u64, u64);

fn work((n, turns): Item) -> u64 {
    spin(turns) + n
}

fn items() -> impl Iterator<Item = Item> {
    let turns = Spin::of(LENGTH).turns();
    (0..ITEMS).map(move |n| (n, turns))
}

fn on_pool<E: Executor>(maker: impl PoolMaker<Pool = OwnExecutor<E>>) -> Vec<f64> {
    let OwnExecutor(pool) = maker.warm_pool(WORKERS);
    let options = MapOptions::new().automatic_chunks();
    time(|| {
        let answers = pool.map_with(options, work, items()).expect("it is open");
        answers.map(|answer| answer.expect("it returns")).sum()
    })
}

fn in_loop() -> Vec<f64> {
    time(|| items().map(work).sum())
}

/// Returns the nanoseconds of one item.
fn time(sum: impl FnOnce() -> u64) -> Vec<f64> {
    let start = Instant::now();
    let sum = sum();
    let taken = start.elapsed();
    assert!(sum >= ITEMS * (ITEMS - 1) / 2);
    vec![taken.as_nanos() as f64 / ITEMS as f64]
}

/// Returns the row.
pub(super) fn row(transport: Transport) -> Row {
    Row {
        id: "P8",
        name: format!("P8, map, {}", transport.short_name()),
        metrics: &[Metric {
            name: "an item",
            unit: "ns",
        }],
        contenders: vec![
            Contender::new(transport.name(), Kind::Own, move || on_pool(transport)),
            Contender::new(OwnThreads.name(), OwnThreads.kind(), || on_pool(OwnThreads)),
            Contender::new(LOOP, Kind::Base, in_loop),
        ],
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::Best(|name, _| name == LOOP),
            firm: Some(1.0 / 1.5),
            aim: Some(1.0 / 1.9),
        }],
    }
}
