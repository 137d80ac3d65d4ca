//! The four states of a task, as users see them.

use std::fmt;

/// The state of a task.
///
/// ```text
/// Pending ──▶ Running ──▶ Finished
///    └──────▶ Cancelled
/// ```
///
/// A task moves along the arrows and never back. There is one cancelled state
/// only; Python has two, and its `wait` hangs between them
/// (python/cpython#92001).
///
/// ```
/// use concurrent_futures::{Error, State, promise};
///
/// let (promise, future) = promise::<i32>();
/// assert!(future.cancel());
/// let refused = promise.set_result(1).unwrap_err();
/// assert!(matches!(refused, Error::InvalidState(State::Cancelled)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It has not begun, and can be cancelled.
    Pending,
    /// Its function runs.
    Running,
    /// It has a value or an error.
    Finished,
    /// It was cancelled before it began and never runs.
    Cancelled,
}

impl State {
    /// Returns `true` if the state is final.
    pub(crate) fn done(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        })
    }
}
