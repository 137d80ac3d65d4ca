//! Scopes and promises, and pools with a life of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use concurrent_futures::*;
use fastrand::Rng;

use super::Pool;
use crate::{count, fault};

/// Each task of a scope is over when the scope is, and a panic that is not read is its.
pub fn scope(pool: &Pool, random: &mut Rng) {
    let (begun, ended, panics) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let (mut made, mut cancelled) = (0, 0);
    let fails = random.u32(..8) == 0;
    let scoped = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|s| {
            for n in 0..random.u32(..6) {
                let (begun, ended, panics) = (&begun, &ended, &panics);
                let task = move |_: u32| {
                    begun.fetch_add(1, SeqCst);
                    if fails && n == 0 {
                        panics.fetch_add(1, SeqCst);
                        panic!("planned: a task of a scope");
                    }
                    ended.fetch_add(1, SeqCst);
                };
                let future = match random.u32(..3) {
                    0 => s.submit(task, n),
                    1 => s.try_submit(task, n).map_err(|refused| refused.error),
                    _ => s.spawn(move || task(n)),
                };
                let Ok(future) = future else { continue };
                made += 1;
                match random.u32(..4) {
                    0 if future.cancel() => cancelled += 1,
                    1 if !fails => {
                        let _ = future.into_result();
                    }
                    _ => drop(future),
                }
            }
        });
    }));
    let (begun, panics) = (begun.into_inner(), panics.into_inner());
    if ended.into_inner() + panics != begun || begun > made - cancelled {
        fault(format!("a scope of {made} tasks began {begun}"));
    }
    if pool.is_calm() && begun != made - cancelled {
        fault(format!("a scope lost tasks: {begun} of {made} began"));
    }
    if scoped.is_err() != (panics > 0) {
        fault("a panic in a scope, or none, is not told".to_owned());
    }
    count("scopes");
}

pub fn promises(random: &mut Rng) {
    let (promise, future) = promise::<u32>();
    let called = Arc::new(AtomicU32::new(0));
    let calls = Arc::clone(&called);
    future.add_done_callback(move |_| {
        calls.fetch_add(1, SeqCst);
    });
    let cancelled = random.bool() && future.cancel();
    match random.u32(..4) {
        0 => drop(promise),
        1 => drop(promise.set_result(7)),
        2 => drop(promise.set_exception(Error::other("planned"))),
        _ => {
            if random.bool() {
                promise.start();
            }
            promise.run(|| 7);
        }
    }
    let ended = future.into_result();
    if cancelled != matches!(ended, Err(Error::Cancelled)) {
        fault(format!(
            "a promise cancelled: {cancelled}, ended with {ended:?}"
        ));
    }
    if called.load(SeqCst) != 1 {
        fault("a promise lost its callback".to_owned());
    }
}

/// Each task ends well, or says that the initializer broke the pool.
pub fn failing_initializer(random: &mut Rng) {
    let (first, panics) = (random.u32(..4), random.bool());
    let initialize = move |calls: Arc<AtomicU32>| -> Result<(), String> {
        if calls.fetch_add(1, SeqCst) < first {
            return Ok(());
        }
        assert!(!panics, "planned: an initializer");
        Err("planned: an initializer".to_owned())
    };
    let pool = ThreadPoolExecutor::builder()
        .max_workers(random.usize(1..4))
        .initializer(initialize, Arc::default())
        .build()
        .expect("a pool");
    let callbacks = Arc::new(AtomicU32::new(0));
    let mut submitted = 0;
    let mut futures = Vec::new();
    for n in 0..8 {
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
    if is_broken && (!pool.stats().broken || pool.spawn(|| 1).is_ok()) {
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

/// Tasks that wait for tasks that wait, on few workers with little stack.
pub fn chain(random: &mut Rng) {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(random.usize(1..4))
        .stack_size(random.usize(128..512) << 10)
        .build()
        .expect("a pool");
    let length = random.u32(..400);
    match link(&Arc::new(pool), length, random.fork()) {
        Ok(sum) if sum == length => count("chains"),
        wrong => fault(format!("a chain of {length} gave {wrong:?}")),
    }
}

fn link(pool: &Arc<ThreadPoolExecutor>, left: u32, mut random: Rng) -> Result<u32, Error> {
    if left == 0 {
        return Ok(0);
    }
    let (inner, task_random) = (Arc::clone(pool), random.fork());
    let next = pool.spawn(move || link(&inner, left - 1, task_random))?;
    match random.u32(..8) {
        0 => drop(wait([&next], ReturnWhen::AllCompleted, None)),
        1 => drop(as_completed([&next]).next()),
        2 => drop(next.result()?),
        3 => return Ok(pollster::block_on(async { next.await })?? + 1),
        4 => {
            let received = completions([next]).recv().expect("one is left");
            return Ok(received.into_result()?? + 1);
        }
        _ => {}
    }
    Ok(next.into_result()?? + 1)
}
