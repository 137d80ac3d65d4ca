//! Pools with a life of their own, beside the one that all threads use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use concurrent_futures::*;
use fastrand::Rng;

use super::task::keep_quiet;
use crate::{count, fault};

/// Fails in one of some workers.
fn initialize((one_in, panics): (u32, bool)) -> Result<(), String> {
    keep_quiet(());
    if !std::process::id().is_multiple_of(one_in) {
        return Ok(());
    }
    assert!(!panics, "planned: an initializer");
    Err("planned: an initializer".to_owned())
}

/// Each task ends well, or says that the initializer broke the pool.
pub fn failing_initializer(random: &mut Rng) {
    const TASKS: u32 = 8;
    let pool = ProcessPoolExecutor::builder()
        .max_workers(random.usize(1..3))
        .max_tasks_per_child(2)
        .initializer(initialize, (random.u32(1..6), random.bool()))
        .build()
        .expect("a pool");
    let callbacks = Arc::new(AtomicU32::new(0));
    let mut submitted = 0;
    let mut futures = Vec::new();
    for n in 0..TASKS {
        match pool.submit(|n: u32| n + 1, n) {
            Ok(future) => {
                submitted += 1;
                let callbacks = Arc::clone(&callbacks);
                future.add_done_callback(move |_| {
                    callbacks.fetch_add(1, SeqCst);
                });
                futures.push((n, future));
            }
            Err(error) => look(&error),
        }
    }
    let mut is_broken = false;
    for (n, future) in futures {
        match future.into_result() {
            Ok(value) if value == n + 1 => count("ended well beside an initializer"),
            Ok(value) => fault(format!("the task {n} gave {value}")),
            Err(error) => {
                is_broken = true;
                look(&error);
            }
        }
    }
    let says_so = pool.stats().broken;
    if is_broken && (!says_so || pool.submit(|n: u32| n, 1).is_ok()) {
        fault("a broken pool takes tasks".to_owned());
    }
    drop(pool);
    if callbacks.load(SeqCst) != submitted {
        fault("a broken pool lost a callback".to_owned());
    }
}

fn look(error: &Error) {
    match error {
        Error::Broken(cause) if cause.to_string().contains("planned") => {
            count("broken by an initializer");
        }
        error => fault(format!("a failing initializer gave {error:?}")),
    }
}

/// Workers that die while they are idle cost no task anything.
pub fn idle_killed(random: &mut Rng) {
    let workers = random.usize(4..9);
    let pool = ProcessPoolExecutor::with_max_workers(workers).expect("a pool");
    for _ in 0..random.u32(1..6) {
        // Long enough for each to have a worker of its own, most times.
        let nap = |n: usize| {
            std::thread::sleep(Duration::from_millis(10));
            (n, std::process::id())
        };
        let mut begun = BTreeSet::new();
        let made = (0..workers).map(|n| pool.submit(nap, n));
        let made: Vec<_> = made.collect();
        for (n, future) in made.into_iter().enumerate() {
            match future.and_then(|future| future.into_result()) {
                Ok((value, pid)) if value == n => drop(begun.insert(pid)),
                wrong => fault(format!("an innocent task: {n}, {wrong:?}")),
            }
        }
        // None of them has a task: they are idle, or just started. All at once, so that
        // the next tasks are sent to dead ones.
        let mut pids = pool.stats().pids;
        pids.retain(super::is_child);
        // Five workers in a row that die before they begin a task break a pool.
        let mut starting = 0;
        pids.retain(|pid| {
            starting += u32::from(!begun.contains(pid));
            begun.contains(pid) || starting < 5
        });
        // The last to be idle is the first to be sent a task.
        if random.bool() {
            pids.reverse();
        }
        for pid in pids {
            super::signal(pid, libc::SIGKILL);
            count("idle workers killed");
        }
    }
}
