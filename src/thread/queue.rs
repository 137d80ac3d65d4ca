//! The job queue: tasks in the order of their submission.
//!
//! An unbounded `crossbeam-channel`. It is closed by dropping the only sender;
//! workers then drain what is left and see the end.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::completion::Task;
use crate::sync::Mutex;

pub(super) struct Queue {
    /// `None`: closed.
    sender: Mutex<Option<Sender<Arc<dyn Task>>>>,
    receiver: Receiver<Arc<dyn Task>>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded();
        Self {
            sender: Mutex::new(Some(sender)),
            receiver,
        }
    }

    /// Appends a task; gives it back if the queue is closed.
    pub(super) fn push(&self, task: Arc<dyn Task>) -> Result<(), Arc<dyn Task>> {
        match &*self.sender.lock() {
            Some(sender) => sender.send(task).map_err(|refused| refused.0),
            None => Err(task),
        }
    }

    /// The oldest task; waits for one. `None`: closed and empty.
    pub(super) fn pop(&self) -> Option<Arc<dyn Task>> {
        self.receiver.recv().ok()
    }

    /// The oldest task, if there is one.
    pub(super) fn try_pop(&self) -> Option<Arc<dyn Task>> {
        self.receiver.try_recv().ok()
    }

    /// Refuses tasks from now on; those inside stay.
    pub(super) fn close(&self) {
        let sender = self.sender.lock().take();
        drop(sender);
    }
}
