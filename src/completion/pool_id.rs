//! The ids by which tasks know their pool.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The pool id of a task that no pool runs.
pub(crate) const NO_POOL: usize = 0;

/// Returns the id of a new pool: unlike an address, it is never used again.
pub(crate) fn new_pool_id() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(NO_POOL);
    // ORDERING: it has to be unique; it publishes nothing.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
