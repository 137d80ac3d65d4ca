//! [`Rare`]: the fields that few tasks need, in a box that is allocated when the first of
//! these fields is used.
//!
//! # Why nothing is missed
//!
//! A thread that attaches a callback, a waker or another rare field takes the lock of the
//! task's rare box, and sets the flag RARE in the task's word (`word.rs`) under the lock.
//! From then on the task starts and ends only under this lock. A start or an end without
//! the lock is a compare-and-swap on a word without RARE, so it happened before RARE was
//! set, and the attaching thread sees the new state. So while a thread holds the lock that
//! [`Task::rare`] returned, no other thread starts or ends the task.

use std::collections::VecDeque;
use std::ptr;

use super::cell::TaskWith;
use super::wakers::Wakers;
use super::word::RARE;
use crate::sync::{Mutex, MutexGuard, Ordering, ThreadId, UnsafeCell, yield_now};
use crate::timing::Timing;

pub(crate) struct Rare {
    fields: Mutex<RareFields>,
    creation: Creation,
}

/// A cell of size 0 through which loom models check that a thread that uses a rare box has
/// seen the creation of the box.
struct Creation(UnsafeCell<()>);

// SAFETY: the cell contains no data.
unsafe impl Sync for Creation {}

/// A reference to a task of any type.
pub(crate) type Task = TaskWith<Rare>;

/// The steps that a remote task (one that a worker in another process runs) still needs
/// after its worker's answer: decoding the value, the final transition, and the
/// notification. If the task has already ended, only the notification is left.
pub(crate) type Finalizer = Box<dyn FnOnce() + Send>;

/// A callback, which is called with the task. The callback has the same type for all types
/// of futures.
pub(crate) type Callback = Box<dyn FnOnce(&Task) + Send>;

/// The fields of the rare box, which the box's lock guards.
#[derive(Default)]
pub(super) struct RareFields {
    /// The callbacks that have not yet begun, except `last`, in the order in which they
    /// were added.
    pub(super) callbacks: VecDeque<Callback>,
    /// The callback that runs after all other callbacks, including those that callbacks
    /// add.
    pub(super) last: Option<Callback>,
    /// The thread that runs the callbacks of a done task, or will run them. `None` before
    /// the task is done, and once the callbacks are done.
    pub(super) notifier: Option<ThreadId>,
    pub(super) wakers: Wakers,
    /// The number of waits for the task without a deadline. Used for remote tasks only.
    pub(super) waiters: u32,
    /// The finalizer that the pool handed to the waiting threads, until one of these
    /// threads takes it. Used for remote tasks only.
    pub(super) finalizer: Option<Finalizer>,
    pub(super) timing: Option<Timing>,
}

impl RareFields {
    pub(super) fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty() || self.last.is_some()
    }
}

impl Task {
    /// Locks the rare box of the task. If RARE is not set yet, first allocates the box if
    /// there is none, and sets RARE under the lock. Returns `None` in a forked child if
    /// another thread held the lock at the fork, because that thread does not exist in the
    /// child to unlock it.
    pub(super) fn rare(&self) -> Option<MutexGuard<'_, RareFields>> {
        if self.word().has(RARE) {
            return self.known_rare();
        }
        // ORDERING: acquire pairs with the release of the exchange in `make_rare`.
        let mut rare = self.attached().load(Ordering::Acquire);
        if rare.is_null() {
            rare = self.make_rare();
        }
        // SAFETY: the pointer came from `Box::into_raw`, and the box is freed with the
        // task.
        let rare = unsafe { &*rare };
        let fields = self.lock(rare)?;
        self.set(RARE);
        Some(fields)
    }

    /// Locks the rare box of a task whose word has RARE; see [`rare`](Self::rare).
    pub(super) fn known_rare(&self) -> Option<MutexGuard<'_, RareFields>> {
        // ORDERING: relaxed is enough, because the pointer never changes once RARE is set,
        // and the load of the word with RARE acquired the pointer.
        let rare = self.attached().load(Ordering::Relaxed);
        // SAFETY: the pointer came from `Box::into_raw`, and the box is freed with the
        // task.
        let rare = unsafe { &*rare };
        self.lock(rare)
    }

    #[cold]
    fn make_rare(&self) -> *mut Rare {
        let new = Box::into_raw(Box::new(Rare {
            fields: Mutex::new(RareFields::default()),
            creation: Creation(UnsafeCell::new(())),
        }));
        // ORDERING: release publishes the new box. An exchange that succeeds has read null,
        // with which no thread publishes anything, so it needs no acquire. If the exchange
        // fails, acquire pairs with the release of the thread that attached its box first.
        let exchanged = self.attached().compare_exchange(
            ptr::null_mut(),
            new,
            Ordering::Release,
            Ordering::Acquire,
        );
        match exchanged {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: the exchange failed, so no other thread has the pointer `new`.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        }
    }

    /// Locks the rare box if the task has one; see [`rare`](Self::rare).
    pub(super) fn rare_if_any(&self) -> Option<MutexGuard<'_, RareFields>> {
        if self.word().has(RARE) {
            self.known_rare()
        } else {
            None
        }
    }

    /// Returns `true` in a forked child if another thread held the rare box's lock at the
    /// fork. The lock is then never released in the child, so the child cannot start or end
    /// the task.
    pub(super) fn is_locked_for_ever(&self) -> bool {
        !self.is_here() && self.rare_if_any().is_none() && self.word().has(RARE)
    }

    fn lock<'a>(&self, rare: &'a Rare) -> Option<MutexGuard<'a, RareFields>> {
        // Lets a loom model check that the creation of the box came before.
        rare.creation.0.with(|_| ());
        let fields = &rare.fields;
        if self.is_here() {
            return Some(fields.lock());
        }
        // A thread of the child holds the lock only for a moment. So if no try succeeds,
        // the lock was almost certainly held at the fork, and is never released.
        const TRIES: u32 = 1000;
        (0..TRIES).find_map(|_| {
            let fields = fields.try_lock();
            if fields.is_none() {
                yield_now();
            }
            fields
        })
    }
}
