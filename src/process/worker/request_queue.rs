//! [`RequestQueue`]: the messages that the parent has sent ahead of the task thread.

use std::collections::VecDeque;

use crate::process::wire::frame::{Frame, HEADER, Kind, bare};

/// The requests that the task thread has not taken.
#[derive(Debug, Default)]
pub(super) struct RequestQueue(VecDeque<Frame>);

/// The effect of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sorted {
    /// The thread that has received the message sends this reply.
    Reply([u8; HEADER]),
    /// A request for the task thread is in the queue.
    Queued,
    /// A task was to be given back that has begun. Its `Started` is the answer.
    Nothing,
}

impl RequestQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next request for the task thread.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.0.pop_front()
    }

    /// Handles a message. Answers `Ping`. Gives the task of a `Recall` back if the task thread
    /// has not taken it. All other messages wait for the task thread.
    pub(super) fn sort_in(&mut self, frame: Frame) -> Sorted {
        match frame.kind {
            Kind::Ping => Sorted::Reply(bare(Kind::Pong, frame.task)),
            Kind::Recall if self.take_back(frame.task) => {
                Sorted::Reply(bare(Kind::Recalled, frame.task))
            }
            Kind::Recall => Sorted::Nothing,
            _ => {
                self.0.push_back(frame);
                Sorted::Queued
            }
        }
    }

    /// Takes a task out of the queue. Returns `false` if the task thread has taken it before.
    fn take_back(&mut self, task: u64) -> bool {
        let is_it = |request: &Frame| request.kind == Kind::Task && request.task == task;
        let at = self.0.iter().position(is_it);
        at.and_then(|at| self.0.remove(at)).is_some()
    }
}
