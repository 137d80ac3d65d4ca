//! The end of a part of a real engine: of its client, of a worker on its node, of a job, or
//! of the parent. The begun task alone fails, nothing hangs, and no process is left. These
//! tests run by `ci/cluster`.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Error, Launcher, ProcessFuture, ProcessPoolExecutor, WorkerDeath, current_worker,
};

use crate::by_main::{NamedTest, named, wait_until};
use crate::ending::{is_alive, signal};
use crate::fixture::{Gate, LIMIT, hold};
use crate::launcher::{LAUNCHER, command, pool, start_again, words};

/// Returns the tests for the engine of `ci/cluster` that runs, if one does.
pub(crate) fn tests() -> Vec<NamedTest> {
    let Some(engine) = engine() else {
        return Vec::new();
    };
    let mut tests = named![
        the_end_of_a_client_fails_the_begun_task_alone,
        the_end_of_a_worker_on_its_node_fails_the_begun_task_alone,
        nothing_is_left_of_a_parent_that_was_killed,
    ];
    if engine == "srun" {
        tests.extend(named![
            the_end_of_a_step_fails_the_begun_task_alone,
            the_end_of_a_job_fails_the_begun_task_alone,
        ]);
    }
    tests
}

/// Returns the name of the engine of `ci/cluster`, if one runs.
pub(crate) fn engine() -> Option<String> {
    env::var("CONCURRENT_FUTURES_TEST_ENGINE").ok()
}

/// No process may be left after this time.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// The variable that tells the commands of one pool from those of another.
const MARK: &str = "CONCURRENT_FUTURES_TEST_MARK";

/// Returns a launcher whose commands have a mark, and the mark.
pub(crate) fn marked() -> (Launcher, String) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{MARK}={}-{number}", std::process::id());
    (command(&format!("env {mark} {}", words())), mark)
}

/// Returns the ids of the processes whose parent has this id.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| {
        // A process may have ended meanwhile.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(&*parent)
    };
    ids.filter(is_child).collect()
}

/// Returns a process, all that it started, and what these started.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut asked = 0;
    while asked < family.len() {
        family.extend(children(family[asked]));
        asked += 1;
    }
    family
}

/// Returns the variables with which a process began, each as `NAME=VALUE`.
pub(crate) fn variables(pid: u32) -> Vec<String> {
    let all = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let all = all.split(|byte| *byte == 0);
    all.map(|one| String::from_utf8_lossy(one).into_owned())
        .collect()
}

/// Waits until a condition holds, and fails if it does not at the deadline.
fn wait_until_by(deadline: Instant, what: &str, is_so: impl Fn() -> bool) {
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until none of the processes is left, and fails if one is at the deadline.
pub(crate) fn wait_for_ends(deadline: Instant, pids: &[u32]) {
    let left = || -> Vec<String> {
        let left = pids.iter().filter(|pid| is_alive(**pid));
        let line = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
        left.map(|pid| {
            format!(
                "{pid}: {}",
                line(pid).unwrap_or_default().replace('\0', " ")
            )
        })
        .collect()
    };
    while !left().is_empty() {
        assert!(Instant::now() < deadline, "left: {:#?}", left());
        thread::sleep(Duration::from_millis(5));
    }
}

/// The number of workers of a [`Busy`] pool.
const WORKERS: usize = 3;

/// A pool each of whose workers has begun a task.
struct Busy {
    // Dropped before the pool, which waits for the tasks.
    gate: Gate,
    pool: ProcessPoolExecutor,
    tasks: Vec<ProcessFuture<i64>>,
    /// The commands, each with all that it has started on this machine.
    families: Vec<Vec<u32>>,
    /// The workers that this machine sees under the ids that they have themselves: of all
    /// engines but `bwrap`, whose workers are in the families.
    workers: Vec<u32>,
}

impl Busy {
    fn new() -> Self {
        let (launcher, mark) = marked();
        let pool = pool(launcher.workers(WORKERS));
        let mut gate = Gate::new();
        let hold = |n| pool.submit(hold, (gate.port(), n)).unwrap();
        let tasks: Vec<_> = (0..).take(WORKERS).map(hold).collect();
        gate.wait_for(WORKERS);
        wait_until("they run", || pool.stats().running == WORKERS);
        let mut commands = children(std::process::id());
        commands.retain(|pid| variables(*pid).contains(&mark));
        let families: Vec<_> = commands.into_iter().map(family).collect();
        assert_eq!(families.len(), WORKERS, "{families:?}");
        let is_sandbox = engine().as_deref() == Some("bwrap");
        let mut workers = pool.stats().pids;
        workers.retain(|_| !is_sandbox);
        Self {
            gate,
            pool,
            tasks,
            families,
            workers,
        }
    }

    /// Returns the id by which this machine knows a worker.
    fn worker(&self) -> u32 {
        let own = env::current_exe().unwrap();
        let is_worker = |pid: &&u32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == own)
        };
        let seen = self.families.iter().flatten();
        let worker = self.workers.iter().chain(seen).find(is_worker);
        *worker.expect("this machine sees the workers")
    }

    /// Checks that the end of one worker, at the time `begin`, has failed its task alone,
    /// that nothing of it is left soon, and that a new worker runs the next task.
    fn goes_on(self, begin: Instant) {
        let number_done = || self.tasks.iter().filter(|task| task.done()).count();
        wait_until("a task fails", || number_done() > 0);
        let death = self.tasks.iter().find_map(death_of);
        let death = death.expect("the task that is done has failed by its worker's death");
        if !self.workers.is_empty() {
            assert!(self.workers.contains(&death.pid()), "{death}");
            wait_for_ends(begin + SOON, &[death.pid()]);
        }
        let number_alive = || {
            let is_left = |family: &&Vec<u32>| family.iter().any(|pid| is_alive(*pid));
            self.families.iter().filter(is_left).count()
        };
        wait_until_by(begin + SOON, "its command ends", || {
            number_alive() < WORKERS
        });
        assert_eq!(number_alive(), WORKERS - 1);
        assert!(death.ran_for().is_some(), "{death}");

        let number = |()| current_worker().unwrap().number();
        let next = self.pool.submit(number, ()).unwrap();
        assert_eq!(next.result_timeout(LIMIT).unwrap(), &WORKERS);
        assert_eq!(number_done(), 1);
        self.gate.open();
        for (n, task) in (0..).zip(&self.tasks) {
            match death_of(task) {
                Some(of_task) => assert_eq!(of_task, death),
                None => assert_eq!(task.result_timeout(LIMIT).unwrap(), &n),
            }
        }
        let stats = self.pool.stats();
        assert_eq!((stats.failed, stats.replaced), (1, 1), "{stats:?}");
    }
}

/// Returns the death by which a task has failed, if it has so far.
fn death_of<T>(task: &ProcessFuture<T>) -> Option<WorkerDeath> {
    match task.exception_timeout(Duration::ZERO) {
        Ok(Some(Error::WorkerDied(death))) => Some(death),
        _ => None,
    }
}

fn the_end_of_a_client_fails_the_begun_task_alone() {
    let busy = Busy::new();
    let begin = Instant::now();
    signal(busy.families[0][0], libc::SIGKILL);
    busy.goes_on(begin);
}

fn the_end_of_a_worker_on_its_node_fails_the_begun_task_alone() {
    let busy = Busy::new();
    let worker = busy.worker();
    let begin = Instant::now();
    signal(worker, libc::SIGKILL);
    busy.goes_on(begin);
}

/// Runs `scancel` where the launcher runs `srun`. The function makes its words of the id of
/// a worker's job.
fn scancel(busy: &Busy, words_for: fn(&str) -> String) {
    let variables = variables(busy.worker());
    let id = |variable: &String| Some(variable.strip_prefix("SLURM_JOB_ID=")?.to_owned());
    let id = variables.iter().find_map(id).expect("it is part of a job");
    let launcher = words();
    let (before, _) = launcher.split_once(" srun ").expect("it starts jobs");
    run(&format!("{before} scancel {}", words_for(&id)));
}

/// Runs a command with these words, which are separated by spaces.
pub(crate) fn run(words: &str) {
    let mut words = words.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.unwrap().success());
}

fn the_end_of_a_step_fails_the_begun_task_alone() {
    let busy = Busy::new();
    scancel(&busy, |job| format!("--signal=KILL {job}.0"));
    busy.goes_on(Instant::now());
}

fn the_end_of_a_job_fails_the_begun_task_alone() {
    let busy = Busy::new();
    scancel(&busy, str::to_owned);
    busy.goes_on(Instant::now());
}

/// The variable that makes this program a parent, instead of running tests. Its value is
/// the silence limit in seconds.
const PARENT: &str = "CONCURRENT_FUTURES_TEST_PARENT_OF";

pub(crate) fn sleep_long((): ()) {
    thread::sleep(Duration::from_secs(1000));
}

/// Holds two workers busy, and writes their pids to its output, if this process was started
/// for it.
pub(crate) fn be_a_parent() {
    let Ok(limit) = env::var(PARENT) else {
        return;
    };
    let limit = Duration::from_secs(limit.parse().expect("it is a number"));
    let (launcher, _) = marked();
    let pool = pool(launcher.workers(2).silence_limit(limit));
    let _tasks = [(); 2].map(|()| pool.submit(sleep_long, ()).unwrap());
    wait_until("they run", || pool.stats().running == 2);
    let pids = pool.stats().pids;
    println!("{} {}", pids[0], pids[1]);
    sleep_long(());
}

/// A parent with two busy workers, and the processes that it has here and elsewhere.
pub(crate) struct Parent {
    process: std::process::Child,
    pub(crate) offspring: Vec<u32>,
}

impl Parent {
    /// Starts a parent whose launcher has these words and this silence limit.
    pub(crate) fn new(words: &str, limit: Duration) -> Self {
        let limit = limit.as_secs().to_string();
        let (process, line) = start_again([(PARENT, &limit), (LAUNCHER, words)]);
        let workers = line.split_whitespace().map(|pid| pid.parse().unwrap());
        let workers: Vec<u32> = workers.collect();
        assert_eq!(workers.len(), 2, "{line}");
        let commands = children(process.id());
        assert_eq!(commands.len(), 2, "{commands:?}");
        let mut offspring: Vec<u32> = commands.into_iter().flat_map(family).collect();
        if engine().as_deref() != Some("bwrap") {
            offspring.extend(workers);
        }
        assert!(offspring.iter().all(|pid| is_alive(*pid)), "{offspring:?}");
        Self { process, offspring }
    }

    /// Kills the parent.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn nothing_is_left_of_a_parent_that_was_killed() {
    // Not the limit ends them.
    let mut parent = Parent::new(&words(), LIMIT);
    let begin = Instant::now();
    parent.kill();
    wait_for_ends(begin + SOON, &parent.offspring);
}
