//! [`Rings`]: the memory that the parent and one worker share, with a ring in each
//! direction.
//!
//! Each worker has a memory of its own, which no other worker maps. So a worker that writes
//! to this memory by mistake spoils only its own messages.
//!
//! The word `BEGUN` says which task the worker has begun last (`begun.rs`).
//!
//! The word `TAKEN` says which *offer* the worker has taken last. An offer is a call in
//! memory from which all workers of the pool take their tasks (`offers.rs`). The word
//! holds the offer's number plus one, in [sealed](seal) form.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::begun::Begun;
use super::checksum::{seal, unseal};
use super::offers::{last_taken, record_taken};
use super::ring::words;
use crate::sys::shared_memory::SharedMemory;

/// The number of bytes for records in each ring. The ring should fit into the cache of a
/// CPU: rings of 1 MiB and more are slower than rings of this size.
pub(super) const RING_BYTES: usize = 256 << 10;

/// The index of the word that says which task the worker has begun last.
const BEGUN: usize = 0;

/// The index of the word that holds, in sealed form, the number of the last offer that
/// the worker has taken, plus one.
const TAKEN: usize = 1;

/// The number of words in front of the rings: one cache line.
const FRONT: usize = 8;

const RING: usize = words(RING_BYTES);
const WORDS: usize = FRONT + 2 * RING;

/// The shared memory of a worker. A clone refers to the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Rings {
    memory: Arc<SharedMemory>,
    /// The key of the checksums and of the words `BEGUN` and `TAKEN`. Only the parent and
    /// the worker know the key.
    key: u64,
}

impl Rings {
    /// Creates the memory, and returns it with its file.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let (memory, file) = SharedMemory::create(WORDS)?;
        let rings = Self {
            memory: Arc::new(memory),
            key: RandomState::new().build_hasher().finish(),
        };
        rings.begun().record(0);
        // ORDERING: relaxed is enough, because no other process has the memory yet.
        rings.memory.words()[TAKEN].store(seal(rings.key, 0), Ordering::Relaxed);
        Ok((rings, file))
    }

    /// Maps, in the worker, the file of the memory that the parent has created.
    pub(crate) fn open(file: &OwnedFd, key: u64) -> io::Result<Self> {
        let memory = Arc::new(SharedMemory::open(file, WORDS)?);
        Ok(Self { memory, key })
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Returns the key of the ring that carries bytes to the worker. The keys of the two
    /// rings differ, so that a record that a task copies from one ring to the other is no
    /// valid record there.
    pub(super) fn key_to_worker(&self) -> u64 {
        self.key
    }

    pub(super) fn key_to_parent(&self) -> u64 {
        !self.key
    }

    pub(super) fn to_worker(&self) -> Part {
        self.part(FRONT, RING)
    }

    pub(super) fn to_parent(&self) -> Part {
        self.part(FRONT + RING, RING)
    }

    /// Returns the word that says which task the worker has begun last.
    pub(super) fn begun(&self) -> Begun<Part> {
        Begun::new(self.part(BEGUN, 1), self.key)
    }

    fn part(&self, start: usize, words: usize) -> Part {
        Part {
            memory: Arc::clone(&self.memory),
            start,
            words,
        }
    }

    /// Records that this worker has taken an offer.
    pub(super) fn take(&self, offer: u64) {
        record_taken(&self.memory.words()[TAKEN], self.key, offer);
    }

    /// Makes [`taken`](Self::taken) return 0 if `is_possible` returns `false` for the
    /// number that `taken` returns now. Changes nothing if the worker writes to the word at
    /// the same time.
    pub(super) fn mend_taken(&self, is_possible: impl Fn(u64) -> bool) {
        let word = &self.memory.words()[TAKEN];
        // ORDERING: `Relaxed` is enough, because the worker has no task as far as the
        // parent knows, and the parent has read all its messages.
        let bits = word.load(Ordering::Relaxed);
        if !is_possible(unseal(self.key, bits)) {
            let none = seal(self.key, 0);
            let _ = word.compare_exchange(bits, none, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns the number of the last offer that the worker has taken, plus one, or 0 if
    /// the worker has taken none. The number makes no sense if a task has overwritten
    /// `TAKEN`.
    pub(super) fn taken(&self) -> u64 {
        last_taken(&self.memory.words()[TAKEN], self.key)
    }
}

#[cfg(test)]
impl Rings {
    /// Overwrites the word `TAKEN`, so that [`taken`](Self::taken) returns this number.
    pub(crate) fn overwrite_taken(&self, taken: u64) {
        // ORDERING: relaxed is enough, because the test reads the word in the same thread.
        self.memory.words()[TAKEN].store(seal(self.key, taken), Ordering::Relaxed);
    }
}

#[cfg(any(test, concurrent_futures_fuzz))]
impl Rings {
    /// Returns this memory with another key.
    pub(super) fn with_key(&self, key: u64) -> Self {
        let memory = Arc::clone(&self.memory);
        Self { memory, key }
    }

    pub(super) fn taken_word(&self) -> &AtomicU64 {
        &self.memory.words()[TAKEN]
    }
}

/// A part of the words of a shared memory.
#[derive(Clone, Debug)]
pub(super) struct Part {
    memory: Arc<SharedMemory>,
    start: usize,
    words: usize,
}

impl Part {
    pub(super) fn whole(memory: SharedMemory) -> Self {
        let words = memory.words().len();
        Self {
            memory: Arc::new(memory),
            start: 0,
            words,
        }
    }
}

impl Deref for Part {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.memory.words()[self.start..self.start + self.words]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_processes_know_the_same_memory_and_the_same_task() {
        let (ours, file) = Rings::create().unwrap();
        let theirs = Rings::open(&file, ours.key()).unwrap();
        assert!(ours.begun().is_last(0));
        theirs.begun().record(7);
        assert!(ours.begun().is_last(7));
        assert_eq!(ours.taken(), 0);
        theirs.take(8);
        assert_eq!(ours.taken(), 9);
        ours.mend_taken(|taken| taken <= 9);
        assert_eq!(ours.taken(), 9);
        theirs.memory.words()[TAKEN].store(12345, Ordering::Relaxed);
        ours.mend_taken(|taken| taken <= 9);
        assert_eq!(ours.taken(), 0);
        assert!(!ours.begun().is_last(0) && !ours.begun().is_last(8));
        // A word of zeros must not be the mask of a small task number.
        let begun = ours.memory.words()[BEGUN].swap(0, Ordering::Relaxed);
        assert!((0..100).all(|task| !ours.begun().is_last(task)));
        ours.memory.words()[BEGUN].store(begun, Ordering::Relaxed);
        for (ours, theirs) in [
            (ours.to_worker(), theirs.to_worker()),
            (ours.to_parent(), theirs.to_parent()),
        ] {
            ours[3].store(5, Ordering::Relaxed);
            assert_eq!(theirs[3].swap(0, Ordering::Relaxed), 5);
        }
        assert!(ours.begun().is_last(7), "no ring lies over the word");
    }
}
