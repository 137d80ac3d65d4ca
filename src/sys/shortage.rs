//! [`Shortage`]: a resource that the system lacks at the moment.

use std::io::{self, ErrorKind};

/// A resource whose lack made a system call fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    Descriptors,
    /// Processes or threads. The system also reports this shortage if it lacks memory for a
    /// thread's stack.
    Threads,
    Memory,
}

impl Shortage {
    /// Returns the resource whose lack caused `error`. Returns `None` if `error` has
    /// another cause.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::WouldBlock => Some(Self::Threads),
            ErrorKind::OutOfMemory => Some(Self::Memory),
            _ => error.raw_os_error().and_then(Self::of_code),
        }
    }

    /// Returns the shortage for an error code that no [`io::ErrorKind`] names.
    #[cfg(target_os = "linux")]
    fn of_code(code: i32) -> Option<Self> {
        match code {
            // The kernel returns `ETOOMANYREFS` if a user's processes have sent too many
            // descriptors that were not received yet. The limit on open descriptors applies
            // to these too.
            libc::EMFILE | libc::ENFILE | libc::ETOOMANYREFS => Some(Self::Descriptors),
            libc::ENOBUFS => Some(Self::Memory),
            _ => None,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn of_code(_code: i32) -> Option<Self> {
        None
    }
}

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_from_what_fails_again() {
        let of = |code| Shortage::of(&io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE, libc::ETOOMANYREFS] {
            assert_eq!(of(code), Some(Shortage::Descriptors));
        }
        assert_eq!(of(libc::EAGAIN), Some(Shortage::Threads));
        for code in [libc::ENOMEM, libc::ENOBUFS] {
            assert_eq!(of(code), Some(Shortage::Memory));
        }
        for code in [libc::ENOENT, libc::EPERM, libc::E2BIG] {
            assert_eq!(of(code), None);
        }
    }
}
