//! Functions that concern the whole current process, such as its rights, its standard
//! descriptors, and its end.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{
    Errno, ReadWriteFlags, fcntl_dupfd_cloexec, fcntl_getfd, pwritev2, retry_on_intr, write,
};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};
use rustix::system::uname;
use rustix::thread::set_current_timer_slack;

/// The path of this process's program. It stays valid if the program's file is removed or
/// replaced.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

/// Returns `true` if the program was started with rights that its caller does not have
/// (setuid, capabilities). Such a program must not trust its arguments and environment.
pub(crate) fn has_more_rights_than_its_caller() -> bool {
    // SAFETY: `getauxval` takes any number, and returns a number.
    (unsafe { libc::getauxval(libc::AT_SECURE) }) != 0
}

pub(crate) fn is_main_thread() -> bool {
    // SAFETY: `gettid` only returns a number.
    let thread = unsafe { libc::gettid() };
    u32::try_from(thread) == Ok(std::process::id())
}

/// Returns `true` if this process has exactly one thread now. Returns `false` if the
/// process has more threads, or if the number of threads is unknown.
pub(crate) fn has_one_thread() -> bool {
    // SAFETY: this call changes nothing. It succeeds in a process with one thread, and
    // fails in any other process (unshare(2)).
    let unshared = unsafe { libc::unshare(libc::CLONE_THREAD) };
    // This function tries two ways, because a sandbox may refuse the call, and `/proc` may
    // not be mounted.
    unshared == 0 || count_threads() == Some(1)
}

fn count_threads() -> Option<usize> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    Some(threads.count())
}

/// Sets environment variables. Returns `false`, and sets none, if there are variables to
/// set and this process may have more than one thread.
pub(crate) fn set_variables(variables: &[(OsString, OsString)]) -> bool {
    let can_set = variables.is_empty() || has_one_thread();
    for (name, value) in variables.iter().filter(|_| can_set) {
        // SAFETY: this process has one thread, so no other thread reads the environment.
        unsafe { std::env::set_var(name, value) };
    }
    can_set
}

/// Sets the time by which the kernel may prolong a sleep of the current thread to 1 us. The
/// kernel's default is 50 us.
///
/// # Errors
///
/// Returns the error of the system call. In this case the call has changed nothing.
pub(crate) fn use_short_timer_slack() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1000))?)
}

pub(crate) fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

/// Moves the descriptor to a number above 2. If the program has closed stdin, stdout or
/// stderr, a new descriptor may get one of the numbers 0 to 2, and the program's I/O would
/// then use this descriptor.
pub(crate) fn move_above_stdio(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    Ok(fcntl_dupfd_cloexec(descriptor, 3)?)
}

/// Opens `/dev/null` as descriptors 1 and 2 if these descriptors are closed. Otherwise the
/// next opened files would get these numbers, and messages would be written to these files.
/// (The standard library also does this before `main`. But a worker may never reach `main`,
/// because it may run in the worker hook, which the startup code calls earlier.)
pub(crate) fn ensure_stdio_open() {
    let is_closed = |out| fcntl_getfd(out) == Err(Errno::BADF);
    let null = || {
        open("/dev/null", OFlags::RDWR, Mode::empty()).and_then(|null| {
            // The new descriptor may itself get the number 1 or 2. Its copy gets a higher
            // number.
            fcntl_dupfd_cloexec(null, 3)
        })
    };
    // Errors are ignored: the descriptor then stays closed, as in the worker's parent.
    if is_closed(stdout()) {
        let _ = null().and_then(dup2_stdout);
    }
    if is_closed(stderr()) {
        let _ = null().and_then(dup2_stderr);
    }
}

/// Writes a line to the standard error. Does not wait for room, because a process that ends
/// must not depend on the process that reads the output. (The write may wait if the output
/// is a terminal of another user.) The text is lost if the pipe, socket or terminal has no
/// room.
pub(crate) fn say(text: &str) {
    let line = format!("concurrent-futures: {text}\n");
    write_without_waiting(stderr(), line.as_bytes());
}

fn write_without_waiting(output: BorrowedFd<'_>, bytes: &[u8]) {
    // Opens a terminal a second time. Only the new descriptor may be non-blocking, because
    // other processes share the open file of `output`.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let again = || {
        open(
            format!("/proc/self/fd/{}", output.as_raw_fd()),
            flags,
            Mode::empty(),
        )
    };
    if let Some(Ok(terminal)) = output.is_terminal().then(again) {
        let _ = write(terminal, bytes);
        return;
    }
    // With this offset, `pwritev2` writes at the file's current position, like `write`.
    let here = u64::MAX;
    let nowait = ReadWriteFlags::NOWAIT;
    // An error means that the output has no room, or that `NOWAIT` does not work: on an old
    // kernel, for a file, or for a terminal of another user. (A write to a file never waits
    // for another process.)
    if pwritev2(output, &[io::IoSlice::new(bytes)], here, nowait).is_err() {
        write_if_ready(output, bytes);
    }
}

/// Writes to an output if it has room. A terminal may have room for only a part of the
/// bytes, and then the write waits.
fn write_if_ready(output: BorrowedFd<'_>, bytes: &[u8]) {
    let mut ready = [PollFd::new(&output, PollFlags::OUT)];
    let without_wait = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let is_ready = retry_on_intr(|| poll(&mut ready, Some(&without_wait))) == Ok(1);
    if is_ready && ready[0].revents().contains(PollFlags::OUT) {
        // A pipe that is ready has room for a page.
        let _ = write(output, &bytes[..bytes.len().min(4096)]);
    }
}

/// Writes out the buffered output of Rust and of C.
pub(crate) fn flush() {
    // Errors are ignored, because the process is about to end and cannot report errors.
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
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

    use super::*;
    use crate::sys::fork::tests::is_true_in_a_fork;

    #[test]
    fn a_test_has_the_rights_of_its_caller() {
        assert!(!has_more_rights_than_its_caller());
    }

    /// Passes more bytes to `write` than `output` has room for. Panics if `write` waits for
    /// a reader.
    fn fill(output: OwnedFd, write: fn(BorrowedFd<'_>, &[u8])) {
        let (sender, filled) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..4096 {
                write(output.as_fd(), &[b'x'; 4000]);
            }
            sender.send(()).unwrap();
        });
        let limit = std::time::Duration::from_secs(20);
        filled
            .recv_timeout(limit)
            .expect("a write waits for a reader")
    }

    #[test]
    fn words_do_not_wait_for_a_reader() {
        for write in [write_without_waiting, write_if_ready] {
            let (_reader, pipe) = rustix::pipe::pipe().unwrap();
            fill(pipe, write);
        }
        let (_reader, socket) = UnixStream::pair().unwrap();
        fill(socket.into(), write_without_waiting);
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&pty).unwrap();
        let terminal = ptsname(&pty, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = open(terminal, flags, Mode::empty()).unwrap();
        fill(terminal, write_without_waiting);
    }

    #[test]
    fn words_go_where_the_output_goes() {
        let memory = memfd_create("words", MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(memory);
        for words in ["some ", "words"] {
            write_without_waiting(file.as_fd(), words.as_bytes());
        }
        let mut written = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut written).unwrap();
        assert_eq!(written, "some words");
    }

    #[test]
    fn another_thread_is_not_the_main_one() {
        let other = std::thread::spawn(|| is_main_thread() || has_one_thread());
        assert!(!other.join().unwrap());
    }

    /// A forked child has one thread. A sandbox may refuse to unshare.
    #[test]
    fn one_thread_is_known_by_two_ways() {
        // SAFETY: the call changes nothing in a process with one thread.
        let unshares = || unsafe { libc::unshare(libc::CLONE_THREAD) } == 0;
        assert!(is_true_in_a_fork(has_one_thread));
        assert!(is_true_in_a_fork(|| count_threads() == Some(1)));
        assert!(!unshares() || count_threads() == Some(1));
    }
}
