//! The process pool, in four folders behind one API.
//!
//! * The API: `executor.rs`, `builder.rs`, `launcher.rs`, `future.rs`, `with.rs`, and
//!   `mpi/`, a process pool whose workers are the ranks of an MPI job. `settings.rs` holds
//!   the settings of tasks and pools. `submitter.rs` holds the code by which `executor.rs`,
//!   `with.rs` and `mpi/` submit calls.
//! * `parent/`: the pool itself, in the user's process.
//! * `worker/`: the worker process, which runs the same program as the parent.
//! * `wire/`: the data that the parent and a worker exchange, as bytes.
//! * `transport/`: the ways in which these bytes travel.
//!
//! `parent/` imports from `worker/`, `wire/` and `transport/`, and `worker/` imports from
//! `wire/` and `transport/`. On systems without process pools, `absent.rs` replaces these
//! four folders.

mod builder;
mod executor;
mod future;
mod launcher;
#[cfg(all(feature = "mpi", target_os = "linux", not(concurrent_futures_loom)))]
mod mpi;
mod settings;
mod submitter;
mod with;

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod parent;
#[cfg(any(target_os = "linux", concurrent_futures_loom))]
mod transport;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod wire;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod worker;

// `fuzz` holds the entry points of the fuzzer, the *drivers*. `fuzz_input` is the input of
// the drivers. Some unit tests run drivers too.
#[cfg(concurrent_futures_fuzz)]
pub mod fuzz;
#[cfg(all(
    any(test, concurrent_futures_fuzz),
    target_os = "linux",
    not(concurrent_futures_loom)
))]
mod fuzz_input;

#[cfg(not(all(target_os = "linux", not(concurrent_futures_loom))))]
#[path = "absent.rs"]
mod parent;

pub use self::builder::ProcessPoolExecutorBuilder;
pub use self::executor::{ProcessFuture, ProcessPoolExecutor};
pub use self::launcher::Launcher;
#[cfg(all(feature = "mpi", target_os = "linux", not(concurrent_futures_loom)))]
pub use self::mpi::{MpiFuture, MpiPoolExecutor, MpiPoolExecutorBuilder};
pub use self::settings::{OnWorkerDeath, Transport};

/// Makes this process a worker if a process pool has started it as a worker.
///
/// A process pool starts its own program again for each worker. With the feature
/// `worker-hook`, which is on by default, the new process becomes a worker before its
/// `main`, and most programs do not need this function. If `main` calls `init` first, the
/// process becomes a worker in `init` instead. A worker that begins in `init` has run all
/// code that runs before `main`, and prints a message if a task overflows its stack. A
/// worker that begins before `main` prints no such message, and may not have run all of the
/// code that runs before `main`. Without the feature, a program that uses a
/// `ProcessPoolExecutor` has to call `init`. A program whose workers are started by a
/// [`Launcher`] has to call `init` too.
///
/// In a process that was not started as a worker, `init` returns at once. After the main
/// thread has called `init`, the processes that this process starts as workers become
/// workers in `init` too. Call `init` before anything else in `main`: before the program
/// reads its input, starts threads, or makes a process pool. A call of `init` after the
/// first process pool was made changes nothing. If a process that was started as a worker
/// makes a process pool before the call of `init`, the process ends with a message:
/// otherwise it would run `main` like the program that has started it.
///
/// ```
/// concurrent_futures::init();
/// // What the program is for.
/// ```
///
/// `init` does nothing on systems without process pools.
pub fn init() {
    #[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
    worker::entry::init();
}
