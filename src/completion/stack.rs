//! Stack space for tasks that run inside waits.
//!
//! A worker that waits for a task runs the task on the worker's own stack. That task may
//! wait for another task, and so on. In a debug build a chain of 1,000 such tasks would
//! overflow the thread's stack and end the program. So before a thread runs a task inside a
//! wait, it switches to another stack segment if little of the current stack is left
//! (`stacker`).
//!
//! Two alternatives were rejected. A limit on the depth of such waits would make programs
//! fail that could continue. A new thread for the task would not have the worker's thread
//! locals, which the pool's initializer may have set.

pub(crate) use crate::sys::stack::NoStack;

#[cfg(not(concurrent_futures_loom))]
use crate::sys::stack;

/// The least free stack, in bytes, for a task that a waiting worker runs inline. With less
/// free stack, the task runs on another stack segment.
#[cfg(not(concurrent_futures_loom))]
const LEAST: usize = 1 << 20;

/// Runs `f` with enough stack.
///
/// # Errors
///
/// Returns [`NoStack`] if too little stack is left and no more can be allocated. Then `f`
/// did not run.
#[cfg(not(concurrent_futures_loom))]
pub(super) fn with_enough_stack(f: impl FnOnce()) -> Result<(), NoStack> {
    stack::with_at_least(LEAST, f)
}

/// Calls `f` on the current stack, because the chains of tasks in a loom model are short.
#[cfg(concurrent_futures_loom)]
pub(super) fn with_enough_stack(f: impl FnOnce()) -> Result<(), NoStack> {
    f();
    Ok(())
}
