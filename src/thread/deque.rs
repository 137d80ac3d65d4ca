//! [`Deque`]: a double-ended queue of tasks, with a fixed capacity and one owner.
//!
//! The owner pushes and pops at the bottom. The owner is a worker, or for the front of the
//! pool's queue (`queue.rs`) the thread that holds the queue's lock. Any thread may take a
//! task from the top, and is then called a *thief*. The algorithm is that of Chase and Lev,
//! with the fences of Lê, Pop, Cohen and Zappa Nardelli ("Correct and efficient
//! work-stealing for weak memory models", 2013). The deque never grows, so it never frees
//! an array that another thread may still be reading. A worker whose deque is full moves
//! the older half of its tasks to the pool's queue (`WorkerThread::push`).
//!
//! # Why each task is taken once
//!
//! Each task has an index, the value of `bottom` at its push. The task's place in the array
//! is the index modulo the capacity. A thread takes the task at the top by advancing `top`
//! with a compare-and-swap. `top` only grows, so each index is taken at the top at most
//! once. The owner overwrites a place only after the task there was taken. The owner takes
//! a task from the bottom without a compare-and-swap, unless only one task is left. To take
//! a task, the owner (`pop`) first lowers `bottom`, and then reads `top`. A thief (`steal`)
//! first reads `top`, and then reads `bottom`. Owner and thief each execute a fence between
//! these two steps. Suppose that both try to take the same task. Then the thief sees the
//! lowered `bottom` and takes nothing, or the owner sees that the task is gone, or that no
//! other task is left. In the last case the owner also uses a compare-and-swap.

use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use crate::completion::Task;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, fence};

/// The largest number of tasks in a deque. It is small in loom models, so that a model can
/// fill a deque.
pub(super) const CAPACITY: usize = if cfg!(concurrent_futures_loom) {
    4
} else {
    256
};

pub(super) struct Deque {
    /// The index of the next push. Only the owner writes this field.
    bottom: AtomicUsize,
    /// The array of tasks, allocated by the owner at the first push.
    places: OnceLock<Box<[AtomicPtr<()>]>>,
    top: Top,
}

/// The index of the oldest task, or of the next push if the deque is empty. It has its own
/// cache line, because thieves write it often, but the owner seldom writes it.
#[repr(align(128))]
struct Top(AtomicUsize);

/// The outcome of an attempt to take the oldest task.
pub(super) enum Stolen {
    Task(Task),
    Empty,
    /// Another thread took the task first. The deque may contain more tasks.
    Retry,
}

impl Deque {
    pub(super) fn new() -> Self {
        Self {
            bottom: AtomicUsize::new(0),
            places: OnceLock::new(),
            top: Top(AtomicUsize::new(0)),
        }
    }

    /// Returns the number of tasks, which other threads may change at any time.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // ORDERING: relaxed is enough, because a thread takes a task only after it has read
        // both fields again. In whichever order the fields are read, the result misses no
        // task whose push comes before this call: `bottom` is then above the task's index,
        // and `top` is not above it until the task is taken.
        let top = self.top.0.load(Ordering::Relaxed);
        length(top, self.bottom.load(Ordering::Relaxed))
    }

    /// Returns the number of tasks that the owner can still push.
    #[inline]
    pub(super) fn room(&self) -> usize {
        // ORDERING: relaxed is enough for `bottom`, because only the owner, which calls
        // this function, writes it. Acquire on `top` pairs with the release in `advance`: a
        // thief has read a place before the owner overwrites the place.
        let top = self.top.0.load(Ordering::Acquire);
        CAPACITY - self.bottom.load(Ordering::Relaxed).wrapping_sub(top)
    }

    /// Pushes a task at the bottom, so that `pop` returns this task next. Returns the task
    /// as an error if the deque is full.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline]
    pub(super) unsafe fn push(&self, task: Task) -> Result<(), Task> {
        if self.room() == 0 {
            return Err(task);
        }
        let places = self.places.get_or_init(|| {
            let empty = || AtomicPtr::new(null_mut());
            std::iter::repeat_with(empty).take(CAPACITY).collect()
        });
        // ORDERING: relaxed is enough: only the owner, this thread, writes `bottom`.
        let bottom = self.bottom.load(Ordering::Relaxed);
        let task = task.into_raw().as_ptr();
        // ORDERING: the fence below publishes the task.
        places[bottom % CAPACITY].store(task, Ordering::Relaxed);
        // ORDERING: release makes the task visible to each thread that reads the new
        // `bottom`, or a later value that `pop` stored.
        fence(Ordering::Release);
        (self.bottom).store(bottom.wrapping_add(1), Ordering::Relaxed);
        Ok(())
    }

    /// Takes the newest task.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline]
    pub(super) unsafe fn pop(&self) -> Option<Task> {
        // ORDERING: relaxed is enough: only the owner, this thread, writes `bottom`.
        let bottom = self.bottom.load(Ordering::Relaxed);
        // ORDERING: relaxed is enough, because `top` only grows. With an old value the
        // deque never looks empty while it has a task, and `top` is read again below.
        if bottom == self.top.0.load(Ordering::Relaxed) {
            return None;
        }
        let bottom = bottom.wrapping_sub(1);
        self.bottom.store(bottom, Ordering::Relaxed);
        // ORDERING: pairs with the fence in `steal`. The new `bottom` is visible to thieves
        // before this thread reads `top`.
        fence(Ordering::SeqCst);
        let top = self.top.0.load(Ordering::Relaxed);
        let left = distance(top, bottom);
        if left > 0 {
            return self.task_at(bottom);
        }
        // At most one task remains. The owner takes this task from the top, as a thief
        // does.
        let task = self.pointer_at(bottom);
        let is_won = left == 0 && self.advance(top);
        self.bottom.store(bottom.wrapping_add(1), Ordering::Relaxed);
        task.filter(|_| is_won).map(Self::take)
    }

    /// Takes the given task, if it is the newest task of the deque.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline]
    pub(super) unsafe fn pop_if(&self, task: &Task) -> Option<Task> {
        // ORDERING: relaxed is enough, because only the owner, this thread, writes `bottom`
        // and the places.
        let bottom = self.bottom.load(Ordering::Relaxed);
        let is_empty = bottom == self.top.0.load(Ordering::Relaxed);
        let newest = (!is_empty).then(|| self.pointer_at(bottom.wrapping_sub(1)))??;
        if newest.addr().get() != task.address() {
            return None;
        }
        // SAFETY: the caller is the owner. If a thief takes the given task meanwhile, the
        // deque is empty, because thieves take the oldest task first. Then `pop` returns
        // `None`.
        unsafe { self.pop() }
    }

    /// Takes the oldest task.
    pub(super) fn steal(&self) -> Stolen {
        // ORDERING: relaxed is enough, because the fence below keeps the read of the task's
        // place after this read of `top`.
        let top = self.top.0.load(Ordering::Relaxed);
        // ORDERING: pairs with the fence in `pop` (see the head of this file).
        fence(Ordering::SeqCst);
        // ORDERING: acquire makes the tasks visible that were pushed before this `bottom`
        // was stored.
        let bottom = self.bottom.load(Ordering::Acquire);
        if distance(top, bottom) <= 0 {
            return Stolen::Empty;
        }
        let task = self.pointer_at(top);
        if !self.advance(top) {
            return Stolen::Retry;
        }
        task.map_or(Stolen::Empty, |task| Stolen::Task(Self::take(task)))
    }

    /// Takes the oldest task, and returns it with the number of remaining tasks. If another
    /// thread takes that task first, tries again. Calls `on_conflict` before the new
    /// attempt if more tasks remain. This function needs no fence, because it is called
    /// only for a deque whose owner never calls `pop`.
    pub(super) fn take_oldest(&self, on_conflict: impl Fn()) -> Option<(Task, usize)> {
        loop {
            // ORDERING: acquire on `top` keeps the read of the place after this load.
            // Acquire on `bottom` makes the pushed tasks visible.
            let top = self.top.0.load(Ordering::Acquire);
            let bottom = self.bottom.load(Ordering::Acquire);
            let left = bottom.wrapping_sub(top);
            if left == 0 {
                return None;
            }
            let task = self.pointer_at(top);
            if self.advance(top) {
                return task.map(|task| (Self::take(task), left - 1));
            }
            if left > 1 {
                on_conflict();
            }
        }
    }

    /// Takes the index `top` if no other thread has taken it. Returns `true` if this thread
    /// took it.
    #[inline]
    fn advance(&self, top: usize) -> bool {
        let next = top.wrapping_add(1);
        // ORDERING: release keeps the read of the place before this exchange, because the
        // owner may overwrite the place after the exchange. Sequential consistency orders
        // the exchange with the fences, as in the paper named at the head of this file.
        let exchanged =
            (self.top.0).compare_exchange(top, next, Ordering::SeqCst, Ordering::Relaxed);
        exchanged.is_ok()
    }

    #[inline]
    fn pointer_at(&self, index: usize) -> Option<NonNull<()>> {
        let places = self.places.get()?;
        // ORDERING: relaxed is enough, because the caller has read `bottom` with acquire,
        // or is the owner and has written the place itself.
        NonNull::new(places[index % CAPACITY].load(Ordering::Relaxed))
    }

    #[inline]
    fn task_at(&self, index: usize) -> Option<Task> {
        self.pointer_at(index).map(Self::take)
    }

    /// Returns the task at this address. The caller has taken the task's index.
    #[inline]
    fn take(task: NonNull<()>) -> Task {
        // SAFETY: `push` stored the pointer, which came from `into_raw`, and each pushed
        // task is taken once (see the head of this file).
        unsafe { Task::from_raw(task) }
    }
}

/// Returns `to - from` for two indexes, each of which may have wrapped around.
fn distance(from: usize, to: usize) -> isize {
    to.wrapping_sub(from) as isize
}

/// Returns the number of tasks in a deque whose `top` and `bottom` a thread has read at
/// different moments. Between the two reads, thieves may have raised `top` and the owner
/// `bottom`. So the difference may exceed the capacity, or `bottom` may be below `top`. An
/// owner that takes the last task also leaves `bottom` below `top` for a moment.
fn length(top: usize, bottom: usize) -> usize {
    let most = CAPACITY as isize;
    distance(top, bottom).clamp(0, most) as usize
}

impl Drop for Deque {
    fn drop(&mut self) {
        while let Stolen::Task(task) = self.steal() {
            drop(task);
        }
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_right_although_top_is_out_of_date() {
        for from in [0, 7, usize::MAX - 3, usize::MAX] {
            let after = |pushed: usize| length(from, from.wrapping_add(pushed));
            assert_eq!([0, 5, CAPACITY].map(after), [0, 5, CAPACITY]);
            assert_eq!([CAPACITY + 1, 3 * CAPACITY].map(after), [CAPACITY; 2]);
            assert_eq!(length(from, from.wrapping_sub(1)), 0);
        }
    }
}
