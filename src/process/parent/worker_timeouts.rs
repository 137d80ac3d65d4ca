//! The timeouts of a worker's own steps: its start, its exit, the loss of its socket. The
//! supervisor checks these timeouts and the tasks' time limits.

use std::time::Duration;

/// The time that a worker may take from its start to its first message. The worker runs
/// no task before that message, but the machine may be busy.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);

/// The time that a worker may take to end after it was told to exit, in which the user's
/// exit handlers run.
pub(super) const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// The time between the end of a worker's socket and the moment at which the pool kills
/// the worker. A worker that is exiting ends within this time, and a worker whose task
/// closed the descriptor does not.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(1);
