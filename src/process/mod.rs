//! The process pool, in three folders behind one API.
//!
//! * The face: `executor.rs`, `builder.rs`, `future.rs`, `with.rs`; `settings.rs` holds what
//!   they ask for.
//! * `parent/`: the pool itself, in the user's process.
//! * `worker/`: the other process, which is this very program, started once more.
//! * `wire/`: what crosses between the two, as bytes.
//!
//! `parent/` imports from `worker/` and `wire/`, `worker/` from `wire/` alone.
//! On systems without such a pool `absent.rs` takes the place of all three.

mod builder;
mod executor;
mod future;
mod settings;
mod with;

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod parent;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod wire;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod worker;

#[cfg(not(all(target_os = "linux", not(concurrent_futures_loom))))]
#[path = "absent.rs"]
mod parent;

pub use self::builder::ProcessPoolExecutorBuilder;
pub use self::executor::{ProcessFuture, ProcessPoolExecutor};
pub use self::settings::OnWorkerDeath;

/// Makes this process a worker, if that is what it was started as.
///
/// A process pool starts its own program again for each worker. With the
/// feature `worker-hook`, which is on by default, such a process becomes a
/// worker before its `main`, and no program needs this function. Called first in
/// `main`, it becomes one here instead, and has all that a Rust program has
/// then: what stands before `main` is set up, and a task that overflows its
/// stack says so. Without the feature a program that uses a
/// `ProcessPoolExecutor` has to call it.
///
/// In any other process it returns at once, and workers begin here from then on,
/// if it was called by the thread that runs `main`. It is to be called before anything
/// else: before it reads its input, starts threads, or makes a process pool;
/// after that it changes nothing. A process
/// that was started as a worker and makes a process pool before it gets
/// here is ended with a message, so that it never does the work of `main` twice.
///
/// ```
/// concurrent_futures::init();
/// // What the program is for.
/// ```
///
/// It does nothing on systems without process pools.
pub fn init() {
    #[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
    worker::entry::init();
}
