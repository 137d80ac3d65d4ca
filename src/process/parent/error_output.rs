//! [`ErrorOutput`]: the error output of a command that has started a worker.
//!
//! A thread copies the lines of the command to the error output of this process, where a
//! user expects the output of tasks. The [`ErrorOutput`] keeps the last lines for the error
//! that says why a worker has ended: `ssh`, for example, reports an unknown host in these
//! lines.
//!
//! The thread reads the pipe under a lock, and its reads never wait for bytes. So when the
//! command has ended, the pool's supervisor thread can itself read the bytes that the
//! copying thread has not read yet. The copying thread then copies these bytes too, and
//! ends at the end-of-file. A process that the command left behind may keep the pipe open.
//! So when the pool drops the [`ErrorOutput`], the thread copies the bytes that have
//! arrived, and ends.

use std::io::{self, Read};
use std::process::ChildStderr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio, write};
#[cfg(test)]
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::stderr;

use super::escaped::escaped;
use crate::sync::Mutex;
use crate::sys::wake_fd::WakeFd;

/// The largest number of bytes that are kept for an error: the last bytes of the output.
const KEPT: usize = 2048;

/// The largest number of lines of the output that an error contains.
const LINES: usize = 4;

const STACK: usize = 128 << 10;

/// The largest number of bytes with which the thread waits for the end of a line. If it has
/// more bytes, it copies all of them, also the part of a line at their end.
const LONGEST_LINE: usize = 8192;

#[derive(Debug)]
pub(super) struct ErrorOutput {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    output: Mutex<Output>,
    /// Wakes the thread when the `ErrorOutput` is dropped.
    ended: WakeFd,
}

#[derive(Debug)]
struct Output {
    pipe: ChildStderr,
    is_at_end: bool,
    /// The bytes that were read from the pipe and not copied yet.
    to_copy: Vec<u8>,
    last: Vec<u8>,
}

impl ErrorOutput {
    /// Starts the thread that copies the output of the command.
    pub(super) fn new(pipe: ChildStderr) -> io::Result<Self> {
        ioctl_fionbio(&pipe, true)?;
        // The pipe must not get the number of a standard descriptor that this program has
        // closed: the program would read the command's output as its own input.
        let pipe = ChildStderr::from(fcntl_dupfd_cloexec(&pipe, 3)?);
        let shared = Arc::new(Shared {
            output: Mutex::new(Output::new(pipe)),
            ended: WakeFd::new()?,
        });
        let watched = fcntl_dupfd_cloexec(&shared.output.lock().pipe, 3)?;
        let copied = Arc::clone(&shared);
        let thread = thread::Builder::new().name("cf-errors".to_owned());
        let thread = thread
            .stack_size(STACK)
            .spawn(move || while !copied.copy_next(&watched) {})?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn last_lines(&self) -> Option<String> {
        let mut output = self.shared.output.lock();
        output.read();
        last_lines(&String::from_utf8_lossy(&output.last))
    }

    /// Makes the thread copy the remaining bytes and then end. Returns the thread, for
    /// which the pool has to wait: if the program ended earlier, the remaining bytes would
    /// get lost.
    pub(super) fn end(mut self) -> Option<JoinHandle<()>> {
        self.thread.take()
    }
}

impl Drop for ErrorOutput {
    fn drop(&mut self) {
        self.shared.ended.wake();
    }
}

/// Returns the last non-empty lines of a text, at most [`LINES`], joined and [`escaped`].
/// Returns `None` if the text has no such line.
pub(super) fn last_lines(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim_end);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let first = lines.len().saturating_sub(LINES);
    let lines = escaped(&lines[first..].join(" | "));
    Some(lines).filter(|lines| !lines.is_empty())
}

impl Shared {
    /// Waits for bytes, and copies them. Returns `true` if the thread must end: the pipe is
    /// at its end, or the `ErrorOutput` was dropped.
    fn copy_next(&self, watched: &impl std::os::fd::AsFd) -> bool {
        let mut polled = [
            PollFd::new(watched, PollFlags::IN),
            PollFd::new(&self.ended, PollFlags::IN),
        ];
        // An error of `poll`, for example after a signal, is ignored: the read below does
        // not wait.
        let _ = poll(&mut polled, None);
        let is_ended = !polled[1].revents().is_empty();
        let mut output = self.output.lock();
        output.read();
        let (lines, is_at_end) = (output.take_lines(is_ended), output.is_at_end || is_ended);
        // This thread unlocks before it writes the bytes, because a write may take long.
        drop(output);
        write_to_stderr(&lines);
        is_at_end
    }
}

/// Writes to the error output of this process. An error is ignored, because there is no
/// other place for these bytes.
fn write_to_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match write(stderr(), bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Another program may have made the file behind the error output, such as a
            // terminal, nonblocking.
            Err(Errno::AGAIN) => {
                let _ = poll(
                    &mut [PollFd::from_borrowed_fd(stderr(), PollFlags::OUT)],
                    None,
                );
            }
            Err(_) => return,
        }
    }
}

impl Output {
    fn new(pipe: ChildStderr) -> Self {
        Self {
            pipe,
            is_at_end: false,
            to_copy: Vec::new(),
            last: Vec::new(),
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        while !self.is_at_end && self.to_copy.len() < 16 * LONGEST_LINE {
            match self.pipe.read(&mut bytes) {
                Ok(0) => self.is_at_end = true,
                Ok(count) => {
                    self.to_copy.extend_from_slice(&bytes[..count]);
                    self.last.extend_from_slice(&bytes[..count]);
                    let more = self.last.len().saturating_sub(KEPT);
                    self.last.drain(..more);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_at_end = true,
            }
        }
    }

    /// Takes the bytes to copy now: whole lines, or all bytes if no more will follow or if
    /// there are more than [`LONGEST_LINE`].
    fn take_lines(&mut self, is_ended: bool) -> Vec<u8> {
        let takes_all = is_ended || self.is_at_end || self.to_copy.len() > LONGEST_LINE;
        let newline = self.to_copy.iter().rposition(|byte| *byte == b'\n');
        let end = match newline {
            _ if takes_all => self.to_copy.len(),
            Some(at) => at + 1,
            None => 0,
        };
        self.to_copy.drain(..end).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn output_of(script: &str) -> ErrorOutput {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = ErrorOutput::new(child.stderr.take().unwrap()).unwrap();
        child.wait().unwrap();
        output
    }

    #[test]
    fn the_last_lines_are_kept_although_the_command_has_ended() {
        let output = output_of("for i in 1 2 3 4 5 6; do echo line $i >&2; done; echo >&2");
        let lines = output.last_lines();
        assert_eq!(lines.as_deref(), Some("line 3 | line 4 | line 5 | line 6"));
        assert_eq!(output_of("true").last_lines(), None);
    }

    #[test]
    fn the_lines_in_an_error_do_not_steer_a_terminal() {
        let lines = last_lines("\0\u{1b}]0;title\u{7}\n\u{e9}\u{9b}31m\tend\u{202e}\r\n");
        let escaped = "\\u{0}\\u{1b}]0;title\\u{7} | \u{e9}\\u{9b}31m end\\u{202e}";
        assert_eq!(lines.as_deref(), Some(escaped));
    }

    #[test]
    fn lines_are_copied_whole_and_the_rest_at_the_end() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut writer = File::from(writer);
        let pipe = ChildStderr::from(reader);
        ioctl_fionbio(&pipe, true).unwrap();
        let mut output = Output::new(pipe);
        writer.write_all(b"one\ntw").unwrap();
        output.read();
        assert_eq!(output.take_lines(false), b"one\n");
        writer.write_all(b"o").unwrap();
        output.read();
        assert_eq!(output.take_lines(false), b"");
        assert_eq!(output.take_lines(true), b"two", "the command has ended");
        writer.write_all(&[b'.'; LONGEST_LINE + 1]).unwrap();
        output.read();
        assert_eq!(output.take_lines(false).len(), LONGEST_LINE + 1);
        writer.write_all(b"two").unwrap();
        drop(writer);
        // A child process of another test may also hold the writer until its `exec`. So the
        // test waits until all copies of the writer are closed.
        let mut closed = [PollFd::new(&output.pipe, PollFlags::HUP)];
        assert_eq!(poll(&mut closed, None), Ok(1));
        output.read();
        assert_eq!(output.take_lines(false), b"two");
    }

    #[test]
    fn a_process_that_keeps_the_pipe_open_does_not_hold_up_the_end() {
        let start = Instant::now();
        let output = output_of("echo one >&2; sleep 20 &");
        assert_eq!(output.last_lines().as_deref(), Some("one"));
        output.end().unwrap().join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
