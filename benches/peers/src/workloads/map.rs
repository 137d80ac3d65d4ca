//! `map` over a million items of 1 us, with chunks chosen automatically, beside a loop.

use std::time::{Duration, Instant};

use concurrent_futures::MapOptions;

use super::spin::Spin;
use crate::contender::{Contender, Kind};
use crate::pools::{Own, Pool, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const ITEMS: u64 = 1_000_000;
const LENGTH: Duration = Duration::from_micros(1);
const WORKERS: usize = 2;

fn item(spin: Spin, n: u64) -> u64 {
    (spin.run() & 1) + n
}

fn time(sum: impl FnOnce() -> u64) -> Vec<f64> {
    let start = Instant::now();
    let sum = sum();
    let taken = start.elapsed();
    assert!(sum >= ITEMS * (ITEMS - 1) / 2);
    vec![taken.as_nanos() as f64 / ITEMS as f64]
}

fn on_pool(options: MapOptions) -> Vec<f64> {
    let spin = Spin::of(LENGTH);
    let pool = Own::new(WORKERS);
    warm_up(&pool);
    time(|| {
        let answers = pool.0.map_with(options, move |n| item(spin, n), 0..ITEMS);
        let answers = answers.expect("it is open");
        answers.map(|answer| answer.expect("it returns")).sum()
    })
}

fn in_loop() -> Vec<f64> {
    let spin = Spin::of(LENGTH);
    time(|| (0..ITEMS).map(|n| item(spin, n)).sum())
}

/// Returns the row.
pub(super) fn row() -> Row {
    let automatic = || on_pool(MapOptions::new().automatic_chunks());
    let one_by_one = || on_pool(MapOptions::new());
    Row {
        id: "map",
        name: "map of a million 1 us items".into(),
        metrics: &[Metric {
            name: "an item",
            unit: "ns",
        }],
        contenders: vec![
            Contender::new("map, automatic chunks", Kind::Own, automatic),
            Contender::new("map, a task an item", Kind::Rust, one_by_one),
            Contender::new("a loop", Kind::Base, in_loop),
        ],
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::Best(|_, kind| kind == Kind::Base),
            firm: Some(0.55),
            aim: Some(0.55),
        }],
    }
}
