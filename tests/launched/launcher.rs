//! The command that starts the workers of these tests, and pools of such workers.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use concurrent_futures::{
    Executor, Launcher, ProcessPoolExecutor, ProcessPoolExecutorBuilder, TaskOptions,
};

use crate::by_main::wait_until;
use crate::fixture::{Fixture, note_start, refuse_to_start};

/// The variable with the words of the command.
pub(crate) const LAUNCHER: &str = "CONCURRENT_FUTURES_TEST_LAUNCHER";

/// Returns `true` if the tests run with the usual command.
pub(crate) fn is_usual() -> bool {
    env::var_os(LAUNCHER).is_none()
}

/// Returns the words of the command, separated by spaces.
pub(crate) fn words() -> String {
    env::var(LAUNCHER).unwrap_or_else(|_| "nice".to_owned())
}

/// Returns the launcher that the tests run with.
pub(crate) fn launcher() -> Launcher {
    command(&words())
}

/// Returns a launcher with these words, which are separated by spaces. A busy machine may
/// start many workers at once.
pub(crate) fn command(words: &str) -> Launcher {
    let launcher = Launcher::command(words.split(' ')).start_limit(Duration::from_secs(100));
    // A network of the tests has words in front of `ssh`.
    let has_shell = words.split(' ').any(|word| word == "ssh");
    if has_shell {
        return launcher.through_shell(true);
    }
    launcher
}

/// Returns a launcher that runs a script of the shell, which finds the words that start the
/// program in `"$@"`.
pub(crate) fn script(script: &str) -> Launcher {
    Launcher::command(["sh", "-c", script, "sh"])
}

/// Returns a pool of one worker.
pub(crate) fn pool(launcher: Launcher) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().launcher(launcher);
    builder.build().expect("`main` has called `init`")
}

/// Starts this binary once more, with these variables. Returns the process, and the first line
/// that it prints.
pub(crate) fn start_again<const N: usize>(variables: [(&str, &str); N]) -> (Child, String) {
    let mut process = Command::new(env::current_exe().unwrap())
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = process.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    (process, line)
}

/// Returns the pid of a worker of the pool.
pub(crate) fn pid(pool: &ProcessPoolExecutor) -> u32 {
    let pid = pool.submit(|()| std::process::id(), ()).unwrap();
    pid.into_result().unwrap()
}

/// The pool that runs the contract. Each worker has `IN_FLIGHT` tasks at once, or as many as
/// the pool chooses if that is 0.
pub(crate) struct Launched<const IN_FLIGHT: usize>;

impl<const IN_FLIGHT: usize> Launched<IN_FLIGHT> {
    fn builder(max_workers: usize) -> ProcessPoolExecutorBuilder {
        let mut launcher = launcher().workers(max_workers);
        if IN_FLIGHT > 0 {
            launcher = launcher.in_flight(IN_FLIGHT);
        }
        ProcessPoolExecutor::builder()
            .launcher(launcher)
            // The pools of tasks have workers where the task is.
            .env(LAUNCHER, "nice")
    }
}

impl<const IN_FLIGHT: usize> Fixture for Launched<IN_FLIGHT> {
    type Executor = ProcessPoolExecutor;

    /// A worker may need a second to start.
    const SLOWNESS: u32 = 20;

    fn executor(max_workers: usize) -> ProcessPoolExecutor {
        let pool = Self::builder(max_workers).build();
        pool.expect("`main` has called `init`")
    }

    fn hear(executor: &ProcessPoolExecutor, running: usize) {
        wait_until("they run", || executor.stats().running == running);
    }

    fn with(executor: &ProcessPoolExecutor, options: TaskOptions) -> impl Executor {
        executor.with(options)
    }

    fn failing_to_initialize(text: &'static str) -> ProcessPoolExecutor {
        let builder =
            Self::builder(2).initializer(|text: String| refuse_to_start(&text), text.to_owned());
        builder.build().expect("`main` has called `init`")
    }

    fn initializing() -> ProcessPoolExecutor {
        let builder = Self::builder(3).initializer(note_start, 7);
        builder.build().expect("`main` has called `init`")
    }
}
