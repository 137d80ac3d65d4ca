//! The pools of these tests, and the command that starts a job.

use std::env;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use concurrent_futures::{Executor, MpiPoolExecutor, MpiPoolExecutorBuilder, TaskOptions};

use crate::by_main::wait_until;
use crate::fixture::{Fixture, initialized, note_start, refuse_to_start};

/// The panic of a test that needs more ranks.
pub(crate) struct TooFewRanks;

/// Returns the command that starts a job, up to the program.
pub(crate) fn mpirun(ranks: &str) -> Command {
    let words = env::var("CONCURRENT_FUTURES_TEST_MPIRUN");
    let words = words.unwrap_or_else(|_| "mpirun --oversubscribe --bind-to none".to_owned());
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["-n", ranks]);
    // Open MPI asks twice if root means it. Others do not know these variables.
    let by_root = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"];
    command.envs(by_root.map(|variable| (variable, "1")));
    command
}

/// Returns a builder of a pool with so many workers.
pub(crate) fn builder(workers: usize) -> MpiPoolExecutorBuilder {
    let all = MpiPoolExecutor::builder().build().unwrap().max_workers();
    if workers > all {
        resume_unwind(Box::new(TooFewRanks));
    }
    MpiPoolExecutor::builder().max_workers(workers)
}

/// The pool that runs the contract. Each worker has `IN_FLIGHT` tasks at once, or as many as
/// the pool chooses if that is 0.
pub(crate) struct Ranks<const IN_FLIGHT: usize>;

impl<const IN_FLIGHT: usize> Ranks<IN_FLIGHT> {
    fn builder(workers: usize) -> MpiPoolExecutorBuilder {
        let builder = builder(workers);
        match IN_FLIGHT {
            0 => builder,
            in_flight => builder.in_flight(in_flight),
        }
    }
}

impl<const IN_FLIGHT: usize> Fixture for Ranks<IN_FLIGHT> {
    type Executor = MpiPoolExecutor;

    /// The ranks share the cores with each other.
    const SLOWNESS: u32 = 4;

    fn executor(max_workers: usize) -> MpiPoolExecutor {
        Self::builder(max_workers).build().unwrap()
    }

    fn hear(executor: &MpiPoolExecutor, running: usize) {
        wait_until("they run", || executor.stats().running == running);
    }

    fn with(executor: &MpiPoolExecutor, options: TaskOptions) -> impl Executor {
        executor.with(options)
    }

    fn failing_to_initialize(text: &'static str) -> MpiPoolExecutor {
        let builder = Self::builder(2);
        let builder = builder.initializer(|text: String| refuse_to_start(&text), text.to_owned());
        builder.build().unwrap()
    }

    fn initializing() -> MpiPoolExecutor {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        let pool = 1 + POOLS.fetch_add(1, Ordering::Relaxed);
        Self::builder(3)
            .initializer(note_start_in, pool)
            .build()
            .unwrap()
    }
}

/// Notes the start of a worker, without those of the earlier pools in this rank.
fn note_start_in(pool: u32) {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let is_again = LAST.swap(pool, Ordering::Relaxed) == pool;
    let noted = if is_again { 0 } else { initialized(()) };
    note_start(7 - noted);
}
