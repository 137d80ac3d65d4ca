//! Signals to the whole process group, workers included.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use concurrent_futures::ProcessPoolExecutor;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::fixture::*;

/// Tells the program [`is_a_group`] that it is one.
const GROUP: &str = "CONCURRENT_FUTURES_TEST_GROUP";

/// Sends a signal to a group that holds this process and its workers, and gives what
/// comes of a task that runs meanwhile.
fn answer_after_a_signal_to_the_group(
    signal: i32,
    action: libc::sighandler_t,
) -> Result<i64, String> {
    // SAFETY: takes numbers; the test is alone in its process.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
    // SAFETY: ignores it, or runs a function that does nothing.
    unsafe { libc::signal(signal, action) };
    let executor: ProcessPoolExecutor = pool(1);
    let mut gate = Gate::new();
    let held = executor.submit(hold, (gate.port(), 1)).unwrap();
    gate.wait_for(1);
    // SAFETY: takes numbers; the group is this process and its worker.
    assert_eq!(unsafe { libc::kill(0, signal) }, 0);
    let dies = action != libc::SIG_IGN && signal != libc::SIGINT;
    let answer = if dies {
        Err(death(&held).signal().unwrap().to_owned())
    } else {
        gate.open();
        Ok(*value(&held))
    };
    assert_goes_on(&executor);
    answer
}

/// A program with a pool whose worker has a task, and no thought of signals.
#[test]
fn is_a_group() {
    if env::var_os(GROUP).is_none() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // A shell that runs these tests in the background lets them ignore SIGINT.
        // SAFETY: a disposition without a function.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let executor = pool(1);
    wait_until_running(&executor.submit(linger, ()).unwrap());
    println!("worker {}", only_worker(&executor));
    linger(());
}

/// Starts that program in a group of its own, sends the signal to the group, and sees
/// that program and worker end.
fn all_end_by_a_signal_to_the_group(signal: Signal) {
    let mut program = Command::new(env::current_exe().unwrap())
        .args(["--exact", "signals::is_a_group", "--nocapture"])
        .env(GROUP, "1")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("worker ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended early");
    }
    kill_process_group(Pid::from_child(&program), signal).unwrap();
    // The worker has the other end too: it is closed when both are gone.
    let (sender, gone) = mpsc::channel();
    let reads = thread::spawn(move || {
        said.read_to_string(&mut line).unwrap();
        sender.send(()).unwrap();
    });
    let ended = gone.recv_timeout(LIMIT / 4);
    if ended.is_err() {
        kill_process_group(Pid::from_child(&program), Signal::KILL).unwrap();
    }
    let status = program.wait().unwrap();
    reads.join().unwrap();
    assert_eq!(ended, Ok(()), "something of it goes on");
    assert_eq!(status.signal(), Some(signal.as_raw()));
}

fn block_all_signals() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the function only writes to the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was written; null says that the old one is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
}

fn handler() -> libc::sighandler_t {
    extern "C" fn nothing(_signal: i32) {}
    nothing as extern "C" fn(i32) as libc::sighandler_t
}

alone! {
    /// As Ctrl-C sends it.
    fn sigint_to_the_whole_group_does_nothing_to_workers() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGINT, handler());
        assert_eq!(answer, Ok(1));
    }

    /// A worker has nothing that `main` set up: the handler is not there.
    fn sigterm_to_the_whole_group_ends_workers_though_the_program_handles_it() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGTERM, handler());
        assert_eq!(answer, Err("SIGTERM".to_owned()));
    }

    fn sighup_to_the_whole_group_ends_workers_though_the_program_handles_it() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGHUP, handler());
        assert_eq!(answer, Err("SIGHUP".to_owned()));
    }

    fn sigterm_that_the_program_ignores_is_ignored_by_workers() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGTERM, libc::SIG_IGN);
        assert_eq!(answer, Ok(1));
    }

    /// As a program does that reads its signals from a descriptor: its workers do not.
    fn sigterm_that_the_program_blocks_ends_workers() {
        block_all_signals();
        let executor = pool(1);
        let held = executor.submit(linger, ()).unwrap();
        wait_until_running(&held);
        // This one does nothing to workers.
        send(only_worker(&executor), Signal::INT);
        send(only_worker(&executor), Signal::TERM);
        assert_eq!(death(&held).signal(), Some("SIGTERM"));
        assert_goes_on(&executor);
    }

    /// The workers start with blocked signals, and find some that wait for them.
    fn sigint_while_workers_start_does_nothing_to_them() {
        // SAFETY: takes numbers; the test is alone in its process.
        assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
        // SAFETY: runs a function that does nothing.
        unsafe { libc::signal(libc::SIGINT, handler()) };
        block_all_signals();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    // SAFETY: takes numbers; the group is this process and its workers.
                    assert_eq!(unsafe { libc::kill(0, libc::SIGINT) }, 0);
                    thread::sleep(Duration::from_micros(100));
                }
            });
            let codes = catch_unwind(|| {
                let executor = pool(2);
                let exit = |code| -> () { std::process::exit(code) };
                let tasks = [1, 2, 3, 4, 5, 6].map(|code| executor.submit(exit, code).unwrap());
                tasks.map(|task| death(&task).exit_code())
            });
            ended.store(true, Relaxed);
            assert_eq!(codes.unwrap(), [1, 2, 3, 4, 5, 6].map(Some));
        });
    }

    /// It ignores what its parent did when it started.
    fn sigterm_that_the_program_ignores_later_ends_workers() {
        let executor = pool(1);
        let held = executor.submit(linger, ()).unwrap();
        wait_until_running(&held);
        // SAFETY: takes numbers; the test is alone in its process.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        send(only_worker(&executor), Signal::TERM);
        assert_eq!(death(&held).signal(), Some("SIGTERM"));
        assert_goes_on(&executor);
    }

    /// As Ctrl-C does to most programs: it does nothing to the worker, which ends with
    /// its parent.
    fn sigint_to_the_group_of_a_program_that_does_not_handle_it_ends_all() {
        all_end_by_a_signal_to_the_group(Signal::INT);
    }

    fn sigterm_to_the_group_of_a_program_that_does_not_handle_it_ends_all() {
        all_end_by_a_signal_to_the_group(Signal::TERM);
    }
}
