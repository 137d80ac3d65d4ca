//! [`Remote`]: the connection of a worker whose parent may be on another host.

use std::io;

use crate::process::wire::frame::Frame;

/// The methods that the *task thread*, the thread that runs the tasks, calls.
pub(super) trait Remote: Sync {
    /// Sends the parts of one message.
    fn send(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Sends the parts of an answer. If the next task has arrived already, this method may
    /// keep the answer, so that the message `Started` of the next task is sent together
    /// with the answer.
    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Returns the next request, and waits until it arrives.
    fn next(&self) -> io::Result<Frame>;

    /// Records, for the second thread of the worker, that the task thread begins a task.
    fn begin(&self);

    /// Returns `false` if a descriptor of the connection is closed.
    fn is_open(&self) -> bool;
}
