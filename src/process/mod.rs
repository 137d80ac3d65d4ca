//! The pool of processes.
//!
//! ```text
//! executor.rs ──▶ encode.rs ──▶ pool.rs ──▶ worker_handle.rs ═══════▶ worker.rs ──▶ the function
//!  the face       values to   counts,     frames to and    in the other
//!  builder.rs,    bytes       queues,     from one worker  process
//!  with.rs                    judges        ║
//!                               ▲           ║
//!                 supervisor.rs ┘◀══════════╝
//!                 the one thread: hears, starts (launcher.rs), sees deaths
//!                               │
//!                 collector.rs ◀┘ the other thread: bytes to values (task.rs),
//!                                 the completion core, callbacks
//! ```
//!
//! What crosses over is in `call.rs` (which function), `codec.rs` (its values),
//! `message.rs` and `frame.rs` (what is said, and how it is written). A worker is
//! this very program, started once more; `entry.rs` is where it finds out that
//! it is one, before or at the beginning of `main`.
//!
//! Where there is no such pool, `absent.rs` takes the place of all that lies
//! behind the face.

mod builder;
mod executor;
mod settings;
mod with;

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod call;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod codec;
// Not inside it: `benches/values.rs` takes the encoding without its tests.
#[cfg(test)]
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod codec_tests;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod collector;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod encode;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod ending;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod entry;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod exit_code;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod frame;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod launcher;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod message;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod pool;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod pool_state;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod program;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod progress;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod spin;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod supervisor;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod task;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod worker;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod worker_events;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod worker_handle;

#[cfg(not(all(target_os = "linux", not(concurrent_futures_loom))))]
#[path = "absent.rs"]
mod pool;

pub use self::builder::ProcessPoolExecutorBuilder;
pub use self::executor::{ProcessFuture, ProcessPoolExecutor};
pub use self::settings::OnWorkerDeath;

/// Makes this process a worker, if that is what it was started as.
///
/// A pool of processes starts its own program again for each worker. With the
/// feature `worker-hook`, which is on by default, such a process becomes a
/// worker before its `main`, and nobody needs this function. Called first in
/// `main`, it becomes one here instead, and has all that a Rust program has
/// then: what stands before `main` is set up, and a task that overflows its
/// stack says so. Without the feature a program that uses a
/// `ProcessPoolExecutor` has to call it.
///
/// In any other process it returns at once, and workers begin here from then on,
/// if it was called by the thread that runs `main`. It is to be called before anything
/// else: before it reads its input, starts threads, or makes a pool of processes;
/// after that it changes nothing. A process
/// that was started as a worker and makes a pool of processes before it gets
/// here is ended with a message, so that it never does the work of `main` twice.
///
/// ```
/// concurrent_futures::init();
/// // What the program is for.
/// ```
///
/// Where there is no pool of processes it does nothing.
pub fn init() {
    #[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
    entry::init();
}
