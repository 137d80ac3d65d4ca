//! The pool of processes.
//!
//! ```text
//! parent, types known        bytes                    worker, types unknown
//! call.rs, codec.rs ──▶ message.rs, frame.rs ──▶ worker.rs ──▶ call.rs ──▶ the function
//!     the value     ◀──                      ◀──           ◀──
//! ```

#![cfg(not(concurrent_futures_loom))]
#![expect(dead_code, reason = "the parent's side is still to come")]

#[cfg(target_os = "linux")]
mod call;
#[cfg(target_os = "linux")]
mod codec;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod reason;

/// Where there is no such pool, nobody makes panics that happened elsewhere.
#[cfg(not(target_os = "linux"))]
const _: fn(
    String,
    Option<String>,
    Option<String>,
    Option<std::sync::Arc<str>>,
) -> crate::panic::Panic = crate::panic::Panic::elsewhere;
