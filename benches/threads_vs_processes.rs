//! The same calls one after the other, on threads, and in processes: of three lengths, and with a
//! text of three sizes that goes there and comes back.
//!
//! ```text
//! cargo bench -p benches --bench threads_vs_processes
//! ```
//!
//! The three take turns, so that what else the machine does meets all of them. Times are for one
//! call, there and back. Read the ratios; they are of medians, and below 1 is faster.
//!
//! `benches/values.rs` shows what other values cost.

use std::fs;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor};

const ROUNDS: usize = 11;

const LENGTHS: [(&str, Duration); 3] = [
    ("nothing", Duration::ZERO),
    ("10 us", Duration::from_micros(10)),
    ("1 ms", Duration::from_millis(1)),
];

const TEXTS: [(&str, usize); 3] = [("16 B", 16), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];

/// For how many turns to be busy, and a text to carry.
type Load = (u64, String);

fn task((turns, text): Load) -> String {
    black_box(busy(turns));
    text
}

/// Each turn needs what the one before made, so that none is left out or done beside another.
fn busy(turns: u64) -> u64 {
    (0..turns).fold(1, |state, turn| {
        black_box(state).wrapping_mul(0x5851_f42d_4c95_7f2d) ^ turn
    })
}

/// Measures the number of loop turns in one undisturbed microsecond.
fn turns_per_microsecond() -> u64 {
    const TURNS: u64 = 1_000_000;
    let time = |_| {
        let start = Instant::now();
        black_box(busy(black_box(TURNS)));
        start.elapsed()
    };
    let fastest = (0..10).map(time).min().unwrap_or_default();
    (TURNS * 1_000 / nanoseconds(fastest).max(1)).max(1)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The order of the calls: all submitted before the first result is read, or one
/// after the other.
#[derive(Clone, Copy)]
enum Pace {
    AllAtOnce,
    OneByOne,
}

fn serial(loads: Vec<Load>) -> Vec<String> {
    loads.into_iter().map(task).collect()
}

fn pooled<E: Executor>(executor: &E, pace: Pace, loads: Vec<Load>) -> Vec<String> {
    let submit = |load| executor.submit(task, load).expect("the pool is open");
    let result = |future: E::Future<String>| future.into_result().expect("the task returns");
    match pace {
        Pace::AllAtOnce => {
            let futures: Vec<_> = loads.into_iter().map(submit).collect();
            futures.into_iter().map(result).collect()
        }
        Pace::OneByOne => loads.into_iter().map(submit).map(result).collect(),
    }
}

/// The times of one call by one way of calling, over all rounds.
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, load: &Load, calls: usize, way: impl Fn(Vec<Load>) -> Vec<String>) {
        // Before the clock runs, so that all workers have started.
        way(vec![load.clone(); calls.div_ceil(5)]);
        let loads = vec![load.clone(); calls];
        let start = Instant::now();
        let results = way(loads);
        let taken = start.elapsed();
        assert!(results.iter().all(|text| text.len() == load.1.len()));
        self.0.push(taken.as_secs_f64() * 1e6 / calls as f64);
    }

    /// The microseconds of the middle round, and of the fastest.
    fn median_and_minimum(&mut self) -> (f64, f64) {
        self.0.sort_by(f64::total_cmp);
        (self.0[self.0.len() / 2], self.0[0])
    }
}

/// One line of the table. Each round has new pools: the system leaves their threads on the cores
/// where it once put them, and where that is weighs much.
fn compare(workers: usize, pace: Pace, load: &Load, calls: usize) -> [Times; 3] {
    let mut times = [const { Times(Vec::new()) }; 3];
    for _ in 0..ROUNDS {
        let threads = ThreadPoolExecutor::with_max_workers(workers).expect("more than none");
        let processes = ProcessPoolExecutor::with_max_workers(workers).expect("there are some");
        times[0].add(load, calls, serial);
        times[1].add(load, calls, |loads| pooled(&threads, pace, loads));
        times[2].add(load, calls, |loads| pooled(&processes, pace, loads));
    }
    times
}

/// As many calls as take about this long in a process, by a rough guess.
fn calls(length: Duration, text: usize, workers: usize) -> usize {
    const ROUND: Duration = Duration::from_millis(30);
    let way = Duration::from_micros(20) + Duration::from_nanos(text as u64);
    let calls = nanoseconds(ROUND) / nanoseconds(length + way);
    usize::try_from(calls)
        .unwrap_or(usize::MAX)
        .next_multiple_of(workers)
}

fn main() {
    let workers = available_parallelism().map_or(1, NonZeroUsize::get);
    let per_microsecond = turns_per_microsecond();

    println!("{workers} workers each; {ROUNDS} rounds; microseconds a call: median (minimum)");
    print_load("before");
    for (title, pace) in [
        ("all submitted, then all results", Pace::AllAtOnce),
        ("one there and back, then the next", Pace::OneByOne),
    ] {
        println!("\n{title}");
        println!(
            "{:>8} {:>7} {:>18} {:>18} {:>18} {:>9} {:>9} {:>10}",
            "work", "text", "serial", "threads", "processes", "t/serial", "p/serial", "p/threads"
        );
        for (work, length) in LENGTHS {
            for (text, size) in TEXTS {
                let turns = per_microsecond * nanoseconds(length) / 1_000;
                let load = (turns, "x".repeat(size));
                let calls = calls(length, size, workers);
                let times = compare(workers, pace, &load, calls);
                let times = times.map(|mut times| times.median_and_minimum());
                let [s, t, p] = times.map(|(median, _)| median);
                let [serial, threads, processes] = times
                    .map(|(median, minimum)| format!("{} ({})", short(median), short(minimum)));
                println!(
                    "{work:>8} {text:>7} {serial:>18} {threads:>18} {processes:>18} \
                     {:>9} {:>9} {:>10}",
                    short(t / s),
                    short(p / s),
                    short(p / t)
                );
            }
        }
    }
    println!();
    print_load("after");
}

/// A number with the digits that mean something.
fn short(number: f64) -> String {
    let decimals = match number {
        ..0.1 => 3,
        0.1..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

/// Prints the load of the machine, where the system tells it.
fn print_load(when: &str) {
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        println!("load average {when}: {}", load.trim());
    }
}
