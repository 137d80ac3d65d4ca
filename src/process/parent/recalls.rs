//! [`Recalls`]: the list of the recalls for whose outcomes threads wait (`sent_ahead.rs`).

/// The recalls for whose outcomes threads wait in order to cancel tasks. A *recall* asks a
/// worker to give back a task that the worker has not begun.
#[derive(Debug, Default)]
pub(super) struct Recalls(Vec<Recall>);

#[derive(Debug)]
struct Recall {
    task: u64,
    waiting: usize,
    /// `true` if the task was taken back, and `false` if it has begun or failed. `None`
    /// until the recall has ended.
    outcome: Option<bool>,
}

impl Recalls {
    /// Counts a thread that waits for the recall of a task. The thread calls
    /// [`outcome`](Self::outcome) until that method returns a value.
    pub(super) fn wait_for(&mut self, task: u64) {
        match self.0.iter_mut().find(|recall| recall.task == task) {
            Some(recall) => recall.waiting += 1,
            None => self.0.push(Recall {
                task,
                waiting: 1,
                outcome: None,
            }),
        }
    }

    /// Returns the outcome of the recall of a task, or `None` if the recall has not ended.
    /// If there is an outcome, the calling thread does not count as waiting any more.
    pub(super) fn outcome(&mut self, task: u64) -> Option<bool> {
        let at = self.0.iter().position(|recall| recall.task == task)?;
        let outcome = self.0[at].outcome?;
        self.0[at].waiting -= 1;
        if self.0[at].waiting == 0 {
            self.0.swap_remove(at);
        }
        Some(outcome)
    }

    /// Ends the recall of a task. Returns `false` if no thread waits for the outcome, or if
    /// the recall has ended before.
    pub(super) fn end(&mut self, task: u64, was_taken_back: bool) -> bool {
        let mut recalls = self.0.iter_mut();
        let waited_for = recalls.find(|recall| recall.task == task && recall.outcome.is_none());
        let is_waited_for = waited_for.is_some();
        if let Some(recall) = waited_for {
            recall.outcome = Some(was_taken_back);
        }
        is_waited_for
    }

    /// Returns `true` if the recall of a task, for which a thread waits, has not ended.
    #[cfg(any(test, concurrent_futures_fuzz))]
    pub(super) fn is_open(&self, task: u64) -> bool {
        let is_it = |recall: &Recall| recall.task == task && recall.outcome.is_none();
        self.0.iter().any(is_it)
    }

    #[cfg(test)]
    pub(super) fn has(&self, task: u64) -> bool {
        self.0.iter().any(|recall| recall.task == task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waiting_thread_gets_the_outcome() {
        let mut recalls = Recalls::default();
        assert!(!recalls.end(1, true));
        recalls.wait_for(1);
        recalls.wait_for(2);
        recalls.wait_for(1);
        assert_eq!(recalls.outcome(1), None);
        assert!(recalls.end(1, true) && !recalls.end(1, false));
        assert!(recalls.end(2, false));
        assert_eq!([(); 2].map(|()| recalls.outcome(1)), [Some(true); 2]);
        assert_eq!(recalls.outcome(2), Some(false));
        assert!(!recalls.has(1) && !recalls.has(2));
    }
}
