//! [`ExitCode`]: with what a worker ends that cannot go on, and what that means.
//!
//! Such a worker can often tell its parent no more: what it told it by is gone.
//! The code is what is left. A task may end its worker with the same number, so
//! that the words say when a worker does.

use crate::sys::current_process;

/// The codes are among those of `sysexits.h`, where hardly a program looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum ExitCode {
    /// Started as a worker, it cannot be one, or behaves like a parent.
    CannotBegin = 70,
    /// The words of its parent make no sense, or the system denies it something.
    CannotGoOn = 71,
    /// The channel was closed in this process, or shut down.
    Closed = 72,
    /// The thread that runs tasks is gone.
    NoTaskThread = 73,
}

impl ExitCode {
    /// Ends the process: nothing of the program's runs any more.
    pub(crate) fn end(self) -> ! {
        current_process::end_now(self as i32)
    }

    /// Explains when a worker ends with that code; `None` if no worker does by itself.
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
