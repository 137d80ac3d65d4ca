//! [`Reason`]: what a value's own serde code says when it fails.

use std::cell::RefCell;

/// Catches the message of the first failure.
#[derive(Debug, Default)]
pub(super) struct Reason(RefCell<Option<String>>);

impl Reason {
    /// `inner`, with its failures noted.
    pub(super) fn noting<S>(&self, inner: S) -> S {
        inner
    }

    /// The reason behind what `postcard` returned.
    pub(super) fn of(&self, error: postcard::Error) -> String {
        self.0.take().unwrap_or_else(|| error.to_string())
    }
}
