//! [`Pool`]: the state that the executor and its workers share.
//!
//! | protocol | argued in |
//! |---|---|
//! | the order of tasks; why no wake-up of a worker is lost | `queue.rs` |
//! | each task in a worker's own deque is taken once | `deque.rs` |
//! | when a worker is started | `growth.rs` |
//!
//! # Stale entries
//!
//! A task that is cancelled leaves a *stale* entry in its queue: an entry whose task no
//! longer waits to run. A task that a waiting worker runs inline, that is, inside its wait,
//! also leaves a stale entry, unless the task was the newest in the worker's own deque. The
//! pool counts stale entries: the number of queued tasks is the number of entries minus the
//! number of stale entries. The thread that takes a stale entry drops it. Whenever the
//! count of stale entries rises to a multiple of 256, the pool checks if the count is more
//! than half of the queue's length. If so, the pool removes the entries of all tasks that
//! are done from the queue's back, the part that a lock protects (`queue.rs`). All other
//! stale entries stay until they are taken.
//!
//! # The life of a pool
//!
//! The queue accepts a task only while it is open and the pool has a worker. (A closed
//! queue still accepts tasks from a worker's full deque.) Each worker has a reference to
//! the pool. A worker leaves only when the queue is closed, and when it finds no entry in
//! the queue or in any deque. If it misses an entry in another worker's deque, that worker
//! stays. So the pool exists as long as a queue or deque has an entry. An entry is dropped
//! only when no thread is ending its task. So the pool also exists while a thread
//! *withdraws* a queued task, that is, ends the task without a call. This thread may
//! therefore access the pool through a raw pointer.
//!
//! # Counts
//!
//! Each worker counts its tasks in its slot (`slots.rs`), and counts the end of a task
//! before other threads can see that end. So if a thread has seen that a task is done, the
//! counts include the end of this task. [`Pool::stats`] adds up counts that may change
//! meanwhile, so `queued` and `running` are exact only while no task is submitted, begun,
//! ended, or moved between the queues.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::queue::Queue;
use super::slots::Slots;
use crate::completion::{PoolId, new_pool_id};
use crate::error::Error;
use crate::executor::{QueueCapacity, Stats};
use crate::panic::contain_drop;
use crate::sync::{AtomicI64, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering};
use crate::sys::fork::{Origin, forget};
#[cfg(test)]
use crate::sys::stack;

pub(super) type Initializer = Box<dyn Fn() -> Result<(), Error> + Send + Sync>;

pub(super) type ExitHook = Box<dyn Fn() + Send + Sync>;

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) thread_name_prefix: String,
    /// The number of bytes of stack that a task may use.
    pub(super) stack_size: usize,
    pub(super) initializer: Option<Initializer>,
    pub(super) on_worker_exit: Option<ExitHook>,
    /// The limit of a [`QueueCapacity`], or `None` for no limit.
    pub(super) queue_capacity: Option<usize>,
    pub(super) record_timing: bool,
}

#[cfg(test)]
impl Config {
    pub(super) fn of_workers(max_workers: usize) -> Self {
        Self {
            max_workers,
            thread_name_prefix: "by hand".to_owned(),
            stack_size: stack::default_size(),
            initializer: None,
            on_worker_exit: None,
            queue_capacity: None,
            record_timing: false,
        }
    }
}

pub(super) struct Pool {
    pub(super) id: PoolId,
    /// The process that created the pool. A forked child has at most one of the pool's
    /// threads: the thread that forked.
    pub(super) origin: Origin,
    pub(super) config: Config,
    pub(super) queue: Queue,
    pub(super) slots: Slots,
    /// The number of slots (`slots.rs`) that have or had a worker.
    pub(super) started: AtomicUsize,
    /// The number of workers that may still be started.
    pub(super) growth_left: AtomicUsize,
    pub(super) state: Mutex<PoolState>,
    /// Notified when the last worker ends, and when a thread has ended all queued tasks.
    pub(super) ended: Condvar,
    /// The number of tasks that the pool has accepted (`Pool::admit`) and that have neither
    /// begun nor ended. Counted only if the queue has a capacity.
    pub(super) admitted: Mutex<usize>,
    pub(super) capacity: QueueCapacity,
    /// Held by a thread that ends all queued tasks. No user code runs under this lock.
    pub(super) ending: Mutex<()>,
    /// The worker threads that were not joined yet. A thread that joins them holds this
    /// lock until they have ended.
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// The number of stale entries (see the head of this file). It may be negative for a
    /// moment.
    stale: AtomicI64,
    cancelled: AtomicU64,
    /// The number of tasks that failed without a call, because the pool broke.
    failed: AtomicU64,
}

#[derive(Default)]
pub(super) struct PoolState {
    /// The reason why the pool refuses tasks, if it is closed.
    pub(super) closed: Option<Error>,
    /// `true` if the user shut the pool down.
    pub(super) shut_down: bool,
    /// The number of threads that were ever started.
    pub(super) started: usize,
    pub(super) workers: usize,
    /// The number of threads that are ending all queued tasks at the moment.
    pub(super) clearing: usize,
    /// The indexes of the slots whose worker has left, or never got a thread. The next
    /// workers get these slots.
    pub(super) vacant: Vec<usize>,
    /// `true` while a started thread has not yet called `start_planned`.
    pub(super) is_starting: bool,
    /// The slot indexes of the *planned* workers, which count as workers, but have no
    /// threads yet (`growth.rs`).
    pub(super) planned: Vec<usize>,
}

impl Pool {
    pub(super) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let origin = Origin::new().map_err(Error::spawn)?;
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

    /// Returns `true` in the process that created the pool, and `false` in a forked child.
    /// In the child no worker takes the pool's tasks, and the pool's locks may be held for
    /// ever.
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
        // ORDERING: acquire pairs with the release in `count_slot`, so this thread sees the
        // counted slots.
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn has_tasks(&self) -> bool {
        let mut slots = self.slots.iter(self.started());
        self.queue.len() != 0 || slots.any(|slot| slot.own.len() != 0)
    }

    pub(super) fn queued(&self) -> usize {
        let own: usize = (self.slots.iter(self.started()))
            .map(|slot| slot.own.len())
            .sum();
        let entries = self.queue.len() + own;
        // ORDERING: relaxed is enough after the acquire in `Queue::len`. If the length
        // no longer includes the entries that `add_stale` has removed, this thread also
        // sees that `add_stale` has subtracted them from `stale`.
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
            // ORDERING: relaxed is enough, because a thread that has seen a task's end has
            // thereby acquired the count of that end.
            failed: failed + self.failed.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            broken: matches!(state.closed, Some(Error::Broken(_))),
            ..Stats::default()
        }
    }

    pub(super) fn count_stale(&self, change: i64) -> i64 {
        // ORDERING: relaxed is enough, because `stale` publishes no other data.
        self.stale.fetch_add(change, Ordering::Relaxed) + change
    }

    /// Counts a task that ends without a call, because it was cancelled or the pool broke.
    /// Counts one more stale entry, even if the task was never queued (`fail_unqueued`
    /// subtracts this entry again).
    pub(super) fn on_withdrawn(&self, cancelled: bool) {
        let count = if cancelled {
            &self.cancelled
        } else {
            &self.failed
        };
        // ORDERING: relaxed is enough, because the end of the task publishes the count.
        count.fetch_add(1, Ordering::Relaxed);
        self.unqueue();
        self.add_stale();
    }

    /// Counts one more stale entry. If the count is a multiple of [`SWEEP`], and more than
    /// half of the queue's length, removes the tasks that are done from the queue's back.
    pub(super) fn add_stale(&self) {
        let stale = self.count_stale(1).unsigned_abs();
        if stale % SWEEP == 0 && stale > self.queue.len() as u64 / 2 {
            // Subtract the removed entries from `stale` before they leave the queue. In the
            // reverse order, `queued` is too low for a moment, and a queued task may get no
            // worker.
            self.queue.remove_done(|swept| {
                self.count_stale(-i64::try_from(swept).unwrap_or(i64::MAX));
            });
        }
    }

    /// Counts one admitted task less, and wakes a submitting thread that waits for room in
    /// the queue.
    #[inline]
    pub(super) fn unqueue(&self) {
        self.unqueue_with(|| ());
    }

    /// Like [`unqueue`](Self::unqueue), but also calls `begin`, which marks the task's
    /// worker busy. If the queue has a capacity, the call and the count happen in one step
    /// under the lock of `admitted`. So a submitting thread never sees that the task has
    /// left its place in the queue but the worker is still free.
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

    /// Wakes a submitting thread that waits for room, because a worker became free.
    #[inline]
    pub(super) fn notify_of_room(&self) {
        if self.config.queue_capacity.is_some() {
            // Once this thread gets the lock, a submitting thread that saw the worker busy
            // already waits. So the call below can wake it.
            drop(self.admitted.lock());
            self.capacity.notify_one();
        }
    }
}

/// The step of the checks in `add_stale`: there is one check whenever the count of stale
/// entries rises to a multiple of this number.
const SWEEP: u64 = 256;

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_here() {
            forget(self.threads.get_mut());
        }
        // Dropping these values runs user code, which may panic. A panic must not unwind
        // from here, because the caller may be the drop of the executor.
        contain_drop(self.config.initializer.take());
        contain_drop(self.config.on_worker_exit.take());
        contain_drop(self.state.get_mut().closed.take());
    }
}
