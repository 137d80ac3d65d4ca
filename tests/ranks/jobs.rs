//! The beginning and the end of a job. These tests start jobs of their own.

use std::env;
use std::process::{Command, Output, exit};

use concurrent_futures::{MpiPoolExecutor, ShutdownOptions};

use crate::by_main::list;
use crate::fixture::double;
use crate::ranks::mpirun;

list! {
    a_job_prints_once_and_its_ranks_end,
    a_job_of_one_rank_is_refused,
    a_panic_of_the_closure_ends_the_job,
    a_task_that_exits_ends_the_job,
    the_end_of_rank_0_ends_the_job,
    a_job_that_needs_no_rank_ends,
    a_pool_that_is_never_dropped_does_not_keep_the_job,
    an_error_of_the_builder_ends_the_job,
    mpi_is_started_once,
    pools_that_the_closure_leaves_behind_run_to_their_end,
    a_fork_of_rank_0_has_no_ranks,
}

/// The variable that names a program of [`be_a_job`].
const JOB: &str = "CONCURRENT_FUTURES_TEST_JOB";

/// Runs a program of the tests below, if this process is a rank of it.
pub(crate) fn be_a_job() {
    let Ok(job) = env::var(JOB) else {
        return;
    };
    if job == "a panic" {
        let panics = MpiPoolExecutor::run(|pool| -> () {
            pool.submit(double, 1).unwrap().result().unwrap();
            panic!("the closure panics")
        });
        drop(panics);
    }
    if job == "bad builder" {
        let error = MpiPoolExecutor::builder()
            .in_flight(0)
            .run(|_| ())
            .unwrap_err();
        println!("{error}");
        exit(0);
    }
    let ran = MpiPoolExecutor::run(|pool| match &*job {
        "sum" => {
            let sum: Result<i64, _> = pool.map(double, 0..100).unwrap().sum();
            println!("{}", sum.unwrap());
        }
        "a task that exits" => {
            let future = pool.submit(|()| -> () { exit(7) }, ()).unwrap();
            println!("{:?}", future.exception());
        }
        "rank 0 exits" => {
            pool.submit(double, 1).unwrap().result().unwrap();
            exit(9);
        }
        "never dropped" => {
            let other = MpiPoolExecutor::builder().max_workers(1).build().unwrap();
            let left = other.submit(double, 21).unwrap();
            Box::leak(Box::new(other));
            println!("{}", left.into_result().unwrap());
        }
        "no wait" => {
            pool.submit(|()| println!("a task has run"), ())
                .unwrap()
                .detach();
            pool.shutdown_with(ShutdownOptions::new().wait(false));
        }
        "left behind" => {
            let slow = |n: i64| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                println!("task {n}");
            };
            for (leaks, first) in [(true, 0), (false, 10)] {
                let other = MpiPoolExecutor::builder().max_workers(1).build().unwrap();
                for n in first..first + 10 {
                    other.submit(slow, n).unwrap().detach();
                }
                if leaks {
                    Box::leak(Box::new(other));
                } else {
                    other.shutdown_with(ShutdownOptions::new().wait(false));
                }
            }
        }
        "fork" => {
            pool.submit(double, 1).unwrap().result().unwrap();
            // SAFETY: the child makes no use of what other threads have locked.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let is_refused = MpiPoolExecutor::builder().build().is_err();
                // SAFETY: it ends the child, and nothing else.
                unsafe { libc::_exit(i32::from(!is_refused)) };
            }
            let mut status = 0;
            // SAFETY: the child is this process's.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            println!("the fork ends with {status}");
            println!("{}", pool.submit(double, 2).unwrap().into_result().unwrap());
        }
        "twice" => match MpiPoolExecutor::run(|_| ()) {
            Err(error) => println!("{error}"),
            Ok(()) => println!("no error"),
        },
        _ => {}
    });
    if let Err(error) = ran {
        println!("{error}");
    }
    println!("rank 0 goes on");
    exit(0);
}

/// Runs a program of [`be_a_job`], and returns its output.
fn job(name: &str, ranks: &str) -> Output {
    let mut command = mpirun(ranks);
    let command = command.arg(env::current_exe().unwrap());
    let mut limited = Command::new("timeout");
    limited
        .arg("60")
        .arg(command.get_program())
        .args(command.get_args());
    let variables = command.get_envs();
    limited.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    limited.env(JOB, name);
    limited.output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(ToOwned::to_owned).collect()
}

fn a_job_prints_once_and_its_ranks_end() {
    let output = job("sum", "3");
    assert_eq!(lines(&output), ["9900", "rank 0 goes on"], "{output:?}");
    assert!(output.status.success());
    let mut lines = lines(&job("no wait", "3"));
    lines.sort();
    assert_eq!(lines, ["a task has run", "rank 0 goes on"]);
}

fn a_job_of_one_rank_is_refused() {
    let lines = lines(&job("sum", "1"));
    assert!(
        lines[0].contains("one rank") && lines[0].contains("mpirun"),
        "{lines:?}"
    );
    assert_eq!(lines[1], "rank 0 goes on");
}

fn a_panic_of_the_closure_ends_the_job() {
    let output = job("a panic", "3");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the closure panics"), "{errors}");
    assert_eq!(lines(&output), [""; 0]);
}

fn a_task_that_exits_ends_the_job() {
    let output = job("a task that exits", "3");
    assert_ne!(output.status.code(), Some(124), "it hangs: {output:?}");
    assert!(!output.status.success());
    assert_eq!(
        lines(&output).iter().find(|line| line.contains("goes on")),
        None
    );
}

fn the_end_of_rank_0_ends_the_job() {
    let output = job("rank 0 exits", "3");
    assert_eq!(output.status.code(), Some(9), "{output:?}");
}

fn a_job_that_needs_no_rank_ends() {
    for ranks in ["2", "5"] {
        let output = job("nothing", ranks);
        assert_eq!(lines(&output), ["rank 0 goes on"], "{output:?}");
        assert!(output.status.success());
    }
}

fn a_pool_that_is_never_dropped_does_not_keep_the_job() {
    assert_eq!(lines(&job("never dropped", "3")), ["42", "rank 0 goes on"]);
}

fn an_error_of_the_builder_ends_the_job() {
    let output = job("bad builder", "3");
    let lines = lines(&output);
    assert!(lines[0].contains("in_flight"), "{output:?}");
    assert!(output.status.success());
}

fn mpi_is_started_once() {
    let lines = lines(&job("twice", "3"));
    assert!(lines[0].contains("only once"), "{lines:?}");
}

fn pools_that_the_closure_leaves_behind_run_to_their_end() {
    for ranks in ["2", "3"] {
        let output = job("left behind", ranks);
        let mut lines = lines(&output);
        lines.sort();
        let mut wanted: Vec<String> = (0..20).map(|n| format!("task {n}")).collect();
        wanted.push("rank 0 goes on".to_owned());
        wanted.sort();
        assert_eq!(lines, wanted, "{output:?}");
    }
}

fn a_fork_of_rank_0_has_no_ranks() {
    let output = job("fork", "2");
    let wanted = ["the fork ends with 0", "4", "rank 0 goes on"];
    assert_eq!(lines(&output), wanted, "{output:?}");
}
