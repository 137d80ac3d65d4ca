//! [`Remote`]: the connection of a worker whose parent may be on another host.

use std::io;

use crate::process::wire::frame::Frame;

/// The connection as the *task thread*, which runs the tasks, sees it.
pub(super) trait Remote: Sync {
    /// Sends the parts of one message.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    fn send(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Sends the parts of an answer. If the next task has arrived already, this method may
    /// keep the answer, and the message `Started` of that task then takes it along.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection if this method cannot send a kept answer.
    fn next(&self) -> io::Result<Frame>;

    /// Records that the task thread begins a task.
    fn begin(&self);

    /// Returns `false` if a task has closed a descriptor of the connection.
    fn is_open(&self) -> bool;
}
