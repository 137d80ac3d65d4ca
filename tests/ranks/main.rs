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

/// Lists the tests of a file that a process pool passes, as functions over
/// [`Ranks`](ranks::Ranks).
macro_rules! contract {
    ($($executors:tt { $($test:ident),+ $(,)? })+) => {
        pub(crate) fn tests() -> Vec<(&'static str, fn())> {
            let mut tests = Vec::new();
            $(
                // The list is one token tree, so its text tells if the pool is in it.
                if stringify!($executors).contains("processes") {
                    $(
                        tests.push((
                            concat!(module_path!(), "::", stringify!($test)),
                            $test::<crate::ranks::Ranks<0>> as fn(),
                        ));
                        tests.push((
                            concat!(module_path!(), "::", stringify!($test), "::ahead"),
                            $test::<crate::ranks::Ranks<8>> as fn(),
                        ));
                    )+
                }
            )+
            tests
        }
    };
}

#[path = "../contract/awaiting.rs"]
mod awaiting;
#[path = "../contract/bombs.rs"]
mod bombs;
#[path = "../contract/callbacks.rs"]
mod callbacks;
#[path = "../contract/composing.rs"]
mod composing;
#[path = "../contract/joining.rs"]
mod joining;
#[path = "../contract/mapping.rs"]
mod mapping;
#[path = "../contract/mapping_automatic.rs"]
mod mapping_automatic;
#[path = "../contract/mapping_in_time.rs"]
mod mapping_in_time;
#[path = "../contract/mapping_unordered.rs"]
mod mapping_unordered;
#[path = "../contract/several.rs"]
mod several;
#[path = "../contract/shutting_down.rs"]
mod shutting_down;
#[path = "../contract/states.rs"]
mod states;
#[path = "../contract/submitting.rs"]
mod submitting;

#[path = "../contract/fixture.rs"]
mod fixture;
#[path = "../gate/mod.rs"]
mod gate;
#[path = "../contract/quiet.rs"]
mod quiet;

mod jobs;
mod pools;
mod ranks;

use std::env;
use std::panic::{catch_unwind, resume_unwind, set_hook, take_hook};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use concurrent_futures::{MpiPoolExecutor, current_worker};
use libtest_mimic::{Arguments, Conclusion, Trial};

use ranks::TooFewRanks;

/// The panics of this process. Many are meant, and the harness captures none, so they are
/// printed only after a failure.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The tests that were not run.
static SKIPPED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// The variable that this binary sets in the ranks that it starts.
const IN_JOB: &str = "CONCURRENT_FUTURES_TEST_IN_JOB";

fn keep_panics() {
    let prints = take_hook();
    set_hook(Box::new(move |panic| {
        if current_worker().is_some() {
            return prints(panic);
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(format!("`{name}` {panic}"));
    }));
}

fn main() -> ExitCode {
    jobs::be_a_job();
    keep_panics();
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
        let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!(
            "the panics of this process, meant or not:\n{}",
            panics.join("\n")
        );
    }
    conclusion.exit_code()
}

fn tests_in_a_job() -> Vec<(&'static str, fn())> {
    let tests = [
        awaiting::tests(),
        bombs::tests(),
        callbacks::tests(),
        composing::tests(),
        joining::tests(),
        mapping::tests(),
        mapping_automatic::tests(),
        mapping_in_time::tests(),
        mapping_unordered::tests(),
        several::tests(),
        shutting_down::tests(),
        states::tests(),
        submitting::tests(),
        pools::tests(),
    ];
    let mut tests = tests.concat();
    // A task has no ranks of its own; `pools.rs` tests those that it may have.
    tests.retain(|(name, _)| !name.contains("a_task_may_have_an_executor_of_its_own"));
    tests
}

fn trials(tests: Vec<(&'static str, fn())>) -> Vec<Trial> {
    let trial = |(name, test): (&'static str, fn())| {
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
