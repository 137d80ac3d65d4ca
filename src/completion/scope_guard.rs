//! [`ScopeGuard`]: the place of one task in its scope, which does not end before the guard
//! is dropped.

use std::sync::Arc;

use crate::panic::Panic;

/// A scope, as its tasks see it.
pub(super) trait ScopeEnd: Send + Sync {
    /// Called when a task has ended; with its panic, if it had one.
    fn leave(&self, panic: Option<Panic>);
}

pub(crate) struct ScopeGuard {
    scope: Arc<dyn ScopeEnd>,
    panic: Option<Panic>,
}

impl ScopeGuard {
    /// For a task that the scope has counted.
    pub(super) fn new(scope: Arc<dyn ScopeEnd>) -> Self {
        Self { scope, panic: None }
    }

    /// Keeps the panic that ended the task, for a scope whose futures are not read.
    pub(super) fn panicked(&mut self, panic: Panic) {
        self.panic = Some(panic);
    }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        self.scope.leave(self.panic.take());
    }
}
