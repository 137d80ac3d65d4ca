//! Stack for tasks that run inside waits.
//!
//! A worker that waits for a task runs it on its own stack, and that task may
//! wait for another, and so on: a chain of 1,000 in a debug build would overflow
//! the stack of a thread, and end the program. So before a task is run inside a
//! wait, the thread goes on on another piece of stack if little is left of this
//! one (`stacker`).
//!
//! Tried and left: a limit on the depth, behind which such a wait is refused,
//! makes programs fail that could go on; a new thread for the task has other
//! thread locals than the worker, which the initializer may have set.

/// The stack that a task finds at least when it runs inside a wait.
#[cfg(not(concurrent_futures_loom))]
const LEAST: usize = 1 << 20;

/// The size of another piece. It is memory only where it is used.
#[cfg(not(concurrent_futures_loom))]
const PIECE: usize = 4 << 20;

/// There is no memory for another piece of stack; nothing was run.
#[derive(Debug)]
pub(crate) struct NoStack;

/// Returns `true` if the calling thread has it; yes, if nothing is known of its stack.
#[cfg(not(concurrent_futures_loom))]
pub(super) fn has_enough_stack() -> bool {
    stacker::remaining_stack().is_none_or(|left| left >= LEAST)
}

/// A model's chains are short.
#[cfg(concurrent_futures_loom)]
pub(super) fn has_enough_stack() -> bool {
    true
}

/// Runs `f` with enough stack.
///
/// # Errors
///
/// [`NoStack`]; `f` did not run.
#[cfg(not(concurrent_futures_loom))]
pub(super) fn with_enough_stack(f: impl FnOnce()) -> Result<(), NoStack> {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    if has_enough_stack() {
        f();
        return Ok(());
    }
    let mut has_begun = false;
    // `grow` panics if it gets no memory, and only then.
    let grown = catch_unwind(AssertUnwindSafe(|| {
        stacker::grow(PIECE, || {
            has_begun = true;
            f();
        });
    }));
    match grown {
        Ok(()) => Ok(()),
        Err(_) if !has_begun => Err(NoStack),
        Err(panic) => resume_unwind(panic),
    }
}

/// As above.
#[cfg(concurrent_futures_loom)]
pub(super) fn with_enough_stack(f: impl FnOnce()) -> Result<(), NoStack> {
    f();
    Ok(())
}
