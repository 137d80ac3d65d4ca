//! This process as a whole: its rights, its descriptors, its signals, its end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};

/// Returns `true` if the program was started with rights that its caller does not have
/// (setuid, capabilities). Then the program must not trust its arguments and environment.
pub(crate) fn has_more_rights_than_its_caller() -> bool {
    // SAFETY: `getauxval` takes any number, and returns a number.
    (unsafe { libc::getauxval(libc::AT_SECURE) }) != 0
}

/// Returns `true` if the calling thread is the first thread of the process.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: `gettid` only returns a number.
    let thread = unsafe { libc::gettid() };
    u32::try_from(thread) == Ok(std::process::id())
}

/// Returns `true` if this process has exactly one thread now. Returns `false` if it has
/// more threads, or if their number is unknown.
pub(crate) fn has_one_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Duplicates the descriptor to a number above 2. In a program that closed stdin,
/// stdout or stderr a new descriptor may be 0-2, and the program's I/O would then
/// hit ours.
///
/// # Errors
///
/// The system has no descriptor left.
pub(crate) fn move_above_stdio(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    Ok(fcntl_dupfd_cloexec(descriptor, 3)?)
}

/// Opens /dev/null on descriptors 1 and 2 if they are closed, or messages would go
/// to the next file that is opened. (std does so before `main`, which the hook
/// precedes.)
pub(crate) fn ensure_stdio_open() {
    let is_closed = |out| fcntl_getfd(out) == Err(Errno::BADF);
    let null = || {
        open("/dev/null", OFlags::RDWR, Mode::empty()).and_then(|null| {
            // The new descriptor may itself have the missing number.
            fcntl_dupfd_cloexec(null, 3)
        })
    };
    // Without it the worker is no worse off than its parent.
    if is_closed(stdout()) {
        let _ = null().and_then(dup2_stdout);
    }
    if is_closed(stderr()) {
        let _ = null().and_then(dup2_stderr);
    }
}

/// Writes out the buffered output of Rust and of C.
pub(crate) fn flush() {
    // The process ends: a failure cannot be reported.
    let _ = io::Write::flush(&mut io::stdout());
    // SAFETY: `fflush` with a null pointer flushes all streams.
    unsafe { libc::fflush(ptr::null_mut()) };
}

/// Returns the number of the CPU that the calling thread runs on, plus one. Returns 0 if
/// the CPU is unknown.
pub(crate) fn cpu() -> u32 {
    // SAFETY: `sched_getcpu` only returns a number.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).map_or(0, |cpu| cpu + 1)
}

/// Ends the process at once, without exit handlers.
pub(crate) fn end_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number, and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_the_rights_of_its_caller() {
        assert!(!has_more_rights_than_its_caller());
    }

    #[test]
    fn another_thread_is_not_the_main_one() {
        let other = std::thread::spawn(|| is_main_thread() || has_one_thread());
        assert!(!other.join().unwrap());
    }
}
