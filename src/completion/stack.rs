//! Stack space for tasks that run inside waits.
//!
//! A worker that waits for a task runs the task on the worker's own stack. That task may
//! wait for another task, and so on. In a debug build a chain of 1,000 such tasks would
//! overflow the thread's stack and end the program. So before a thread runs a task inside a
//! wait, it switches to another stack segment if too little of the current stack is left
//! (with the crate `stacker`).
//!
//! A task of a thread pool gets as much stack inside a wait as at the bottom of a worker's
//! stack: the pool's stack size. The switch to a new segment costs a system call. So that a
//! shallow wait needs no segment, the threads of a pool have stacks of twice the pool's
//! stack size. Only the pages that a thread uses take memory.
//!
//! Two alternatives were rejected. With a limit on the depth of waits inside waits,
//! programs would fail that could continue. A new thread for the task would not have the
//! worker's thread locals, which the pool's initializer may have set.

pub(crate) use crate::sys::stack::NoStack;

#[cfg(not(concurrent_futures_loom))]
use crate::sys::stack;

/// The least free stack, in bytes, for user code inside a wait: a callback, a `Deserialize`,
/// or a task of a pool whose threads have smaller stacks.
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

/// Calls `f` on the current stack, because the chains of tasks in a loom model are short.
#[cfg(concurrent_futures_loom)]
pub(super) fn with_stack(_bytes: usize, f: impl FnOnce()) -> Result<(), NoStack> {
    f();
    Ok(())
}
