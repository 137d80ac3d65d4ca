//! [`Connection`]: the connection of a worker that a command such as `ssh` has started.
//!
//! Such a worker cannot watch its parent's process, which may run on another machine. So
//! one of the worker's threads receives each message within about two milliseconds, even
//! while tasks run. Between short tasks, the thread that runs them receives (the *task
//! thread*). During a long task, a second thread receives (the *reader*,
//! `transport/receiver_role.rs`). The thread that receives
//!
//! * ends the process at the end-of-file of the connection, and also if nothing arrives for
//!   the *silence limit*, in which the parent sends several `Ping`s;
//! * answers each `Ping`;
//! * removes a task from the queue of requests when the parent asks for the task back
//!   (`Recall`). It answers the `Recall` only if the task was in the queue, because then
//!   the task thread has not begun the task, and never will;
//! * puts all other messages into the queue of requests, from which the task thread takes
//!   them in the order of their arrival.
//!
//! # The two senders
//!
//! The task thread and the reader send through the same descriptor. A thread holds a lock
//! from the first byte of a message to the last, so that the bytes of two messages do not
//! mix. The task thread may hold the lock while it waits for room. Meanwhile only the
//! reader sees the end of the connection, so the reader must not wait for the lock. So a
//! thread puts its replies to `Ping` and `Recall` into a list. It then sends the replies in
//! the list if it can take the lock at once. If it cannot, another thread holds the lock.
//! That thread looks at the list after it has released the lock, before it begins another
//! task.

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use super::ending::{end_after_error, end_at_error, end_with_channel, end_without_descriptor};
use super::remote::Remote;
use super::request_queue::RequestQueue;
use crate::process::transport::{ReceiverRole, Wait};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::Frame;
use crate::sync::Mutex;
use crate::sys::channel::{self, Channel};

/// The size in bytes of the longest answer that is kept and sent with the next message.
pub(super) const MOST_KEPT: usize = 4096;

/// The time in which the parent's first message has to arrive. The parent sends this
/// message as soon as it has received the worker's greeting, or earlier.
pub(super) const HELLO_LIMIT: Duration = Duration::from_secs(60);

/// The pause after which the reader receives if one task keeps the task thread busy. A
/// message may wait for two pauses until a thread receives it.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Connection {
    channel: Channel,
    /// The answers that this process will send with its next message. Locked while a thread
    /// sends.
    sending: Mutex<Vec<u8>>,
    /// The list of the replies to `Ping` and `Recall` that have not been sent yet.
    replies: Mutex<Vec<u8>>,
    requests: ReceiverRole<RequestQueue>,
    arrived: Mutex<Assembler>,
    /// The time without new bytes after which the process ends. Set when the parent's first
    /// message has arrived, which contains this time.
    silence: OnceLock<Duration>,
}

impl Connection {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            sending: Mutex::new(Vec::new()),
            replies: Mutex::new(Vec::new()),
            requests: ReceiverRole::new(RequestQueue::default()),
            arrived: Mutex::new(Assembler::new()),
            silence: OnceLock::new(),
        }
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

    /// Sends the replies that were not sent yet, unless another thread is sending. In this
    /// case that thread sends the replies. Returns `false` if there was no room for the
    /// time `limit`.
    fn send_replies(&self, limit: Duration) -> io::Result<bool> {
        while !self.replies.lock().is_empty() {
            let Some(mut kept) = self.sending.try_lock() else {
                return Ok(true);
            };
            kept.append(&mut self.replies.lock());
            // The pieces are so small that no `send_all` waits for room. This thread may be
            // the one that receives: while it waited, no thread would see that the
            // connection is down.
            while !kept.is_empty() {
                if !self.channel.wait_for_room(limit)? {
                    return Ok(false);
                }
                let piece = kept.len().min(channel::ROOM);
                self.channel.send_all(&kept[..piece])?;
                kept.drain(..piece);
            }
        }
        Ok(true)
    }

    /// Sends the replies that were not sent yet. Ends the process if there is no room for
    /// the silence limit, because then the connection is down.
    fn reply(&self) -> io::Result<()> {
        match self.send_replies(self.silence())? {
            true => Ok(()),
            false => ExitCode::Silence.end(),
        }
    }

    /// Returns the time without new bytes after which the process ends.
    fn silence(&self) -> Duration {
        self.silence.get().copied().unwrap_or(HELLO_LIMIT)
    }

    /// Begins to handle the messages that follow the parent's first message. `bytes`
    /// holds the bytes that have already arrived. From now on the process ends if nothing
    /// arrives for the time `silence`.
    pub(super) fn begin(&self, bytes: Assembler, silence: Duration) {
        // The limit is set only once, because this method is called only once.
        let _ = self.silence.set(silence);
        let mut arrived = self.arrived.lock();
        *arrived = bytes;
        self.handle_all(&mut arrived);
    }

    /// Runs the reader until the process ends.
    pub(super) fn read(&self) -> ! {
        loop {
            self.requests.stand_by(
                || thread::sleep(PAUSE),
                RequestQueue::is_empty,
                |wait| self.receive(wait),
            );
        }
    }

    fn receive(&self, wait: Wait) {
        let mut arrived = self.arrived.lock();
        let limit = match wait {
            Wait::Not => Duration::ZERO,
            Wait::UntilMessage => self.silence(),
        };
        if self.receive_into(&mut arrived, limit) {
            self.handle_all(&mut arrived);
        } else if wait == Wait::UntilMessage {
            ExitCode::Silence.end();
        }
    }

    pub(super) fn receive_into(&self, bytes: &mut Assembler, limit: Duration) -> bool {
        match self.channel.wait_for_bytes(limit) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => end_after_error(&error, None),
        }
        let spare = bytes.spare_buffer().unwrap_or_else(end_at_error);
        match self.channel.receive(spare) {
            // A task may have closed the descriptor. Then the number may belong to another
            // file, which is at its end.
            Ok(0) if !self.channel.is_intact() => end_without_descriptor(),
            Ok(0) => end_with_channel(None),
            Ok(count) => bytes.advance(count),
            Err(error) => end_after_error(&error, None),
        }
        true
    }

    fn handle_all(&self, bytes: &mut Assembler) {
        while let Some(frame) = bytes.next().unwrap_or_else(end_at_error) {
            self.on_message(frame);
        }
    }

    fn on_message(&self, frame: Frame) {
        let reply = self.requests.with_queue(|queue| queue.sort_in(frame));
        let Some(reply) = reply else {
            return;
        };
        self.replies.lock().extend(reply);
        if let Err(error) = self.reply() {
            end_after_error(&error, None);
        }
    }
}

impl Remote for Connection {
    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut kept = self.sending.lock();
        let sent = self.send_with(&mut kept, parts);
        drop(kept);
        sent.and_then(|()| self.reply())
    }

    /// Keeps a short answer if the next request has already arrived. One system call then
    /// sends the answer together with the next message.
    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let is_last = || self.requests.with_queue(|queue| queue.is_empty());
        if length > MOST_KEPT || is_last() {
            return self.send(parts);
        }
        self.sending.lock().extend(parts.concat());
        Ok(())
    }

    fn next(&self) -> io::Result<Frame> {
        if let Some(request) = self.requests.try_next(RequestQueue::pop) {
            return Ok(request);
        }
        // This thread may have kept an answer, in order to send it together with the
        // message `Started` of the next task. If the parent has taken that task back since,
        // there is no such message, and the answer must be sent now.
        self.send(&[])?;
        let receive = |wait| self.receive(wait);
        Ok(self.requests.next(RequestQueue::pop, receive))
    }

    fn begin(&self) {}

    fn is_open(&self) -> bool {
        self.channel.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wire::frame::{Kind, bare};
    use crate::sys::channel::pair;

    #[test]
    fn the_parts_of_a_message_stay_together() {
        const LONG: usize = 100_000;
        const COUNT: usize = 300;
        let (parents, workers) = pair().unwrap();
        let connection = Connection::new(Channel::new(workers));
        let received = thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..COUNT {
                    connection.send(&[&[1; 24], &[1; LONG]]).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..100 * COUNT {
                    connection.send(&[&[2; 24]]).unwrap();
                }
            });
            let mut received = vec![0; COUNT * (24 + LONG) + 100 * COUNT * 24];
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

    /// The next message, with the initializer for example, may have arrived together with
    /// the first message. The worker must handle it even if no more bytes arrive.
    #[test]
    fn messages_that_have_come_with_the_first_one_need_no_others() {
        let (_parents, workers) = pair().unwrap();
        let connection = Connection::new(Channel::new(workers));
        let mut bytes = Assembler::new();
        let frame = bare(Kind::Task, 7);
        bytes.spare_buffer().unwrap()[..frame.len()].copy_from_slice(&frame);
        bytes.advance(frame.len());
        connection.begin(bytes, Duration::from_secs(60));
        let next = connection.requests.try_next(RequestQueue::pop);
        assert_eq!(next.map(|request| request.task), Some(7));
    }

    /// A network that hangs takes no bytes, and brings no end of the connection. The thread
    /// that receives must not wait for ever for room for its replies.
    #[test]
    fn replies_without_room_end_after_the_limit() {
        let (parents, workers) = pair().unwrap();
        let connection = Connection::new(Channel::new(workers));
        let mut sent = 0;
        while let Ok(count) = connection.channel.send_now(&[1; 4096]) {
            sent += count;
        }
        connection.replies.lock().extend([2; 24]);
        assert!(!connection.send_replies(Duration::from_millis(1)).unwrap());
        let mut into = vec![0; sent + 24];
        let mut receive_all = |mut left: usize| {
            while left > 0 {
                left -= parents.receive(&mut into[..left]).unwrap();
            }
            into[0]
        };
        assert_eq!(receive_all(sent), 1);
        // The replies are sent with the next message.
        connection.send(&[]).unwrap();
        assert_eq!(receive_all(24), 2);
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
        // No other task has arrived, so the answer is sent at once.
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
        // The parent recalls the task with whose message `Started` the answer was to be
        // sent.
        let recall = || Frame {
            kind: Kind::Recall,
            ..task(2)
        };
        let queue = &connection.requests;
        let sort_in = || queue.with_queue(|queue| queue.sort_in(recall()));
        let recalled = bare(Kind::Recalled, 2);
        assert_eq!([sort_in(), sort_in()], [Some(recalled), None]);
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(connection.next().unwrap().task, 3));
            assert!(parents.wait_for_bytes(Duration::from_secs(30)).unwrap());
            parents.send_all(&bare(Kind::Task, 3)).unwrap();
        });
        let mut into = [0; 64];
        let count = parents.receive_now(&mut into).unwrap();
        assert_eq!(&into[..count], b"answer");
    }
}
