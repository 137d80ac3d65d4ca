//! [`Rare`]: the things that few tasks have, in a box that is made when the first of
//! them is attached.
//!
//! # Why nothing is missed
//!
//! A thread that attaches something takes the box's lock, and sets RARE in the word
//! while it holds it. From then on every transition of the task is made under the lock.
//! A transition that was made without it, by a compare-and-swap on a word without RARE,
//! came before: then the word that RARE is added to shows it, and the attaching thread
//! finds a task that is past it. So under the lock, behind [`Task::rare`], the state
//! stays as it is, but for ENDING and HANDLE.

use std::collections::VecDeque;
use std::ptr;

use super::cell::TaskWith;
use super::wakers::Wakers;
use super::word::RARE;
use crate::sync::{Mutex, MutexGuard, Ordering, ThreadId, yield_now};
use crate::timing::Timing;

pub(crate) struct Rare(Mutex<RareFields>);

/// A reference to a task of any type.
pub(crate) type Task = TaskWith<Rare>;

/// The steps that a remote task still needs after its worker's answer: decoding its
/// value, the final transition, and its notification.
pub(crate) type Finalizer = Box<dyn FnOnce() + Send>;

/// A callback that gets the task itself, and need not know the type of its future.
pub(crate) type Callback = Box<dyn FnOnce(&Task) + Send>;

/// The fields that the lock guards.
#[derive(Default)]
pub(super) struct RareFields {
    /// Not yet run, in the order of adding.
    pub(super) callbacks: VecDeque<Callback>,
    /// Runs after all callbacks, also those that callbacks add.
    pub(super) last: Option<Callback>,
    /// The thread that runs the callbacks, or will when its current one ends.
    pub(super) notifier: Option<ThreadId>,
    pub(super) wakers: Wakers,
    /// For a remote task: the number of threads that wait for it without a deadline.
    pub(super) waiters: u32,
    /// For a remote task: the finalizer that was handed to one of these threads.
    pub(super) finalizer: Option<Finalizer>,
    pub(super) timing: Option<Timing>,
}

impl RareFields {
    pub(super) fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty() || self.last.is_some()
    }
}

impl Task {
    /// Locks the box of a task with RARE, or of one that gets RARE now. Returns `None`
    /// in a fork if another thread held the lock at the fork: that thread is not there
    /// to unlock it.
    pub(super) fn rare(&self) -> Option<MutexGuard<'_, RareFields>> {
        if self.word().has(RARE) {
            return self.known_rare();
        }
        // ORDERING: acquire pairs with the release of the exchange below.
        let mut rare = self.attached().load(Ordering::Acquire);
        if rare.is_null() {
            rare = self.make_rare();
        }
        // SAFETY: made by `Box::into_raw`, and freed with the task.
        let rare = unsafe { &*rare };
        let fields = self.lock(&rare.0)?;
        self.set(RARE);
        Some(fields)
    }

    /// Locks the box of a task that was seen to have RARE; see [`rare`](Self::rare).
    pub(super) fn known_rare(&self) -> Option<MutexGuard<'_, RareFields>> {
        // ORDERING: it is never changed again, and the look at the word has acquired it.
        let rare = self.attached().load(Ordering::Relaxed);
        // SAFETY: made by `Box::into_raw`, and freed with the task.
        let rare = unsafe { &*rare };
        self.lock(&rare.0)
    }

    #[cold]
    fn make_rare(&self) -> *mut Rare {
        let new = Box::into_raw(Box::new(Rare(Mutex::new(RareFields::default()))));
        // ORDERING: the release publishes the box; the acquire of a failure pairs with
        // the release of the thread that won.
        let exchanged = self.attached().compare_exchange(
            ptr::null_mut(),
            new,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match exchanged {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: it was not published.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        }
    }

    /// Locks the box if there is one; see [`rare`](Self::rare).
    pub(super) fn rare_if_any(&self) -> Option<MutexGuard<'_, RareFields>> {
        if self.word().has(RARE) {
            self.known_rare()
        } else {
            None
        }
    }

    /// Returns `true` in a fork if no transition can be made there.
    pub(super) fn is_locked_for_ever(&self) -> bool {
        !self.is_here() && self.rare_if_any().is_none() && self.word().has(RARE)
    }

    fn lock<'a>(&self, fields: &'a Mutex<RareFields>) -> Option<MutexGuard<'a, RareFields>> {
        if self.is_here() {
            return Some(fields.lock());
        }
        // A thread of the fork itself keeps the lock for a moment only.
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
