//! [`Queue`]: the tasks that are submitted from outside the pool, in the order of their
//! submission; and which of the workers sleep, and which one searches.
//!
//! # The order
//!
//! First in, first out, strictly: a lock around a `VecDeque`, and before that the
//! *front*, a deque of fixed size. It is filled from the `VecDeque` under the lock when it
//! is empty, and workers take from it without the lock, by one compare-and-swap a task.
//! So submitters and workers meet at the lock once in 256 tasks. (Rejected: batches for
//! single workers. They cost a little less, but a task then starts after younger ones,
//! and a program whose tasks wait for each other in the order of submission hangs.)
//!
//! # Sleeping and searching
//!
//! The same lock guards who sleeps and who searches, so that a submitter pays one lock
//! and no fence for both: its push and its look at the sleepers are one step, and so are
//! a worker's last look at the queue and its lying down. `idle` is a copy for those who
//! only look:
//!
//! | bits of `idle` | meaning |
//! |---|---|
//! | 0 to 30 | the number of workers that sleep |
//! | 31, SEARCHING | a worker looks for tasks, or was woken to |
//!
//! At most one worker searches. A thread that adds a task wakes a sleeper only if no
//! worker searches, and only one; the searcher that finds a task wakes the next one if it
//! leaves others behind.
//!
//! # Why no task is slept past
//!
//! *In the queue:* one lock, above.
//!
//! *In a worker's own deque:* the worker pushes, then a fence, then looks at `idle`. A
//! worker that lies down writes `idle`, then a fence, then looks at all deques. So one of
//! the two sees the other.
//!
//! A thread that sees SEARCHING wakes no worker: it relies on the searcher. So the
//! searcher must look for that task itself. However its search ends, with a task or by
//! lying down, it first writes `idle`, then a fence, then looks at everything (`WorkerThread::pass_on`): the
//! same pair. It takes one task, and if more are left, it wakes the next worker; also if
//! it lay down, saw a task and got up again.

use std::collections::VecDeque;

use super::deque::{CAPACITY, Deque};
use super::slots::{CLOSED, SEARCH, Slot, Slots};
use crate::completion::Task;
use crate::sync::{AtomicU8, AtomicU32, AtomicUsize, Mutex, Ordering};

const SEARCHING: u32 = 1 << 31;

/// The reason why tasks are refused, as a number that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open = 0,
    ShutDown = 1,
    Broken = 2,
}

#[repr(align(128))]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// The length of the back: for workers without a task, and in the lock's cache line,
    /// which submitters write.
    back_len: AtomicUsize,
    shared: Shared,
    /// The oldest tasks. Pushed under the lock.
    front: Deque,
}

/// In a cache line that seldom changes: workers look at it for each task.
#[repr(align(128))]
struct Shared {
    /// Written under the lock.
    idle: AtomicU32,
    /// Written under the lock.
    gate: AtomicU8,
}

struct Inner {
    back: VecDeque<Task>,
    /// The sleeper that lay down last, plus 1; 0 if none sleeps.
    sleeper: u32,
}

/// The answer to a worker that wants to lie down.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There are tasks in the queue.
    Work,
    /// The queue is closed, and empty.
    Closed,
    /// The worker searches from now on.
    Search,
    /// The worker counts as a sleeper.
    Sleep,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                back: VecDeque::new(),
                sleeper: 0,
            }),
            back_len: AtomicUsize::new(0),
            shared: Shared {
                idle: AtomicU32::new(0),
                gate: AtomicU8::new(Gate::Open as u8),
            },
            front: Deque::new(),
        }
    }

    #[inline]
    pub(super) fn gate(&self) -> Gate {
        // ORDERING: who has to be exact asks under the lock.
        match self.shared.gate.load(Ordering::Relaxed) {
            0 => Gate::Open,
            1 => Gate::ShutDown,
            _ => Gate::Broken,
        }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.gate() == Gate::Open
    }

    /// Returns `idle` for a look; what has to be exact is under the lock.
    #[inline]
    fn idle(&self) -> u32 {
        // ORDERING: the callers' fences order it.
        self.shared.idle.load(Ordering::Relaxed)
    }

    /// Called under the lock.
    fn set_idle(&self, idle: u32) {
        // ORDERING: as above.
        self.shared.idle.store(idle, Ordering::Relaxed);
    }

    /// Returns `true` if a worker sleeps and none searches.
    #[inline]
    fn is_asleep(&self) -> bool {
        let idle = self.idle();
        idle != 0 && idle & SEARCHING == 0
    }

    /// Appends a task. Returns `true` if at least as many workers sleep or search as there
    /// are tasks in the back; for the others a worker looks when it begins one.
    ///
    /// # Errors
    ///
    /// Returns the task if the queue is closed, unless it comes from a worker's own deque.
    pub(super) fn push(&self, task: Task, slots: &Slots, overflow: bool) -> Result<bool, Task> {
        let mut inner = self.inner.lock();
        if self.gate() != Gate::Open && !overflow {
            return Err(task);
        }
        inner.back.push_back(task);
        let len = inner.back.len();
        // ORDERING: workers that look without the lock are ordered by what makes them
        // look.
        self.back_len.store(len, Ordering::Release);
        let woken = self.choose(&mut inner, slots);
        let idle = self.idle();
        drop(inner);
        if let Some(woken) = woken {
            woken.wake(SEARCH);
        }
        let coming = (idle & !SEARCHING) + u32::from(idle & SEARCHING != 0);
        Ok(len <= coming as usize)
    }

    /// Chooses a sleeper to be woken, which searches from now on; `None` if a worker
    /// searches, or none sleeps.
    fn choose<'a>(&self, inner: &mut Inner, slots: &'a Slots) -> Option<&'a Slot> {
        if !self.is_asleep() {
            return None;
        }
        let slot = slots.get(inner.sleeper as usize - 1);
        // ORDERING: under the lock, as all of these.
        inner.sleeper = slot.next.load(Ordering::Relaxed);
        self.set_idle((self.idle() - 1) | SEARCHING);
        Some(slot)
    }

    /// Wakes a sleeper, unless a worker searches.
    #[inline]
    pub(super) fn wake_one(&self, slots: &Slots) {
        if self.is_asleep() {
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

    /// Returns the number of tasks.
    pub(super) fn len(&self) -> usize {
        // ORDERING: acquire, and the front last: what moves there meanwhile is counted
        // twice rather than not at all.
        self.back_len.load(Ordering::Acquire) + self.front.len()
    }

    /// Takes the oldest task. A searcher stops to be one with it.
    pub(super) fn take(&self, slots: &Slots, is_searching: &mut bool) -> Option<Task> {
        loop {
            if let Some((task, left)) = self.front.take_oldest() {
                if std::mem::take(is_searching) {
                    self.stop_searching();
                } else if left > 0 || self.back_len.load(Ordering::Relaxed) != 0 {
                    self.wake_one(slots);
                }
                return Some(task);
            }
            // ORDERING: see `push`.
            if self.back_len.load(Ordering::Acquire) == 0 {
                return None;
            }
            let mut inner = self.inner.lock();
            if self.front.len() != 0 {
                // Another worker has filled it.
                continue;
            }
            let first = inner.back.pop_front()?;
            self.fill_front(&mut inner);
            if std::mem::take(is_searching) {
                self.set_idle(self.idle() & !SEARCHING);
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
            let Some(task) = inner.back.pop_front() else {
                break;
            };
            // SAFETY: only a thread with the lock pushes to it.
            if let Err(task) = unsafe { self.front.push(task) } {
                inner.back.push_front(task);
                break;
            }
        }
        // ORDERING: release, behind the pushes to the front: see `len`.
        self.back_len.store(inner.back.len(), Ordering::Release);
    }

    /// Takes all tasks.
    pub(super) fn take_all(&self) -> Vec<Task> {
        let mut inner = self.inner.lock();
        let front = std::iter::from_fn(|| self.front.take_oldest());
        let mut tasks: Vec<Task> = front.map(|(task, _)| task).collect();
        tasks.extend(inner.back.drain(..));
        self.back_len.store(0, Ordering::Release);
        tasks
    }

    /// Takes out the tasks that are done, but for the oldest ones. Calls `count` with their
    /// number before others can see that they are gone.
    pub(super) fn remove_done(&self, count: impl FnOnce(usize)) {
        let mut inner = self.inner.lock();
        let is_done = |task: &Task| task.state().done();
        let (done, left): (Vec<Task>, Vec<Task>) = inner.back.drain(..).partition(is_done);
        count(done.len());
        inner.back = left.into();
        self.back_len.store(inner.back.len(), Ordering::Release);
        drop(inner);
        drop(done);
    }

    /// Stops to search.
    pub(super) fn stop_searching(&self) {
        let _inner = self.inner.lock();
        self.set_idle(self.idle() & !SEARCHING);
    }

    /// Answers the worker with that index, which has found no task. It may search if no
    /// worker does and it has not searched just now.
    pub(super) fn rest(
        &self,
        index: usize,
        slots: &Slots,
        is_searching: &mut bool,
        has_searched: bool,
    ) -> Rest {
        let mut inner = self.inner.lock();
        if !inner.back.is_empty() || self.front.len() != 0 {
            return Rest::Work;
        }
        let stops = std::mem::take(is_searching);
        let idle = if stops {
            self.idle() & !SEARCHING
        } else {
            self.idle()
        };
        if self.gate() != Gate::Open {
            self.set_idle(idle);
            return Rest::Closed;
        }
        if !has_searched && idle & SEARCHING == 0 {
            *is_searching = true;
            self.set_idle(idle | SEARCHING);
            return Rest::Search;
        }
        let slot = slots.get(index);
        slot.clear_signal();
        slot.next.store(inner.sleeper, Ordering::Relaxed);
        inner.sleeper = u32::try_from(index + 1).unwrap_or(u32::MAX);
        self.set_idle(idle + 1);
        Rest::Sleep
    }

    /// Lets a worker that lay down get up by itself. Returns `false` if it was chosen
    /// already: the signal comes.
    pub(super) fn get_up(&self, index: usize, slots: &Slots) -> bool {
        let mut inner = self.inner.lock();
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
            newer => (slots.get(newer as usize - 1).next).store(next_of(at), Ordering::Relaxed),
        }
        self.set_idle(self.idle() - 1);
        true
    }

    /// Refuses tasks from now on, and wakes all sleepers.
    pub(super) fn close(&self, gate: Gate, slots: &Slots) {
        let mut inner = self.inner.lock();
        let gate = (gate as u8).max(self.gate() as u8);
        self.shared.gate.store(gate, Ordering::Relaxed);
        let mut sleeper = std::mem::take(&mut inner.sleeper);
        self.set_idle(self.idle() & SEARCHING);
        drop(inner);
        while sleeper != 0 {
            let slot = slots.get(sleeper as usize - 1);
            // Before it is woken: it may lie down again.
            sleeper = slot.next.load(Ordering::Relaxed);
            slot.wake(CLOSED);
        }
    }
}
