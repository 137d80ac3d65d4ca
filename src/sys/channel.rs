//! [`Channel`]: a connection between a parent process and a worker process.
//!
//! A channel is a pair of connected sockets, both close-on-exec. The child process gets a
//! copy of its socket as descriptor 0. So the parent never makes the socket itself
//! inheritable, and programs that other threads of the parent start do not inherit it. The
//! child later moves its socket away from descriptor 0 ([`Channel::take_stdin`]).
//!
//! If a command such as `ssh` starts the worker, the command gets the socket as its
//! descriptors 0 and 1, and passes the bytes on to the worker and back. The worker's end
//! then has one descriptor for each direction. These two descriptors may be pipes
//! ([`Channel::take_stdio`]).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, retry_on_intr, write};
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recv, recvmsg, send,
    sendmsg, shutdown, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};

use super::checked::Checked;
use super::current_process::move_above_stdio;

/// The smallest descriptor number to which a child process moves its end of the channel, if
/// such a number is free. The number is below the usual limit of 1024 descriptors, and
/// above the descriptors that most programs open.
const HIGH: i32 = 1000;

/// The largest number of descriptors that callers pass to [`Channel::send_with_files`]: a
/// message has room for them.
const MOST_FILES: usize = 3;

/// One end of a channel. When this end is dropped, the other end reads end-of-file, unless
/// a fork of this process holds a copy of this end.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The descriptor to receive from. It is a socket if `output` is `None`, and otherwise
    /// it may be a pipe.
    input: Checked,
    /// The descriptor to send to, or `None` if the channel sends to `input` too.
    output: Option<Checked>,
}

/// Creates a channel. Returns the end for this process, and the end for a child process.
pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
    let (ours, childs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((Channel::of_socket(move_above_stdio(ours)?), childs))
}

/// Returns an upper bound for the number of unread bytes in a channel. If the system does
/// not report the size of a socket's send buffer, the bound follows from Linux's default
/// size.
pub(crate) fn capacity() -> usize {
    let size = pair().and_then(|(_, childs)| Ok(socket_send_buffer_size(&childs)?));
    let size = size.unwrap_or(212_992);
    // Linux accepts a further piece as long as the unread bytes do not fill the buffer. A
    // piece has at most half of the buffer's size.
    size + size / 2
}

/// The number of bytes for which a channel certainly has room when `poll` reports room: for
/// a pipe, `poll` reports room as soon as one page of the pipe is free.
pub(crate) const ROOM: usize = 4096;

impl Channel {
    #[cfg(any(test, concurrent_futures_fuzz))]
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self::of_socket(socket)
    }

    fn of_socket(socket: OwnedFd) -> Self {
        Self {
            input: Checked::new(socket),
            output: None,
        }
    }

    /// Moves the worker's end of the channel from descriptor 0 to a higher number, and
    /// opens an empty input as descriptor 0.
    ///
    /// # Errors
    ///
    /// Returns an error if descriptor 0 is closed, or if the system has no free descriptor
    /// left.
    pub(crate) fn take_stdin() -> io::Result<Self> {
        let moved = move_high(stdin())?;
        dup2_stdin(empty_input()?)?;
        Ok(Self::of_socket(moved))
    }

    /// Moves the two directions of the channel from the descriptors 0 and 1 to higher
    /// numbers. Opens an empty input as descriptor 0, and makes descriptor 1 a copy of
    /// descriptor 2, so that the output of a task does not get into the channel.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the descriptors 0 to 2 is closed, or if the system has no
    /// free descriptor left.
    pub(crate) fn take_stdio() -> io::Result<Self> {
        let (input, output) = (move_high(stdin())?, move_high(stdout())?);
        dup2_stdin(empty_input()?)?;
        dup2_stdout(stderr())?;
        Ok(Self {
            input: Checked::new(input),
            output: Some(Checked::new(output)),
        })
    }

    /// Returns `true` if the channel's descriptors still refer to the files to which they
    /// referred when the channel was created.
    pub(crate) fn is_intact(&self) -> bool {
        self.descriptors().all(Checked::is_intact)
    }

    /// Returns `true` if the channel's descriptors are open, even if they now refer to
    /// other files.
    pub(crate) fn is_open(&self) -> bool {
        self.descriptors().all(Checked::is_open)
    }

    fn descriptors(&self) -> impl Iterator<Item = &Checked> {
        [&self.input].into_iter().chain(&self.output)
    }

    /// Returns a time that is shorter than closing a descriptor usually takes. If a task
    /// took less time, the worker assumes that the task has closed no descriptor of the
    /// channel.
    pub(crate) fn time_to_close(&self) -> Duration {
        self.input.time_to_close()
    }

    /// Sends as many of the bytes as the channel has room for, and does not wait. A
    /// successful call sends at least one byte, unless `bytes` is empty. The channel must
    /// be a socket.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if the channel has no room.
    /// Returns [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the other end is closed. A send
    /// to a closed end does not raise SIGPIPE.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(retry_on_intr(|| send(&self.input, bytes, flags))?)
    }

    /// Sends bytes like [`send_now`](Self::send_now), but first checks that no task of this
    /// process has closed or replaced the channel's descriptor.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`send_now`](Self::send_now). Returns `EBADF` if the channel's
    /// descriptor was closed, even if another file now has the same number.
    pub(crate) fn send_checked_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.input.check()?;
        self.send_now(bytes)
    }

    /// Makes the other end read end-of-file.
    pub(crate) fn close_sending(&self) {
        // An error is ignored, because the other end reads end-of-file at the latest when
        // this end is dropped.
        let _ = shutdown(&self.input, Shutdown::Write);
    }

    /// Sends the first bytes of a new channel together with descriptors of up to three
    /// files. The caller must send only so few bytes that a new channel has room for them.
    ///
    /// # Errors
    ///
    /// Returns an error if this call cannot send all the bytes and all the descriptors.
    pub(crate) fn send_with_files(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let parts = [IoSlice::new(bytes)];
        let sent = retry_on_intr(|| sendmsg(&self.input, &parts, &mut ancillary, flags))?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Receives bytes like [`receive`](Self::receive), and also returns the descriptors
    /// that came with the bytes.
    pub(crate) fn receive_with_files(&self, into: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.input.check()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let count = retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut *into)];
            recvmsg(&self.input, &mut parts, &mut ancillary, flags)
        })?
        .bytes;
        let files = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        Ok((count, files.flatten().collect()))
    }

    /// Sends all bytes, and waits for room when the channel is full.
    ///
    /// # Errors
    ///
    /// Returns [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the other end is closed.
    /// Returns `EBADF` if the channel's descriptor was closed, even if another file now has
    /// the same number.
    pub(crate) fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = match &self.output {
                None => {
                    self.input.check()?;
                    retry_on_intr(|| send(&self.input, bytes, SendFlags::NOSIGNAL))
                }
                Some(output) => {
                    output.check()?;
                    retry_on_intr(|| write(output, bytes))
                }
            };
            match (sent, &self.output) {
                (Ok(sent), _) => bytes = &bytes[sent..],
                // The program that started this process may share the open file of `output`
                // and may have set O_NONBLOCK on it. Then `write` does not wait for room.
                (Err(Errno::AGAIN), Some(output)) => wait_for(output, PollFlags::OUT)?,
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives the bytes that have arrived, and does not wait. A result of 0 bytes means
    /// end-of-file. The channel must be a socket.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if no bytes have arrived. Returns
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the other process closed its
    /// end before it had read all bytes. Only one call returns this error, and the later
    /// calls return 0 bytes.
    pub(crate) fn receive_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive_with(into, RecvFlags::DONTWAIT)
    }

    /// Waits until bytes arrive, and receives them. A result of 0 bytes means end-of-file.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`receive_now`](Self::receive_now) except `WouldBlock`.
    /// Returns `EBADF` if the channel's descriptor was closed, even if another file now has
    /// the same number.
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.input.check()?;
        if self.output.is_none() {
            return self.receive_with(into, RecvFlags::empty());
        }
        loop {
            match retry_on_intr(|| read(&self.input, &mut *into)) {
                Err(Errno::AGAIN) => wait_for(&self.input, PollFlags::IN)?,
                received => return Ok(received?),
            }
        }
    }

    /// Waits until bytes or end-of-file can be received, at most for the time `limit`.
    /// Returns `false` if nothing arrived in this time.
    ///
    /// # Errors
    ///
    /// Returns `EBADF` if the channel's descriptor was closed or replaced, and the errors
    /// of `poll`.
    pub(crate) fn wait_for_bytes(&self, limit: Duration) -> io::Result<bool> {
        self.input.check()?;
        wait_within(&self.input, PollFlags::IN, limit)
    }

    /// Waits until [`ROOM`] bytes can be sent at once, at most for the time `limit`.
    /// Returns `false` if there was no room in this time. Also returns `true` if the other
    /// end is closed.
    pub(crate) fn wait_for_room(&self, limit: Duration) -> io::Result<bool> {
        let output = self.output.as_ref().unwrap_or(&self.input);
        output.check()?;
        wait_within(output, PollFlags::OUT, limit)
    }

    fn receive_with(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let (count, _) = retry_on_intr(|| recv(&self.input, &mut *into, flags))?;
        Ok(count)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }
}

/// Returns a copy of a standard descriptor, with a high number if one is free.
fn move_high(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // The copy gets a high number, because the program may close or reuse all low numbers.
    let high = fcntl_dupfd_cloexec(descriptor, HIGH);
    // If no high number is free, the copy gets another number, but none of the numbers 0 to
    // 2, which belong to the standard descriptors.
    Ok(high.or_else(|_| fcntl_dupfd_cloexec(descriptor, 3))?)
}

/// Waits without a time limit until `poll` reports one of the events for the descriptor, or
/// until a signal arrives.
fn wait_for(descriptor: &Checked, events: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(descriptor, events)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the descriptor has one of `events`, and returns `true`. Returns `false`
/// after the time `limit`.
fn wait_within(descriptor: &Checked, events: PollFlags, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(descriptor, events)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens an empty input: the first read already returns end-of-file.
fn empty_input() -> io::Result<OwnedFd> {
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    // If `/dev/null` cannot be opened, a pipe whose writing end is closed serves as the
    // empty input.
    Ok(null.or_else(|_| pipe_with(PipeFlags::CLOEXEC).map(|(reads, _)| reads))?)
}

#[cfg(test)]
mod tests {
    use rustix::io::{FdFlags, fcntl_getfd};

    use super::*;

    fn pair_of_channels() -> (Channel, Channel) {
        let (ours, childs) = pair().unwrap();
        (ours, Channel::new(childs))
    }

    #[test]
    fn no_end_is_ever_inheritable() {
        let (ours, childs) = pair().unwrap();
        for fd in [ours.as_fd(), childs.as_fd()] {
            assert_eq!(fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
        }
    }

    #[test]
    fn what_does_not_wait_says_so() {
        let (ours, childs) = pair_of_channels();
        let mut into = [0; 8];
        let nothing = ours.receive_now(&mut into).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let piece = [1; 4096];
        let full = loop {
            if let Err(full) = ours.send_now(&piece) {
                break full;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(childs.receive(&mut into).unwrap(), 8);
    }

    #[test]
    fn a_channel_holds_no_more_unread_bytes_than_its_capacity() {
        for piece in [4096, 65_536, 86_000, 100_000, 1 << 20] {
            let (ours, _childs) = pair_of_channels();
            let piece = vec![1; piece];
            let sent: usize = std::iter::from_fn(|| ours.send_now(&piece).ok()).sum();
            let capacity = capacity();
            assert!(sent <= capacity, "{sent} of {capacity} bytes");
        }
    }

    #[test]
    fn the_end_is_end_of_file_and_broken_pipe() {
        let (ours, childs) = pair_of_channels();
        childs.send_all(b"last words").unwrap();
        drop(childs);
        let mut into = [0; 64];
        assert_eq!(ours.receive(&mut into).unwrap(), 10);
        assert_eq!(ours.receive_now(&mut into).unwrap(), 0);
        let gone = ours.send_all(b"x").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn files_come_with_the_first_bytes_and_are_not_inheritable() {
        let (ours, childs) = pair_of_channels();
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let files = [writes.as_fd(), reads.as_fd(), writes.as_fd()];
        ours.send_with_files(b"first", &files).unwrap();
        ours.send_all(b"second").unwrap();
        drop(writes);
        let mut into = [0; 64];
        let (count, files) = childs.receive_with_files(&mut into).unwrap();
        assert_eq!((&into[..count], files.len()), (&b"first"[..], 3));
        for file in &files {
            assert_eq!(fcntl_getfd(file).unwrap(), FdFlags::CLOEXEC);
        }
        rustix::io::write(&files[2], b"x").unwrap();
        assert_eq!(rustix::io::read(&files[1], &mut into), Ok(1));
        let (count, files) = childs.receive_with_files(&mut into).unwrap();
        assert_eq!((&into[..count], files.len()), (&b"second"[..], 0));
    }

    #[test]
    fn an_empty_input_is_at_its_end() {
        let mut into = [0; 1];
        assert_eq!(rustix::io::read(empty_input().unwrap(), &mut into), Ok(0));
    }
}
