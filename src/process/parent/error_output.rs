//! [`ErrorOutput`]: the error output of a command that has started a worker.
//!
//! A thread copies the lines of the command to the error output of this process, where a
//! user expects what tasks print. The last lines are kept for the error that says why a
//! worker has ended: `ssh` writes there that a host is unknown.
//!
//! The thread reads with the lock held, and without waiting. So the supervisor can read what
//! the thread has not read yet at the end of the command, and the thread copies these bytes,
//! too. The thread ends at the end-of-file. If a process that the command left behind keeps
//! the pipe open, the thread ends when that process writes after the worker's end.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ChildStderr;
use std::sync::{Arc, Weak};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio};
#[cfg(test)]
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sync::Mutex;

/// The number of bytes that are kept.
const KEPT: usize = 2048;

/// The largest number of lines in an error.
const LINES: usize = 4;

/// The stack size of the thread, in bytes.
const STACK: usize = 128 << 10;

/// The largest number of bytes of a line that has not ended when they are copied.
const LONGEST_LINE: usize = 8192;

#[derive(Debug)]
pub(super) struct ErrorOutput(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    pipe: ChildStderr,
    is_at_end: bool,
    /// The bytes that were read and not copied yet.
    to_copy: Vec<u8>,
    last: Vec<u8>,
}

impl ErrorOutput {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no descriptor or no thread left.
    pub(super) fn new(pipe: ChildStderr) -> io::Result<Self> {
        ioctl_fionbio(&pipe, true)?;
        let watched = fcntl_dupfd_cloexec(&pipe, 3)?;
        let shared = Arc::new(Mutex::new(Shared {
            pipe,
            is_at_end: false,
            to_copy: Vec::new(),
            last: Vec::new(),
        }));
        let copied = Arc::downgrade(&shared);
        let thread = thread::Builder::new().name("cf-errors".to_owned());
        thread
            .stack_size(STACK)
            .spawn(move || copy(&watched, &copied, &mut io::stderr()))?;
        Ok(Self(shared))
    }

    /// Returns the output of a command that has closed it.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        let (reader, _) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        Self(Arc::new(Mutex::new(Shared {
            pipe: ChildStderr::from(reader),
            is_at_end: false,
            to_copy: Vec::new(),
            last: Vec::new(),
        })))
    }

    /// Returns the last lines that the command has written, or `None` if there are none.
    pub(super) fn last_lines(&self) -> Option<String> {
        let mut shared = self.0.lock();
        shared.read();
        let text = String::from_utf8_lossy(&shared.last).into_owned();
        let lines = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let first = lines.len().saturating_sub(LINES);
        Some(lines[first..].join("\n")).filter(|lines| !lines.is_empty())
    }
}

impl Shared {
    /// Reads what has arrived.
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

    /// Takes the bytes that are to be copied now: whole lines, and all bytes at the end.
    fn take_lines(&mut self) -> Vec<u8> {
        let is_whole = self.is_at_end || self.to_copy.len() > LONGEST_LINE;
        let newline = self.to_copy.iter().rposition(|byte| *byte == b'\n');
        let end = match newline {
            _ if is_whole => self.to_copy.len(),
            Some(at) => at + 1,
            None => 0,
        };
        self.to_copy.drain(..end).collect()
    }
}

/// Copies the lines of a command to `out`.
fn copy(watched: &OwnedFd, shared: &Weak<Mutex<Shared>>, out: &mut dyn Write) {
    loop {
        // An error means that a signal came, and the pipe is read without waiting.
        let _ = poll(&mut [PollFd::new(watched, PollFlags::IN)], None);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut shared = shared.lock();
        shared.read();
        let (lines, is_at_end) = (shared.take_lines(), shared.is_at_end);
        // The lock is free while the bytes are written, which may take long.
        drop(shared);
        // An error is ignored, as std's macros of the error output would panic.
        let _ = out.write_all(&lines);
        if is_at_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
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
        assert_eq!(lines.as_deref(), Some("line 3\nline 4\nline 5\nline 6"));
        assert_eq!(output_of("true").last_lines(), None);
    }

    #[test]
    fn lines_are_copied_whole_and_the_rest_at_the_end() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut writer = File::from(writer);
        let pipe = ChildStderr::from(reader);
        ioctl_fionbio(&pipe, true).unwrap();
        let mut shared = Shared {
            pipe,
            is_at_end: false,
            to_copy: Vec::new(),
            last: Vec::new(),
        };
        writer.write_all(b"one\ntw").unwrap();
        shared.read();
        assert_eq!(shared.take_lines(), b"one\n");
        writer.write_all(b"o").unwrap();
        shared.read();
        assert_eq!(shared.take_lines(), b"");
        drop(writer);
        shared.read();
        assert_eq!(shared.take_lines(), b"two");
    }

    #[test]
    fn a_process_that_keeps_the_pipe_open_does_not_hold_up_the_end() {
        let start = Instant::now();
        let output = output_of("echo one >&2; sleep 20 &");
        assert_eq!(output.last_lines().as_deref(), Some("one"));
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
