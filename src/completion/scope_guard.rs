//! [`ScopeGuard`]: the guard of one task in a scope. The scope does not end before the
//! guard is dropped.

use std::ptr::NonNull;

use super::scope_count::ScopeCount;
use crate::panic::Panic;
use crate::sys::fork::Origin;

pub(crate) struct ScopeGuard {
    scope: NonNull<ScopeCount>,
    /// The process that created the scope. The guard has its own copy, because in a forked
    /// child the scope may be freed already.
    origin: Origin,
}

// SAFETY: the guard points to a `ScopeCount`, which is `Sync`.
unsafe impl Send for ScopeGuard {}

impl ScopeGuard {
    /// Counts one more task in the scope.
    ///
    /// # Safety
    ///
    /// The `ScopeCount` does not move before the wait for the scope's end has returned.
    pub(super) unsafe fn new(scope: &ScopeCount) -> Self {
        scope.enter();
        let origin = scope.origin;
        let scope = NonNull::from(scope);
        Self { scope, origin }
    }

    /// Stores the panic that ended the task, so that the scope can report the panic if the
    /// future's outcome is not read.
    pub(super) fn panicked(&self, panic: Panic) {
        if self.origin.is_here() {
            // SAFETY: the task of this guard is still counted, so the scope exists.
            unsafe { self.scope.as_ref() }.keep_panic(panic);
        }
    }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if self.origin.is_here() {
            // SAFETY: `new` counted the task, and this guard is not used again.
            unsafe { ScopeCount::leave(self.scope) };
        }
    }
}
