//! [`Remote`]: the connection of a worker whose parent may be on another host.

use std::io;

use crate::process::wire::frame::Frame;

/// The task thread's view of the connection.
pub(super) trait Remote: Sync {
    /// Sends the parts of one message.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    fn send(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Sends the parts of an answer. If the next task has arrived already, the answer may
    /// be kept and sent together with the `Started` of that task.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection if a kept answer cannot be sent.
    fn next(&self) -> io::Result<Frame>;

    /// Records that the task thread begins a task.
    fn begin(&self);

    /// Returns `false` if a task has closed a descriptor of the connection.
    fn is_open(&self) -> bool;
}
