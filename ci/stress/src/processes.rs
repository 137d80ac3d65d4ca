//! The mode `processes`: tasks note their start in a file, and workers are harmed meanwhile.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use concurrent_futures::*;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::watchdog::begin;
use crate::{THREADS, count, fault};

const TALLY: &str = "STRESS_TALLY";

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Quick,
    Sleep(u64),
    Big(usize),
    Err,
    Panic,
    Abort,
    Exit,
    Kill,
    CloseAll,
}

impl Kind {
    fn random(random: &mut Rng) -> Self {
        match random.u32(..60) {
            0..12 => Self::Sleep(random.u64(..5)),
            12..18 => Self::Big(random.usize(..4 << 20)),
            18..22 => Self::Err,
            22..26 => Self::Panic,
            26 => Self::Abort,
            27 => Self::Exit,
            28 => Self::Kill,
            29 => Self::CloseAll,
            _ => Self::Quick,
        }
    }

    fn is_harmless(self) -> bool {
        !matches!(self, Self::Abort | Self::Exit | Self::Kill | Self::CloseAll)
    }
}

type Answer = (u64, Result<Vec<u8>, String>);

fn task((number, kind, bytes): (u64, Kind, Vec<u8>)) -> Answer {
    let path = std::env::var_os(TALLY).expect("the pool sets it");
    let mut tally = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("the tally");
    // One write of eight bytes: appended as a whole.
    tally.write_all(&number.to_le_bytes()).expect("a start");
    drop(tally);
    match kind {
        Kind::Quick => {}
        Kind::Sleep(limit) => std::thread::sleep(Duration::from_millis(limit)),
        Kind::Big(size) => return (number, Ok(vec![number as u8; size])),
        Kind::Err => return (number, Err("planned".to_owned())),
        Kind::Panic => panic!("planned: a task"),
        Kind::Abort => std::process::abort(),
        Kind::Exit => std::process::exit(3),
        // SAFETY: `kill` takes no memory.
        Kind::Kill => {
            let _ = unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
        }
        // SAFETY: closing what others own harms this process alone, which is the purpose.
        Kind::CloseAll => (3..64).for_each(|fd| {
            let _ = unsafe { libc::close(fd) };
        }),
    }
    (number, Ok(bytes))
}

/// Leaves the panics of tasks out of the output: in a worker all of them are planned.
fn keep_quiet((): ()) {
    std::panic::set_hook(Box::new(|_| {}));
}

/// The fate of one task.
struct Fate {
    kind: Kind,
    may_repeat: bool,
    outcomes: Vec<&'static str>,
    cancelled: bool,
}

struct Round {
    fates: Mutex<HashMap<u64, Fate>>,
    next: AtomicU64,
    /// Someone else than the tasks harms workers.
    is_harmed: AtomicBool,
    /// It was shut down without waiting: its last tasks may end behind its drop.
    may_end_late: AtomicBool,
}

impl Round {
    fn end(&self, number: u64, how: &'static str) {
        count(how);
        let mut fates = self.fates.lock().expect("nothing panics under this lock");
        let fate = fates
            .get_mut(&number)
            .expect("noted before it was submitted");
        fate.outcomes.push(how);
    }
}

fn name(number: u64, result: Result<&Answer, &Error>) -> &'static str {
    match result {
        Ok((same, _)) if *same != number => {
            fault(format!("task {number} got the answer of {same}"));
            "wrong answer"
        }
        Ok(_) => "ended well",
        Err(Error::Cancelled) => "cancelled",
        Err(Error::Panicked(_)) => "panicked",
        Err(Error::Broken(_)) => "broken",
        Err(error) => {
            let text = format!("{error:?}");
            if text.starts_with("WorkerDied") {
                "worker died"
            } else if text.starts_with("Killed") {
                "killed"
            } else if text.starts_with("TimeLimit") {
                "time limit"
            } else {
                fault(format!("task {number} ended with {text}"));
                "other"
            }
        }
    }
}

fn operate(pool: &ProcessPoolExecutor, round: &Arc<Round>, random: &mut Rng, thread: usize) {
    let mut held: Vec<(u64, ProcessFuture<Answer>)> = Vec::new();
    for _ in 0..40 {
        match random.u32(..24) {
            0 => {
                begin(thread, "harm");
                harm(pool, round, random);
            }
            1 => {
                begin(thread, "stats");
                let stats = pool.stats();
                if stats.idle > stats.workers {
                    fault(format!("{stats:?}"));
                }
            }
            2 => {
                begin(thread, "together");
                let all = std::mem::take(&mut held);
                let limit = random
                    .bool()
                    .then(|| Duration::from_millis(random.u64(..20)));
                let total = all.len();
                let got = wait(all, ReturnWhen::AllCompleted, limit);
                if got.done.len() + got.not_done.len() != total {
                    fault("wait lost a future".to_owned());
                }
            }
            3 => {
                begin(thread, "map");
                let numbers: Vec<u32> = (0..random.u32(..20)).collect();
                let options = MapOptions::new().chunk_size(random.usize(1..5));
                if let Ok(results) = pool.map_with(options, |n: u32| n + 1, numbers) {
                    for (place, result) in results.enumerate() {
                        if result.is_ok_and(|n| n as usize != place + 1) {
                            fault("map mixed its results up".to_owned());
                        }
                    }
                }
            }
            4..10 if !held.is_empty() => {
                begin(thread, "use a future");
                let (number, future) = held.swap_remove(random.usize(..held.len()));
                use_future(number, future, round, random);
            }
            10 if random.u32(..60) == 0 => {
                begin(thread, "end the pool");
                match random.u32(..3) {
                    0 => {
                        // Then neither this nor the drop waits.
                        round.may_end_late.store(true, SeqCst);
                        pool.shutdown_with(ShutdownOptions::new().wait(false));
                    }
                    1 => {
                        round.is_harmed.store(true, SeqCst);
                        pool.kill_workers();
                    }
                    _ => {
                        round.is_harmed.store(true, SeqCst);
                        pool.terminate_workers();
                    }
                }
                count("pools ended early");
            }
            _ => {
                begin(thread, "submit");
                held.extend(submit(pool, round, random));
            }
        }
        count("operations");
    }
}

fn submit(
    pool: &ProcessPoolExecutor,
    round: &Arc<Round>,
    random: &mut Rng,
) -> Option<(u64, ProcessFuture<Answer>)> {
    let number = round.next.fetch_add(1, SeqCst);
    let kind = Kind::random(random);
    let retries = u32::from(random.u32(..5) == 0);
    let fate = Fate {
        kind,
        may_repeat: retries > 0,
        outcomes: Vec::new(),
        cancelled: false,
    };
    let lock = || round.fates.lock().expect("nothing panics under this lock");
    lock().insert(number, fate);
    let most = if random.u32(..10) == 0 { 1 << 20 } else { 100 };
    let args = (number, kind, vec![1; random.usize(..most)]);
    let made = if retries > 0 {
        pool.with(TaskOptions::new().retries(retries).name("twice"))
            .submit(task, args)
    } else if random.bool() {
        pool.try_submit(task, args).map_err(|refused| refused.error)
    } else {
        pool.submit(task, args)
    };
    match made {
        Ok(future) => {
            count("submitted");
            let round = Arc::clone(round);
            // Each task has one, which says how it ended.
            future.add_done_callback(move |future| {
                round.end(
                    number,
                    name(number, future.result().as_ref().map(|answer| *answer)),
                );
                assert!(!number.is_multiple_of(16), "planned: a callback");
            });
            Some((number, future))
        }
        Err(error) => {
            lock().remove(&number);
            if !matches!(error, Error::ShutDown | Error::QueueFull | Error::Broken(_)) {
                fault(format!("submit said {error:?}"));
            }
            count("refused");
            None
        }
    }
}

fn use_future(number: u64, future: ProcessFuture<Answer>, round: &Round, random: &mut Rng) {
    let short = Duration::from_millis(random.u64(..5));
    match random.u32(..9) {
        0 => drop(future.result().is_ok()),
        1 => drop(future.result_timeout(short).is_ok()),
        2 => drop(future.into_result()),
        3 => drop(future.try_into_result()),
        4 => drop(future.exception()),
        5 => {
            let cancelled = future.cancel();
            let mut fates = round.fates.lock().expect("nothing panics under this lock");
            fates.get_mut(&number).expect("noted").cancelled = cancelled;
        }
        6 => {
            // A pending one is cancelled; it is the running ones that are killed.
            if future.kill() {
                count("kills of a task");
            }
        }
        7 => drop(pollster::block_on(async { future.await })),
        _ => future.detach(),
    }
}

fn harm(pool: &ProcessPoolExecutor, round: &Round, random: &mut Rng) {
    let pids = pool.stats().pids;
    if !round.is_harmed.load(SeqCst) || pids.is_empty() {
        return;
    }
    let pid = pids[random.usize(..pids.len())].cast_signed();
    let is_child = fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains(&format!(" {} ", std::process::id())));
    if !is_child {
        return;
    }
    if random.bool() {
        // SAFETY: `kill` takes no memory.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        count("workers killed");
    } else {
        // SAFETY: `kill` takes no memory.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
        std::thread::sleep(Duration::from_millis(random.u64(..30)));
        // SAFETY: `kill` takes no memory.
        unsafe { libc::kill(pid, libc::SIGCONT) };
        count("workers stopped a while");
    }
}

/// One pool from its making to its end.
pub fn round(mut random: Rng) {
    begin(THREADS, "make a pool");
    let descriptors = open_descriptors();
    let path = std::env::temp_dir().join(format!("stress-{}", std::process::id()));
    fs::write(&path, b"").expect("the tally");
    let mut builder = ProcessPoolExecutor::builder()
        .max_workers(random.usize(1..5))
        .env(TALLY, &path)
        .initializer(keep_quiet, ())
        .record_timing(random.bool());
    if random.bool() {
        builder = builder.queue_capacity(random.usize(1..20));
    }
    if random.u32(..3) == 0 {
        builder = builder.max_tasks_per_child(random.u64(1..20));
    }
    let pool = builder.build().expect("a pool");
    let round = Arc::new(Round {
        fates: Mutex::default(),
        next: AtomicU64::new(1),
        is_harmed: AtomicBool::new(random.bool()),
        may_end_late: AtomicBool::new(false),
    });
    std::thread::scope(|s| {
        for thread in 0..THREADS {
            let (pool, round, mut random) = (&pool, &round, random.fork());
            s.spawn(move || operate(pool, round, &mut random, thread));
        }
    });
    begin(THREADS, "drop the pool");
    drop(pool);
    begin(THREADS, "check");
    wait_for_callbacks(&round);
    check(&round, &fs::read(&path).expect("the tally"));
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

/// Tells a callback that runs after the pool's drop from one that never does.
fn wait_for_callbacks(round: &Round) {
    let missing = || {
        let fates = round.fates.lock().expect("nothing panics under this lock");
        fates
            .values()
            .filter(|fate| fate.outcomes.is_empty())
            .count()
    };
    let late = missing();
    if late > 0 {
        let end = Instant::now() + Duration::from_secs(10);
        while missing() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let lost = missing();
        if lost > 0 || !round.may_end_late.load(SeqCst) {
            fault(format!(
                "{late} tasks not settled when the pool's drop ended; {lost} later"
            ));
        }
    }
}

fn check(round: &Round, tally: &[u8]) {
    let mut starts: HashMap<u64, u32> = HashMap::new();
    for start in tally.chunks(8) {
        let number = u64::from_le_bytes(start.try_into().expect("whole numbers"));
        *starts.entry(number).or_default() += 1;
    }
    let is_harmed = round.is_harmed.load(SeqCst);
    let fates = round.fates.lock().expect("nothing panics under this lock");
    for (number, fate) in fates.iter() {
        let begun = starts.remove(number).unwrap_or(0);
        let (kind, outcomes) = (fate.kind, &fate.outcomes);
        let tell = |text| {
            fault(format!(
                "{text}: {number} {kind:?} {outcomes:?}, {begun} starts"
            ))
        };
        let [outcome] = outcomes[..] else {
            tell("not one callback");
            continue;
        };
        match outcome {
            "ended well" | "panicked" if begun == 0 => tell("an outcome without a run"),
            "cancelled" if begun > 0 => tell("a cancelled task ran"),
            // From outside, a worker may be killed before the task can note its start.
            "worker died" if begun == 0 && !is_harmed => tell("blamed, though it never began"),
            "worker died" if kind.is_harmless() && !is_harmed => tell("an innocent task failed"),
            _ => {}
        }
        if fate.cancelled && outcome != "cancelled" {
            tell("cancel() was true");
        }
        if begun > 1 && !fate.may_repeat {
            tell("run twice");
        }
    }
    if !starts.is_empty() {
        fault(format!("refused tasks ran: {starts:?}"));
    }
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
