//! [`ExitCode`]: the exit codes with which a worker ends if it cannot continue.
//!
//! A worker that cannot continue often cannot send a message, so the parent learns only the
//! worker's exit code. A task may also end its process with one of these codes. So the text
//! of [`ExitCode::explain`] in an error says in which case a worker ends itself with the
//! code, and does not claim that this case has occurred.

use crate::sys::current_process;

/// The exit codes are in the range of `sysexits.h`, or just behind it, because few programs
/// use these codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum ExitCode {
    /// The process was started as a worker, but cannot become a worker. For example, it
    /// has tried to make a process pool before it became a worker.
    CannotBegin = 70,
    /// The worker cannot continue for another reason. For example, the bytes from the
    /// parent make no sense, the connection has failed, or the system has refused a
    /// resource.
    CannotGoOn = 71,
    /// The connection to the parent was closed or shut down, although the parent exists. A
    /// task in the worker's process has probably closed the connection.
    Closed = 72,
    /// The worker's thread that runs tasks has ended.
    NoTaskThread = 73,
    /// For the time of [`Launcher::silence_limit`](crate::Launcher::silence_limit), nothing
    /// has arrived from the parent, or the connection had no room for a reply.
    Silence = 74,
    /// The system lacks a resource, such as a thread, that the worker needs before it can
    /// begin. A worker that starts later may get it.
    Shortage = 79,
}

impl ExitCode {
    /// Ends the process at once with this exit code. Exit handlers do not run.
    pub(crate) fn end(self) -> ! {
        current_process::end_now(self as i32)
    }

    /// Returns the text that explains an exit code in an error, or `None` if the code is
    /// not one of [`ExitCode`].
    pub(crate) fn explain(code: i32) -> Option<&'static str> {
        const ALL: [(ExitCode, &str); 6] = [
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
            (
                ExitCode::Silence,
                "as a launched worker does when nothing arrives from the pool for the silence limit: \
                 the connection is down, or the pool's process was stopped",
            ),
            (
                ExitCode::Shortage,
                "as a worker does that lacks threads, memory or descriptors; it says which on its \
                 standard error",
            ),
        ];
        let known = ALL.iter().find(|(known, _)| *known as i32 == code);
        known.map(|(_, when)| *when)
    }
}
