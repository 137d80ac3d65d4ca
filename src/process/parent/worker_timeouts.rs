//! The timeouts of a worker's own steps: its start, its exit, the loss of its socket. The
//! time limits of tasks are in `supervisor.rs`.

use std::time::Duration;

/// The time that a worker may take from its start to its first message. It does
/// nothing of the user's before that, but the machine may be busy.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);

/// The time that a worker may take to end once it was told to: the user's exit
/// handlers run there.
pub(super) const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// The grace period after the end of a worker's socket, before it is killed: either
/// it is exiting, or a task closed the descriptor.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(1);
