//! The time limits for the start of a worker, for its exit, and for its exit after its
//! socket was closed. Also those for a second kill, and for a recall of tasks. The
//! supervisor checks most of these limits, and the time limits of the tasks.

use std::time::Duration;

/// The time that a worker may take from its start to its first message, if this process
/// starts the worker itself. The limit is long, because the machine may be busy.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);

/// The time that a worker may take to end after the pool told it to exit. The user's exit
/// handlers run in this time.
pub(super) const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// The time after which the pool kills a worker whose socket was closed, or to which a
/// write failed. A worker that is exiting usually ends within this time, but a worker whose
/// task has closed the socket does not end by itself.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(1);

/// The time between two kills of a worker whose process has not ended after the first kill.
pub(super) const KILL_LIMIT: Duration = Duration::from_millis(100);

/// The time that a launcher's command may take to end after the pool has closed the
/// connection to it, if the command has not started the program by then. A pool that ends
/// waits for this command for about this time at most, because it then kills the command.
pub(super) const HANG_UP_LIMIT: Duration = Duration::from_secs(1);

/// The longest time for which a shutdown, or the kill of one task, waits until workers have
/// given back the tasks that they have not begun.
pub(super) const RECALL_LIMIT: Duration = Duration::from_secs(1);
