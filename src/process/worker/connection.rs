//! [`Connection`]: the connection of a worker that a command such as `ssh` has started.
//!
//! Such a worker cannot watch its parent's process, which may run on another machine. So a
//! thread of its own, the *reader*, receives all messages, also while a task runs. The
//! reader
//!
//! * ends the process at the end-of-file of the connection, and after a time in which
//!   nothing has arrived: the parent sends a `Ping` several times in that time;
//! * answers each `Ping` at once;
//! * takes a task out of the queue at its `Recall`, and answers that only if the task was
//!   there: the task thread has not begun this task and will not begin it;
//! * puts all other messages into a queue, from which the task thread takes them in their
//!   order.
//!
//! # The two senders
//!
//! The task thread and the reader send through the same descriptor. A lock keeps the bytes
//! of their messages apart: a thread holds it from the first byte of a message to the last.
//! The task thread may wait for room while it holds the lock. The reader must not wait with
//! it, because only the reader sees the end of the connection. So the reader leaves its
//! replies in a list. Each thread that has given the lock back sends what is in the list, if
//! it gets the lock at once: otherwise another thread has the lock, and looks after it.

use std::io;
use std::time::Duration;

use super::ending::{end_after_error, end_at_error, end_with_channel, end_without_descriptor};
use super::remote::Remote;
use super::request_queue::{RequestQueue, Sorted};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::Frame;
use crate::sync::{Condvar, Mutex};
use crate::sys::channel::Channel;

/// The largest number of bytes of an answer that goes with the next message.
pub(super) const MOST_KEPT: usize = 4096;

pub(super) struct Connection {
    channel: Channel,
    /// Locked while a thread sends. The answers that go with the next message.
    sending: Mutex<Vec<u8>>,
    /// The replies of the reader that were not sent yet.
    replies: Mutex<Vec<u8>>,
    requests: Mutex<RequestQueue>,
    arrived: Condvar,
}

impl Connection {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            sending: Mutex::new(Vec::new()),
            replies: Mutex::new(Vec::new()),
            requests: Mutex::new(RequestQueue::default()),
            arrived: Condvar::new(),
        }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Sends the kept answers, and then the parts of a message.
    fn send_with(&self, kept: &mut Vec<u8>, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MOST_KEPT {
            self.channel.send_all(kept)?;
            kept.clear();
            return parts
                .iter()
                .try_for_each(|part| self.channel.send_all(part));
        }
        parts.iter().for_each(|part| kept.extend_from_slice(part));
        let sent = self.channel.send_all(kept);
        kept.clear();
        sent
    }

    /// Sends the replies of the reader, unless another thread sends at the moment.
    fn send_replies(&self) -> io::Result<()> {
        while !self.replies.lock().is_empty() {
            let Some(mut kept) = self.sending.try_lock() else {
                return Ok(());
            };
            let replies = std::mem::take(&mut *self.replies.lock());
            self.send_with(&mut kept, &[&replies])?;
        }
        Ok(())
    }

    /// Receives messages until the process ends. `bytes` holds what has arrived already.
    /// The process ends if nothing arrives for the time `silence`.
    pub(super) fn read(&self, mut bytes: Assembler, silence: Duration) -> ! {
        loop {
            while let Some(frame) = bytes.next().unwrap_or_else(end_at_error) {
                self.on_message(frame);
            }
            match self.channel.wait_for_bytes(silence) {
                Ok(true) => {}
                Ok(false) => ExitCode::Silence.end(),
                Err(error) => end_after_error(&error, None),
            }
            let spare = bytes.spare_buffer().unwrap_or_else(end_at_error);
            match self.channel.receive(spare) {
                // A task may have put another file in the place of the input.
                Ok(0) if !self.channel.is_intact() => end_without_descriptor(),
                Ok(0) => end_with_channel(None),
                Ok(count) => bytes.advance(count),
                Err(error) => end_after_error(&error, None),
            }
        }
    }

    fn on_message(&self, frame: Frame) {
        let sorted = self.requests.lock().sort_in(frame);
        match sorted {
            Sorted::Reply(reply) => self.replies.lock().extend(reply),
            Sorted::Queued => {
                self.arrived.notify_one();
                return;
            }
            Sorted::Nothing => return,
        }
        if let Err(error) = self.send_replies() {
            end_after_error(&error, None);
        }
    }
}

impl Remote for Connection {
    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut kept = self.sending.lock();
        let sent = self.send_with(&mut kept, parts);
        drop(kept);
        sent.and_then(|()| self.send_replies())
    }

    /// One system call sends both messages in place of two.
    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MOST_KEPT || self.requests.lock().is_empty() {
            return self.send(parts);
        }
        self.sending.lock().extend(parts.concat());
        Ok(())
    }

    fn next(&self) -> io::Result<Frame> {
        let request = self.requests.lock().pop();
        if let Some(request) = request {
            return Ok(request);
        }
        // The request for which an answer was kept may have been recalled.
        self.send(&[])?;
        let mut requests = self.requests.lock();
        loop {
            if let Some(request) = requests.pop() {
                return Ok(request);
            }
            self.arrived.wait(&mut requests);
        }
    }

    fn begin(&self) {}

    fn is_open(&self) -> bool {
        self.channel.is_open()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::process::wire::frame::{Kind, bare};
    use crate::sys::channel::pair;

    #[test]
    fn the_parts_of_a_message_stay_together() {
        const LONG: usize = 100_000;
        let (parents, workers) = pair().unwrap();
        let connection = Connection::new(Channel::new(workers));
        let received = thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50 {
                    connection.send(&[&[1; 24], &[1; LONG]]).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..5000 {
                    connection.send(&[&[2; 24]]).unwrap();
                }
            });
            let mut received = vec![0; 50 * (24 + LONG) + 5000 * 24];
            let mut count = 0;
            while count < received.len() {
                count += parents.receive(&mut received[count..]).unwrap();
            }
            received
        });
        let mut runs = received.chunk_by(|one, next| one == next);
        assert!(runs.all(|run| run.len() % if run[0] == 1 { 24 + LONG } else { 24 } == 0));
    }

    fn task(number: u64) -> Frame {
        Frame {
            kind: Kind::Task,
            task: number,
            payload: Vec::new().into(),
        }
    }

    #[test]
    fn an_answer_goes_with_the_start_of_the_next_task() {
        let (parents, workers) = pair().unwrap();
        let connection = Connection::new(Channel::new(workers));
        connection.on_message(task(2));
        connection.send_answer(&[b"answer", b"!"]).unwrap();
        let mut into = [0; 64];
        let nothing = parents.receive_now(&mut into).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(connection.next().unwrap().task, 2);
        connection.send(&[b"start"]).unwrap();
        let count = parents.receive_now(&mut into).unwrap();
        assert_eq!(&into[..count], b"answer!start");
        // No task is there to come with.
        connection.send_answer(&[b"last"]).unwrap();
        let count = parents.receive_now(&mut into).unwrap();
        assert_eq!(&into[..count], b"last");
    }

    #[test]
    fn a_kept_answer_is_sent_before_the_task_thread_waits() {
        let (parents, workers) = pair().unwrap();
        let connection = Connection::new(Channel::new(workers));
        connection.on_message(task(2));
        connection.send_answer(&[b"answer"]).unwrap();
        // The task for which the answer was kept goes back.
        let recall = || Frame {
            kind: Kind::Recall,
            ..task(2)
        };
        let sort_in = || connection.requests.lock().sort_in(recall());
        let recalled = Sorted::Reply(bare(Kind::Recalled, 2));
        assert_eq!([sort_in(), sort_in()], [recalled, Sorted::Nothing]);
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(connection.next().unwrap().task, 3));
            assert!(parents.wait_for_bytes(Duration::from_secs(30)).unwrap());
            connection.on_message(task(3));
        });
        let mut into = [0; 64];
        let count = parents.receive_now(&mut into).unwrap();
        assert_eq!(&into[..count], b"answer");
    }
}
