//! [`Begun`]: the word of shared memory in which a worker names the last task that it has
//! begun.
//!
//! After a worker has ended, the pool must know if the worker had begun its task, because
//! a task must not run twice. So a worker that begins a task first writes the [`mask`] of
//! the task's number into this word. The task itself may overwrite the word before it ends
//! its process. So the pool assumes that a task has begun, unless the word still holds the
//! mask of the previous task's number.
//!
//! # Why no begin stays unnoticed
//!
//! The pool needs no further message about a begin, because it looks at the word before it
//! sleeps. A message for each task would take a quarter of the time of a burst of empty
//! tasks. So a worker sends `Started` only to a pool that sleeps, and before a long answer,
//! which may arrive in pieces.
//!
//! | worker | pool |
//! |---|---|
//! | writes the word (`Release`) | sets `RECEIVER_SLEEPS` in the ring to the parent (`ring.rs`) |
//! | fence | fence |
//! | reads `RECEIVER_SLEEPS`; if it is `ASLEEP`, sends `Started`, which wakes the pool | reads the word, and sleeps only if the word says nothing new |
//!
//! The two fences are `SeqCst`, so at least one of the two sides sees what the other side
//! wrote before its fence. A word that a task has overwritten keeps the pool awake only
//! once, because the pool then remembers what it has seen.

use std::ops::Deref;

use super::checksum::mask;
use crate::sync::{AtomicU64, Ordering, fence};

/// The word, and its key. A clone refers to the same word.
#[derive(Clone, Debug)]
pub(super) struct Begun<W> {
    /// The memory of the word, which is its first word.
    memory: W,
    key: u64,
}

impl<W: Deref<Target = [AtomicU64]> + Clone> Begun<W> {
    pub(super) fn new(memory: W, key: u64) -> Self {
        Self { memory, key }
    }

    /// Records that the worker begins a task. The number 0 stands for no task. After this
    /// call, the worker looks if the pool sleeps ([`Sender::is_receiver_asleep`]).
    ///
    /// [`Sender::is_receiver_asleep`]: super::ring::Sender::is_receiver_asleep
    pub(super) fn record(&self, task: u64) {
        // ORDERING: publishes that the worker has copied the task's call. Pairs with the
        // load in `word`, after which the pool may use the memory of the call again.
        self.memory[0].store(mask(self.key, task), Ordering::Release);
        // ORDERING: orders the store before the load of the flag that says if the pool
        // sleeps, and before all stores of the task. Pairs with the fence in
        // `Memory::set_flag` of `ring.rs`.
        fence(Ordering::SeqCst);
    }

    /// Returns `true` if `task` is the last task that the worker has begun.
    pub(super) fn is_last(&self, task: u64) -> bool {
        self.word() == mask(self.key, task)
    }

    /// Returns the word itself, which tells the pool nothing new as long as it stays the
    /// same ([`later_than`](Self::later_than)).
    pub(super) fn word(&self) -> u64 {
        // ORDERING: pairs with the store in `record`.
        self.memory[0].load(Ordering::Acquire)
    }

    /// Returns the data with which a thread notices that the worker begins a later task
    /// than `task`. `seen` is the word when the pool last looked for such a task, if it has.
    pub(super) fn later_than(&self, task: u64, seen: Option<u64>) -> LaterBegin<W> {
        LaterBegin {
            begun: self.clone(),
            last: mask(self.key, task),
            seen,
        }
    }
}

/// The begin of a task of which the pool does not know. A thread that waits for the begin
/// has a copy of this value.
#[derive(Clone, Debug)]
pub(super) struct LaterBegin<W> {
    begun: Begun<W>,
    /// The word of the last task of which the pool knows that the worker has begun it.
    last: u64,
    /// The word when the pool last looked, which may have been overwritten.
    seen: Option<u64>,
}

impl<W: Deref<Target = [AtomicU64]> + Clone> LaterBegin<W> {
    pub(super) fn is_there(&self) -> bool {
        let word = self.begun.word();
        word != self.last && Some(word) != self.seen
    }
}

#[cfg(all(test, concurrent_futures_loom))]
mod model;
