//! [`Checked`]: a descriptor that can check if it still refers to the same file.
//!
//! A worker runs user code, which may close descriptors of this crate, for instance all
//! descriptors from 3 on. The next file that the process opens then gets the number of a
//! closed descriptor. So the number alone does not identify the file, and this type
//! compares the inode as well. Each socket has its own inode. But all eventfds and similar
//! files share one inode, which before Linux 6.9 is also the inode of each pidfd. The check
//! cannot tell these files apart.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Stat, fstat};
use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};

/// The number of copies that [`Checked::time_to_close`] closes.
const TRIES: u32 = 4;

/// A descriptor together with the identity of its file.
///
/// Dropping the value closes the descriptor. If other code may have closed the descriptor
/// already, the value must be leaked, because the drop could close a file that the other
/// code has opened since.
#[derive(Debug)]
pub(crate) struct Checked {
    descriptor: OwnedFd,
    /// The device number and the inode number of the file, or `None` if the system did not
    /// return these numbers.
    file: Option<(u64, u64)>,
}

impl Checked {
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        let file = fstat(&descriptor).ok().map(identity);
        Self { descriptor, file }
    }

    /// Returns `true` if the descriptor still refers to the same file as at the call of
    /// [`new`](Self::new).
    pub(crate) fn is_intact(&self) -> bool {
        fstat(&self.descriptor).ok().map(identity) == self.file && self.file.is_some()
    }

    /// Returns `true` if the descriptor is open, even if it was closed and another file now
    /// has the same number. This check takes less time than [`is_intact`](Self::is_intact).
    pub(crate) fn is_open(&self) -> bool {
        fcntl_getfd(&self.descriptor).is_ok()
    }

    /// Closes some copies of the descriptor, and returns half of the shortest time in which
    /// a copy was closed. The caller may assume that code which has run for less time has
    /// not closed the descriptor. Returns 0 if the process cannot open one of the copies.
    pub(crate) fn time_to_close(&self) -> Duration {
        let close = |_| {
            // The copy never gets the number of a standard descriptor.
            let copy = fcntl_dupfd_cloexec(&self.descriptor, 3).ok()?;
            let before = Instant::now();
            drop(copy);
            Some(before.elapsed() / 2)
        };
        let times = (0..TRIES).map(close);
        times.min().flatten().unwrap_or_default()
    }

    /// Returns `Ok` if the descriptor still refers to the same file as at the call of
    /// [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// Returns `EBADF` if the descriptor was closed, even if another file now has the same
    /// number.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_intact() {
            Ok(())
        } else {
            Err(rustix::io::Errno::BADF.into())
        }
    }
}

#[expect(
    clippy::useless_conversion,
    reason = "the numbers are shorter on some systems"
)]
fn identity(file: Stat) -> (u64, u64) {
    (u64::from(file.st_dev), u64::from(file.st_ino))
}

impl AsFd for Checked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::io::dup2;

    use super::*;

    #[test]
    fn a_descriptor_takes_a_while_to_close_if_a_copy_can_be_opened() {
        let (ours, _others) = UnixStream::pair().unwrap();
        let ours = Checked::new(ours.into());
        assert_ne!(ours.time_to_close(), Duration::ZERO);
    }

    #[test]
    fn another_socket_under_the_number_is_noticed() {
        let (one, other) = UnixStream::pair().unwrap();
        let again = OwnedFd::from(one.try_clone().unwrap());
        let mut checked = Checked::new(OwnedFd::from(one));
        assert!(checked.is_intact() && checked.check().is_ok());
        dup2(&again, &mut checked.descriptor).unwrap();
        assert!(checked.is_intact(), "it is the same socket");
        dup2(&other, &mut checked.descriptor).unwrap();
        assert!(!checked.is_intact());
        let error = checked.check().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
