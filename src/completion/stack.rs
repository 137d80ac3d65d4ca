//! Stack space for tasks that run inside waits.
//!
//! A worker of a thread pool that waits without a deadline for a pending task of the same
//! pool runs this task on the worker's own stack. This task may wait for another task, and
//! so on. In a debug build a chain of 1,000 such tasks would overflow the thread's stack
//! and end the program. So before a thread runs a task inside a wait, it switches to
//! another stack segment if too little of the current stack is left (with the crate
//! `stacker`).
//!
//! A task of a thread pool has at least the pool's stack size, at the bottom of a worker's
//! stack and also inside a wait. The switch to a new segment costs system calls. The
//! threads of a pool have stacks of twice the pool's stack size, so that the first of
//! several nested waits usually needs no new segment. Only the pages that a thread uses
//! take memory.
//!
//! Two alternatives were rejected. With a limit on the depth of waits inside waits,
//! programs that could continue would fail. A new thread for the task would not have the
//! worker's thread locals, which the pool's initializer may have set.

pub(crate) use crate::sys::stack::NoStack;

#[cfg(not(concurrent_futures_loom))]
use crate::sys::stack;

/// The smallest free stack, in bytes, for user code inside a wait: a callback, a
/// `Deserialize`, or a task of a pool with a smaller stack size.
pub(super) const LEAST: usize = 1 << 20;

/// Runs `f` with at least `bytes` bytes of stack.
///
/// # Errors
///
/// Returns [`NoStack`] if too little stack is left and no more can be allocated. Then `f`
/// did not run.
#[cfg(not(concurrent_futures_loom))]
pub(super) fn with_stack(bytes: usize, f: impl FnOnce()) -> Result<(), NoStack> {
    stack::with_at_least(bytes, f)
}

/// Calls `f` on the current stack: in a loom model the chains of waiting tasks are short.
#[cfg(concurrent_futures_loom)]
pub(super) fn with_stack(_bytes: usize, f: impl FnOnce()) -> Result<(), NoStack> {
    f();
    Ok(())
}
