//! [`Handle`]: watches and ends a child of this process.
//!
//! The handle is a pidfd, which refers to the same child even if the child's pid is reused.
//! An old kernel or a sandbox may have no pidfds. The handle then uses the child's pid,
//! which the system cannot reuse before this process has waited for the child.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, pidfd_open,
    pidfd_send_signal, set_parent_process_death_signal, waitpid,
};

use super::current_process::move_above_stdio;

/// Makes `waitpid` find only threads that the current thread traces. Other children must
/// not be found, because this crate must not take their exit statuses from the program. If
/// `/proc` belongs to another PID namespace, a thread's number there may be the pid of such
/// a child. The threads that another thread of the program traces must not be found either,
/// because that thread waits for them itself.
const TRACED_BY_THIS_THREAD: u32 = (libc::__WCLONE | libc::__WNOTHREAD) as u32;

/// Makes the kernel send SIGTERM to the command's process when the thread that started
/// that process ends. The starting thread ends at the latest when the current process ends.
/// With this setting, std starts the command by `fork`, which copies the page tables of the
/// current process. So the more memory the current process has, the longer the start takes.
pub(crate) fn terminate_with_parent(command: &mut Command) {
    let parent = getpid();
    let asks = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // If the parent had already ended before the call above, the kernel sends no
        // signal.
        match getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    // SAFETY: in the forked child, the closure only makes two system calls, and allocates
    // nothing.
    unsafe { command.pre_exec(asks) };
}

/// A handle to a child process for which the current process has not waited yet.
///
/// Dropping the handle does not affect the child.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: Pid,
    pidfd: Option<OwnedFd>,
}

impl Handle {
    /// Opens a handle to the child `pid` of this process. This process must not have waited
    /// for the child yet.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
        let pidfd = pidfd.and_then(|pidfd| move_above_stdio(pidfd).ok());
        Ok(Self { pid, pidfd })
    }

    /// Returns the handle without its pidfd, as on a system that has no pidfds.
    #[cfg(test)]
    pub(crate) fn without_pidfd(mut self) -> Self {
        self.pidfd = None;
        self
    }

    /// Returns a descriptor that is readable once the child has ended. Returns `None` if
    /// the system has no pidfds, or if this process had no free descriptor for the pidfd.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Sends SIGKILL to the child. This process must not have waited for the child yet.
    ///
    /// # Errors
    ///
    /// Returns an error if this process may not send signals to the child, because the
    /// child changed its user.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends SIGTERM to the child. This process must not have waited for the child yet.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        // A stopped process handles SIGTERM only after SIGCONT.
        self.signal(Signal::CONT)
    }

    /// Handles the threads of the child, except its main thread, that the current thread
    /// traces: reaps the threads that have ended, and stops tracing the threads that a
    /// signal has stopped, so that they go on. This process must not have waited for the
    /// child yet.
    ///
    /// A thread that calls `ptrace(PTRACE_TRACEME)` makes the thread that started its
    /// process trace it. The kernel reports the end of the child only after the traced
    /// threads of the child were reaped. At each signal except SIGKILL, the kernel stops a
    /// traced thread until the tracing thread lets it go on.
    pub(crate) fn release_traced_threads(&self) {
        let pid = self.pid.as_raw_nonzero().get();
        // An error means that `/proc` does not show the child, for example because `/proc`
        // is not mounted.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        let names = threads.into_iter().flatten().flatten();
        let numbers = names.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        numbers
            .filter(|thread| *thread != pid)
            .filter_map(Pid::from_raw)
            .for_each(release_if_traced);
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let by_pid = || kill_process(self.pid, signal);
        let sent = match &self.pidfd {
            None => by_pid(),
            Some(pidfd) => pidfd_send_signal(pidfd, signal).or_else(|error| match error {
                // A seccomp filter may forbid this system call and allow `pidfd_open`.
                Errno::PERM | Errno::NOSYS => by_pid(),
                error => Err(error),
            }),
        };
        match sent {
            // `SRCH` is no error here: it means that the child has already ended, and the
            // caller wants the child to end.
            Err(Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

/// Reaps a traced thread that has ended. Stops tracing a thread that a signal has stopped:
/// the signal then has its usual effect on the thread.
fn release_if_traced(thread: Pid) {
    let options = WaitOptions::NOHANG | WaitOptions::from_bits_retain(TRACED_BY_THIS_THREAD);
    // An error means that the current thread does not trace this thread.
    let Ok(Some((_, status))) = waitpid(Some(thread), options) else {
        return;
    };
    let Some(signal) = status.stopping_signal() else {
        return;
    };
    let (number, unused) = (
        thread.as_raw_nonzero().get(),
        ptr::null_mut::<libc::c_void>(),
    );
    // SAFETY: the request reads only the numbers of the thread and of the signal. An error
    // means that the thread was killed meanwhile.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, number, unused, signal) };
}

/// The number of a signal. `Display` shows the signal's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalName(pub(crate) i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = SIGNALS.iter().find(|(number, _)| *number == self.0);
        match named {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

const SIGNALS: [(i32, &str); 30] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGKILL, "SIGKILL"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGCHLD, "SIGCHLD"),
    (libc::SIGCONT, "SIGCONT"),
    (libc::SIGSTOP, "SIGSTOP"),
    (libc::SIGTSTP, "SIGTSTP"),
    (libc::SIGTTIN, "SIGTTIN"),
    (libc::SIGTTOU, "SIGTTOU"),
    (libc::SIGURG, "SIGURG"),
    (libc::SIGXCPU, "SIGXCPU"),
    (libc::SIGXFSZ, "SIGXFSZ"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGWINCH, "SIGWINCH"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGPWR, "SIGPWR"),
    (libc::SIGSYS, "SIGSYS"),
];

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    /// Starts a child process that runs until its input is closed.
    fn child() -> std::process::Child {
        Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_signal_ends_the_child_and_the_handle_sees_it() {
        for without_pidfd in [false, true] {
            let mut child = child();
            let mut handle = Handle::open(child.id()).unwrap();
            if without_pidfd {
                handle.pidfd = None;
            }
            handle.kill().unwrap();
            if let Some(pidfd) = handle.pidfd() {
                let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
                assert_eq!(poll(&mut fds, None), Ok(1));
            }
            // The child has ended, or SIGKILL is about to end it, but this process has not
            // yet waited for the child. So `terminate` must return no error.
            handle.terminate().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(SignalName(status.signal().unwrap()).to_string(), "SIGKILL");
        }
    }

    /// If `/proc` belongs to another PID namespace, the number of a thread may be the pid
    /// of a child of this process. The search must not reap this child.
    #[test]
    fn the_search_for_threads_reaps_no_ordinary_child() {
        let mut child = child();
        child.kill().unwrap();
        let handle = Handle::open(child.id()).unwrap();
        let pidfd = handle.pidfd().unwrap();
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Ok(1));
        release_if_traced(handle.pid);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn numbers_that_are_no_process_are_refused() {
        assert!(Handle::open(0).is_err());
        assert!(Handle::open(u32::MAX).is_err());
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(SignalName(libc::SIGSEGV).to_string(), "SIGSEGV");
        assert_eq!(SignalName(64).to_string(), "signal 64");
    }
}
