//! [`WorkerThread`]: a worker's own view of its pool, and its search for tasks.
//!
//! A worker first takes the newest task from its own deque, because the data of that task
//! is most likely still in the cache. If the deque is empty, the worker takes the oldest
//! task of the queue, and if the queue is empty, the oldest task of another worker's deque.
//! Now and then a worker takes the oldest task of the queue or of its own deque first, so
//! that no task waits for ever.
//!
//! If there is no task, and no other worker searches, the worker *searches*: it polls the
//! queues for a moment. A worker that still finds no task goes to sleep. With longer
//! searches, or several searchers at once, the pool was slower, because the searchers only
//! took tasks away from other workers. The duties of a searching worker are described in
//! `queue.rs`.

use std::cell::Cell;
use std::hint::spin_loop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::deque::Stolen;
use super::pool::Pool;
use super::queue::Rest;
use super::slots::{SEARCH, Slot};
use crate::completion::{NO_POOL, PoolId, Task, is_notifying_for};
use crate::sync::{Ordering, fence, local, yield_now};
use crate::sys::spin;

/// In one of every `FAIR` calls of `next`, a worker first tries to take the oldest task of
/// the queue or of its own deque, so that no task waits for ever.
const FAIR: u32 = 61;

/// The largest number of further tasks that a worker moves to its own deque when it steals
/// a task.
const BATCH: usize = 16;

pub(super) struct WorkerThread {
    pub(super) pool: Arc<Pool>,
    pub(super) index: usize,
    slot: Arc<Slot>,
    turn: Cell<u32>,
}

impl WorkerThread {
    pub(super) fn new(pool: Arc<Pool>, index: usize) -> Self {
        let slot = Arc::clone(pool.slots.get(index));
        Self {
            pool,
            index,
            slot,
            turn: Cell::new(0),
        }
    }

    #[inline]
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Pushes a task to the worker's own deque. If the deque is full, first moves the older
    /// half of the deque's tasks to the pool's queue.
    #[inline]
    pub(super) fn push(&self, task: Task) {
        // SAFETY: the current thread is the thread of the worker, which owns the deque.
        let Err(task) = (unsafe { self.slot().own.push(task) }) else {
            return;
        };
        for _ in 0..super::deque::CAPACITY / 2 {
            if let Stolen::Task(oldest) = self.slot().own.steal() {
                let _ = self.pool.queue.push(oldest, &self.pool.slots, true);
            }
        }
        // SAFETY: the current thread is the thread of the worker, which owns the deque.
        if let Err(task) = unsafe { self.slot().own.push(task) } {
            let _ = self.pool.queue.push(task, &self.pool.slots, true);
        }
    }

    /// Takes the given task out of the worker's own deque, if it is the newest task in the
    /// deque.
    #[inline]
    pub(super) fn pop_if(&self, task: &Task) -> Option<Task> {
        // SAFETY: the current thread is the thread of the worker, which owns the deque.
        unsafe { self.slot().own.pop_if(task) }
    }

    /// Returns the next task. Waits for a task if there is none. Returns `None` once the
    /// pool is closed and no task remains.
    #[inline]
    pub(super) fn next(&self) -> Option<Task> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        if turn % FAIR == 0 {
            if let Some(task) = self.oldest(turn / FAIR % 2 == 0) {
                return Some(task);
            }
        }
        // SAFETY: the current thread is the thread of the worker, which owns the deque.
        let own = unsafe { self.slot().own.pop() };
        own.or_else(|| self.search(false))
    }

    fn oldest(&self, of_the_queue: bool) -> Option<Task> {
        if of_the_queue {
            return self.pool.queue.take(&self.pool.slots, &mut false);
        }
        match self.slot().own.steal() {
            Stolen::Task(task) => Some(task),
            Stolen::Empty | Stolen::Retry => None,
        }
    }

    /// Takes a task from the queue or from another worker's deque. Waits for a task if
    /// there is none. Returns `None` once the pool is closed and no task remains.
    /// `is_searching` is `true` if this worker is the pool's searcher already. A worker
    /// that is not the searcher, and finds no task, tries to become the searcher before it
    /// sleeps.
    pub(super) fn search(&self, is_searching: bool) -> Option<Task> {
        self.search_on(is_searching, false)
    }

    /// Does the work of [`search`](Self::search). If `has_searched` is `true` and the
    /// worker finds no task, it goes to sleep without another search.
    pub(super) fn search_on(&self, mut is_searching: bool, mut has_searched: bool) -> Option<Task> {
        let (queue, slots) = (&self.pool.queue, &self.pool.slots);
        // `true` if threads that pushed tasks may have relied on this worker's search.
        let mut must_pass_on = false;
        loop {
            must_pass_on |= is_searching;
            if let Some(task) = queue.take(slots, &mut is_searching) {
                if must_pass_on {
                    self.pass_on();
                }
                return Some(task);
            }
            if let Some(task) = self.steal() {
                if is_searching {
                    queue.stop_searching();
                }
                // `steal` may have moved further tasks to this worker's deque. Another
                // worker that searched during the move may have missed them.
                if must_pass_on || self.slot().own.len() > 0 {
                    self.pass_on();
                }
                return Some(task);
            }
            match queue.rest(self.index, slots, &mut is_searching, has_searched) {
                Rest::Work => {}
                Rest::Closed if !self.pool.has_tasks() => return None,
                Rest::Closed => yield_now(),
                Rest::Search => {
                    self.poll();
                    has_searched = true;
                }
                Rest::Sleep => {
                    // ORDERING: pairs with the fence of `Pool::announce_own_task`. The
                    // pushing worker sees that this worker sleeps, or this worker sees the
                    // pushed task.
                    fence(Ordering::SeqCst);
                    if self.pool.has_tasks() && queue.get_up(self.index, slots) {
                        continue;
                    }
                    // Either no task was left after this worker's search, or another thread
                    // is about to wake this worker. So this worker need not wake another
                    // worker.
                    must_pass_on = false;
                    is_searching = self.slot().sleep() == SEARCH;
                    has_searched = false;
                }
            }
        }
    }

    /// Polls for a moment. Returns early if a task is queued or the queue is closed.
    fn poll(&self) {
        spin::poll(|| self.pool.has_tasks() || !self.pool.queue.is_open());
    }

    /// Wakes another worker if tasks remain and no worker searches. Called after a steal
    /// that moved further tasks, and after the end of a search: threads that pushed tasks
    /// during the search relied on the search and woke no worker.
    pub(super) fn pass_on(&self) {
        // ORDERING: pairs with the fence of `Pool::announce_own_task`. Either the pushing
        // worker sees that the search has ended, or this worker sees the pushed task.
        fence(Ordering::SeqCst);
        if self.pool.has_tasks() {
            self.pool.queue.wake_one(&self.pool.slots);
        }
    }

    /// Steals the oldest task of another worker's deque. Moves further tasks to this
    /// worker's deque if the other worker has at least two more.
    fn steal(&self) -> Option<Task> {
        let started = self.pool.started();
        (1..started).find_map(|step| {
            let victim = self.pool.slots.get((self.index + step) % started);
            loop {
                match victim.own.steal() {
                    Stolen::Task(task) => {
                        self.steal_more(victim);
                        return Some(task);
                    }
                    Stolen::Empty => return None,
                    Stolen::Retry => spin_loop(),
                }
            }
        })
    }

    /// Moves up to half of the remaining tasks of `victim` to this worker's deque: at most
    /// [`BATCH`] tasks, and no more than the deque has room for. This worker will pop the
    /// oldest moved task first.
    fn steal_more(&self, victim: &Slot) {
        let wanted = (victim.own.len() / 2)
            .min(BATCH)
            .min(self.slot().own.room());
        let mut stolen = [const { None }; BATCH];
        let mut count = 0;
        while count < wanted {
            let Stolen::Task(task) = victim.own.steal() else {
                break;
            };
            stolen[count] = Some(task);
            count += 1;
        }
        for task in stolen.into_iter().flatten().rev() {
            self.push(task);
        }
    }
}

local! {
    static CURRENT: Cell<*const WorkerThread> = Cell::new(ptr::null())
}

local! {
    /// The id of the pool of which this thread is a worker. The value is never cleared,
    /// because the destructors of thread locals also count as code of the pool.
    static WORKER_OF: Cell<PoolId> = Cell::new(NO_POOL)
}

/// Marks the current thread as a worker of the pool, until the thread ends.
pub(super) fn mark_worker_of(pool: &Pool) {
    WORKER_OF.with(|id| id.set(pool.id));
}

/// Runs `f` with `worker` as the current thread's worker.
pub(super) fn enter<R>(worker: &WorkerThread, f: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let _ = CURRENT.try_with(|current| current.set(ptr::null()));
        }
    }
    let _ = CURRENT.try_with(|current| current.set(worker));
    let _leave = Leave;
    f()
}

/// Calls `f` with the current thread's worker, if the worker belongs to the pool.
#[inline]
pub(super) fn with_current<R>(pool: &Pool, f: impl FnOnce(&WorkerThread) -> R) -> Option<R> {
    let worker = CURRENT.try_with(Cell::get).ok()?;
    let worker = NonNull::new(worker.cast_mut())?;
    // SAFETY: the call of `enter` that set the pointer has not returned, and borrows the
    // worker.
    let worker = unsafe { worker.as_ref() };
    ptr::eq(&raw const *worker.pool, pool).then(|| f(worker))
}

impl Pool {
    /// Returns `true` if the current thread is one of the pool's workers, or runs a
    /// callback of one of the pool's tasks.
    pub(super) fn is_in_own_code(&self) -> bool {
        let is_own_worker = WORKER_OF.try_with(Cell::get).is_ok_and(|id| id == self.id);
        is_own_worker || is_notifying_for(self.id)
    }
}
