//! The same calls one after the other, on threads, and on processes: what a task
//! costs there, by how long it computes and by how much it carries.
//!
//! `cargo bench --bench threads_vs_processes` prints a table in under a minute.
//! Read the ratios of one run, not the times. Each figure is the best of several
//! rounds, in microseconds for a task, of a burst and of one task there and back.

use std::hint::black_box;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, Future, InlineExecutor, ProcessPoolExecutor, ThreadPoolExecutor,
};

const WORKERS: usize = 2;
const ROUNDS: usize = 5;

/// A task: computes for so many microseconds, and gives its text back.
fn compute((micros, text): (u64, String)) -> String {
    let end = Instant::now() + Duration::from_micros(micros);
    while micros > 0 && Instant::now() < end {
        std::hint::spin_loop();
    }
    text
}

fn best(mut round: impl FnMut() -> Duration, tasks: usize) -> f64 {
    let rounds = (0..ROUNDS).map(|_| round()).min();
    rounds.unwrap_or_default().as_secs_f64() * 1e6 / tasks as f64
}

/// All at once, then all results.
fn burst<E: Executor>(executor: &E, micros: u64, text: &str, tasks: usize) -> f64 {
    let round = || {
        let start = Instant::now();
        let futures: Vec<_> = (0..tasks)
            .map(|_| {
                executor
                    .submit(compute, (micros, text.to_owned()))
                    .expect("it is open")
            })
            .collect();
        for future in futures {
            black_box(future.into_result().expect("it returns"));
        }
        start.elapsed()
    };
    best(round, tasks)
}

/// One after the other, each waited for.
fn one_by_one<E: Executor>(executor: &E, micros: u64, text: &str, tasks: usize) -> f64 {
    let round = || {
        let start = Instant::now();
        for _ in 0..tasks {
            let future = executor
                .submit(compute, (micros, text.to_owned()))
                .expect("it is open");
            black_box(future.into_result().expect("it returns"));
        }
        start.elapsed()
    };
    best(round, tasks)
}

fn main() {
    let serial = InlineExecutor::new().expect("it never fails");
    let threads = ThreadPoolExecutor::with_max_workers(WORKERS).expect("more than none");
    let processes = ProcessPoolExecutor::with_max_workers(WORKERS).expect("more than none");
    println!("{WORKERS} workers, microseconds a task; payloads go there and come back");
    println!(
        "{:>24} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "", "serial", "threads", "", "processes", ""
    );
    println!(
        "{:>9} {:>14} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "computes", "payload", "", "burst", "alone", "burst", "alone"
    );
    for micros in [0, 10, 1_000] {
        for (name, size) in [("16 B", 16), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
            let text = "x".repeat(size);
            // About as long for each row.
            let tasks = match (micros, size) {
                (1_000, _) => 100,
                (_, 16) => 5_000,
                (_, 0x1_0000) => 500,
                _ => 50,
            };
            let serially = one_by_one(&serial, micros, &text, tasks);
            let on_threads = (
                burst(&threads, micros, &text, tasks),
                one_by_one(&threads, micros, &text, tasks),
            );
            let on_processes = (
                burst(&processes, micros, &text, tasks),
                one_by_one(&processes, micros, &text, tasks),
            );
            println!(
                "{micros:>6} us {name:>14} {serially:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
                on_threads.0, on_threads.1, on_processes.0, on_processes.1
            );
        }
    }
}
