//! [`ScopeGuard`]: the place of one task in its scope, which does not end before the guard
//! is dropped.

use std::ptr::NonNull;

use super::scope_count::ScopeCount;
use crate::panic::Panic;
use crate::sys::fork::Origin;

pub(crate) struct ScopeGuard {
    scope: NonNull<ScopeCount>,
    /// That of the scope, which in a fork is perhaps gone.
    origin: Origin,
}

// SAFETY: a count is `Sync`.
unsafe impl Send for ScopeGuard {}

impl ScopeGuard {
    /// Counts a task in.
    ///
    /// # Safety
    ///
    /// The count stays where it is until it has been waited for.
    pub(super) unsafe fn new(scope: &ScopeCount) -> Self {
        scope.enter();
        let origin = scope.origin;
        let scope = NonNull::from(scope);
        Self { scope, origin }
    }

    /// Keeps the panic that ended the task, for a scope whose futures are not read.
    pub(super) fn panicked(&self, panic: Panic) {
        if self.origin.is_here() {
            // SAFETY: the task of this guard is counted, so the scope lasts.
            unsafe { self.scope.as_ref() }.keep_panic(panic);
        }
    }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if self.origin.is_here() {
            // SAFETY: counted in `new`, and dropped now.
            unsafe { ScopeCount::leave(self.scope) };
        }
    }
}
