//! [`Rings`]: the memory that the parent and one worker share, with a ring in each
//! direction.
//!
//! Each worker has a memory of its own, which no other worker maps. So a worker that writes
//! to this memory by mistake spoils only its own messages.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::offers::{OFFERS, Offers};
use super::ring::words;
use crate::sys::shared_memory::SharedMemory;

/// The number of bytes for records in each ring. The ring should fit into the cache of a
/// CPU: rings of 1 MiB and more are slower.
pub(super) const RING_BYTES: usize = 256 << 10;

/// The number of words in front of the rings, which are the offers.
const FRONT: usize = OFFERS as usize;

const RING: usize = words(RING_BYTES);
const WORDS: usize = FRONT + 2 * RING;

/// The shared memory of a worker. A clone refers to the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Rings {
    memory: Arc<SharedMemory>,
    /// The key of the checksums, which only the two processes know.
    key: u64,
}

impl Rings {
    /// Creates the memory, and returns it with its file.
    ///
    /// # Errors
    ///
    /// Returns an error if the system is short of memory or descriptors, or refuses shared
    /// memory.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let (memory, file) = SharedMemory::create(WORDS)?;
        let rings = Self {
            memory: Arc::new(memory),
            key: RandomState::new().build_hasher().finish(),
        };
        Ok((rings, file))
    }

    /// Maps the file of the memory that the parent has created, in the worker.
    ///
    /// # Errors
    ///
    /// Returns an error if the file is not such a memory, or cannot be mapped.
    pub(crate) fn open(file: &OwnedFd, key: u64) -> io::Result<Self> {
        let memory = Arc::new(SharedMemory::open(file, WORDS)?);
        Ok(Self { memory, key })
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Returns the key of the ring to the worker. The keys of the two rings differ, so that
    /// a record that is copied to the other ring does not fit.
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

    fn part(&self, start: usize, words: usize) -> Part {
        Part {
            memory: Arc::clone(&self.memory),
            start,
            words,
        }
    }

    /// Returns the offers, which lie in front of the rings.
    pub(super) fn offers(&self) -> Offers<Part> {
        Offers::new(self.part(0, FRONT), self.key)
    }
}

/// The words of one ring, or of the offers.
#[derive(Clone, Debug)]
pub(super) struct Part {
    memory: Arc<SharedMemory>,
    start: usize,
    words: usize,
}

impl Deref for Part {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.memory.words()[self.start..self.start + self.words]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn the_two_processes_know_the_same_memory_and_no_part_lies_over_another() {
        let (ours, file) = Rings::create().unwrap();
        let theirs = Rings::open(&file, ours.key()).unwrap();
        let parts = |rings: &Rings| {
            let offers = rings.part(0, FRONT);
            [offers, rings.to_worker(), rings.to_parent()]
        };
        for (number, part) in (1..).zip(parts(&ours)) {
            part.iter()
                .for_each(|word| word.store(number, Ordering::Relaxed));
        }
        for (number, part) in (1..).zip(parts(&theirs)) {
            assert!(
                part.iter()
                    .all(|word| word.load(Ordering::Relaxed) == number)
            );
        }
    }
}
