//! [`RequestQueue`]: the requests that have arrived, until the task thread takes them.

use std::collections::VecDeque;

use crate::process::wire::frame::{Frame, HEADER, Kind, bare};

#[derive(Debug, Default)]
pub(super) struct RequestQueue(VecDeque<Frame>);

impl RequestQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.0.pop_front()
    }

    /// Handles a message. Returns the reply to a `Ping`. A `Recall`, by which the parent
    /// asks for a task back, removes the task from the queue, and gets a reply only if
    /// the task was in the queue. If the task thread has taken the task before, the parent
    /// learns this from the task's message `Started`. Each other message waits in the queue
    /// until the task thread takes it.
    pub(super) fn sort_in(&mut self, frame: Frame) -> Option<[u8; HEADER]> {
        match frame.kind {
            Kind::Ping => Some(bare(Kind::Pong, frame.task)),
            Kind::Recall => {
                let is_back = self.take_back(frame.task);
                is_back.then(|| bare(Kind::Recalled, frame.task))
            }
            _ => {
                self.0.push_back(frame);
                None
            }
        }
    }

    /// Removes a task from the queue. Returns `false` if the task is not there, usually
    /// because the task thread has taken it.
    fn take_back(&mut self, task: u64) -> bool {
        let is_it = |request: &Frame| request.kind == Kind::Task && request.task == task;
        let at = self.0.iter().position(is_it);
        at.and_then(|at| self.0.remove(at)).is_some()
    }
}
