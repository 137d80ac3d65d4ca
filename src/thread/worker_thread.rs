//! [`WorkerThread`]: a worker's own view of its pool, and its search for tasks.
//!
//! A worker takes the newest task that its own tasks submitted, so that the one that is
//! awaited next is still in its cache; or else the oldest of the queue; or else the
//! oldest of another worker's own. Now and then the queue comes first, and then the
//! oldest of its own, so that neither starves.
//!
//! If there is nothing, it searches for a moment, unless another worker does, and then
//! lies down. Longer searches, and several workers that search, were slower: what they
//! find is taken from others. What it then owes to the others is said in `queue.rs`.

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

/// In so many turns the oldest tasks come first once.
const FAIR: u32 = 61;

/// The largest number of tasks that move to the thief's own deque with a stolen one.
const BATCH: usize = 16;

pub(super) struct WorkerThread {
    pub(super) pool: Arc<Pool>,
    /// The slot's index.
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

    /// Pushes a task that this worker's task submitted; half of a full deque goes to the
    /// queue, the oldest first.
    #[inline]
    pub(super) fn push(&self, task: Task) {
        // SAFETY: this is its thread.
        let Err(task) = (unsafe { self.slot().own.push(task) }) else {
            return;
        };
        for _ in 0..super::deque::CAPACITY / 2 {
            if let Stolen::Task(oldest) = self.slot().own.steal() {
                let _ = self.pool.queue.push(oldest, &self.pool.slots, true);
            }
        }
        // SAFETY: as above.
        if let Err(task) = unsafe { self.slot().own.push(task) } {
            let _ = self.pool.queue.push(task, &self.pool.slots, true);
        }
    }

    /// Takes a task of its own back, if it is the newest.
    #[inline]
    pub(super) fn pop_if(&self, task: &Task) -> Option<Task> {
        // SAFETY: this is its thread.
        unsafe { self.slot().own.pop_if(task) }
    }

    /// Returns the next task; `None` once the pool is closed and nothing is left.
    #[inline]
    pub(super) fn next(&self) -> Option<Task> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        if turn % FAIR == 0 {
            if let Some(task) = self.oldest(turn / FAIR % 2 == 0) {
                return Some(task);
            }
        }
        // SAFETY: this is its thread.
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

    /// Searches for a task; as the one searcher if `is_searching`.
    pub(super) fn search(&self, is_searching: bool) -> Option<Task> {
        self.search_on(is_searching, false)
    }

    /// Goes on with a search; if it has searched for a while, it lies down next.
    pub(super) fn search_on(&self, mut is_searching: bool, mut has_searched: bool) -> Option<Task> {
        let (queue, slots) = (&self.pool.queue, &self.pool.slots);
        // `true` if others may have relied on this worker's search.
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
                // Or for what came with it: a worker that looked while it moved saw it
                // nowhere.
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
                    // ORDERING: pairs with the fence of `Pool::announce_own_task`.
                    fence(Ordering::SeqCst);
                    if self.pool.has_tasks() && queue.get_up(self.index, slots) {
                        continue;
                    }
                    // Nothing was left after its search had ended; or it was chosen to search
                    // again.
                    must_pass_on = false;
                    is_searching = self.slot().sleep() == SEARCH;
                    has_searched = false;
                }
            }
        }
    }

    /// Looks for a while whether a task comes.
    fn poll(&self) {
        spin::poll(|| self.pool.has_tasks() || !self.pool.queue.is_open());
    }

    /// Called behind a search that has ended, also by lying down and getting up again:
    /// threads that pushed meanwhile have relied on it.
    pub(super) fn pass_on(&self) {
        // ORDERING: pairs with the fence of `Pool::announce_own_task`: its worker sees the search
        // at an end, or this one sees its task.
        fence(Ordering::SeqCst);
        if self.pool.has_tasks() {
            self.pool.queue.wake_one(&self.pool.slots);
        }
    }

    /// Steals the oldest task of another worker, and some of those behind it.
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

    /// Moves half of what is left, and not more than [`BATCH`], such that the oldest is
    /// popped first.
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
    /// The pool whose thread this is. Never cleared: the destructors of a thread's locals
    /// are its code as well.
    static WORKER_OF: Cell<PoolId> = Cell::new(NO_POOL)
}

/// Marks the current thread as one of that pool, for as long as it lives.
pub(super) fn mark_worker_of(pool: &Pool) {
    WORKER_OF.with(|id| id.set(pool.id));
}

/// Runs `f` as that worker.
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

/// Calls `f` with the current thread's worker, if it is one of that pool.
#[inline]
pub(super) fn with_current<R>(pool: &Pool, f: impl FnOnce(&WorkerThread) -> R) -> Option<R> {
    let worker = CURRENT.try_with(Cell::get).ok()?;
    let worker = NonNull::new(worker.cast_mut())?;
    // SAFETY: `enter`, which borrows it, is on this thread's stack below this call.
    let worker = unsafe { worker.as_ref() };
    ptr::eq(&raw const *worker.pool, pool).then(|| f(worker))
}

impl Pool {
    /// Returns `true` if the current thread is one of its workers, or runs one of its
    /// callbacks.
    pub(super) fn is_in_own_code(&self) -> bool {
        let is_own_worker = WORKER_OF.try_with(Cell::get).is_ok_and(|id| id == self.id);
        is_own_worker || is_notifying_for(self.id)
    }
}
