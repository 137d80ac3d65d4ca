//! The ways in which a worker process ends, other than by the parent's message `Exit`.

use std::io;
use std::process::id;

use crate::process::transport::SCRIBBLED;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::ProtocolError;
use crate::sys::current_process;
use crate::sys::parent::Parent;
use crate::sys::shortage::Shortage;

/// Ends the process, because the worker cannot continue, and prints `why` as the reason.
pub(super) fn lost(why: &str) -> ! {
    end_saying(ExitCode::CannotGoOn, why)
}

/// Ends the process, because `error` keeps the worker from beginning. The worker does not
/// send `Refused`: after that message the pool would start no worker in its place, although
/// the system may have enough threads and memory for the next worker.
pub(super) fn cannot_begin(error: &io::Error, why: &str) -> ! {
    let code = match Shortage::of(error) {
        Some(_) => ExitCode::Shortage,
        None => ExitCode::CannotGoOn,
    };
    end_saying(code, why)
}

pub(super) fn cannot_watch_for_forks(error: &io::Error) -> ! {
    cannot_begin(
        error,
        &format!("it cannot watch for forks ({error}); free memory"),
    )
}

pub(super) fn end_saying(code: ExitCode, why: &str) -> ! {
    let process = id();
    current_process::say(&format!("the worker process {process} ends: {why}"));
    code.end()
}

/// Ends the process after an end of the channel was closed: by the parent, by the end of
/// the parent, or by a task in this process. `parent` is `None` if a command or MPI has
/// started this process. Then the exit code is always 0, because the worker cannot see if
/// the parent lives.
pub(super) fn end_with_channel(parent: Option<&Parent>) -> ! {
    if parent.is_some_and(Parent::lives) {
        // The worker prints no message, because the parent may be about to end.
        ExitCode::Closed.end();
    }
    current_process::end_now(0)
}

/// Ends the process after a task has closed the channel's descriptor.
pub(super) fn end_without_descriptor() -> ! {
    end_saying(
        ExitCode::Closed,
        "its task closed the descriptor that answers go by; a task may close only what it has \
         opened itself",
    )
}

/// Ends the process after an I/O error on the channel.
pub(super) fn end_after_error(error: &io::Error, parent: Option<&Parent>) -> ! {
    match error.raw_os_error() {
        Some(libc::EBADF | libc::ENOTSOCK) => end_without_descriptor(),
        _ if is_end(error) => end_with_channel(parent),
        _ if error.kind() == io::ErrorKind::InvalidData => lost(SCRIBBLED),
        _ => lost(&format!(
            "the connection to its parent does not work ({error})"
        )),
    }
}

/// Ends the process, because it cannot read a message of its parent: the bytes make no
/// sense, or there is no memory for them.
pub(super) fn end_at_error<T>(frame: ProtocolError) -> T {
    lost(&format!("it cannot read what it was sent: {frame}"))
}

/// Returns `true` if the error says that an end of the channel was closed or shut down: the
/// parent's end, or, by a task, the end of this process.
pub(super) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}
