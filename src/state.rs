//! [`State`]: the four states of a task that a user can see.

use std::fmt;

/// The state of a task.
///
/// ```text
/// Pending ──▶ Running ──▶ Finished
///    └──────▶ Cancelled
/// ```
///
/// A task moves in the direction of the arrows. It skips `Running`, for example, if its
/// promise gets an outcome before `Promise::start` was called, or if its pool breaks before
/// the task has begun. A cancelled task has one state here. Python has two, `CANCELLED`
/// and `CANCELLED_AND_NOTIFIED`, and Python's `wait` hangs if a task stays in `CANCELLED`
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
    /// The task has not begun. In most cases it can still be cancelled.
    Pending,
    /// The task has begun and has not ended. A task that waits for a retry counts as
    /// running.
    Running,
    /// The task has a value or an error.
    Finished,
    /// The task was cancelled before it began, and never runs.
    Cancelled,
}

impl State {
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
