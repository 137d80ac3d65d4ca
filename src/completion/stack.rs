//! Stack for tasks that run inside waits.
//!
//! A worker that waits for a task runs it on its own stack, and that task may
//! wait for another, and so on: a chain of 1,000 in a debug build would overflow
//! the stack of a thread, and end the program. So before a task is run inside a
//! wait, the thread goes on on another piece of stack if little is left of this
//! one (`stacker`).
//!
//! Rejected: a limit on the depth, behind which such a wait is refused,
//! makes programs fail that could go on; a new thread for the task has other
//! thread locals than the worker, which the initializer may have set.

pub(crate) use crate::sys::stack::NoStack;

#[cfg(not(concurrent_futures_loom))]
use crate::sys::stack;

/// The least free stack, in bytes, for a task that a waiting worker runs inline; with
/// less, it runs on another stack segment.
#[cfg(not(concurrent_futures_loom))]
const LEAST: usize = 1 << 20;

/// Runs `f` with enough stack.
///
/// # Errors
///
/// [`NoStack`]; `f` did not run.
#[cfg(not(concurrent_futures_loom))]
pub(super) fn with_enough_stack(f: impl FnOnce()) -> Result<(), NoStack> {
    stack::with_at_least(LEAST, f)
}

/// A model's chains are short.
#[cfg(concurrent_futures_loom)]
pub(super) fn with_enough_stack(f: impl FnOnce()) -> Result<(), NoStack> {
    f();
    Ok(())
}
