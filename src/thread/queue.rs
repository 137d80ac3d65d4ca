//! [`Queue`]: the tasks that are submitted from outside the pool, in the order of their
//! submission; and a record of the workers that sleep or search.
//!
//! # The order
//!
//! The queue is strictly first in, first out. When a worker's own deque (`deque.rs`) is
//! full, the older half of its tasks moves to the queue. The queue has two parts: the
//! *back*, a `VecDeque` under a lock, and the *front*, a deque of fixed size with the
//! oldest tasks. When the front is empty, a worker fills it from the back under the lock.
//! Workers take tasks from the front without the lock, by one compare-and-swap per task. So
//! while many tasks are queued and no worker sleeps, workers take the lock, which
//! submitting threads also need, only once per 257 tasks: 256 fill the front, and the
//! worker keeps one. (Rejected: workers that take several tasks at once. A worker then
//! needs a little less time per task, but a task may start after younger tasks. Then a
//! program in which tasks wait for older tasks can hang.)
//!
//! # Sleeping and searching
//!
//! The lock of the queue's back also protects the list of sleeping workers (*sleepers*),
//! and the flag SEARCHING, which says that a worker searches for tasks. So a thread outside
//! the pool that submits a task to an unbounded queue takes no other lock of the pool, and
//! executes no fence, unless the pool may have to start a worker. The submitting thread
//! pushes a task and reads the list of sleepers in one step under the lock. A worker that
//! goes to sleep also reads the queue and joins the list of sleepers in one step under the
//! lock. `idle` is an atomic copy of the number of sleepers and of the flag SEARCHING, for
//! threads that do not hold the lock:
//!
//! | bits of `idle` | meaning |
//! |---|---|
//! | 0 to 30 | the number of workers that sleep |
//! | 31, SEARCHING | a worker searches for tasks, or was woken to search |
//!
//! At most one worker searches: the *searcher*. A thread that adds a task wakes one sleeper
//! if no worker searches. A worker that takes a task from the queue does the same if the
//! queue has more tasks. So does a worker that stops searching because it has a task, if
//! the queue or a deque has more tasks, and a worker that has stolen several tasks.
//!
//! # Why no wake-up is lost
//!
//! *For a task in the queue:* a thread pushes the task and reads the list of sleepers in
//! one step under the lock. A worker reads the queue and joins the list in one step under
//! the lock. So the worker sees the task, or the pushing thread sees the sleeper.
//!
//! *For a task in a worker's own deque:* the owner of the deque pushes the task, executes a
//! fence, and then reads `idle`. A worker that goes to sleep writes `idle`, executes a
//! fence, and then reads all deques. So the owner sees the sleeper, or the worker that goes
//! to sleep sees the task.
//!
//! A thread that sees SEARCHING wakes no worker, because it relies on the searcher. So the
//! searcher must see that thread's task. When its search ends, with a task or with sleep,
//! the searcher writes `idle`, executes a fence, and then reads the queue and all deques
//! (`WorkerThread::pass_on` after a task, `search_on` before a sleep). So the argument for
//! a task in a worker's own deque holds here too. A searcher that has taken a task wakes
//! the next worker if more tasks remain. It does so even if it had joined the list of
//! sleepers, then saw a task, and left the list again.

use std::collections::VecDeque;

use super::deque::{CAPACITY, Deque};
use super::slots::{CLOSED, SEARCH, Slot, Slots};
use crate::completion::Task;
use crate::sync::{AtomicU8, AtomicU32, AtomicUsize, Mutex, Ordering};
use crate::sys::spin;

const SEARCHING: u32 = 1 << 31;

/// The state that decides if the queue accepts new tasks. It changes only to a state with a
/// larger number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open = 0,
    ShutDown = 1,
    /// Shut down, and the queued tasks are cancelled.
    Cancelled = 2,
    Broken = 3,
}

#[repr(C, align(128))]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// The length of the queue's back, for threads that do not hold the lock. It is in the
    /// lock's cache line, which submitting threads write anyway.
    back_len: AtomicUsize,
    /// A copy of [`Inner::idle`] for threads that do not hold the lock.
    idle: Line<AtomicU32>,
    /// The [`Gate`] as a number, written only under the lock.
    gate: Line<AtomicU8>,
    /// The oldest tasks. Tasks are pushed to the front only under the lock.
    front: Deque,
}

/// A value in 128 bytes of its own: two cache lines of 64 bytes, because some CPUs fetch
/// lines in pairs. Threads read the value for each task. A write to a neighbouring field
/// does not evict the value from the caches of these threads' CPUs.
#[repr(align(128))]
struct Line<T>(T);

/// The state under the lock. On 64-bit systems it fills one cache line of 64 bytes,
/// together with the lock and `back_len`. If a thread submits a task to an empty queue
/// while a worker searches, only this cache line of the queue moves from the submitting
/// thread's CPU to the worker's CPU.
struct Inner {
    back: Back,
    /// The number of sleepers, and the flag SEARCHING, as in the table at the head of this
    /// file.
    idle: u32,
    /// The index, plus 1, of the sleeper that went to sleep last. The field is 0 if no
    /// worker sleeps.
    sleeper: u32,
}

#[cfg(all(target_pointer_width = "64", not(concurrent_futures_loom)))]
const _: () = assert!(std::mem::offset_of!(Queue, idle) <= 128 && size_of::<Mutex<Inner>>() <= 56);

struct Back {
    /// The oldest task of the back. It lies here, and not in the buffer of `younger`, so
    /// that a worker that takes the only task needs only the cache line of the lock. If
    /// `oldest` is `None`, `younger` is empty.
    oldest: Option<Task>,
    younger: VecDeque<Task>,
}

impl Back {
    fn len(&self) -> usize {
        self.younger.len() + usize::from(self.oldest.is_some())
    }

    #[inline]
    fn push(&mut self, task: Task) {
        match self.oldest {
            None => self.oldest = Some(task),
            Some(_) => self.younger.push_back(task),
        }
    }

    fn pop(&mut self) -> Option<Task> {
        let next = self.younger.pop_front();
        std::mem::replace(&mut self.oldest, next)
    }

    fn push_front(&mut self, task: Task) {
        if let Some(second) = self.oldest.replace(task) {
            self.younger.push_front(second);
        }
    }

    /// Replaces all tasks of the back with `tasks`.
    fn put(&mut self, tasks: Vec<Task>) {
        self.younger = tasks.into();
        self.oldest = self.younger.pop_front();
    }

    fn take_all(&mut self) -> impl Iterator<Item = Task> {
        let oldest = self.oldest.take();
        oldest.into_iter().chain(std::mem::take(&mut self.younger))
    }
}

/// The answer of the queue to a worker that found no task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The queue contains a task.
    Work,
    /// The queue is closed and empty.
    Closed,
    /// The worker is the searcher from now on.
    Search,
    /// The worker was added to the list of sleepers.
    Sleep,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                back: Back {
                    oldest: None,
                    younger: VecDeque::new(),
                },
                idle: 0,
                sleeper: 0,
            }),
            back_len: AtomicUsize::new(0),
            idle: Line(AtomicU32::new(0)),
            gate: Line(AtomicU8::new(Gate::Open as u8)),
            front: Deque::new(),
        }
    }

    #[inline]
    pub(super) fn gate(&self) -> Gate {
        // ORDERING: relaxed is enough, because callers that need the exact value read it
        // under the lock.
        match self.gate.0.load(Ordering::Relaxed) {
            0 => Gate::Open,
            1 => Gate::ShutDown,
            2 => Gate::Cancelled,
            _ => Gate::Broken,
        }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.gate() == Gate::Open
    }

    /// Sets [`Inner::idle`], and its copy for threads that do not hold the lock.
    fn set_idle(&self, inner: &mut Inner, idle: u32) {
        inner.idle = idle;
        // ORDERING: relaxed is enough for threads that hold the lock. For other threads,
        // the fences of `WorkerThread::pass_on` and `search_on`, after this call, order the
        // store.
        self.idle.0.store(idle, Ordering::Relaxed);
    }

    /// Appends a task. Returns `true` if the pool needs no new worker for the task, because
    /// at least as many workers sleep or search as there are tasks in the back. Tasks in
    /// the front are not counted here: a worker that begins a task checks if the tasks that
    /// remain need more workers.
    ///
    /// # Errors
    ///
    /// Returns the task if the queue is closed and `overflow` is `false`. If `overflow` is
    /// `true`, the task comes from a worker's full deque, and even a closed queue accepts
    /// the task.
    pub(super) fn push(&self, task: Task, slots: &Slots, overflow: bool) -> Result<bool, Task> {
        let mut inner = self.inner.lock();
        if self.gate() != Gate::Open && !overflow {
            return Err(task);
        }
        inner.back.push(task);
        let len = inner.back.len();
        // ORDERING: release pairs with the acquire in `len`. This length does not include
        // entries that `remove_done` removed before. A thread that reads it also sees what
        // `remove_done` has counted. The other stores are releases for the same reason.
        self.back_len.store(len, Ordering::Release);
        let woken = self.choose(&mut inner, slots);
        let idle = inner.idle;
        drop(inner);
        if let Some(woken) = woken {
            // Sets the slot's signal and unparks the worker (`slots.rs`).
            woken.wake(SEARCH);
        }
        let coming = (idle & !SEARCHING) + u32::from(idle & SEARCHING != 0);
        Ok(len <= coming as usize)
    }

    /// Takes one worker out of the list of sleepers. The caller then wakes this worker as
    /// the searcher. Returns `None` if a worker searches already, or if no worker sleeps.
    fn choose<'a>(&self, inner: &mut Inner, slots: &'a Slots) -> Option<&'a Slot> {
        if !is_asleep(inner.idle) {
            return None;
        }
        let slot = slots.get(inner.sleeper as usize - 1);
        // ORDERING: relaxed is enough, because `next` of a worker in the list is accessed
        // only under the lock.
        inner.sleeper = slot.next.load(Ordering::Relaxed);
        self.set_idle(inner, (inner.idle - 1) | SEARCHING);
        Some(slot)
    }

    /// Wakes a sleeper, unless a worker searches.
    #[inline]
    pub(super) fn wake_one(&self, slots: &Slots) {
        // ORDERING: relaxed is enough, because callers that rely on this wake-up have
        // executed a fence (`pass_on`, `announce_own_task`).
        if is_asleep(self.idle.0.load(Ordering::Relaxed)) {
            self.wake_sleeper(slots);
        }
    }

    #[cold]
    fn wake_sleeper(&self, slots: &Slots) {
        let woken = self.choose(&mut self.inner.lock(), slots);
        if let Some(woken) = woken {
            woken.wake(SEARCH);
        }
    }

    /// Returns the number of the queue's entries, including stale entries (`pool.rs`).
    pub(super) fn len(&self) -> usize {
        // ORDERING: acquire keeps the read of the front after this read of the back. So a
        // task that moves to the front meanwhile may be counted twice, but is never missed.
        // It also makes visible what `remove_done` has counted (see `push`).
        self.back_len.load(Ordering::Acquire) + self.front.len()
    }

    /// Takes the oldest task. If the caller is the searcher (`is_searching`) and gets a
    /// task, its search ends, and `is_searching` becomes `false`.
    pub(super) fn take(&self, slots: &Slots, is_searching: &mut bool) -> Option<Task> {
        loop {
            // A searcher does not yield, because submitting threads rely on its search.
            let searches = *is_searching;
            let give_way = || {
                if !searches {
                    spin::give_way();
                }
            };
            if let Some((task, left)) = self.front.take_oldest(give_way) {
                // ORDERING: relaxed is enough for the read of the back's length below, because
                // this wake-up only spreads the tasks sooner. A push that wakes no sleeper
                // relies on the searcher, which checks the queue again when its search ends.
                if std::mem::take(is_searching) {
                    self.stop_searching();
                } else if left > 0 || self.back_len.load(Ordering::Relaxed) != 0 {
                    self.wake_one(slots);
                }
                return Some(task);
            }
            // ORDERING: relaxed is enough, because the back is read under the lock. A
            // worker that reads 0 although the back has a task sees this task in `rest`,
            // which takes the lock.
            if self.back_len.load(Ordering::Relaxed) == 0 {
                return None;
            }
            let mut inner = self.inner.lock();
            if self.front.len() != 0 {
                // Another worker has filled the front.
                continue;
            }
            let first = inner.back.pop()?;
            self.fill_front(&mut inner);
            if std::mem::take(is_searching) {
                let idle = inner.idle & !SEARCHING;
                self.set_idle(&mut inner, idle);
            }
            let has_more = self.front.len() != 0;
            let woken = has_more.then(|| self.choose(&mut inner, slots)).flatten();
            drop(inner);
            if let Some(woken) = woken {
                woken.wake(SEARCH);
            }
            return Some(first);
        }
    }

    fn fill_front(&self, inner: &mut Inner) {
        for _ in 0..CAPACITY.min(inner.back.len()) {
            let Some(task) = inner.back.pop() else {
                break;
            };
            // SAFETY: only a thread that holds the lock pushes to the front. This thread
            // holds the lock, so it is the owner.
            if let Err(task) = unsafe { self.front.push(task) } {
                // The push never fails, because callers fill only an empty front. If it
                // fails all the same, the task stays in the back and is not lost.
                inner.back.push_front(task);
                break;
            }
        }
        // ORDERING: release keeps this store after the pushes to the front. Because `len`
        // reads the length of the back first, it misses no task.
        self.back_len.store(inner.back.len(), Ordering::Release);
    }

    pub(super) fn take_all(&self) -> Vec<Task> {
        let mut inner = self.inner.lock();
        let front = std::iter::from_fn(|| self.front.take_oldest(|| ()));
        let mut tasks: Vec<Task> = front.map(|(task, _)| task).collect();
        tasks.extend(inner.back.take_all());
        // ORDERING: release, as in `push`.
        self.back_len.store(0, Ordering::Release);
        tasks
    }

    /// Removes from the queue's back all tasks that are done. Calls `count` with the number
    /// of removed tasks before other threads can see the shorter length.
    pub(super) fn remove_done(&self, count: impl FnOnce(usize)) {
        let mut inner = self.inner.lock();
        let is_done = |task: &Task| task.state().done();
        let (done, left): (Vec<Task>, Vec<Task>) = inner.back.take_all().partition(is_done);
        count(done.len());
        inner.back.put(left);
        // ORDERING: release publishes what `count` has counted, together with the length.
        self.back_len.store(inner.back.len(), Ordering::Release);
        drop(inner);
        drop(done);
    }

    pub(super) fn stop_searching(&self) {
        let mut inner = self.inner.lock();
        let idle = inner.idle & !SEARCHING;
        self.set_idle(&mut inner, idle);
    }

    /// Tells the worker with this index, which has found no task, to look again, to search,
    /// to sleep or to leave ([`Rest`]). Before it may sleep, the worker must search, unless
    /// it has just searched (`has_searched`) or another worker searches. A worker that must
    /// search becomes the searcher, and `is_searching` becomes `true`.
    pub(super) fn rest(
        &self,
        index: usize,
        slots: &Slots,
        is_searching: &mut bool,
        has_searched: bool,
    ) -> Rest {
        let mut inner = self.inner.lock();
        if inner.back.len() != 0 || self.front.len() != 0 {
            return Rest::Work;
        }
        let stops = std::mem::take(is_searching);
        let idle = if stops {
            inner.idle & !SEARCHING
        } else {
            inner.idle
        };
        if self.gate() != Gate::Open {
            self.set_idle(&mut inner, idle);
            return Rest::Closed;
        }
        if !has_searched && idle & SEARCHING == 0 {
            *is_searching = true;
            self.set_idle(&mut inner, idle | SEARCHING);
            return Rest::Search;
        }
        let slot = slots.get(index);
        slot.clear_signal();
        // ORDERING: relaxed is enough, as in `choose`.
        slot.next.store(inner.sleeper, Ordering::Relaxed);
        inner.sleeper = u32::try_from(index + 1).unwrap_or(u32::MAX);
        self.set_idle(&mut inner, idle + 1);
        Rest::Sleep
    }

    /// Removes the worker with this index from the list of sleepers. Returns `false` if
    /// another thread has already removed the worker. That thread then sends the worker a
    /// signal.
    pub(super) fn get_up(&self, index: usize, slots: &Slots) -> bool {
        let mut inner = self.inner.lock();
        // ORDERING: relaxed is enough, as in `choose`.
        let next_of = |sleeper: u32| slots.get(sleeper as usize - 1).next.load(Ordering::Relaxed);
        let (mut at, mut newer) = (inner.sleeper, 0);
        while at != 0 && at as usize != index + 1 {
            newer = at;
            at = next_of(at);
        }
        if at == 0 {
            return false;
        }
        match newer {
            0 => inner.sleeper = next_of(at),
            // ORDERING: relaxed is enough, as in `choose`.
            newer => (slots.get(newer as usize - 1).next).store(next_of(at), Ordering::Relaxed),
        }
        let idle = inner.idle - 1;
        self.set_idle(&mut inner, idle);
        true
    }

    /// Closes the queue, so that it refuses new tasks, and wakes all sleepers.
    pub(super) fn close(&self, gate: Gate, slots: &Slots) {
        let mut inner = self.inner.lock();
        let gate = (gate as u8).max(self.gate() as u8);
        // ORDERING: relaxed is enough, because this thread holds the lock (see `gate`).
        self.gate.0.store(gate, Ordering::Relaxed);
        let mut sleeper = std::mem::take(&mut inner.sleeper);
        let idle = inner.idle & SEARCHING;
        self.set_idle(&mut inner, idle);
        drop(inner);
        while sleeper != 0 {
            let slot = slots.get(sleeper as usize - 1);
            // Read `next` while the worker still sleeps, because then no thread changes
            // `next`.
            // ORDERING: relaxed is enough, because this thread took the list under the
            // lock, under which `next` was written.
            sleeper = slot.next.load(Ordering::Relaxed);
            slot.wake(CLOSED);
        }
    }
}

/// Returns `true` if a worker sleeps and no worker searches.
#[inline]
fn is_asleep(idle: u32) -> bool {
    idle != 0 && idle & SEARCHING == 0
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use crate::completion::{Completion, Job, NO_POOL};

    struct Nothing;

    impl Job<()> for Nothing {
        fn call(self) {}

        fn on_withdrawn(&self, _cancelled: bool) {}
    }

    #[test]
    fn a_sweep_keeps_the_order_of_the_remaining_tasks() {
        let (queue, slots) = (Queue::new(), Slots::new());
        let mut remaining = Vec::new();
        for number in 0..7 {
            // SAFETY: the job and its value borrow nothing, and both are `Send`.
            let (handle, task) = unsafe { Completion::with_job(NO_POOL, Nothing) };
            let address = task.address();
            assert!(queue.push(task, &slots, false).is_ok());
            if number % 3 == 0 {
                handle.cancel().expect("it is pending").notify();
            } else {
                remaining.push(address);
            }
        }
        queue.remove_done(|removed| assert_eq!(removed, 3));
        let taken = std::iter::from_fn(|| queue.take(&slots, &mut false));
        let taken: Vec<usize> = taken.map(|task| task.address()).collect();
        assert_eq!(taken, remaining);
    }
}
