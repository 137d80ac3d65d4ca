//! The mode `processes`: tasks note their start in a file, and workers are harmed meanwhile.

mod fate;
mod pools;
mod task;
mod uses;

use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use concurrent_futures::*;
use fastrand::Rng;

use self::fate::{Asked, Round};
use self::task::{Answer, Kind, Parcel, Spoil, TALLY, keep_quiet, task};
use crate::watchdog::begin;
use crate::{THREADS, count, fault};

type Made = (u64, ProcessFuture<Answer>);

/// One pool in use; callbacks have it too, and keep it no longer than they run.
#[derive(Clone)]
struct Place {
    pool: Weak<ProcessPoolExecutor>,
    round: Arc<Round>,
    /// The settings of the builder.
    terms: (u32, Option<Duration>),
}

fn operate(pool: &ProcessPoolExecutor, place: &Place, random: &mut Rng, thread: usize) {
    let mut held: Vec<Made> = Vec::new();
    for _ in 0..40 {
        match random.u32(..24) {
            0 => {
                begin(thread, "harm");
                harm(pool, &place.round, random);
            }
            1 => {
                begin(thread, "stats");
                let stats = pool.stats();
                if stats.idle > stats.workers || stats.workers > pool.max_workers() {
                    fault(format!("{stats:?} of {}", pool.max_workers()));
                }
            }
            2 => {
                begin(thread, "together");
                uses::together(std::mem::take(&mut held), random);
            }
            3 => {
                begin(thread, "map");
                crate::maps::map(pool, || place.round.is_calm(), random);
            }
            4..10 if !held.is_empty() => {
                begin(thread, "use a future");
                let made = held.swap_remove(random.usize(..held.len()));
                let other = held.pop();
                held.extend(uses::use_future(made, other, place, random));
            }
            10 if random.u32(..60) == 0 => {
                begin(thread, "end the pool");
                end(pool, &place.round, random);
            }
            11 if random.u32(..12) == 0 => {
                begin(thread, "a pool whose initializer fails");
                pools::failing_initializer(random);
            }
            12 if random.u32(..4) == 0 => {
                begin(thread, "a pool whose idle workers die");
                pools::idle_killed(random);
            }
            _ => {
                begin(thread, "submit");
                held.extend(submit(pool, place, random));
            }
        }
        count("operations");
    }
}

fn end(pool: &ProcessPoolExecutor, round: &Round, random: &mut Rng) {
    round.is_closed.store(true, SeqCst);
    match random.u32(..4) {
        0 => {
            // Then neither this nor the drop waits.
            round.may_end_late.store(true, SeqCst);
            pool.shutdown_with(ShutdownOptions::new().wait(false));
        }
        1 => {
            round.cancels.store(true, SeqCst);
            let limit = Duration::from_millis(random.u64(..20));
            let options = ShutdownOptions::new().cancel_pending(true).timeout(limit);
            round.may_end_late.store(true, SeqCst);
            pool.shutdown_with(options);
        }
        2 => {
            round.cancels.store(true, SeqCst);
            round.kills.store(true, SeqCst);
            pool.kill_workers();
        }
        _ => {
            round.cancels.store(true, SeqCst);
            round.kills.store(true, SeqCst);
            pool.terminate_workers();
        }
    }
    count("pools ended early");
}

/// Asks for one task, in one of the ways there are.
fn submit(pool: &ProcessPoolExecutor, place: &Place, random: &mut Rng) -> Option<Made> {
    let round = &place.round;
    let kind = Kind::random(random);
    let most = if random.u32(..10) == 0 { 1 << 20 } else { 100 };
    let (retries, limit) = place.terms;
    let mut asked = Asked {
        number: round.number(),
        kind,
        size: random.usize(..most),
        retries,
        limit,
        has_name: false,
    };
    let way = if kind == Kind::Endless {
        0
    } else {
        random.u32(..5)
    };
    let mut options = TaskOptions::new();
    if way == 0 {
        asked.has_name = random.bool();
        if asked.has_name {
            options = options.name("named");
        }
        asked.retries = random.u32(..3);
        options = options.retries(asked.retries);
        if kind == Kind::Endless {
            asked.limit = Some(Duration::from_millis(random.u64(..20)));
        }
        if let Some(limit) = asked.limit {
            options = options.time_limit(limit);
        }
    }
    round.note(asked);
    let parcel = Parcel(match kind {
        Kind::Spoilt(spoil) => spoil,
        _ => Spoil::Nothing,
    });
    let args = (asked.number, kind, vec![1; asked.size], parcel);
    let made = match way {
        0 if random.bool() => {
            let made = pool.with(options).try_submit(task, args);
            made.map_err(|refused| refused.error)
        }
        0 => pool.with(options).submit(task, args),
        1 => pool.try_submit(task, args).map_err(|refused| refused.error),
        _ => pool.submit(task, args),
    };
    match made {
        Ok(future) => {
            count("submitted");
            if kind == Kind::Spoilt(Spoil::EncodeArgument) {
                fault("submitted, though not encoded".to_owned());
            }
            let round = Arc::clone(round);
            // Each task has one, which says how it ended.
            future.add_done_callback(move |future| {
                round.end(asked, future.result().as_ref().map(|answer| *answer));
                assert!(!asked.number.is_multiple_of(16), "planned: a callback");
            });
            Some((asked.number, future))
        }
        Err(error) => {
            round.forget(asked.number);
            let may_be = match &error {
                Error::QueueFull => way <= 1,
                Error::Encode(_) => kind == Kind::Spoilt(Spoil::EncodeArgument),
                Error::ShutDown => round.is_closed.load(SeqCst),
                Error::Broken(_) => round.is_harmed.load(SeqCst) || round.breaks.load(SeqCst),
                _ => false,
            };
            if !may_be {
                fault(format!("submit said {error:?} to {asked:?}"));
            }
            count("refused");
            None
        }
    }
}

fn harm(pool: &ProcessPoolExecutor, round: &Round, random: &mut Rng) {
    let pids = pool.stats().pids;
    if !round.is_harmed.load(SeqCst) || pids.is_empty() {
        return;
    }
    let pid = pids[random.usize(..pids.len())];
    if !is_child(&pid) {
        return;
    }
    if random.bool() {
        signal(pid, libc::SIGKILL);
        count("workers killed");
    } else {
        signal(pid, libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(random.u64(..30)));
        signal(pid, libc::SIGCONT);
        count("workers stopped a while");
    }
}

/// Tells a child of this process from another that has its number by now.
fn is_child(pid: &u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains(&format!(" {} ", std::process::id())))
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: `kill` takes no memory.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Makes a pool with random options, and tells the round what to expect of it.
fn make(path: &std::path::Path, random: &mut Rng) -> (ProcessPoolExecutor, Place) {
    let round = Arc::new(Round::default());
    let mut builder = ProcessPoolExecutor::builder()
        .max_workers(random.usize(1..5))
        .env(TALLY, path)
        .initializer(keep_quiet, ())
        .record_timing(random.bool());
    if random.bool() {
        builder = builder.queue_capacity(random.usize(1..20));
    }
    if random.u32(..3) == 0 {
        builder = builder.max_tasks_per_child(random.u64(1..20));
    }
    let mut terms = (0, None);
    if random.u32(..4) == 0 {
        terms.0 = random.u32(1..3);
        builder = builder.retries(terms.0);
    }
    if random.u32(..4) == 0 {
        // No task comes near it.
        terms.1 = Some(Duration::from_secs(300));
        builder = builder.time_limit(Duration::from_secs(300));
    }
    if random.u32(..8) == 0 {
        builder = builder.on_worker_death(OnWorkerDeath::BreakPool);
        round.breaks.store(true, SeqCst);
    }
    round.is_harmed.store(random.bool(), SeqCst);
    let place = Place {
        pool: Weak::new(),
        round,
        terms,
    };
    (builder.build().expect("a pool"), place)
}

/// One pool from its making to its end.
pub fn round(mut random: Rng) {
    begin(THREADS, "make a pool");
    let descriptors = open_descriptors();
    let path = std::env::temp_dir().join(format!("stress-{}", std::process::id()));
    fs::write(&path, b"").expect("the tally");
    let (pool, mut place) = make(&path, &mut random);
    let mut pool = Arc::new(pool);
    place.pool = Arc::downgrade(&pool);
    std::thread::scope(|s| {
        for thread in 0..THREADS {
            let (pool, place, mut random) = (&pool, &place, random.fork());
            s.spawn(move || operate(pool, place, &mut random, thread));
        }
    });
    begin(THREADS, "drop the pool");
    // Here and not in a callback, where it would not wait.
    let pool = loop {
        match Arc::try_unwrap(pool) {
            Ok(pool) => break pool,
            Err(shared) => pool = shared,
        }
        std::thread::yield_now();
    };
    drop(pool);
    begin(THREADS, "check");
    place.round.wait_for_callbacks();
    place.round.check(&fs::read(&path).expect("the tally"));
    let end = Instant::now() + Duration::from_secs(10);
    while !children().is_empty() || open_descriptors() != descriptors {
        if Instant::now() > end {
            let (left, open) = (children(), open_descriptors());
            fault(format!(
                "children {left:?}, {open} descriptors, before {descriptors}"
            ));
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::remove_file(&path).expect("the tally");
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn children() -> String {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .collect()
}
