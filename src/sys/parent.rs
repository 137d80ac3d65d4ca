//! Lets a worker check that descriptor 0 is connected to its parent process, and that the
//! parent process still exists.

use std::fs;
use std::io::{self, Read};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{
    Pid, PidfdFlags, Signal, geteuid, getppid, pidfd_open, set_parent_process_death_signal,
    test_kill_process,
};
use rustix::stdio::{stdin, stdout};

use super::channel::Channel;
use super::checked::Checked;
use super::current_process::{PROGRAM, move_above_stdio};

/// The process that created the socket on descriptor 0, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The pid of the process, or 0 if the process is in a PID namespace that this process
    /// cannot see, or if the socket is not connected.
    pub(crate) pid: u32,
    uid: u32,
}

impl Peer {
    /// Returns the process that created the socket on descriptor 0, or `None` if descriptor
    /// 0 is not a Unix socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does not say what descriptor 0 is, for example
    /// because a seccomp filter forbids the question.
    pub(crate) fn of_stdin() -> io::Result<Option<Self>> {
        let stdin = stdin();
        match socket_domain(stdin) {
            Ok(AddressFamily::UNIX) => {}
            Ok(_) | Err(Errno::NOTSOCK | Errno::BADF) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // The kernel reports the pid 0 for a socket that is not connected. But rustix's
        // function for `SO_PEERCRED` requires a pid other than 0, so this method calls
        // `getsockopt` itself.
        let mut peer = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: `SO_PEERCRED` writes one `ucred` to `peer`, and `length` is the size of
        // `peer`.
        let failed = unsafe {
            libc::getsockopt(
                stdin.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut length,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        let pid = u32::try_from(peer.pid).ok();
        Ok(pid.map(|pid| Self { pid, uid: peer.uid }))
    }

    /// Returns the process that created the socket on descriptors 0 and 1, or `None` if the
    /// two descriptors do not refer to the same Unix socket, or if the system does not say
    /// what they refer to.
    pub(crate) fn of_stdio() -> Option<Self> {
        let file = |descriptor| fstat(descriptor).map(|file| (file.st_dev, file.st_ino));
        let is_same = file(stdin()).ok()? == file(stdout()).ok()?;
        Self::of_stdin().ok()?.filter(|_| is_same)
    }

    /// Returns `true` if the process that created the socket had, at that time, the same
    /// effective user as this process has now.
    pub(crate) fn is_our_user(self) -> bool {
        self.uid == geteuid().as_raw()
    }

    /// Returns `true` if the process that created the socket has certainly ended.
    pub(crate) fn has_ended(self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return false;
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
                matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
            }
            Err(Errno::SRCH) => true,
            Err(_) => test_kill_process(pid) == Err(Errno::SRCH),
        }
    }
}

/// Returns the pid of the parent process. After the parent has ended, the result is the pid
/// of the process that has adopted this process. The result is 0 if the parent is in
/// another PID namespace.
fn parent_pid() -> u32 {
    Pid::as_raw(getppid()).unsigned_abs()
}

/// Returns `true` if the process `/proc/{number}` runs the same executable file as this
/// process. The comparison also works if the executable file was replaced or deleted after
/// the start of the process.
fn runs_our_program(number: u32) -> io::Result<bool> {
    let file = |path: &Path| {
        let found = fs::metadata(path)?;
        io::Result::Ok((found.dev(), found.ino()))
    };
    let ours = file(Path::new(PROGRAM))?;
    let whole = PathBuf::from(format!("/proc/{number}"));
    let theirs = file(&whole.join("exe")).or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        // The link `exe` of a process is missing if the first thread of the process has
        // ended. But each thread that still runs has such a link, to the same file.
        let mut threads = fs::read_dir(whole.join("task"))?;
        let other = threads.find_map(|thread| file(&thread.ok()?.path().join("exe")).ok());
        other.ok_or(error)
    })?;
    Ok(ours == theirs)
}

/// Returns the number under which `/proc` shows the parent process. This number may differ
/// from the parent's pid if `/proc` shows another PID namespace than that of this process.
fn number_of_parent() -> io::Result<u32> {
    // The kernel makes this file in half the time of `status`. 512 bytes hold all of it.
    let mut stat = [0; 512];
    let count = fs::File::open("/proc/self/stat")?.read(&mut stat)?;
    parent_in(&stat[..count]).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Returns the parent's number in the content of a file `/proc/PID/stat`: the second field
/// behind the program's name, which stands in parentheses and may itself contain any bytes.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[derive(Debug)]
pub(crate) struct Parent {
    pid: u32,
    /// The pidfd of the parent process, which becomes readable when the parent ends.
    /// End-of-file on the channel is not enough, because a forked child of the parent may
    /// keep the parent's end of the channel open.
    pidfd: Option<Checked>,
}

impl Parent {
    /// Opens a handle to the parent process, whose pid is `pid`. Returns `None` if `pid` is
    /// not the pid of the parent process, or if the parent process has ended.
    pub(crate) fn with_pid(pid: u32) -> Option<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok();
        let pidfd = pidfd.and_then(|pidfd| move_above_stdio(pidfd).ok());
        let pidfd = pidfd.map(Checked::new);
        // This process reads the parent's pid after it has opened the pidfd. If the
        // parent's pid is still `pid`, the pidfd refers to the parent.
        (parent_pid() == pid).then_some(Self { pid, pidfd })
    }

    pub(crate) fn lives(&self) -> bool {
        parent_pid() == self.pid
    }

    /// Makes the kernel kill this process with SIGKILL when the thread that started this
    /// process ends. SIGKILL also ends a stopped process. Returns `false` if the parent
    /// process has already ended.
    pub(crate) fn die_with_parent(&self) -> bool {
        // An error is ignored, because the signal is only an additional protection. (The
        // kernel may also cancel the request later, for example when this process changes
        // its user.)
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        self.lives()
    }

    /// Returns `true` if the parent runs the same executable file as this process.
    ///
    /// # Errors
    ///
    /// Returns an error if this process cannot read from `/proc` which file the parent
    /// runs. For example, the kernel hides the file of a parent that has changed its user.
    pub(crate) fn runs_our_program(&self) -> io::Result<bool> {
        runs_our_program(number_of_parent()?)
    }

    /// Waits until the parent has ended or has closed its end of the channel.
    pub(crate) fn wait_until_gone(&self, channel: &Channel) {
        self.wait(channel, PollFlags::RDHUP);
    }

    /// Waits until the parent has sent bytes, or has closed its end of the channel. Returns
    /// `true` if the channel is readable, which it also is at end-of-file. Returns `false`
    /// if the parent has ended.
    pub(crate) fn wait_for_bytes(&self, channel: &Channel) -> bool {
        let seen = self.wait(channel, PollFlags::RDHUP | PollFlags::IN);
        seen.contains(PollFlags::IN)
    }

    /// Waits until the channel has one of `events`, or until the parent has ended. Returns
    /// the events of the channel. Returns no events if the parent has ended.
    ///
    /// A task may close or replace the descriptors of this process. If a descriptor was
    /// closed or replaced, this function does not poll the descriptor, but checks at
    /// regular intervals if the parent still exists. So a task can neither hide the end of
    /// the parent, nor make this function report the end too early. This function must not
    /// allocate memory, because another thread may have ended while it held the allocator's
    /// locks.
    fn wait(&self, channel: &Channel, events: PollFlags) -> PollFlags {
        /// The time between two checks of the parent's existence, while `poll` cannot
        /// watch both descriptors.
        const LOOK: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        loop {
            let has_channel = channel.is_intact();
            let pidfd = self.pidfd.as_ref().filter(|pidfd| pidfd.is_intact());
            let mut fds = [
                PollFd::new(channel, events),
                PollFd::from_borrowed_fd(pidfd.map_or(channel.as_fd(), AsFd::as_fd), PollFlags::IN),
            ];
            let watched = usize::from(!has_channel)..1 + usize::from(pidfd.is_some());
            let limit = (watched.len() < 2).then_some(&LOOK);
            let found = poll(&mut fds[watched], limit);
            if !self.lives() {
                return PollFlags::empty();
            }
            let seen = fds[0].revents();
            if has_channel && !seen.is_empty() && channel.is_intact() {
                return seen;
            }
            if found != Ok(0) && found != Err(rustix::io::Errno::INTR) {
                // A task has closed or replaced a descriptor, or `poll` has failed because
                // the limit on descriptors is too low. The loop sleeps before it polls
                // again, because otherwise it might poll again and again without a pause.
                let _ = poll(&mut [], Some(&LOOK));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::channel::pair;
    use super::*;

    #[test]
    fn a_process_runs_its_own_program() {
        assert!(runs_our_program(std::process::id()).unwrap());
        assert!(runs_our_program(0).is_err());
        assert!(runs_our_program(u32::MAX).is_err());
        assert_eq!(number_of_parent().unwrap(), parent_pid());
    }

    #[test]
    fn the_parents_number_stands_behind_a_name_of_any_bytes() {
        for (stat, number) in [
            (&b"12 (cat) S 34 12 5"[..], Some(34)),
            (b"12 (a) S 99 (\xff) b) S 34 12 5", Some(34)),
            (b"12 (cat) S", None),
            (b"12", None),
        ] {
            assert_eq!(parent_in(stat), number);
        }
    }

    #[test]
    fn the_parent_is_the_one_that_the_system_names() {
        let pid = parent_pid();
        assert!(Parent::with_pid(pid).is_some());
        assert!(Parent::with_pid(std::process::id()).is_none());
        assert!(Parent::with_pid(0).is_none());
    }

    #[test]
    fn a_closed_channel_is_a_parent_that_is_gone() {
        for without_pidfd in [false, true] {
            let (ours, childs) = pair().unwrap();
            let mut parent = Parent::with_pid(parent_pid()).unwrap();
            if without_pidfd {
                parent.pidfd = None;
            }
            drop(childs);
            parent.wait_until_gone(&ours);
        }
    }
}
