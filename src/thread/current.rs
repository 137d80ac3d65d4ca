//! The pool that the current thread works for, if it is a worker of one.

use std::cell::Cell;

use crate::completion::NO_POOL;

thread_local! {
    static POOL: Cell<usize> = const { Cell::new(NO_POOL) };
    /// `true` once its initializer has run.
    static READY: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as a worker of that pool, which is not ready yet.
pub(super) fn enter(pool_id: usize) {
    POOL.set(pool_id);
    READY.set(false);
}

/// Marks the current thread as one that may run its pool's tasks.
pub(super) fn set_ready() {
    READY.set(true);
}

/// Returns `true` if the current thread is one of the pool's workers.
pub(super) fn is_worker_of(pool_id: usize) -> bool {
    POOL.get() == pool_id
}

/// Returns `true` if the current thread is a worker that may run the pool's tasks.
pub(super) fn is_ready_for(pool_id: usize) -> bool {
    is_worker_of(pool_id) && READY.get()
}
