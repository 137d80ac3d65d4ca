//! Calls that end their process, next to calls that are well. A bad one takes its own worker along
//! and nothing else: the others are answered, each death has its name, and the pool goes on.
//!
//! ```text
//! cargo run --example crash
//! ```
//!
//! The table that it prints is checked against [`CALLS`]: it fails if anything ends otherwise. What
//! stands between its lines is the last words of a worker.

use std::hint::{black_box, spin_loop};
use std::process::{self, ExitCode};
use std::ptr;
use std::thread;
use std::time::Duration;

use concurrent_futures::{Error, ProcessPoolExecutor, TaskOptions};
use select::document::Document;
use select::predicate::Name;

/// A name, what is called, with which argument, and how that has to end.
type Call = (&'static str, fn(usize) -> usize, usize, &'static str);

const CALLS: [Call; 14] = [
    ("loop for ever", spin, 0, "time limit"),
    ("primes below 1,000", primes, 1_000, "168"),
    ("read where nothing is", read, 16, "SIGSEGV"),
    ("primes below 2,000", primes, 2_000, "303"),
    ("abort", abort, 0, "SIGABRT"),
    ("primes below 3,000", primes, 3_000, "430"),
    ("exit as if all was well", exit, 0, "exit code 0"),
    ("primes below 4,000", primes, 4_000, "550"),
    ("overflow the stack", recurse, 0, "SIGSEGV"),
    ("primes below 5,000", primes, 5_000, "669"),
    ("allocate without end", hoard, 0, "SIGABRT"),
    ("2,000 nested <div>", parse, 2_000, "2000"),
    ("the same, on a small stack", cramped, 2_000, "SIGSEGV"),
    ("primes below 6,000", primes, 6_000, "783"),
];

fn main() -> Result<ExitCode, Error> {
    let executor = ProcessPoolExecutor::builder()
        .max_workers(2)
        .initializer(limit_memory, 1 << 30)
        .time_limit(Duration::from_secs(2))
        .build()?;

    let mut work = Vec::new();
    for (name, f, argument, expected) in CALLS {
        let named = executor.with(TaskOptions::new().name(name));
        work.push((name, named.submit(f, argument)?, expected));
    }
    let mut all_as_expected = true;
    for (name, future, expected) in &work {
        let (end, more) = describe(future.result());
        let line = format!("{name:<26}  {end:<11}  {more}");
        println!("{}", line.trim_end());
        all_as_expected &= end == *expected;
    }

    let (end, _) = describe(executor.submit(primes, 100)?.result());
    println!("and after all that, primes below 100: {end}");
    let stats = executor.shutdown();
    println!("{} answers, {} failures", stats.finished, stats.failed);
    Ok(if all_as_expected && end == "25" {
        ExitCode::SUCCESS
    } else {
        eprintln!("crash: something did not end as it should");
        ExitCode::FAILURE
    })
}

/// Returns the end of a call, in a word, and what else is known of its death.
fn describe(result: Result<&usize, Error>) -> (String, String) {
    match result {
        Ok(answer) => (answer.to_string(), String::new()),
        Err(Error::TimeLimit(_)) => ("time limit".to_owned(), String::new()),
        Err(Error::WorkerDied(death)) => {
            let code = death.exit_code().map(|code| format!("exit code {code}"));
            let end = death.signal().map(str::to_owned).or(code);
            let ran_for = death.ran_for().unwrap_or_default();
            let more = format!("process {}, after {ran_for:.1?}", death.pid());
            (end.unwrap_or_default(), more)
        }
        Err(error) => ("?".to_owned(), error.to_string()),
    }
}

/// Before the first task of each worker. Nor shall so many deaths leave their cores.
#[cfg(target_os = "linux")]
fn limit_memory(bytes: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let at_most = |limit| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(Resource::As, at_most(bytes))?;
    setrlimit(Resource::Core, at_most(0))?;
    Ok(())
}

/// Elsewhere there is no process pool.
#[cfg(not(target_os = "linux"))]
fn limit_memory(_bytes: u64) {}

fn primes(below: usize) -> usize {
    let is_prime = |n: &usize| (2..*n).all(|divisor| n % divisor != 0);
    (2..below).filter(is_prime).count()
}

fn spin(_: usize) -> usize {
    loop {
        spin_loop();
    }
}

fn read(address: usize) -> usize {
    let nowhere = ptr::without_provenance::<usize>(address);
    // SAFETY: none. This is the bug that ends the process.
    unsafe { nowhere.read_volatile() }
}

fn abort(_: usize) -> usize {
    process::abort()
}

fn exit(_: usize) -> usize {
    process::exit(0)
}

fn recurse(depth: usize) -> usize {
    if depth == usize::MAX {
        return 0;
    }
    black_box(recurse(black_box(depth + 1))) + 1
}

fn hoard(_: usize) -> usize {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![0_u8; 16 << 20]));
    }
}

/// `select` goes down by recursion, as deep as the page goes. On the stack of a worker's thread it
/// gets far.
fn parse(nested: usize) -> usize {
    let page = "<div>".repeat(nested);
    Document::from(&*page).find(Name("div")).count()
}

fn cramped(nested: usize) -> usize {
    let small = thread::Builder::new().stack_size(256 << 10);
    let thread = small.spawn(move || parse(nested));
    thread.map_or(0, |thread| thread.join().unwrap_or(0))
}
