//! [`PoolId`]: the number that identifies a task's pool.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of a pool. The number has only 32 bits, because each task stores its pool's
/// number. The numbers repeat after about 4 billion pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId(u32);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) const NO_POOL: PoolId = PoolId(0);

pub(crate) fn new_pool_id() -> PoolId {
    static LAST: AtomicU32 = AtomicU32::new(0);
    loop {
        // ORDERING: the number only has to be unique, and publishes nothing.
        let id = PoolId(LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        if id != NO_POOL {
            return id;
        }
    }
}
