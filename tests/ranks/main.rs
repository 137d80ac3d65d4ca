//! The contract, and what is special about it, over the ranks of an MPI job.
//!
//! `cargo test --features mpi --test ranks` starts itself by `mpirun`, with three ranks and
//! with five: those that the variable `CONCURRENT_FUTURES_TEST_MPIRUN` names, words separated
//! by spaces, behind which come `-n` and the number of ranks. All tests of a run share one job,
//! and run one after the other. A test that needs more ranks than there are is not run.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

#[path = "../contract/by_main.rs"]
mod by_main;

mod jobs;
mod pools;
mod ranks;

use std::env;
use std::panic::{catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use concurrent_futures::{MpiPoolExecutor, current_worker};
use libtest_mimic::{Arguments, Conclusion, Trial};

use by_main::{NamedTest, fixture, gate, quiet};
use ranks::{Ranks as ContractPool, TooFewRanks};

/// The tests that were not run.
static SKIPPED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// The variable that this binary sets in the ranks that it starts.
const IN_JOB: &str = "CONCURRENT_FUTURES_TEST_IN_JOB";

fn main() -> ExitCode {
    jobs::be_a_job();
    by_main::keep_panics(|| current_worker().is_some());
    let mut arguments = Arguments::from_args();
    if env::var_os(IN_JOB).is_none() {
        let conclusion = libtest_mimic::run(&arguments, trials(jobs::tests()));
        if arguments.list || conclusion.has_failed() {
            return conclude(&conclusion);
        }
        return start_jobs();
    }
    // The tests share the ranks.
    arguments.test_threads = Some(1);
    let ran = MpiPoolExecutor::run(|_| libtest_mimic::run(&arguments, trials(tests_in_a_job())));
    conclude(&ran.expect("`mpirun` has started several ranks"))
}

/// Runs the other tests with three ranks, and with five.
fn start_jobs() -> ExitCode {
    let program = env::current_exe().unwrap();
    for ranks in ["3", "5"] {
        let mut command = ranks::mpirun(ranks);
        command
            .arg(&program)
            .args(env::args_os().skip(1))
            .env(IN_JOB, "1");
        println!("with {ranks} ranks");
        let status = command.status().expect("`mpirun` can be started");
        if !status.success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Prints what a failure needs.
fn conclude(conclusion: &Conclusion) -> ExitCode {
    let skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if !skipped.is_empty() {
        println!("not run with so few ranks: {}", skipped.join(", "));
    }
    if conclusion.has_failed() {
        by_main::print_panics();
    }
    conclusion.exit_code()
}

fn tests_in_a_job() -> Vec<NamedTest> {
    let mut tests = [by_main::tests(), pools::tests()].concat();
    // A task has no ranks of its own; `pools.rs` tests those that it may have.
    tests.retain(|(name, _)| !name.contains("a_task_may_have_an_executor_of_its_own"));
    tests
}

fn trials(tests: Vec<NamedTest>) -> Vec<Trial> {
    let trial = |(name, test): NamedTest| {
        Trial::test(name, move || {
            match catch_unwind(|| fixture::within_the_limit(test)) {
                Err(panic) if panic.is::<TooFewRanks>() => {
                    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
                    skipped.push(name);
                }
                Err(panic) => resume_unwind(panic),
                Ok(()) => {}
            }
            Ok(())
        })
    };
    tests.into_iter().map(trial).collect()
}
