//! [`ExitCode`]: the exit codes of a worker that cannot continue, and their meaning.
//!
//! A worker that cannot continue often cannot send a message, so the parent learns only
//! the worker's exit code. A task may also end its worker with one of these numbers, so
//! each text says in which case the worker itself uses the code.

use crate::sys::current_process;

/// Codes in the range of `sysexits.h`, which few programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum ExitCode {
    /// The process was started as a worker, but cannot be one, or behaves like a parent.
    CannotBegin = 70,
    /// The parent broke the protocol, or the system refused a resource.
    CannotGoOn = 71,
    /// A task in this process closed the channel, or shut the channel down.
    Closed = 72,
    /// The thread that runs tasks has ended.
    NoTaskThread = 73,
}

impl ExitCode {
    /// Ends the process at once, without exit handlers.
    pub(crate) fn end(self) -> ! {
        current_process::end_now(self as i32)
    }

    /// Explains the code in an error; `None` if no worker itself ends with this code.
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
