//! [`Sender`]: the end of a ring that writes records. `ring.rs` describes the ring, its
//! lines, its records, and words such as `FREED`.

use std::cmp::min;
use std::ops::Deref;

use super::super::checksum::{Checksum, mask};
use super::super::word::word_of;
use super::{
    ASLEEP, FREED, HEAD, LARGEST, LINE_BYTES, Memory, NAPPING, NAPPING_IN_BURST, RECEIVER_SLEEPS,
    SENDER_SLEEPS, SMALLEST_PIECE, Scribbled, lines,
};
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(in crate::process::transport) struct Sender<W> {
    pub(super) memory: Memory<W>,
    /// The number of lines of the ring that were written since the ring was made.
    pub(super) position: u64,
    /// The value of `FREED` that the sender has read last: the number of lines that the
    /// receiver has read since the ring was made.
    freed: u64,
}

impl<W: Deref<Target = [AtomicU64]> + Clone> Sender<W> {
    /// Returns the sender of a ring. Sender and receiver must have the same key.
    pub(in crate::process::transport) fn new(words: W, key: u64) -> Self {
        let memory = Memory::new(words, key);
        Self {
            memory,
            position: 0,
            freed: 0,
        }
    }

    /// Writes as many of the bytes as the ring has room for, and returns their number.
    /// Calls `wake` each time that the receiver sleeps and has to be woken.
    ///
    /// # Errors
    ///
    /// Returns an error if the sender needs more room and finds an impossible number in
    /// `FREED`, which the receiver writes.
    pub(in crate::process::transport) fn send(
        &mut self,
        bytes: &[u8],
        mut wake: impl FnMut(),
    ) -> Result<usize, Scribbled> {
        let mut sent = 0;
        while sent < bytes.len() {
            let left = &bytes[sent..];
            let length = self.fitting(left.len())?;
            if length == 0 {
                break;
            }
            self.write(&left[..length]);
            sent += length;
            if self.memory.wakes(RECEIVER_SLEEPS, ASLEEP..=ASLEEP) {
                wake();
            }
        }
        Ok(sent)
    }

    /// Returns `true` if the receiver sleeps and does not only nap. Before this call, the
    /// caller publishes something and then executes a `SeqCst` fence. If this method
    /// returns `false`, the receiver sees what was published before it next sleeps, because
    /// it looks once more after it has set its flag.
    pub(in crate::process::transport) fn is_receiver_asleep(&self) -> bool {
        // ORDERING: the caller's fence pairs with the fence in `set_flag`.
        self.memory.words[RECEIVER_SLEEPS].load(Ordering::Relaxed) == ASLEEP
    }

    pub(in crate::process::transport) fn bell(&self) -> Bell<W> {
        Bell(self.memory.clone())
    }

    /// Announces that the sender, which has found no room, is about to sleep until half of
    /// the ring is free. Returns `false` if half is free already: then the sender must not
    /// sleep.
    ///
    /// # Errors
    ///
    /// Returns an error if the word `FREED`, in which the receiver counts the lines that it
    /// has read, holds a smaller number than before, or a larger number than that of the
    /// written lines.
    pub(in crate::process::transport) fn may_sleep(&mut self) -> Result<bool, Scribbled> {
        let room = self.room_wanted();
        self.memory.set_flag(SENDER_SLEEPS, room.freed);
        self.read_freed()?;
        Ok(!room.is_there())
    }

    /// Returns the room for which a sender without enough room waits: half of the ring.
    pub(in crate::process::transport) fn room_wanted(&self) -> Room<W> {
        Room {
            memory: self.memory.clone(),
            // In a ring of one line, `lines / 2` is 0: the sender waits until the ring is
            // empty.
            freed: self.position.saturating_sub(self.memory.lines as u64 / 2),
        }
    }

    /// Returns how many of the `length` remaining bytes the next record holds, or 0 if the
    /// ring has too little room.
    fn fitting(&mut self, length: usize) -> Result<usize, Scribbled> {
        let wanted = min(length, LARGEST);
        if lines(wanted) > self.room() {
            self.read_freed()?;
        }
        let room = (self.room() * LINE_BYTES).saturating_sub(8 * HEAD);
        Ok(match min(wanted, room) {
            fitting if fitting == length || fitting >= SMALLEST_PIECE => fitting,
            _ => 0,
        })
    }

    /// Returns `true` if the sender would write a record of this length now.
    #[cfg(all(test, concurrent_futures_loom))]
    pub(super) fn has_room_for(&mut self, length: usize) -> bool {
        self.fitting(length) == Ok(length)
    }

    /// Returns the number of lines that are free as far as the sender knows.
    fn room(&self) -> usize {
        // The conversion loses nothing: at most `lines` lines are written and not freed.
        self.memory.lines - (self.position - self.freed) as usize
    }

    fn read_freed(&mut self) -> Result<(), Scribbled> {
        // ORDERING: pairs with the store in `Next::free`. So the sender writes to the
        // freed lines only after the receiver has read them.
        let freed = self.memory.words[FREED].load(Ordering::Acquire);
        let is_possible = (self.freed..=self.position).contains(&freed);
        if !is_possible {
            return Err(Scribbled);
        }
        self.freed = freed;
        Ok(())
    }

    fn write(&mut self, payload: &[u8]) {
        let memory = &self.memory;
        let mask = mask(memory.key, self.position);
        let mut checksum = Checksum::new(mask, payload.len());
        let mut rest = payload;
        for piece in memory.payload(self.position, payload.len()) {
            let (bytes, later) = rest.split_at(min(8 * piece.len(), rest.len()));
            let mut put = |(words, bytes): (&[AtomicU64], &[u8])| {
                let (first, second) = bytes.split_at(min(8, bytes.len()));
                let pair = [first, second].map(word_of);
                for (word, value) in words.iter().zip(pair) {
                    // ORDERING: `Relaxed` is enough, because the store of the mark
                    // publishes the payload.
                    word.store(value, Ordering::Relaxed);
                }
                checksum.add(pair);
            };
            // The loop over chunks of exactly 16 bytes takes much less time than a loop
            // that also handles a shorter last chunk.
            let (pairs, last) = (piece.chunks_exact(2), bytes.chunks_exact(16));
            let last_bytes = last.remainder();
            pairs.zip(last).for_each(&mut put);
            if !last_bytes.is_empty() {
                put((&piece[bytes.len() / 16 * 2..], last_bytes));
            }
            rest = later;
        }
        let first = memory.index(self.position);
        // ORDERING: `Relaxed` is enough, because the store of the mark publishes the checksum.
        memory.words[first + 1].store(checksum.finish(), Ordering::Relaxed);
        // ORDERING: publishes the record. Pairs with the load in `Next::length`.
        memory.words[first].store(mask ^ payload.len() as u64, Ordering::Release);
        self.position += lines(payload.len()) as u64;
    }
}

/// Finds out if a ring's receiver sleeps and has to be woken, although no record was
/// written.
#[derive(Clone, Debug)]
pub(in crate::process::transport) struct Bell<W>(Memory<W>);

impl<W: Deref<Target = [AtomicU64]>> Bell<W> {
    /// Clears the flag of the receiver, if the receiver sleeps and does not only nap.
    /// Returns `true` if this call has cleared the flag: then the caller has to wake the
    /// receiver.
    pub(in crate::process::transport) fn must_wake(&self) -> bool {
        self.0.wakes(RECEIVER_SLEEPS, ASLEEP..=ASLEEP)
    }

    /// Like [`must_wake`](Self::must_wake), but for a receiver that naps (sleeps for a
    /// short time). `is_waited_for` says that the caller waits for the receiver. Otherwise
    /// the caller is idle, and does not wake a receiver that naps in a burst.
    pub(in crate::process::transport) fn must_wake_from_nap(&self, is_waited_for: bool) -> bool {
        let last = if is_waited_for {
            NAPPING_IN_BURST
        } else {
            NAPPING
        };
        self.0.wakes(RECEIVER_SLEEPS, NAPPING..=last)
    }
}

/// The room for which a sender waits. A thread that waits for the room has a copy of this
/// value.
#[derive(Clone, Debug)]
pub(in crate::process::transport) struct Room<W> {
    memory: Memory<W>,
    /// The value of `FREED` at which half of the ring is free.
    freed: u64,
}

impl<W: Deref<Target = [AtomicU64]>> Room<W> {
    pub(in crate::process::transport) fn is_there(&self) -> bool {
        // ORDERING: `Relaxed` is enough, because the result is only a hint: the sender
        // writes only to lines that `read_freed` has found free by an `Acquire` load.
        self.memory.words[FREED].load(Ordering::Relaxed) >= self.freed
    }
}
