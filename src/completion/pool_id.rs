//! [`PoolId`]: the number by which tasks know their pool.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of a pool. Half a word wide, since each task has one. It comes again after
/// four thousand million pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId(u32);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The pool id of a task that no pool runs.
pub(crate) const NO_POOL: PoolId = PoolId(0);

/// Returns the id of a new pool.
pub(crate) fn new_pool_id() -> PoolId {
    static LAST: AtomicU32 = AtomicU32::new(0);
    loop {
        // ORDERING: it has to be unique; it publishes nothing.
        let id = PoolId(LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        if id != NO_POOL {
            return id;
        }
    }
}
