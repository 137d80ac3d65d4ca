//! The sending side of a [`WorkerHandle`]: the frames that wait for room in the transport,
//! and the program's file, which is sent before all frames if the launcher copies it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use super::super::queued_task::InFlight;
use super::super::staging::Copying;
use super::super::worker_timeouts::SILENCE_LIMIT;
use super::{IO_BUDGET, KillReason, Outgoing, WorkerHandle, WorkerState};
use crate::encoded::Encoded;
use crate::error::StartStage;
use crate::process::transport::SCRIBBLED;
use crate::process::wire::frame::{HEADER, Kind, bare};
use crate::process::wire::message::FOREIGN_BYTES;
use crate::sys::shortage::Shortage;

/// The largest number of bytes of short frames that one write sends to a worker that a
/// launcher has started.
const MOST_GATHERED: usize = 16 << 10;

/// Returns the bytes of a frame behind its first `sent` bytes, as far as they lie in one
/// piece of memory, and the length of the whole frame. The frame may be the call of a task.
/// Returns `None` if the worker does not have this task any more, or if the pool has freed
/// the call because the task has begun.
fn unsent<'a>(
    outgoing: &'a Outgoing,
    sent: usize,
    activity: &'a WorkerState,
    ahead: &'a VecDeque<InFlight>,
) -> Option<(&'a [u8], usize)> {
    match outgoing {
        Outgoing::Frame(frame) => Some((frame.slice_from(sent), frame.len())),
        Outgoing::Call(number) => {
            let first = match activity {
                WorkerState::Busy(in_flight) => Some(in_flight),
                _ => None,
            };
            let mut tasks = first.into_iter().chain(ahead);
            let task = tasks.find(|task| task.entry.number == *number)?;
            let call = task.entry.task.call()?;
            Some((call.slice_from(sent), call.len()))
        }
    }
}

impl WorkerHandle {
    /// Sends the first messages to the worker, unless they were sent already.
    ///
    /// # Errors
    ///
    /// Returns an error if the system lacks a resource that it needs to send files. Then
    /// nothing was sent, and the worker is of no use.
    pub(in crate::process::parent) fn send_first(&mut self) -> io::Result<()> {
        let Some(first) = self.first.take() else {
            return Ok(());
        };
        let offers = first.offers.iter().flat_map(|files| files.iter());
        let files: Vec<_> = first.rings.iter().chain(offers).map(AsFd::as_fd).collect();
        if files.is_empty() {
            self.send(Arc::new(first.hello.into()));
        } else if let Err(error) = self.end.send_with_files(&first.hello, &files) {
            if Shortage::of(&error).is_some() {
                return Err(error);
            }
            self.on_write_error();
            return Ok(());
        }
        if let Some(initialize) = first.initialize {
            self.send(initialize);
        }
        Ok(())
    }

    /// Appends a frame to the outbox, and sends as much of the outbox as there is room for.
    /// Later calls of [`flush`](Self::flush) send the remaining bytes.
    pub(in crate::process::parent) fn send(&mut self, frame: Arc<Encoded>) {
        self.outbox.push_back(Outgoing::Frame(frame));
        self.flush();
    }

    pub(in crate::process::parent) fn send_task(&mut self, in_flight: InFlight) {
        let number = in_flight.entry.number;
        self.expect_start(in_flight, Instant::now());
        self.send_call(number);
    }

    pub(in crate::process::parent) fn send_task_ahead(&mut self, task: InFlight) {
        self.outbox.push_back(Outgoing::Call(task.entry.number));
        self.ahead.push_back(task);
        self.flush();
    }

    /// Asks the worker to give a task back if the task has not begun. Asks only once for
    /// each task.
    pub(in crate::process::parent) fn recall(&mut self, task: u64) {
        let recalled = self.task_mut(task);
        if recalled.is_some_and(|task| !std::mem::replace(&mut task.is_recalled, true)) {
            self.send(Arc::new(bare(Kind::Recall, task).to_vec().into()));
        }
    }

    /// Asks the worker to give back the last `count` of the tasks that were sent ahead.
    /// Asks for the last task first: each returned task goes to the head of the pool's
    /// queue, so the queue then has the tasks in their old order.
    pub(in crate::process::parent) fn recall_last(&mut self, count: usize) {
        let ahead = self.ahead.iter().rev().map(|task| task.entry.number);
        let last: Vec<u64> = ahead.take(count).collect();
        for task in last {
            self.recall(task);
        }
    }

    /// Sends the call of the task with this number, if that is the worker's current task.
    pub(in crate::process::parent) fn send_call(&mut self, task: u64) {
        let in_flight = self
            .in_flight()
            .filter(|in_flight| in_flight.entry.number == task);
        if in_flight.is_some() {
            self.outbox.push_back(Outgoing::Call(task));
            self.flush();
        }
    }

    /// Tells the worker to take no offer until [`release`](Self::release).
    pub(in crate::process::parent) fn hold(&mut self) {
        self.send(Arc::new(bare(Kind::Hold, 0).to_vec().into()));
        // ORDERING: the fence orders the sending of `Hold` before the caller's next reads
        // of the worker's messages. Pairs with the fence in `Taker::is_still_taken`, after
        // which the worker looks for `Hold`.
        fence(Ordering::SeqCst);
    }

    /// Lets the worker take offers again.
    pub(in crate::process::parent) fn release(&mut self) {
        self.send(Arc::new(bare(Kind::Release, 0).to_vec().into()));
    }

    /// Returns `true` if there are bytes that the pool may send now and has not sent yet.
    pub(in crate::process::parent) fn has_unsent(&self) -> bool {
        match &self.copying {
            Some(copying) => copying.has_unsent(),
            None => !self.outbox.is_empty(),
        }
    }

    /// Returns `true` if there are bytes to send, and the last write has found room.
    pub(in crate::process::parent) fn can_flush(&self) -> bool {
        self.has_unsent() && !self.is_full
    }

    /// Returns `true` if there are bytes to send, and there is room that `poll` does not
    /// report, as in shared memory.
    pub(in crate::process::parent) fn has_room(&self) -> bool {
        self.has_unsent() && self.end.has_room()
    }

    /// Sends the bytes that wait in the outbox, or the requested bytes of the program's
    /// file, as far as there is room.
    pub(in crate::process::parent) fn flush(&mut self) {
        if self.is_corked {
            return;
        }
        self.is_full = false;
        if self.copying.is_some() {
            return self.flush_copy();
        }
        let mut budget = IO_BUDGET;
        let mut gathered = Vec::new();
        while let Some(first) = self.outbox.front().filter(|_| budget > 0) {
            let sent = if self.gather(&mut gathered) {
                self.end.send_now(&gathered)
            } else if let Some((bytes, _)) = unsent(first, self.sent, &self.activity, &self.ahead) {
                self.end.send_now(bytes)
            } else {
                // The worker has said that it began the task before it had received the
                // whole call.
                self.stop_sending();
                let what = format!("it began a task whose call it had not got; {FOREIGN_BYTES}");
                return self.kill(KillReason::Misbehaved(what));
            };
            match sent {
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    self.count_sent(count);
                }
                Err(error) => {
                    if self.is_over(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends the requested bytes of the program's file, as far as there is room.
    fn flush_copy(&mut self) {
        while let Some(copying) = &mut self.copying {
            let bytes = match copying.next() {
                Ok(bytes) if bytes.is_empty() => return,
                Ok(bytes) => bytes,
                Err(error) => {
                    let what = format!("the program's file cannot be read on this host ({error})");
                    return self.kill(KillReason::Misbehaved(what));
                }
            };
            match self.end.send_now(&bytes) {
                Ok(count) => {
                    copying.count_sent(count);
                    self.copy_moved();
                }
                Err(error) => {
                    if self.is_over(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Handles an error of a write. Returns `true` if nothing can be sent for now.
    fn is_over(&mut self, error: &io::Error) -> bool {
        match error.kind() {
            ErrorKind::Interrupted => return false,
            ErrorKind::WouldBlock => self.is_full = true,
            ErrorKind::InvalidData => {
                self.stop_sending();
                self.kill(KillReason::Misbehaved(SCRIBBLED.to_owned()));
            }
            _ => self.on_write_error(),
        }
        true
    }

    /// Handles the loss of bytes to the worker. The write's error is dropped, because the
    /// exit status of the dying worker says more than the error. If the worker lives on, it
    /// has lost a part of the stream, so the parent sends it no more frames.
    fn on_write_error(&mut self) {
        self.stop_sending();
        self.write_failed = true;
        self.set_deadline_in(SILENCE_LIMIT);
    }

    fn stop_sending(&mut self) {
        self.outbox.clear();
        self.sent = 0;
        self.copying = None;
    }

    /// Copies the short frames at the head of the outbox into one buffer, if a launcher has
    /// started the worker. One write can then send all of them. This saves time, because
    /// the launcher's command handles each write separately. Returns `false` if no launcher
    /// has started the worker, if the outbox has fewer than two frames, or if the first
    /// frame is long.
    fn gather(&self, into: &mut Vec<u8>) -> bool {
        into.clear();
        if self.launched.is_none() || self.outbox.len() < 2 {
            return false;
        }
        let mut from = self.sent;
        for outgoing in &self.outbox {
            match unsent(outgoing, from, &self.activity, &self.ahead) {
                Some((bytes, length)) if into.len() + bytes.len() <= MOST_GATHERED => {
                    into.extend_from_slice(bytes);
                    if from + bytes.len() < length {
                        break;
                    }
                }
                _ => break,
            }
            from = 0;
        }
        !into.is_empty()
    }

    /// Removes the first `count` bytes from the outbox, because they were sent.
    fn count_sent(&mut self, mut count: usize) {
        while let Some(first) = self.outbox.front().filter(|_| count > 0) {
            let Some((_, length)) = unsent(first, self.sent, &self.activity, &self.ahead) else {
                return;
            };
            let part = count.min(length - self.sent);
            if let Outgoing::Call(task) = *first {
                if let Some(task) = self.task_mut(task) {
                    task.written += part;
                }
            }
            count -= part;
            self.sent += part;
            if self.sent == length {
                self.outbox.pop_front();
                self.sent = 0;
            }
            // A frame of exactly `HEADER` bytes may be a `Ping`. A sent `Ping` shows no
            // progress, because the socket has room for a `Ping` even if the command reads
            // nothing.
            if self.launched.is_none() || length != HEADER {
                self.connection_moved();
                self.has_moved();
            }
        }
    }

    /// Keeps the frames in the outbox until [`uncork`](Self::uncork), if a launcher has
    /// started the worker. More frames may follow at once, and one write can then send all
    /// of them.
    pub(in crate::process::parent) fn cork(&mut self) {
        self.is_corked = self.launched.is_some();
    }

    pub(in crate::process::parent) fn uncork(&mut self) {
        if std::mem::take(&mut self.is_corked) {
            self.flush();
        }
    }

    /// Sends the next piece of the program's file if the launcher's command has requested
    /// it.
    pub(super) fn send_requested_piece(&mut self) {
        while self.copying.is_some() && self.end.take_request() {
            if !self.copying.as_mut().is_some_and(Copying::request) {
                // Each request extends the time limit of the start. Without this check, the
                // command could request pieces for ever.
                let what = "its command requested more of the program than there is".to_owned();
                return self.kill(KillReason::Misbehaved(what));
            }
            self.copy_moved();
            self.flush();
        }
    }

    /// Records that the copy of the program has begun or has made progress.
    fn copy_moved(&mut self) {
        self.connection_moved();
        self.extend_start();
        // If the greeting has arrived meanwhile, the copy is over (`copying` is `None`).
        if let (Some(launched), Some(copying)) = (&mut self.launched, &self.copying) {
            launched.stage = match copying.is_complete() {
                true => StartStage::Copied,
                false => StartStage::Copying,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::by_hand::waiting_process;
    use super::super::FirstMessages;
    use super::*;
    use crate::process::transport::ParentEnd;
    use crate::sys::channel;

    /// A worker that never gets its first message would wait for it. So the pool must not
    /// wait for the worker as for one that takes long to start.
    #[test]
    fn a_worker_whose_first_message_is_lost_is_given_up_soon() {
        let (ours, theirs) = channel::pair().unwrap();
        let file = theirs.try_clone().unwrap();
        let mut handle = WorkerHandle::new(waiting_process(), ParentEnd::new(ours, None));
        handle.first = Some(FirstMessages {
            hello: bare(Kind::Hello, 0).to_vec(),
            rings: Some(file),
            offers: None,
            initialize: None,
        });
        // `file` is another descriptor of the same socket, so the pool's write fails.
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Both).unwrap();
        handle.send_first().unwrap();
        assert!(handle.write_failed && !handle.has_unsent());
        let left = handle
            .deadline
            .unwrap()
            .saturating_duration_since(Instant::now());
        assert!(left <= SILENCE_LIMIT, "{left:?}");
        handle.process.kill_and_wait();
    }
}
