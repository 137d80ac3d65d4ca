//! The pool of processes.
//!
//! ```text
//! parent, types known        bytes                    worker, types unknown
//! call.rs, codec.rs ──▶ message.rs, frame.rs ──▶ worker.rs ──▶ call.rs ──▶ the function
//!     the value     ◀──                      ◀──           ◀──
//! ```
//!
//! A worker is this very program, started once more. `entry.rs` is where it
//! finds out that it is one, before or at the beginning of `main`.

#![cfg(not(concurrent_futures_loom))]
#![expect(dead_code, reason = "the parent's side is still to come")]

#[cfg(target_os = "linux")]
mod call;
#[cfg(target_os = "linux")]
mod codec;
#[cfg(target_os = "linux")]
mod entry;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod reason;
#[cfg(target_os = "linux")]
mod worker;

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
/// In any other process it returns at once. It is to be called before anything
/// else: before it reads its input, starts threads, or makes a pool. A process
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
    #[cfg(target_os = "linux")]
    entry::init();
}

/// Where there is no such pool, nobody makes panics that happened elsewhere.
#[cfg(not(target_os = "linux"))]
const _: fn(
    String,
    Option<String>,
    Option<String>,
    Option<std::sync::Arc<str>>,
) -> crate::panic::Panic = crate::panic::Panic::elsewhere;
