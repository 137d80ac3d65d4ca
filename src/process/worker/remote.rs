//! [`Remote`]: the connection of a worker whose parent may be on another host.

use std::io;

use crate::process::wire::frame::Frame;

/// The methods of a connection that the *task thread*, which runs the tasks, calls.
pub(super) trait Remote: Sync {
    /// Sends the parts of one message.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    fn send(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Sends the parts of an answer. If the next task has arrived already, this method
    /// may keep the answer, in order to send it together with the message `Started` of
    /// that task.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Returns the next request, and waits until it arrives.
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
