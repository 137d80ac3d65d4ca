//! The text of [`Error::Spawn`](crate::Error::Spawn), and [`StartFailure`]: the reason why
//! a worker did not start, if this crate and not the system found that reason.

use std::error::Error;
use std::fmt;
use std::io;

use crate::sys::shortage::Shortage;

/// The reason why a worker could not be started. This crate creates a `StartFailure` if the
/// system reports no error, or reports a misleading error.
#[derive(Debug)]
pub(crate) struct StartFailure {
    what: String,
    advice: &'static str,
    /// The error that the system returned, or a similar error that this crate made.
    cause: io::Error,
}

#[cfg_attr(
    any(not(target_os = "linux"), concurrent_futures_loom),
    expect(dead_code, reason = "it is made where there are processes")
)]
impl StartFailure {
    /// Creates an error with the kind of `cause`, the text `what; advice`, and the source
    /// `cause`.
    pub(crate) fn wrap(cause: io::Error, what: String, advice: &'static str) -> io::Error {
        io::Error::new(
            cause.kind(),
            Self {
                what,
                advice,
                cause,
            },
        )
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.advice)
    }
}

impl Error for StartFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// Writes that no worker could be started, the reason, and advice to the user. The text
/// ends without a period, because the caller may append more text.
pub(super) fn describe(cause: &io::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if cause
        .get_ref()
        .is_some_and(|inner| inner.is::<StartFailure>())
    {
        return write!(f, "no worker could be started: {cause}");
    }
    let advice = match Shortage::of(cause) {
        Some(Shortage::Descriptors) => {
            "close files and sockets, or raise the limit of descriptors (`ulimit -n`)"
        }
        Some(Shortage::Threads) => {
            "ask for fewer workers, or raise the limits of processes (`ulimit -u`) and memory"
        }
        Some(Shortage::Memory) => "ask for fewer workers, or free memory",
        None => "see to it that the system allows it",
    };
    write!(f, "no worker could be started ({cause}); {advice}")
}
