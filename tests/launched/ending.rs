//! The end of a connection: of the command, of the worker, or of the parent. The begun task
//! fails alone, and no process is left.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, ProcessPoolExecutor, ShutdownOptions, TaskOptions};

use crate::by_main::{list, wait_until};
use crate::engines::children;
use crate::fixture::{Gate, double, hold};
use crate::launcher::{pid, pool, script, start_again};
use crate::relaying::{note, notes};
use crate::stopped::has_stopped;

list! {
    the_end_of_a_command_fails_the_begun_task_alone,
    the_end_of_a_command_begins_a_task_with_retries_again,
    a_task_that_outlives_its_command_does_not_run_twice,
    the_end_of_an_idle_command_is_no_failure,
    a_stopped_worker_is_given_up_after_the_silence_limit,
    a_worker_that_is_stopped_for_less_than_the_silence_limit_runs_its_task,
    a_long_task_is_no_silence,
    a_worker_whose_parent_is_stopped_ends,
    a_worker_whose_parent_was_killed_ends,
    a_client_that_does_not_see_the_end_of_its_input_ends_with_its_parent,
    a_stopped_command_is_ended_by_a_shutdown,
    a_command_that_still_connects_is_not_killed_before_it_may_end,
    what_a_task_leaves_behind_does_not_hold_up_the_pool,
}

/// A command such as `bwrap` leaves a process behind if it is killed while it starts one.
fn a_command_that_still_connects_is_not_killed_before_it_may_end() {
    let file = env::temp_dir().join(format!("hung-up-{}", std::process::id()));
    let waits = "echo it starts > \"$0\"; cat > /dev/null; echo it ends by itself >> \"$0\"";
    let words = [
        "sh".into(),
        "-c".into(),
        waits.into(),
        file.clone().into_os_string(),
    ];
    let pool = pool(concurrent_futures::Launcher::command(words));
    let task = pool.submit(double, 1).unwrap();
    let text = || fs::read_to_string(&file).unwrap_or_default();
    wait_until("it starts", || text().ends_with('\n'));
    let hurry = ShutdownOptions::new().cancel_pending(true);
    assert_eq!(pool.shutdown_with(hurry).cancelled, 1);
    assert!(task.cancelled());
    assert_eq!(text(), "it starts\nit ends by itself\n");
    fs::remove_file(&file).expect("it is there");
}

/// A command that is another process than its worker. It writes its pid to a file.
const APART: &str = "echo $$ > \"$0\"; \"$@\"; exit $?";

/// Returns the script [`APART`] with its file.
fn apart(name: &str) -> (concurrent_futures::Launcher, std::path::PathBuf) {
    let file = env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let words = [
        "sh".into(),
        "-c".into(),
        APART.into(),
        file.clone().into_os_string(),
    ];
    (concurrent_futures::Launcher::command(words), file)
}

fn pid_in(file: &Path) -> u32 {
    let text = fs::read_to_string(file).expect("the command has written it");
    let _ = fs::remove_file(file);
    text.trim().parse().expect("it is a pid")
}

pub(crate) fn signal(pid: u32, signal: i32) {
    // SAFETY: the process is one that this test has started and that has not been reaped.
    let failed = unsafe { libc::kill(i32::try_from(pid).expect("it is a pid"), signal) };
    assert_eq!(failed, 0);
}

fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
    wait_until("it stops", || has_stopped(pid));
}

/// Returns `true` if the process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn wait_for_end(pid: u32) {
    wait_until("the process ends", || !is_alive(pid));
}

fn the_end_of_a_command_fails_the_begun_task_alone() {
    let (launcher, file) = apart("begun-alone");
    let pool = pool(launcher);
    let mut gate = Gate::new();
    let begun = pool.submit(hold, (gate.port(), 1)).unwrap();
    let others: Vec<_> = (0..10).map(|n| pool.submit(double, n).unwrap()).collect();
    gate.wait_for(1);
    let worker = pool.stats().pids[0];
    let command = pid_in(&file);
    assert_ne!(worker, command);
    signal(command, libc::SIGKILL);
    let error = begun.exception().unwrap();
    assert!(matches!(error, Error::WorkerDied(_)), "{error}");
    assert!(error.to_string().contains("SIGKILL"), "{error}");
    for (n, other) in (0..).zip(others) {
        assert_eq!(*other.result().unwrap(), 2 * n);
    }
    wait_for_end(worker);
    let _ = fs::remove_file(file);
}

fn the_end_of_a_command_begins_a_task_with_retries_again() {
    let (launcher, file) = apart("begins-again");
    let pool = pool(launcher);
    let mut gate = Gate::new();
    let retried = pool.with(TaskOptions::new().retries(1));
    let task = retried.submit(hold, (gate.port(), 7)).unwrap();
    gate.wait_for(1);
    signal(pid_in(&file), libc::SIGKILL);
    gate.wait_for(1);
    gate.open();
    assert_eq!(*task.result().unwrap(), 7);
    let _ = fs::remove_file(file);
}

/// A worker that is a child of its command has the socket of the pool, and lives on for a
/// moment when the command was killed.
fn a_task_that_outlives_its_command_does_not_run_twice() {
    let (launcher, file) = apart("outlived");
    let pool = pool(launcher);
    let worker = pid(&pool);
    let notes = notes("outlived-notes");
    stop(worker);
    let task = pool.submit(note, notes.clone()).unwrap();
    wait_until("the worker has the call", || pool.stats().idle == 0);
    signal(pid_in(&file), libc::SIGKILL);
    let error = task.exception().map(|error| error.to_string());
    signal(worker, libc::SIGCONT);
    wait_for_end(worker);
    let error = error.expect("the worker may begin it yet");
    let says_so = error.contains("it is not known if the task began");
    assert!(says_so, "{error}");
    let runs = fs::read_to_string(&notes).unwrap_or_default().len();
    assert!(runs <= 1, "it ran {runs} times");
    let _ = (fs::remove_file(file), fs::remove_file(notes));
}

fn the_end_of_an_idle_command_is_no_failure() {
    let (launcher, file) = apart("idle-command");
    let pool = pool(launcher);
    for n in 0..3 {
        assert_eq!(*pool.submit(double, n).unwrap().result().unwrap(), 2 * n);
        let worker = pool.stats().pids[0];
        signal(pid_in(&file), libc::SIGKILL);
        wait_for_end(worker);
    }
    assert_eq!(pool.stats().failed, 0);
    assert_eq!(pool.stats().launchers[0].left_out, None);
}

const SHORT: Duration = Duration::from_secs(1);

fn a_stopped_worker_is_given_up_after_the_silence_limit() {
    let (launcher, file) = apart("stopped-worker");
    let pool = pool(launcher.silence_limit(SHORT));
    let mut gate = Gate::new();
    let begun = pool.submit(hold, (gate.port(), 1)).unwrap();
    gate.wait_for(1);
    let worker = pool.stats().pids[0];
    stop(worker);
    let stopped = Instant::now();
    let error = begun.exception().unwrap();
    // The pings that fill the socket meanwhile are no sign of life.
    assert!(stopped.elapsed() < 20 * SHORT);
    assert!(
        error
            .to_string()
            .contains("nothing has arrived from it for 1s"),
        "{error}"
    );
    // It ends itself when it goes on.
    if is_alive(worker) {
        signal(worker, libc::SIGCONT);
    }
    wait_for_end(worker);
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
    let _ = fs::remove_file(file);
}

fn a_worker_that_is_stopped_for_less_than_the_silence_limit_runs_its_task() {
    let (launcher, file) = apart("stopped-for-less");
    let pool = pool(launcher.silence_limit(Duration::from_secs(30)));
    let worker = pid(&pool);
    stop(worker);
    let task = pool.submit(double, 4).unwrap();
    // Longer than a worker of this machine may take to begin a task.
    let early = task.result_timeout(Duration::from_secs(12)).cloned();
    signal(worker, libc::SIGCONT);
    assert!(matches!(early, Err(Error::Timeout { .. })), "{early:?}");
    assert_eq!(*task.result().unwrap(), 8);
    assert_eq!(pid(&pool), worker);
    let _ = fs::remove_file(file);
}

fn a_long_task_is_no_silence() {
    let pool = pool(script("exec \"$@\"").silence_limit(SHORT));
    let sleeps = |()| thread::sleep(Duration::from_secs(3));
    assert!(pool.submit(sleeps, ()).unwrap().result().is_ok());
    // Neither is a pool without a task.
    thread::sleep(Duration::from_secs(2));
    let first = pid(&pool);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(pid(&pool), first);
}

/// The variable that makes this program a parent, instead of running tests.
const PARENT: &str = "CONCURRENT_FUTURES_TEST_PARENT";

/// Holds a worker busy, and writes the pids of the worker to its output, if this process was
/// started for it.
pub(crate) fn be_a_parent() {
    let Ok(kind) = env::var(PARENT) else {
        return;
    };
    if kind == "of a deaf client" {
        let pool = pool(script("exec sleep 1000").through_shell(true));
        let _waits = pool.submit(double, 1).unwrap();
        wait_until("it starts", || !children(std::process::id()).is_empty());
        println!("{}", children(std::process::id())[0]);
        thread::sleep(Duration::from_secs(1000));
    }
    let launcher = script("\"$@\"; exit $?").silence_limit(SHORT);
    let pool = pool(launcher);
    let sleeps = |()| thread::sleep(Duration::from_secs(1000));
    let task = pool.submit(sleeps, ()).unwrap();
    wait_until("it runs", || task.running());
    println!("{}", pool.stats().pids[0]);
    thread::sleep(Duration::from_secs(1000));
}

/// Starts a parent of this kind, and returns the pid of its worker or its client.
fn parent(kind: &str) -> (std::process::Child, u32) {
    let (parent, line) = start_again([(PARENT, kind)]);
    (parent, line.trim().parse().expect("it is a pid"))
}

fn a_worker_whose_parent_is_stopped_ends() {
    let (mut parent, worker) = parent("of a busy worker");
    signal(parent.id(), libc::SIGSTOP);
    wait_for_end(worker);
    parent.kill().unwrap();
    parent.wait().unwrap();
}

fn a_worker_whose_parent_was_killed_ends() {
    let (mut parent, worker) = parent("of a busy worker");
    let start = Instant::now();
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for_end(worker);
    // Long before the silence limit of a usual pool.
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// A client whose network is down cannot pass the end of its input on.
fn a_client_that_does_not_see_the_end_of_its_input_ends_with_its_parent() {
    let (mut parent, client) = parent("of a deaf client");
    assert!(is_alive(client));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for_end(client);
}

fn a_stopped_command_is_ended_by_a_shutdown() {
    let (launcher, file) = apart("stopped-command");
    let pool = pool(launcher);
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
    stop(pid_in(&file));
    pool.shutdown();
}

fn what_a_task_leaves_behind_does_not_hold_up_the_pool() {
    let pool: ProcessPoolExecutor = pool(script("exec \"$@\""));
    #[expect(clippy::zombie_processes, reason = "the process outlives its worker")]
    let leaves = |()| {
        let sleep = Command::new("sleep").arg("20").spawn().unwrap();
        sleep.id()
    };
    let left = pool.submit(leaves, ()).unwrap().into_result().unwrap();
    let start = Instant::now();
    pool.shutdown();
    assert!(start.elapsed() < Duration::from_secs(15));
    signal(left, libc::SIGKILL);
}
