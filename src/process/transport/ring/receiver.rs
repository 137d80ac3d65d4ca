//! [`Receiver`]: the end of a ring that reads records. `ring.rs` describes the ring, its
//! lines, its records, and words such as `FREED`.

use std::cmp::min;
use std::ops::Deref;

use super::super::checksum::{Checksum, mask};
use super::{
    ASLEEP, FREED, LARGEST, Memory, NAPPING, NAPPING_IN_BURST, RECEIVER_SLEEPS, SENDER_SLEEPS,
    Scribbled, lines,
};
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(in crate::process::transport) struct Receiver<W> {
    pub(super) next: Next<W>,
    /// The payload of the last record that was longer than the caller's buffer, and the
    /// number of its bytes that the caller has received.
    spilled: (Vec<u8>, usize),
}

/// The place of the record that a receiver reads next. A thread that waits for the record
/// has a copy of this value.
#[derive(Clone, Debug)]
pub(in crate::process::transport) struct Next<W> {
    pub(super) memory: Memory<W>,
    /// The number of lines of the ring that the receiver has read since the ring was made.
    pub(super) position: u64,
    /// The mask with which the record's mark is combined (`ring.rs`).
    mask: u64,
    /// `true` if the receiver has bytes of an earlier record that its caller has not
    /// received yet.
    has_spilled: bool,
}

impl<W: Deref<Target = [AtomicU64]>> Next<W> {
    pub(in crate::process::transport) fn is_there(&self) -> bool {
        self.has_spilled || self.length().is_some()
    }

    /// Announces that the receiver is about to sleep until bytes arrive. Returns `false` if
    /// bytes have arrived already: then the receiver must not sleep.
    pub(in crate::process::transport) fn may_sleep(&self) -> bool {
        self.memory.set_flag(RECEIVER_SLEEPS, ASLEEP);
        !self.is_there()
    }

    /// Announces that the receiver is about to *nap*: to sleep for a short time. During a
    /// nap in a *burst*, while a thread submits many tasks in a row, only a sender that
    /// waits for the receiver wakes it. During another nap, an idle sender wakes it too.
    /// Returns `false` if bytes have arrived already: then the receiver must not sleep,
    /// except in a burst.
    pub(in crate::process::transport) fn may_nap(&self, in_burst: bool) -> bool {
        let flag = if in_burst { NAPPING_IN_BURST } else { NAPPING };
        self.memory.set_flag(RECEIVER_SLEEPS, flag);
        !self.is_there()
    }

    /// Returns `true` if the sender has announced that it sleeps until there is room. The
    /// caller must have announced the receiver's own sleep before, so that a sender that
    /// falls asleep later wakes the receiver.
    pub(in crate::process::transport) fn is_awaited(&self) -> bool {
        // ORDERING: the fence in `set_flag` orders this load after the announcement. It
        // pairs with the fences of a sender that sets its own flag, and then reads the flag
        // of the receiver.
        self.memory.words[SENDER_SLEEPS].load(Ordering::Relaxed) != 0
    }

    /// Announces that the receiver does not sleep any more.
    pub(in crate::process::transport) fn wakes_up(&self) {
        // ORDERING: `Relaxed` is enough, because a sender that still reads the old value
        // wakes the receiver once more, which does no harm.
        self.memory.words[RECEIVER_SLEEPS].store(0, Ordering::Relaxed);
    }

    /// Returns the length of the record's payload, or `None` if the record has not been
    /// written yet.
    fn length(&self) -> Option<usize> {
        // ORDERING: pairs with the store in `Sender::write`, which publishes the record.
        let mark = self.memory.words[self.memory.index(self.position)].load(Ordering::Acquire);
        let length = usize::try_from(mark ^ self.mask).ok()?;
        // The number of lines is checked too, because a ring may be smaller than the
        // largest record.
        let is_possible = (1..=LARGEST).contains(&length) && lines(length) <= self.memory.lines;
        is_possible.then_some(length)
    }

    /// Copies the record's payload, which is as long as `into`.
    fn copy(&self, into: &mut [u8]) -> Result<(), Scribbled> {
        let memory = &self.memory;
        let mut checksum = Checksum::new(self.mask, into.len());
        // ORDERING: `Relaxed` is enough for the loads of payload and checksum. The load of
        // the mark in `length` has acquired payload and checksum, and the sender overwrites
        // them only after the store of `FREED` in `free`.
        let pieces = memory.payload(self.position, into.len());
        let mut rest = into;
        for piece in pieces {
            let (bytes, later) = rest.split_at_mut(min(8 * piece.len(), rest.len()));
            let mut get = |(words, bytes): (&[AtomicU64], &mut [u8])| {
                let mut pair = [0; 2];
                for (value, word) in pair.iter_mut().zip(words) {
                    *value = word.load(Ordering::Relaxed);
                }
                checksum.add(pair);
                let all = pair.map(u64::to_le_bytes);
                bytes.copy_from_slice(&all.as_flattened()[..bytes.len()]);
            };
            let behind_pairs = bytes.len() / 16 * 2;
            let mut chunks = bytes.chunks_exact_mut(16);
            piece.chunks_exact(2).zip(&mut chunks).for_each(&mut get);
            let last = chunks.into_remainder();
            if !last.is_empty() {
                get((&piece[behind_pairs..], last));
            }
            rest = later;
        }
        // ORDERING: `Relaxed` is enough, as for the payload.
        let expected = memory.words[memory.index(self.position) + 1].load(Ordering::Relaxed);
        if checksum.finish() == expected {
            Ok(())
        } else {
            Err(Scribbled)
        }
    }

    pub(super) fn free(&mut self, lines: usize) {
        self.position += lines as u64;
        self.mask = mask(self.memory.key, self.position);
        // ORDERING: pairs with the load in `Sender::read_freed`.
        self.memory.words[FREED].store(self.position, Ordering::Release);
    }
}

impl<W: Deref<Target = [AtomicU64]>> Receiver<W> {
    /// Returns the receiver of a ring. Sender and receiver must have the same key.
    pub(in crate::process::transport) fn new(words: W, key: u64) -> Self {
        Self {
            next: Next {
                memory: Memory::new(words, key),
                position: 0,
                mask: mask(key, 0),
                has_spilled: false,
            },
            spilled: (Vec::new(), 0),
        }
    }

    pub(in crate::process::transport) fn next(&self) -> &Next<W> {
        &self.next
    }

    /// Copies the next bytes to `into`, and returns their number, or 0 if no bytes have
    /// arrived. Calls `wake` if the sender sleeps and has to be woken.
    ///
    /// # Errors
    ///
    /// Returns an error if the next record does not fit its checksum.
    pub(in crate::process::transport) fn receive(
        &mut self,
        into: &mut [u8],
        wake: impl FnOnce(),
    ) -> Result<usize, Scribbled> {
        if self.next.has_spilled {
            return Ok(self.take_spilled(into));
        }
        let Some(length) = self.next.length() else {
            return Ok(0);
        };
        let count = if length <= into.len() {
            self.next.copy(&mut into[..length])?;
            length
        } else {
            let mut spilled = std::mem::take(&mut self.spilled.0);
            spilled.resize(length, 0);
            self.next.copy(&mut spilled)?;
            self.spilled = (spilled, 0);
            self.take_spilled(into)
        };
        self.next.free(lines(length));
        if self
            .next
            .memory
            .wakes(SENDER_SLEEPS, 1..=self.next.position)
        {
            wake();
        }
        Ok(count)
    }

    fn take_spilled(&mut self, into: &mut [u8]) -> usize {
        let (bytes, taken) = &mut self.spilled;
        let count = min(into.len(), bytes.len() - *taken);
        into[..count].copy_from_slice(&bytes[*taken..*taken + count]);
        *taken += count;
        self.next.has_spilled = *taken < bytes.len();
        count
    }
}
