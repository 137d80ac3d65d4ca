//! Empty calls to other processes, by `procspawn`'s pool and by this crate's, and to this crate's
//! threads.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- processes
//! ```
//!
//! The pools take turns, so that what else the machine does meets all of them. Read the ratios:
//! they are of medians, and say how many times as long it takes as in a `ProcessPoolExecutor`.
//! The cores that threads are put on weigh more than whose they are: a call that changes cores
//! on its way takes five times as long, and threads stay where they are for a while. So each round
//! has new pools, and on one core (`taskset -c 0`) there is no luck in it.

use std::process::ExitCode;
use std::time::Instant;

use concurrent_futures::{Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::table::print_load;

/// One there and back, then the next: rounds, and calls in each.
const ROUND_TRIPS: (usize, u64) = (41, 100);

/// All submitted before the first result is asked for: rounds, and calls in each. No more, since
/// `procspawn` holds three descriptors for each.
const BURST: (usize, u64) = (15, 5_000);

/// Calls before a round, so that all workers have started.
const WARM_UP: u64 = 100;

fn empty(n: u64) -> u64 {
    n
}

/// The calls that the rivals have in common.
trait Pool {
    /// Makes the calls, and adds up the answers.
    fn round_trips(&self, calls: u64) -> u64;

    fn burst(&self, calls: u64) -> u64;
}

impl Pool for procspawn::Pool {
    fn round_trips(&self, calls: u64) -> u64 {
        let call = |n| self.spawn(n, empty).join().expect("it returns");
        (0..calls).map(call).sum()
    }

    fn burst(&self, calls: u64) -> u64 {
        let handles: Vec<_> = (0..calls).map(|n| self.spawn(n, empty)).collect();
        let answers = handles.into_iter().map(|handle| handle.join());
        answers.map(|answer| answer.expect("it returns")).sum()
    }
}

/// An executor of this crate.
struct Own<E>(E);

impl<E: Executor> Pool for Own<E> {
    fn round_trips(&self, calls: u64) -> u64 {
        let submit = |n| self.0.submit(empty, n).expect("it is open");
        let answers = (0..calls).map(|n| submit(n).into_result());
        answers.map(|answer| answer.expect("it returns")).sum()
    }

    fn burst(&self, calls: u64) -> u64 {
        let submit = |n| self.0.submit(empty, n).expect("it is open");
        let futures: Vec<_> = (0..calls).map(submit).collect();
        let answers = futures.into_iter().map(|future| future.into_result());
        answers.map(|answer| answer.expect("it returns")).sum()
    }
}

/// Makes a pool of that many workers.
type Make = fn(usize) -> Box<dyn Pool>;

/// The first is what the others are compared with.
const POOLS: [(&str, Make); 3] = [
    ("ProcessPoolExecutor", |workers| {
        let pool = ProcessPoolExecutor::with_max_workers(workers);
        Box::new(Own(pool.expect("more than none")))
    }),
    ("procspawn::Pool", |workers| {
        let pool = procspawn::Pool::new(workers);
        Box::new(pool.expect("it starts its workers"))
    }),
    ("ThreadPoolExecutor", |workers| {
        let pool = ThreadPoolExecutor::with_max_workers(workers);
        Box::new(Own(pool.expect("more than none")))
    }),
];

type Run = fn(&dyn Pool, u64) -> u64;

/// Measures and prints all of it.
pub(crate) fn compare_all() -> ExitCode {
    allow_all_descriptors();
    println!("microseconds a call");
    print_load("before");
    for workers in [1, 2] {
        let round_trips: Run = |pool, calls| pool.round_trips(calls);
        let burst: Run = |pool, calls| pool.burst(calls);
        for (title, (rounds, calls), run) in [
            ("one there and back", ROUND_TRIPS, round_trips),
            ("burst", BURST, burst),
        ] {
            println!("\nworkers: {workers}; {title}: {rounds} rounds of {calls} calls");
            print_table(compare(workers, rounds, calls, run));
        }
    }
    println!();
    print_load("after");
    ExitCode::SUCCESS
}

/// `procspawn` makes channels for each call.
fn allow_all_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to its maximum");
}

/// The microseconds for one call in each round, for each pool.
fn compare(workers: usize, rounds: usize, calls: u64, run: Run) -> [Vec<f64>; POOLS.len()] {
    let mut times = [const { Vec::new() }; POOLS.len()];
    for _ in 0..rounds {
        for ((_, make), times) in POOLS.iter().zip(&mut times) {
            let pool = make(workers);
            pool.burst(WARM_UP);
            let start = Instant::now();
            let sum = run(&*pool, calls);
            let taken = start.elapsed();
            assert_eq!(sum, calls * (calls - 1) / 2);
            times.push(taken.as_secs_f64() * 1e6 / calls as f64);
        }
    }
    times
}

fn print_table(mut times: [Vec<f64>; POOLS.len()]) {
    println!(
        "{:>20} {:>9} {:>9} {:>9} {:>7}",
        "", "median", "minimum", "maximum", "ratio"
    );
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let median = |times: &[f64]| times[times.len() / 2];
    for ((name, _), own) in POOLS.iter().zip(&times) {
        println!(
            "{name:>20} {:>9.2} {:>9.2} {:>9.2} {:>7.2}",
            median(own),
            own[0],
            own[own.len() - 1],
            median(own) / median(&times[0])
        );
    }
}
