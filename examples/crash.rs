//! Tasks that crash, next to tasks that do not, on a pool of processes: all good
//! answers arrive, each bad task is named, and the pool goes on.
//!
//! `cargo run --example crash`

use std::time::Duration;

use concurrent_futures::{Error, ProcessFuture, ProcessPoolExecutor, TaskOptions};

/// How to end badly.
const BAD: [&str; 7] = [
    "abort", "allocate", "exit", "loop", "nest", "overflow", "segfault",
];

/// What a worker may allocate: enough for what it is, and for a good task.
const MEMORY: u64 = 1 << 30;

fn square(n: u64) -> u64 {
    n * n
}

/// Code that nobody would run next to anything else.
fn misbehave(how: String) -> u64 {
    match &*how {
        "abort" => std::process::abort(),
        "allocate" => loop {
            std::hint::black_box(vec![1_u8; 1 << 20].leak());
        },
        "exit" => std::process::exit(0),
        "loop" => loop {
            std::thread::sleep(Duration::from_millis(1));
        },
        "nest" => nest(2_000),
        "overflow" => overflow(1),
        "segfault" => {
            let nowhere = std::ptr::without_provenance::<u8>(8);
            // SAFETY: none. It is what it says, in a process that may go.
            u64::from(unsafe { nowhere.read_volatile() })
        }
        other => panic!("nobody knows how to {other}"),
    }
}

/// A page so deep that its parser, which calls itself for each level, may need
/// more stack than there is; if not, the depth of what it found.
fn nest(depth: usize) -> u64 {
    let page = format!("{}{}", "<div>".repeat(depth), "</div>".repeat(depth));
    let document = select::document::Document::from(&*page);
    document.find(select::predicate::Name("div")).count() as u64
}

fn overflow(n: u64) -> u64 {
    let here = std::hint::black_box([n; 1024]);
    if here[7] == 0 {
        return 0;
    }
    overflow(n + 1) + here[8]
}

#[cfg(target_os = "linux")]
fn limit_memory(bytes: u64) -> Result<(), std::io::Error> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::As);
    limit.current = Some(bytes);
    Ok(setrlimit(Resource::As, limit)?)
}

#[cfg(not(target_os = "linux"))]
fn limit_memory(_bytes: u64) {}

fn main() -> Result<(), Error> {
    let executor = ProcessPoolExecutor::builder()
        .max_workers(2)
        .initializer(limit_memory, MEMORY)
        .build()?;
    let mut good: Vec<ProcessFuture<u64>> = Vec::new();
    let mut bad: Vec<(&str, ProcessFuture<u64>)> = Vec::new();
    for (n, how) in (1..).zip(BAD) {
        good.push(executor.submit(square, n)?);
        let options = TaskOptions::new()
            .name(how)
            .time_limit(Duration::from_secs(2));
        let task = executor.with(options).submit(misbehave, how.to_owned())?;
        bad.push((how, task));
        good.push(executor.submit(square, 10 * n)?);
    }
    for future in &good {
        println!("good: {}", future.result()?);
    }
    for (how, future) in &bad {
        match future.result() {
            Ok(answer) => println!("{how}: ended well, with {answer}"),
            Err(error) => println!("{how}: {error}"),
        }
    }
    println!(
        "the pool goes on: {}",
        executor.submit(square, 6)?.result()?
    );
    let stats = executor.stats();
    println!("{} workers were replaced", stats.replaced);
    Ok(())
}
