//! Workers whose parent is ended by force: none outlives it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use crate::fixture::*;

/// Tells the program [`is_a_parent`] what to do.
const ORDER: &str = "CONCURRENT_FUTURES_TEST_ORDER";

/// A program with a pool that has one worker; it says which.
#[test]
fn is_a_parent() {
    let Ok(order) = env::var(ORDER) else {
        return;
    };
    let executor = pool(1);
    let own = *value(&executor.submit(pid, ()).unwrap());
    let task: fn(()) = match &*order {
        "its worker lingers" => linger,
        "its worker closes descriptors" => |()| {
            for number in 3..4096 {
                // SAFETY: the worker's own code is the last one that minds.
                unsafe { libc::close(number) };
            }
            linger(());
        },
        // What the system does at the parent's end, it does not for a process that
        // has changed its user since.
        "its worker changes its user" => |()| {
            // SAFETY: takes a number; refused to all but root.
            unsafe { libc::setuid(65534) };
            linger(());
        },
        _ => |()| (),
    };
    let future = executor.submit(task, ()).unwrap();
    if order.starts_with("its worker") {
        wait_until_running(&future);
    } else {
        value(&future);
    }
    println!("worker {own}");
    if order == "ends without a drop" {
        stop(own);
        executor.shutdown_with(concurrent_futures::ShutdownOptions::new().wait(false));
        executor.terminate_workers();
        std::process::exit(0);
    }
    linger(());
}

/// Runs it, and has its worker, once it is an orphan, be this process's child.
fn outlives_its_parent(order: &str, stops: bool) -> bool {
    // SAFETY: takes numbers.
    let adopts = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(adopts, 0);
    let mut parent = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "orphans::is_a_parent",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ORDER, order)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let mut said = lines.map(|line| line.unwrap());
    let worker = said.find_map(|line| line.split("worker ").nth(1)?.parse::<i32>().ok());
    let worker = Pid::from_raw(worker.unwrap()).unwrap();
    if order != "ends without a drop" {
        if stops {
            stop(worker.as_raw_nonzero().get().unsigned_abs());
        }
        parent.kill().unwrap();
    }
    parent.wait().unwrap();
    let deadline = Instant::now() + LIMIT / 4;
    while Instant::now() < deadline {
        // Another's child before its parent has ended, and ours then.
        match waitpid(Some(worker), WaitOptions::NOHANG) {
            Ok(Some((_, status))) if !status.stopped() => return false,
            Err(rustix::io::Errno::CHILD) => return false,
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
    rustix::process::kill_process(worker, Signal::KILL).unwrap();
    let _ = waitpid(Some(worker), WaitOptions::empty());
    true
}

alone! {
    fn a_worker_ends_with_its_parent_whatever_its_task_does() {
        for order in [
            "lingers",
            "its worker lingers",
            "its worker closes descriptors",
            "its worker changes its user",
        ] {
            assert!(!outlives_its_parent(order, false), "{order}");
        }
    }

    /// It stayed until it was continued.
    fn a_stopped_worker_does_not_outlive_a_killed_parent() {
        for order in ["lingers", "its worker lingers", "its worker closes descriptors"] {
            assert!(!outlives_its_parent(order, true), "{order}");
        }
    }

    /// A signal that asks it to end waits until it goes on.
    fn a_stopped_worker_does_not_outlive_the_end_of_main() {
        assert!(!outlives_its_parent("ends without a drop", true));
    }
}
