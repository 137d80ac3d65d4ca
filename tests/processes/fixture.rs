//! The parts that these tests share: a process for each, pools, tasks, and ways to
//! end one.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, ProcessFuture, ProcessPoolExecutor, Transport, WorkerDeath};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::stopped::has_stopped;

pub(crate) use crate::gate::{Gate, LIMIT, hold};

/// Holds the name of the test that a process was started for.
const ALONE: &str = "CONCURRENT_FUTURES_TEST_ALONE";

/// Runs a test in a process of its own, and there sees that it leaves nothing.
pub(crate) fn alone(path: &str, test: impl FnOnce()) {
    let (_, name) = path.split_once("::").unwrap();
    if env::var_os(ALONE).is_some_and(|own| own == name) {
        let before = descriptors();
        test();
        return assert_nothing_is_left(&before);
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let output = scratch_file(&name.replace("::", "-"));
    let file = fs::File::create(&output).unwrap();
    command.stdin(Stdio::null()).env(ALONE, name);
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let mut process = command.spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            process.kill().unwrap();
            process.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let said = fs::read_to_string(&output).unwrap();
    fs::remove_file(&output).unwrap();
    match status {
        Some(status) if status.success() => {
            assert!(said.contains("1 passed"), "it ran: {said}");
        }
        Some(status) => panic!("{status}:\n{said}"),
        None => panic!("it hangs:\n{said}"),
    }
}

/// A path of this process's own below the target folder.
pub(crate) fn scratch_file(name: &str) -> PathBuf {
    let own = format!("{name}-{}", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(own)
}

/// All open descriptors but those of gates, which are the only ones of TCP and
/// stay to let late tasks go.
fn descriptors() -> BTreeSet<String> {
    let of_gates = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let of_gates: BTreeSet<String> = of_gates
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let folder = fs::read_dir("/proc/self/fd").unwrap();
    let own = folder.map(|entry| entry.unwrap());
    own.filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
        .map(|(number, target)| (number, target.display().to_string()))
        // The folder that is being read is one of them.
        .filter(|(_, target)| !target.starts_with("/proc") && !of_gates.contains(target))
        .map(|(number, target)| format!("{number:?} {target}"))
        .collect()
}

fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::All, options), Err(rustix::io::Errno::CHILD))
}

/// A pool whose shutdown did not wait is gone a moment later: waits for that.
fn assert_nothing_is_left(before: &BTreeSet<String>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let after = descriptors();
        let left: Vec<_> = after.difference(before).collect();
        if left.is_empty() && !has_children() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left: {left:?}, children: {}",
            has_children()
        );
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn pool(max_workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_max_workers(max_workers).unwrap()
}

/// A pool whose messages travel through sockets, for tests of what a task does to a socket.
pub(crate) fn pool_by_socket(max_workers: usize) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().max_workers(max_workers);
    builder.transport(Transport::Socket).build().unwrap()
}

/// A pool whose workers share memory with it, for tests of what only such a pool has.
pub(crate) fn pool_by_shared_memory(max_workers: usize) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().max_workers(max_workers);
    builder.transport(Transport::Shared).build().unwrap()
}

/// A task: counts itself in the file, a byte for each run.
pub(crate) fn note(file: String) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(file)
        .unwrap();
    file.write_all(b".").unwrap();
}

/// Waits, not for ever, and lends the value.
pub(crate) fn value<T: 'static>(future: &ProcessFuture<T>) -> &T {
    future.result_timeout(LIMIT).unwrap()
}

/// Waits, not for ever, for the error that there must be.
pub(crate) fn error<T: 'static>(future: &ProcessFuture<T>) -> Error {
    let waited = future.exception_timeout(LIMIT);
    waited.expect("it ends").expect("it has no value")
}

/// The death that the task must have met.
pub(crate) fn death<T: 'static>(future: &ProcessFuture<T>) -> WorkerDeath {
    match error(future) {
        Error::WorkerDied(death) => death,
        other => panic!("no death: {other:?}"),
    }
}

/// A pool is well if it runs a task.
pub(crate) fn assert_goes_on(executor: &ProcessPoolExecutor) {
    assert_eq!(*value(&executor.submit(double, 21).unwrap()), 42);
    assert!(!executor.stats().broken);
}

/// A task.
pub(crate) fn double(n: i64) -> i64 {
    2 * n
}

/// A task: the process that runs it.
pub(crate) fn pid((): ()) -> u32 {
    std::process::id()
}

/// A task that never ends, unless its worker does.
pub(crate) fn linger((): ()) {
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Waits until the task runs.
pub(crate) fn wait_until_running<T: 'static>(future: &ProcessFuture<T>) {
    let deadline = Instant::now() + LIMIT;
    while !future.running() {
        assert!(
            !future.done(),
            "{:?}",
            future.exception_timeout(Duration::ZERO)
        );
        assert!(Instant::now() < deadline, "it does not begin");
        thread::yield_now();
    }
}

/// Sends a signal to a worker of a pool of ours.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The worker of a pool that has one.
pub(crate) fn only_worker(executor: &ProcessPoolExecutor) -> u32 {
    match executor.stats().pids[..] {
        [pid] => pid,
        ref pids => panic!("not one worker: {pids:?}"),
    }
}

/// Returns `true` if there is such a process, dead or alive.
pub(crate) fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

/// Stops a process, and waits until it has stopped.
pub(crate) fn stop(pid: u32) {
    send(pid, Signal::STOP);
    let deadline = Instant::now() + LIMIT;
    while !has_stopped(pid) {
        assert!(Instant::now() < deadline, "it is never stopped");
        std::thread::yield_now();
    }
}
