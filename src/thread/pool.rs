//! [`Pool`]: the state that the executor and its workers share.
//!
//! # The rule
//!
//! A worker is *idle*, that is, available to a new task, if it waits on the queue, is
//! about to, or its thread was just spawned. Each queued task needs one idle worker.
//! Whenever more tasks are queued than workers are idle, and fewer than `max_workers`
//! exist, one more is spawned. This can become necessary in two places: where a task is
//! submitted (`submit.rs`), and where an idle worker begins to run callbacks
//! (`hooks.rs`).
//!
//! # Why no task is lost
//!
//! A task that is cancelled, or that a worker runs inline while it waits for it, leaves
//! a stale entry in the queue, which no longer counts. The worker that pops such an
//! entry drops it.
//!
//! A task is queued and counted in one step under the state's lock, and only
//! while the state is open; the queue is closed in the same step as the
//! state. Afterwards each queued task is popped by a worker, or by the thread
//! that cancels or fails all pending tasks. There is a worker as long as something is
//! queued: the first submitter cannot queue without one, and a worker leaves
//! only when the queue is closed and empty, or after failing all that is in it.
//!
//! # Breaking
//!
//! A worker whose initializer fails closes the pool with that cause and fails
//! all that is queued, whether or not the pool was shut down before.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::current;
use super::queue::Queue;
use crate::completion::{Task, is_notifying_for, new_pool_id};
use crate::error::Error;
use crate::executor::{QueueCapacity, Stats};
use crate::panic::contain_drop;
use crate::sync::{Condvar, Mutex};
use crate::sys::fork::{Origin, forget_threads};

/// Prepares a worker for its tasks.
pub(super) type Initializer = Box<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// Runs at the end of a worker.
pub(super) type ExitHook = Box<dyn Fn() + Send + Sync>;

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) thread_name_prefix: String,
    pub(super) stack_size: Option<usize>,
    pub(super) initializer: Option<Initializer>,
    pub(super) on_worker_exit: Option<ExitHook>,
    /// The largest number of queued tasks; `None`: no limit.
    pub(super) queue_capacity: Option<usize>,
    pub(super) record_timing: bool,
}

pub(super) struct Pool {
    /// The id by which its tasks know it.
    pub(super) id: usize,
    /// The process that made it. A fork of that has none of its threads.
    pub(super) origin: Origin,
    pub(super) config: Config,
    pub(super) queue: Queue,
    pub(super) state: Mutex<PoolState>,
    /// Notified when the last worker ends.
    pub(super) ended: Condvar,
    pub(super) capacity: QueueCapacity,
    /// Threads that were not joined yet; the lock is held while joining.
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
pub(super) struct PoolState {
    /// The reason why tasks are refused, if they are.
    pub(super) closed: Option<Error>,
    /// `true` if the user shut it down.
    pub(super) shut_down: bool,
    pub(super) started: usize,
    pub(super) workers: usize,
    pub(super) idle: usize,
    pub(super) queued: usize,
    pub(super) running: usize,
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

impl Pool {
    pub(super) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let origin = Origin::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        Ok(Arc::new(Self {
            id: new_pool_id(),
            origin,
            capacity: QueueCapacity::new(config.queue_capacity),
            config,
            queue: Queue::new(),
            state: Mutex::new(PoolState::default()),
            ended: Condvar::new(),
            threads: Mutex::new(Vec::new()),
        }))
    }

    /// Returns `true` if this is the process that made it, and not a fork of that: there a
    /// lock may be held for ever, and no worker comes.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    /// Returns `true` if the current thread runs one of its tasks or callbacks.
    pub(super) fn is_in_own_code(&self) -> bool {
        current::is_worker_of(self.id) || is_notifying_for(self.id)
    }

    pub(super) fn stats(&self) -> Stats {
        if !self.is_here() {
            return Stats::default();
        }
        let state = self.state.lock();
        Stats {
            workers: state.workers,
            idle: state.idle,
            queued: state.queued,
            running: state.running,
            finished: state.finished,
            failed: state.failed,
            cancelled: state.cancelled,
            broken: matches!(state.closed, Some(Error::Broken(_))),
            ..Stats::default()
        }
    }

    /// Returns the next task; `None` once the queue is closed and empty, or in a fork.
    pub(super) fn next_task(&self) -> Option<Arc<dyn Task>> {
        if self.is_here() {
            self.queue.pop()
        } else {
            None
        }
    }

    /// A queued task was started, by a worker that was idle or by one that
    /// waits for it.
    pub(super) fn begin(&self, was_idle: bool) {
        let mut state = self.state.lock();
        state.idle -= usize::from(was_idle);
        state.running += 1;
        self.unqueue(&mut state);
    }

    /// Counts one queued task less, and wakes a submitter that waits for room.
    pub(super) fn unqueue(&self, state: &mut PoolState) {
        state.queued -= 1;
        self.capacity.notify_one();
    }

    /// The last thing that a worker does.
    pub(super) fn leave(&self) {
        if !self.is_here() {
            return;
        }
        let mut state = self.state.lock();
        state.idle -= 1;
        state.workers -= 1;
        if state.workers == 0 {
            self.ended.notify_all();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_here() {
            forget_threads(self.threads.get_mut());
        }
        // The user's, which may panic: perhaps while the executor is dropped.
        contain_drop(self.config.initializer.take());
        contain_drop(self.config.on_worker_exit.take());
        contain_drop(self.state.get_mut().closed.take());
    }
}

impl PoolState {
    pub(super) fn end(&mut self, failed: bool) {
        self.running -= 1;
        if failed {
            self.failed += 1;
        } else {
            self.finished += 1;
        }
    }
}
