//! [`ExitCode`]: the exit codes of a worker that cannot go on, and their meaning.
//!
//! Such a worker often cannot send a message any more, so that its exit code is all
//! that the parent gets. A task may end its worker with the same number: the text says
//! in which case a worker itself does.

use crate::sys::current_process;

/// Codes in the range of `sysexits.h`, which few programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum ExitCode {
    /// Started as a worker, it cannot be one, or behaves like a parent.
    CannotBegin = 70,
    /// Its parent broke the protocol, or the system refuses a resource.
    CannotGoOn = 71,
    /// The channel was closed in this process, or shut down.
    Closed = 72,
    /// The thread that runs tasks is gone.
    NoTaskThread = 73,
}

impl ExitCode {
    /// Ends the process at once, without exit handlers.
    pub(crate) fn end(self) -> ! {
        current_process::end_now(self as i32)
    }

    /// Explains the code in an error; `None` if no worker ends with it by itself.
    pub(crate) fn explain(code: i32) -> Option<&'static str> {
        const ALL: [(ExitCode, &str); 4] = [
            (
                ExitCode::CannotBegin,
                "as a worker does that cannot begin; it says why on its standard error",
            ),
            (
                ExitCode::CannotGoOn,
                "as a worker does that cannot go on; it says why on its standard error",
            ),
            (
                ExitCode::Closed,
                "as a worker does after its task, or its initializer, closed the descriptor that \
                 answers go by; a task may close only what it has opened itself",
            ),
            (
                ExitCode::NoTaskThread,
                "as a worker does when the thread that runs its tasks is ended alone: by a \
                 seccomp filter that kills threads and not processes, or by a system call `exit`",
            ),
        ];
        let known = ALL.iter().find(|(known, _)| *known as i32 == code);
        known.map(|(_, when)| *when)
    }
}
