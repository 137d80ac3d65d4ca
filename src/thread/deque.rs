//! [`Deque`]: a double-ended queue of tasks of fixed size, with one owner.
//!
//! The owner pushes and pops at the bottom, any thread takes from the top. The algorithm
//! is that of Chase and Lev, with the fences of Lê, Pop, Cohen and Zappa Nardelli
//! ("Correct and efficient work-stealing for weak memory models", 2013). It does not
//! grow, so no memory has to be reclaimed while another thread may still read it; what
//! does not fit goes to the pool's queue.
//!
//! # Why each task is taken once
//!
//! A place is identified by an index that only grows, modulo the capacity. A thread takes
//! the task at the top by advancing `top` with a compare-and-swap, so each index is won
//! once; the owner overwrites a place only after `top` has passed it. The owner takes
//! from the bottom without one, unless it is the last task: it lowers `bottom`, and then
//! looks at `top`. A thief looks at `top`, and then at `bottom`. The two fences between
//! these steps let at least one of them see the other.

use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use crate::completion::Task;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, fence};

/// The largest number of tasks in one. A model tries out what a full one does.
pub(super) const CAPACITY: usize = if cfg!(concurrent_futures_loom) {
    4
} else {
    256
};

pub(super) struct Deque {
    /// Written by the owner alone.
    bottom: AtomicUsize,
    /// Made by the owner before its first push.
    places: OnceLock<Box<[AtomicPtr<()>]>>,
    top: Top,
}

/// In a cache line of its own, for thieves write it and the owner seldom does.
#[repr(align(128))]
struct Top(AtomicUsize);

/// The outcome of an attempt to take the oldest task.
pub(super) enum Stolen {
    Task(Task),
    Empty,
    /// Another thread was faster; there may be more.
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

    /// Returns the number of tasks, which may be another one by then.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // ORDERING: `top` first, so that a task which is taken meanwhile counts rather
        // than one that is pushed is missed; acquire shows the tasks that count.
        let top = self.top.0.load(Ordering::Acquire);
        let len = self.bottom.load(Ordering::Acquire).wrapping_sub(top);
        if len > CAPACITY { 0 } else { len }
    }

    /// Returns the number of tasks that the owner can push.
    #[inline]
    pub(super) fn room(&self) -> usize {
        // ORDERING: only the owner writes `bottom`; acquire lets it overwrite the places
        // that `top` has passed.
        let top = self.top.0.load(Ordering::Acquire);
        CAPACITY - self.bottom.load(Ordering::Relaxed).wrapping_sub(top)
    }

    /// Pushes a task, as the next one that `pop` returns.
    ///
    /// # Errors
    ///
    /// Returns it if there is no room.
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
        // ORDERING: only the owner writes it.
        let bottom = self.bottom.load(Ordering::Relaxed);
        let task = task.into_raw().as_ptr();
        // ORDERING: published by the fence.
        places[bottom % CAPACITY].store(task, Ordering::Relaxed);
        // ORDERING: a thread that sees the new bottom, or a later one that `pop` stores,
        // sees the task.
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
        // ORDERING: only the owner writes it.
        let bottom = self.bottom.load(Ordering::Relaxed);
        // ORDERING: `top` only grows, and is not beyond the bottom here: only a pop of the
        // owner lets it be.
        if bottom == self.top.0.load(Ordering::Relaxed) {
            return None;
        }
        let bottom = bottom.wrapping_sub(1);
        self.bottom.store(bottom, Ordering::Relaxed);
        // ORDERING: thieves see the new bottom before `top` is looked at; pairs with the
        // fence of `steal`.
        fence(Ordering::SeqCst);
        let top = self.top.0.load(Ordering::Relaxed);
        let left = distance(top, bottom);
        if left > 0 {
            return self.task_at(bottom);
        }
        // The last one, or none: won like any other from the top.
        let task = self.pointer_at(bottom);
        let is_won = left == 0 && self.advance(top);
        self.bottom.store(bottom.wrapping_add(1), Ordering::Relaxed);
        task.filter(|_| is_won).map(Self::take)
    }

    /// Takes that task, if it is the newest.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline]
    pub(super) unsafe fn pop_if(&self, task: &Task) -> Option<Task> {
        // ORDERING: only the owner writes it, and the places.
        let bottom = self.bottom.load(Ordering::Relaxed);
        let is_empty = bottom == self.top.0.load(Ordering::Relaxed);
        let newest = (!is_empty).then(|| self.pointer_at(bottom.wrapping_sub(1)))??;
        if newest.addr().get() != task.address() {
            return None;
        }
        // SAFETY: as the caller says. The newest is that task, or it was stolen.
        unsafe { self.pop() }
    }

    /// Takes the oldest task.
    pub(super) fn steal(&self) -> Stolen {
        // ORDERING: acquire, so that the place is read as of this index.
        let top = self.top.0.load(Ordering::Acquire);
        // ORDERING: pairs with the fence of `pop`.
        fence(Ordering::SeqCst);
        // ORDERING: acquire shows the task that was pushed there.
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

    /// Takes the oldest task of a deque that is never popped, and so without a fence; and
    /// the number of those that are left.
    pub(super) fn take_oldest(&self) -> Option<(Task, usize)> {
        loop {
            // ORDERING: as in `steal`.
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
        }
    }

    /// Wins the task at the top, if it is still that index.
    #[inline]
    fn advance(&self, top: usize) -> bool {
        let next = top.wrapping_add(1);
        // ORDERING: release keeps the read of the place before it, behind which the owner
        // may overwrite it; sequentially consistent with the fences, as in the paper.
        let exchanged =
            (self.top.0).compare_exchange(top, next, Ordering::SeqCst, Ordering::Relaxed);
        exchanged.is_ok()
    }

    #[inline]
    fn pointer_at(&self, index: usize) -> Option<NonNull<()>> {
        let places = self.places.get()?;
        // ORDERING: the caller has acquired the bottom, or is the owner.
        NonNull::new(places[index % CAPACITY].load(Ordering::Relaxed))
    }

    #[inline]
    fn task_at(&self, index: usize) -> Option<Task> {
        self.pointer_at(index).map(Self::take)
    }

    /// The task of an index that the caller has won.
    #[inline]
    fn take(task: NonNull<()>) -> Task {
        // SAFETY: `push` put it there by `into_raw`, and an index is won once.
        unsafe { Task::from_raw(task) }
    }
}

/// Returns how far an index is behind another one; they may have wrapped.
fn distance(from: usize, to: usize) -> isize {
    to.wrapping_sub(from) as isize
}

impl Drop for Deque {
    fn drop(&mut self) {
        while let Stolen::Task(task) = self.steal() {
            drop(task);
        }
    }
}
