//! Tasks that are sent ahead: a worker that runs a task may already have the call of the next
//! one. So the worker begins the next task without waiting for the parent.
//!
//! A worker with a task gets one more task if no worker is idle or starting, and the call of
//! the task is short. The worker does not begin that task before it has answered the task
//! before, and until then the pool can *recall* the task: the parent and the worker
//! exchange one word in their shared memory, and exactly one of the two succeeds
//! (`transport/offers.rs`). The pool recalls a task that is cancelled, and the oldest tasks
//! that are sent ahead when a worker becomes idle. So no task waits behind a long task while
//! a worker is idle, and the pool begins the tasks in the order of their submission.
//!
//! A task that is sent ahead still counts as queued. On the socket transport no task is sent
//! ahead, because the parent could not recall the task.

use super::pool::Pool;
use super::pool_state::{Event, PoolState};
use super::queued_task::{InFlight, QueuedTask};
use super::worker_handle::WorkerHandle;
use crate::completion::PoolId;

/// The largest call in bytes that is sent ahead. A longer call would fill the ring to a
/// worker that does not read while it runs a task.
const LARGEST: usize = 4096;

/// Makes a claimed task pending again if its worker has not begun it.
pub(super) fn recall(pool: PoolId, task: usize) -> bool {
    super::find(pool).is_some_and(|pool| pool.recall(task))
}

impl Pool {
    /// Sends the next tasks of the queue ahead to workers that have a task.
    pub(super) fn send_ahead(&self, state: &mut PoolState) {
        let are_all_busy = state.idle.is_empty() && state.count_starting() == 0;
        if !are_all_busy || self.config.max_tasks_per_child.is_some() {
            return;
        }
        let mut from = 0;
        while let Some(number) = next_that_may_have_two(state, from) {
            from = number + 1;
            if !state.queue.front().is_some_and(may_go_ahead) {
                return;
            }
            let Some((entry, call)) = self.next_task(state) else {
                return;
            };
            state.ahead += 1;
            if let Some(handle) = state.workers.get_mut(&number) {
                handle.send_ahead(InFlight::new(entry, call));
            }
        }
    }

    /// Puts the oldest tasks that were sent ahead back into the queue, as many as there are
    /// idle workers.
    pub(super) fn recall_for_idle(&self, state: &mut PoolState) {
        if state.ahead > 0 && !state.idle.is_empty() {
            self.recall_up_to(state, state.idle.len());
        }
    }

    /// Puts all tasks that were sent ahead back into the queue, except those that have begun.
    pub(super) fn recall_all(&self, state: &mut PoolState) {
        self.recall_up_to(state, usize::MAX);
    }

    fn recall_up_to(&self, state: &mut PoolState, most: usize) {
        let ahead = |(number, handle): (&usize, &WorkerHandle)| {
            handle.ahead().map(|task| (task.number, *number))
        };
        let mut workers: Vec<_> = state.workers.iter().filter_map(ahead).collect();
        workers.sort_unstable();
        let mut recalled = Vec::new();
        for (_, number) in workers {
            if recalled.len() == most {
                break;
            }
            let handle = state.workers.get_mut(&number);
            recalled.extend(handle.and_then(WorkerHandle::recall_ahead));
        }
        for task in recalled.into_iter().rev() {
            state.ahead -= 1;
            put_back(state, task);
        }
    }

    /// Takes a task back from the worker to which it was sent, and makes the task pending. The
    /// caller then cancels the task, so the task does not go back into the queue. Returns
    /// `false` if the worker has begun the task.
    fn recall(&self, task: usize) -> bool {
        let mut state = self.lock();
        let is_it = |in_flight: &InFlight| in_flight.entry.task.id() == task;
        let mut workers = state.workers.iter_mut();
        let found = workers.find_map(|(number, handle)| {
            let is_ahead = handle.ahead().is_some_and(is_it);
            let recalled = match is_ahead {
                true => handle.recall_ahead(),
                false if handle.in_flight().is_some_and(is_it) => handle.recall_sent(),
                false => None,
            };
            recalled.map(|task| (*number, is_ahead, task))
        });
        let Some((number, is_ahead, task)) = found else {
            return false;
        };
        if is_ahead {
            state.ahead -= 1;
        } else {
            state.idle.push(number);
        }
        if let Some(call) = task.call {
            task.entry.task.release(call);
        }
        // `on_withdrawn` counts the task out of the queue again.
        state.queued += 1;
        state.send_event(Event::Stale(task.entry));
        self.dispatch(&mut state);
        self.wake_supervisor_if_needed(state);
        true
    }

    /// Makes the task that was sent ahead the worker's task, because the worker has answered
    /// the task before. Returns `false` if no task was sent ahead.
    pub(super) fn promote_ahead(&self, state: &mut PoolState, number: usize) -> bool {
        let handle = state.workers.get_mut(&number);
        let is_promoted = handle.is_some_and(WorkerHandle::promote_ahead);
        if is_promoted {
            state.ahead -= 1;
            self.capacity.notify_one();
        }
        is_promoted
    }
}

/// Returns the first worker from `from` on that has a task and may get one more.
fn next_that_may_have_two(state: &PoolState, from: usize) -> Option<usize> {
    let mut workers = state.workers.range(from..);
    workers.find_map(|(number, handle)| handle.may_have_two().then_some(*number))
}

fn may_go_ahead(entry: &QueuedTask) -> bool {
    entry.retry_call.is_none() && entry.call_length <= LARGEST
}

/// Puts a claimed task that no worker has begun at the head of the queue.
pub(super) fn put_back(state: &mut PoolState, task: InFlight) {
    if let Some(call) = task.call {
        task.entry.task.release(call);
        state.queued += 1;
        state.queue.push_front(task.entry);
    }
}
