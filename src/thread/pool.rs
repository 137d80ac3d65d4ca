//! [`Pool`]: the state that the executor and its workers share.
//!
//! | protocol | argued in |
//! |---|---|
//! | the order of tasks; why none is slept past | `queue.rs` |
//! | each task of a worker's own is taken once | `deque.rs` |
//! | when a worker is started | `growth.rs` |
//!
//! # Stale entries
//!
//! A task that is cancelled, or that a worker runs inline while it waits for it, leaves
//! a stale entry in its queue, unless it was the newest of that worker's own. Stale
//! entries are counted, since they do not count as queued. The worker that pops such an
//! entry drops it. Every 256 stale entries it is checked whether they are more than half
//! of the queue; then those behind its front are swept out. Those in a worker's own deque
//! stay until they are popped, or move to the queue.
//!
//! # The life of a pool
//!
//! A task is queued only while the queue is open and there is a worker. Workers
//! leave when the queue is closed and nothing is queued anywhere. So a pool that is
//! dropped has no entry left; and since an entry is let go only when no thread is about
//! to end its task, a thread that withdraws a task may look at the pool by a bare pointer.
//!
//! # Counts
//!
//! Each worker counts in its slot, before others can know of what it counts: a task that
//! is known to be done is counted as such. [`Pool::stats`] adds up what changes meanwhile,
//! so `queued` and `running` are exact when nothing is submitted, begun, or ended.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::queue::Queue;
use super::slots::Slots;
use crate::completion::{PoolId, new_pool_id};
use crate::error::Error;
use crate::executor::{QueueCapacity, Stats};
use crate::panic::contain_drop;
use crate::sync::{AtomicI64, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering};
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

#[cfg(test)]
impl Config {
    /// The configuration of a test's pool, with nothing but workers.
    pub(super) fn of_workers(max_workers: usize) -> Self {
        Self {
            max_workers,
            thread_name_prefix: "by hand".to_owned(),
            stack_size: None,
            initializer: None,
            on_worker_exit: None,
            queue_capacity: None,
            record_timing: false,
        }
    }
}

pub(super) struct Pool {
    /// The id by which its tasks know it.
    pub(super) id: PoolId,
    /// The process that made it. A fork of that has none of its threads.
    pub(super) origin: Origin,
    pub(super) config: Config,
    pub(super) queue: Queue,
    pub(super) slots: Slots,
    /// The number of slots that had a worker at any time.
    pub(super) started: AtomicUsize,
    /// The number of workers that may still be started.
    pub(super) growth_left: AtomicUsize,
    pub(super) state: Mutex<PoolState>,
    /// Notified when the last worker ends, and when a thread has ended all queued tasks.
    pub(super) ended: Condvar,
    /// For a bounded queue: the number of tasks that were admitted and have not begun.
    pub(super) admitted: Mutex<usize>,
    pub(super) capacity: QueueCapacity,
    /// Held while all queued tasks are ended; no user code runs under it.
    pub(super) ending: Mutex<()>,
    /// Threads that were not joined yet; the lock is held while joining.
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// The number of entries in the queues whose task is past pending. For a moment less
    /// than none.
    stale: AtomicI64,
    cancelled: AtomicU64,
    /// Tasks that failed without a call.
    failed: AtomicU64,
}

#[derive(Default)]
pub(super) struct PoolState {
    /// The reason why tasks are refused, if they are.
    pub(super) closed: Option<Error>,
    /// `true` if the user shut it down.
    pub(super) shut_down: bool,
    /// The number of threads that were ever started.
    pub(super) started: usize,
    pub(super) workers: usize,
    /// The number of threads that end all queued tasks.
    pub(super) clearing: usize,
    /// The slots whose worker has left.
    pub(super) vacant: Vec<usize>,
    /// `true` until a thread that was started has looked at what is planned.
    pub(super) is_starting: bool,
    /// The slots of workers that count and whose threads are not started (`growth.rs`).
    pub(super) planned: Vec<usize>,
}

impl Pool {
    pub(super) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let origin = Origin::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        Ok(Arc::new(Self {
            id: new_pool_id(),
            origin,
            capacity: QueueCapacity::new(config.queue_capacity),
            growth_left: AtomicUsize::new(config.max_workers.min(Slots::MAX)),
            config,
            queue: Queue::new(),
            slots: Slots::new(),
            started: AtomicUsize::new(0),
            state: Mutex::new(PoolState::default()),
            ended: Condvar::new(),
            admitted: Mutex::new(0),
            ending: Mutex::new(()),
            threads: Mutex::new(Vec::new()),
            stale: AtomicI64::new(0),
            cancelled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }

    /// Returns `true` if this is the process that made it, and not a fork of that: there a
    /// lock may be held for ever, and no worker comes.
    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn id(&self) -> PoolId {
        self.id
    }

    #[inline]
    pub(super) fn started(&self) -> usize {
        // ORDERING: acquire shows the slots.
        self.started.load(Ordering::Acquire)
    }

    /// Returns `true` if there is an entry in any queue.
    pub(super) fn has_tasks(&self) -> bool {
        let mut slots = self.slots.iter(self.started());
        self.queue.len() != 0 || slots.any(|slot| slot.own.len() != 0)
    }

    /// Returns the number of tasks that have not begun.
    pub(super) fn queued(&self) -> usize {
        let own: usize = (self.slots.iter(self.started()))
            .map(|slot| slot.own.len())
            .sum();
        let entries = self.queue.len() + own;
        // ORDERING: behind the lengths, whose acquire shows what a sweep has subtracted
        // for the entries that it took out.
        let stale = self.stale.load(Ordering::Relaxed).max(0).unsigned_abs();
        entries.saturating_sub(usize::try_from(stale).unwrap_or(usize::MAX))
    }

    pub(super) fn stats(&self) -> Stats {
        if !self.is_here() {
            return Stats::default();
        }
        let state = self.state.lock();
        let counts = self
            .slots
            .iter(self.started())
            .map(super::slots::Slot::counts);
        let (begun, finished, failed) = counts.fold((0, 0, 0), |sum, slot| {
            (sum.0 + slot.0, sum.1 + slot.1, sum.2 + slot.2)
        });
        Stats {
            workers: state.workers,
            idle: self.free(),
            queued: self.queued(),
            running: usize::try_from(begun - finished - failed).unwrap_or(usize::MAX),
            finished,
            // ORDERING: counted before the task is known to have ended.
            failed: failed + self.failed.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            broken: matches!(state.closed, Some(Error::Broken(_))),
            ..Stats::default()
        }
    }

    pub(super) fn count_stale(&self, change: i64) -> i64 {
        // ORDERING: a number, which publishes nothing.
        self.stale.fetch_add(change, Ordering::Relaxed) + change
    }

    /// Counts a task that ended without a call, whose entry is still queued or is held by
    /// the calling thread.
    pub(super) fn on_withdrawn(&self, cancelled: bool) {
        let count = if cancelled {
            &self.cancelled
        } else {
            &self.failed
        };
        // ORDERING: the end of the task publishes it.
        count.fetch_add(1, Ordering::Relaxed);
        self.unqueue();
        self.add_stale();
    }

    /// Counts one more entry whose task is past pending, and sweeps such entries out if
    /// they are most of the queue.
    pub(super) fn add_stale(&self) {
        let stale = self.count_stale(1).unsigned_abs();
        if stale % SWEEP == 0 && stale > self.queue.len() as u64 / 2 {
            // Before they leave the queue: were they subtracted later, tasks that are
            // queued would be counted as none meanwhile, and get no worker.
            self.queue.remove_done(|swept| {
                self.count_stale(-i64::try_from(swept).unwrap_or(i64::MAX));
            });
        }
    }

    /// Counts one admitted task less, and wakes a submitter that waits for room.
    #[inline]
    pub(super) fn unqueue(&self) {
        self.unqueue_with(|| ());
    }

    /// Like [`unqueue`](Self::unqueue), and in one step with `begin`, by which the task
    /// takes its worker: a submitter counts on the worker or on the room, not on both nor
    /// on neither.
    #[inline]
    pub(super) fn unqueue_with(&self, begin: impl FnOnce()) {
        if self.config.queue_capacity.is_none() {
            return begin();
        }
        let mut admitted = self.admitted.lock();
        begin();
        *admitted -= 1;
        drop(admitted);
        self.capacity.notify_one();
    }

    /// Wakes a submitter that waits for a worker to be free.
    #[inline]
    pub(super) fn notify_of_room(&self) {
        if self.config.queue_capacity.is_some() {
            // A submitter that saw the worker busy waits by then.
            drop(self.admitted.lock());
            self.capacity.notify_one();
        }
    }
}

/// After so many stale entries it is checked whether they are most of the queue.
const SWEEP: u64 = 256;

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
