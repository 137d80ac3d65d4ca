//! Random operations on a pool from six threads, each effect counted.
//!
//! `stress threads|processes [--seconds N] [--seed N]`. Rounds follow one another until the time
//! is over; each has a pool of its own, and is checked when nothing of it is left. The order of
//! the threads is the system's, so a seed repeats the operations and not the interleaving.

mod maps;
mod processes;
mod threads;
mod together;
mod watchdog;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The number of threads that use each pool.
pub const THREADS: usize = 6;

static COUNTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Counts one event of this kind.
pub fn count(kind: &str) {
    let mut counts = COUNTS.lock().expect("nothing panics under this lock");
    match counts.get_mut(kind) {
        Some(times) => *times += 1,
        None => drop(counts.insert(kind.to_owned(), 1)),
    }
}

/// Reports a broken promise; the run goes on and fails at its end.
pub fn fault(text: String) {
    eprintln!("FAULT: {text}");
    count("FAULT");
}

fn main() {
    let mut mode = String::new();
    let (mut seconds, mut seed) = (60, fastrand::u64(..));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok());
        match word.as_str() {
            "--seconds" => seconds = number().expect("--seconds takes a number"),
            "--seed" => seed = number().expect("--seed takes a number"),
            _ => mode = word,
        }
    }
    println!("{mode}: {seconds} s, seed {seed}");
    // Planned panics are part of the work; all others are shown, and are faults.
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.to_string().contains("planned") {
            count("FAULT");
            shown(info);
        }
    }));
    watchdog::start();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = fastrand::Rng::with_seed(seed);
    while Instant::now() < end {
        match mode.as_str() {
            "threads" => threads::round(random.fork()),
            "processes" => processes::round(random.fork()),
            _ => panic!("say `threads` or `processes`"),
        }
        count("rounds");
    }
    let counts = COUNTS.lock().expect("nothing panics under this lock");
    for (kind, times) in counts.iter() {
        println!("{times:>10}  {kind}");
    }
    let faults = counts.get("FAULT").copied().unwrap_or(0);
    println!("{faults} faults, 0 hangs (seed {seed})");
    std::process::exit(i32::from(faults > 0));
}
