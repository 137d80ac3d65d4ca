//! P5: big vectors of bytes as arguments and as results, beside `memcpy` of the same.
//!
//! Neither way pays for making the bytes: an argument is made before the clock runs, and a result
//! by the task before. The `memcpy` goes between two blocks that both have their pages already. A
//! vector that arrives is a new one; the copy to a new vector shows what its pages cost.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Workload;
use crate::contender::{Contender, Kind};
use crate::pools::{PoolMaker, PortablePool, Procspawn, Transport};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;
use crate::statistics::median;

/// A number of bytes, and the times that they go each way in a round, whose median is its sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    name: &'static str,
    bytes: usize,
    times: usize,
}

pub(super) const SIZES: [Size; 2] = [
    Size {
        name: "1 MiB",
        bytes: 1 << 20,
        times: 31,
    },
    Size {
        name: "64 MiB",
        bytes: 64 << 20,
        times: 3,
    },
];

const FILL: u8 = 7;
const MEMCPY: &str = "memcpy";

/// The result of a worker's next task: the pool has one worker.
static PREPARED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn prepare(bytes: usize) -> u64 {
    *PREPARED.lock().unwrap_or_else(PoisonError::into_inner) = vec![FILL; bytes];
    0
}

fn take_prepared((): ()) -> Vec<u8> {
    std::mem::take(&mut *PREPARED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns the number of the bytes, if some of them are what they should be.
fn check(bytes: Vec<u8>) -> u64 {
    let picked = [0, bytes.len() / 2, bytes.len() - 1].map(|index| bytes[index]);
    if picked == [FILL; 3] {
        bytes.len() as u64
    } else {
        0
    }
}

impl Size {
    /// Returns the microseconds of one way, of which `once` returns the seconds.
    fn time(self, once: impl FnMut() -> f64) -> f64 {
        let times = std::iter::repeat_with(once).take(self.times);
        median(&times.collect::<Vec<_>>()) * 1e6
    }

    /// Returns the microseconds of a copy into a block that has all its pages.
    fn time_memcpy(self) -> f64 {
        let source = vec![FILL; self.bytes];
        let mut target = vec![1; self.bytes];
        self.time(|| {
            let start = Instant::now();
            black_box(&mut target[..]).copy_from_slice(black_box(&source));
            start.elapsed().as_secs_f64()
        })
    }

    /// Returns the microseconds of a copy into a new vector.
    fn time_to_vec(self) -> f64 {
        let source = vec![FILL; self.bytes];
        self.time(|| {
            let start = Instant::now();
            let target = black_box(&source).to_vec();
            let taken = start.elapsed();
            assert_eq!(check(target), self.bytes as u64);
            taken.as_secs_f64()
        })
    }
}

impl Workload for Size {
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64> {
        let pool = maker.warm_pool(1);
        let argument = self.time(|| {
            let bytes = vec![FILL; self.bytes];
            let start = Instant::now();
            let length = M::Pool::wait(pool.submit(check, bytes));
            let taken = start.elapsed();
            assert_eq!(length, self.bytes as u64);
            taken.as_secs_f64()
        });
        let result = self.time(|| {
            M::Pool::wait(pool.submit(prepare, self.bytes));
            let start = Instant::now();
            let bytes = M::Pool::wait(pool.submit(take_prepared, ()));
            let taken = start.elapsed();
            assert_eq!(check(bytes), self.bytes as u64);
            taken.as_secs_f64()
        });
        vec![argument, result]
    }
}

/// Returns the row of vectors of that size.
pub(super) fn row(transport: Transport, size: Size) -> Row {
    let Size { name, bytes, times } = size;
    let copy = |name, time: fn(Size) -> f64| {
        Contender::new(name, Kind::Base, move || vec![time(size), time(size)])
    };
    let mut contenders = vec![
        size.on(transport),
        copy(MEMCPY, Size::time_memcpy),
        copy("copy to a new vector", Size::time_to_vec),
        size.on(Procspawn),
    ];
    contenders.extend(scripts::python_processes(format!(
        "bytes 1 {bytes} {times}"
    )));
    let bar = |suffix, metric| Bar {
        suffix,
        metric,
        rivals: Rivals::Best(|name, _| name == MEMCPY),
        firm: Some(2.0),
        aim: Some(1.0 / 0.9),
    };
    Row {
        id: "P5",
        name: format!("P5, {name}, {}", transport.short_name()),
        metrics: &[
            Metric {
                name: "argument",
                unit: "us",
            },
            Metric {
                name: "result",
                unit: "us",
            },
        ],
        contenders,
        bars: vec![bar(", argument", 0), bar(", result", 1)],
    }
}
