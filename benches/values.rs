//! The cost of values on their way to another process and back.
//!
//! ```text
//! cargo bench -p benches --bench values
//! ```
//!
//! First through a pool, plain vectors beside the same bytes in `serde_bytes`: one way (the answer
//! is a length) and there and back. Then the encoding alone, beside plain `postcard`, which has no
//! tags and would let a value arrive as another one. All in a line take turns; the figures are
//! medians, so read the ratios. `cargo bench -p benches --profile dev --bench values` shows a
//! debug build.

use std::hint::black_box;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, Future, Portable, ProcessPoolExecutor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[expect(
    dead_code,
    reason = "the pool above moves long vectors; here they are encoded"
)]
#[path = "../src/process/wire/codec/mod.rs"]
mod codec;
#[expect(dead_code, unused_imports, reason = "the codec alone uses it")]
#[path = "../src/encoded.rs"]
mod encoded;
#[expect(dead_code, unused_imports, reason = "the codec alone uses it")]
#[path = "../src/sys/numbers.rs"]
mod numbers;
#[path = "../src/report.rs"]
mod report;
#[expect(dead_code, reason = "the codec adds stack, and starts no thread")]
#[path = "../src/sys/stack.rs"]
mod stack;

/// The path by which the codec finds them.
mod sys {
    pub(crate) use crate::{numbers, stack};
}

fn main() {
    println!("milliseconds; the pool has one worker");
    println!(
        "{:>8} {:>15} {:>10} {:>10} {:>12} {:>9} {:>9}",
        "size", "way", "Vec<u8>", "Vec<f64>", "serde_bytes", "u8/bytes", "f64/bytes"
    );
    for (name, size, rounds) in [("1 MiB", 1 << 20, 51), ("64 MiB", 64 << 20, 9)] {
        through_a_pool(name, size, rounds);
    }
    println!(
        "\n{:>22} {:>12} {:>12} {:>6}",
        "microseconds", "here", "postcard", "ratio"
    );
    encoded("u64", &(u64::MAX / 3), 100_000);
    encoded("(u32, String)", &(7_u32, "a text".to_owned()), 100_000);
    encoded("struct of 5", &Order::number(1), 100_000);
    encoded(
        "10,000 structs",
        &(0..10_000).map(Order::number).collect::<Vec<_>>(),
        20,
    );
    encoded(
        "10,000 enums",
        &(0..10_000).map(Step::number).collect::<Vec<_>>(),
        50,
    );
    let pairs = (0..10_000_u32).map(|n| (n, u64::from(n)));
    encoded("10,000 tuples", &pairs.clone().collect::<Vec<_>>(), 50);
    encoded(
        "map of 10,000",
        &pairs.collect::<std::collections::BTreeMap<_, _>>(),
        20,
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    number: u64,
    customer: String,
    price: f64,
    urgent: bool,
    coupon: Option<u32>,
}

impl Order {
    fn number(number: u64) -> Self {
        Self {
            number,
            customer: format!("customer {number}"),
            price: 9.5,
            urgent: number % 2 == 0,
            coupon: (number % 3 == 0).then_some(5),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    Stay,
    Move(i32),
    Turn { degrees: u16 },
}

impl Step {
    fn number(number: u64) -> Self {
        match number % 3 {
            0 => Self::Stay,
            1 => Self::Move(-5),
            _ => Self::Turn { degrees: 90 },
        }
    }
}

fn through_a_pool(name: &str, size: usize, rounds: usize) {
    let pool = ProcessPoolExecutor::with_max_workers(1).expect("there are some");
    let bytes = vec![7_u8; size];
    let numbers = vec![0.5_f64; size / 8];
    let wrapped = ByteBuf::from(bytes.clone());
    let one_way = [
        &mut || time(&pool, |bytes: Vec<u8>| bytes.len(), &bytes) as Duration,
        &mut || time(&pool, |numbers: Vec<f64>| numbers.len(), &numbers),
        &mut || time(&pool, |bytes: ByteBuf| bytes.len(), &wrapped),
    ] as [&mut dyn FnMut() -> Duration; 3];
    print(name, "one way", medians(rounds, one_way));
    let there_and_back = [
        &mut || time(&pool, |bytes: Vec<u8>| bytes, &bytes) as Duration,
        &mut || time(&pool, |numbers: Vec<f64>| numbers, &numbers),
        &mut || time(&pool, |bytes: ByteBuf| bytes, &wrapped),
    ] as [&mut dyn FnMut() -> Duration; 3];
    print(name, "there and back", medians(rounds, there_and_back));
}

fn time<E, A, R>(pool: &E, f: fn(A) -> R, args: &A) -> Duration
where
    E: Executor,
    A: Portable + Clone,
    R: Portable + Sync,
{
    let args = args.clone();
    let start = Instant::now();
    let future = pool.submit(f, args).expect("the pool is open");
    let result = future.into_result().expect("the task returns");
    let taken = start.elapsed();
    drop(result);
    taken
}

/// Milliseconds of the middle round; the first of all is not counted.
fn medians<const N: usize>(rounds: usize, mut ways: [&mut dyn FnMut() -> Duration; N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let taken = way().as_secs_f64() * 1e3;
            if round > 0 {
                times.push(taken);
            }
        }
    }
    times.map(|mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

fn print(size: &str, way: &str, [bytes, numbers, wrapped]: [f64; 3]) {
    println!(
        "{size:>8} {way:>15} {bytes:>10.2} {numbers:>10.2} {wrapped:>12.2} {:>9.2} {:>9.2}",
        bytes / wrapped,
        numbers / wrapped
    );
}

/// Writes a value and reads it, with and without what this crate adds.
fn encoded<T>(name: &str, value: &T, times: u32)
where
    T: Serialize + DeserializeOwned,
{
    let repeated = |once: &dyn Fn()| {
        let start = Instant::now();
        for _ in 0..times {
            once();
        }
        start.elapsed()
    };
    let here = || {
        let mut bytes = Vec::new();
        codec::encode(black_box(value), &mut bytes).expect("it encodes");
        black_box(codec::decode::<T>(black_box(&bytes)).expect("it decodes"));
    };
    let plain = || {
        let bytes = postcard::to_stdvec(black_box(value)).expect("it encodes");
        black_box(postcard::from_bytes::<T>(black_box(&bytes)).expect("it decodes"));
    };
    let [here, plain] = medians(9, [&mut || repeated(&here), &mut || repeated(&plain)])
        .map(|milliseconds| milliseconds * 1e3 / f64::from(times));
    println!(
        "{name:>22} {here:>12.3} {plain:>12.3} {:>6.2}",
        here / plain
    );
}
