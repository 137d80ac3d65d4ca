//! A ring: a queue of bytes from one process to another, in memory that both processes map.
//!
//! The [`Sender`] writes *records* into the ring, and the [`Receiver`] reads the records in
//! the same order. A record is a piece of the byte stream. Records do not keep the
//! boundaries of the frames that the bytes belong to.
//!
//! # The memory
//!
//! The memory is an array of 64-bit words. A *line* is 8 words, as large as a cache line.
//!
//! | line | word | written by | means |
//! |---|---|---|---|
//! | 0 | `FREED` | receiver | the number of lines that the receiver has read since the start |
//! | 1 | `RECEIVER_SLEEPS` | both | `ASLEEP` while the receiver sleeps until a record arrives, `NAPPING` until the sender is idle |
//! | 1 | `SENDER_SLEEPS` | both | while the sender sleeps: the value of `FREED` for which it waits |
//! | from 2 | the records | sender | the record at position `p` begins in line `2 + p % capacity` |
//!
//! A record begins with a line:
//!
//! ```text
//! | mark u64 | checksum u64 | length bytes, then zeros up to the end of the line |
//! ```
//!
//! The *mark* is the record's length, combined by XOR with a [`mask`] of the ring's key and
//! the record's position. The receiver removes the mask again. If the result is no possible
//! length, the record has not been written yet: the line still holds zeros, or bytes of the
//! lap before. So a small record needs no other line than its own, and moves to the other
//! CPU as one cache line.
//!
//! # The steps, and why no wake-up is lost
//!
//! | sender | receiver |
//! |---|---|
//! | writes payload and checksum | reads the mark, and sleeps if there is no record: |
//! | writes the mark (`Release`) | sets `RECEIVER_SLEEPS` |
//! | fence | fence |
//! | reads `RECEIVER_SLEEPS`; if it is 1, clears it and wakes the receiver | reads the mark again, and sleeps only if there is still no record |
//!
//! The two fences are `SeqCst`, so at least one of the two sides sees what the other side
//! wrote before its fence. Either the sender sees that the receiver sleeps, or the receiver
//! sees the record. The argument for a sender that waits for room is the same, with `FREED`
//! in place of the mark and `SENDER_SLEEPS` in place of `RECEIVER_SLEEPS`. Only the side
//! that changes a flag to 0 wakes the other side.
//!
//! A sender without room waits until half of the ring is free, so that a long stream needs
//! few wake-ups. The receiver wakes the sender when `FREED` has reached the value for which
//! the sender waits. The receiver reaches this value, because it reads all records.
//!
//! # A process that writes to the ring's memory by mistake
//!
//! Each side keeps its own position in private memory, and copies each word out of the ring
//! before it checks the word. A wrong length or a wrong number of freed lines is an error.
//! A record whose bytes were changed does not fit its checksum ([`Checksum`]), which is
//! keyed and contains the record's position. So a record of an earlier lap does not fit
//! either. A destroyed mark looks like a record that was not written. The caller must
//! notice by other means that the other process waits.

use std::cmp::min;
use std::ops::{Deref, RangeInclusive};

use super::checksum::{Checksum, mask};
use super::word::word_of;
use crate::sync::{AtomicU64, Ordering, fence};

/// The number of words of a line.
const LINE: usize = 8;

/// The number of bytes of a line.
const LINE_BYTES: usize = 8 * LINE;

/// The number of lines in front of the records.
const CONTROL_LINES: usize = 2;

const FREED: usize = 0;
const RECEIVER_SLEEPS: usize = LINE;
const SENDER_SLEEPS: usize = LINE + 1;

/// The values of `RECEIVER_SLEEPS` while the receiver sleeps. A sender that only looks for
/// `ASLEEP` leaves a napping receiver alone.
const ASLEEP: u64 = 1;
const NAPPING: u64 = 2;

/// The number of words in a record in front of the payload: mark and checksum.
const HEAD: usize = 2;

/// The largest payload of a record, in bytes. Smaller records let the other process begin
/// earlier with a long stream, and larger records cost less.
const LARGEST: usize = (32 << 10) - 8 * HEAD;

/// The smallest payload of a record that is not the end of the sent bytes. A sender that
/// finds less room waits.
const SMALLEST_PIECE: usize = 4 << 10;

/// The number of words that a ring for `bytes` bytes of records needs.
pub(super) const fn words(bytes: usize) -> usize {
    LINE * CONTROL_LINES + bytes / 8
}

/// The error of a ring whose words make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scribbled;

/// The words of a ring, and the number of lines for records, which is a power of two.
#[derive(Clone, Debug)]
struct Memory<W> {
    words: W,
    lines: usize,
    key: u64,
}

impl<W: Deref<Target = [AtomicU64]>> Memory<W> {
    fn new(words: W, key: u64) -> Self {
        let lines = (words.len() / LINE).saturating_sub(CONTROL_LINES);
        assert!(lines.is_power_of_two(), "a ring has 2^n lines of records");
        Self { words, lines, key }
    }

    /// Returns the index of the first word of the record at `position`.
    fn index(&self, position: u64) -> usize {
        // The lossless conversion: the remainder is less than `lines`.
        let line = (position & (self.lines as u64 - 1)) as usize;
        LINE * (CONTROL_LINES + line)
    }

    /// Returns the words of a record's payload, in two pieces: the second piece is not
    /// empty if the payload goes on at the begin of the ring.
    fn payload(&self, position: u64, length: usize) -> [&[AtomicU64]; 2] {
        let records = &self.words[LINE * CONTROL_LINES..];
        let start = self.index(position) - LINE * CONTROL_LINES + HEAD;
        let count = length.div_ceil(8);
        let first = min(count, records.len() - start);
        [&records[start..start + first], &records[..count - first]]
    }

    /// Sets a flag of a side that is about to sleep. After this method that side must check
    /// once more if it has to sleep.
    fn set_flag(&self, flag: usize, value: u64) {
        // ORDERING: the fence orders the store before the next loads of this thread. It
        // pairs with the fence in `wakes`.
        self.words[flag].store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Returns `true` if the other side's flag is one of `values`, and this call has
    /// cleared the flag, so that the caller has to wake the other side.
    fn wakes(&self, flag: usize, values: RangeInclusive<u64>) -> bool {
        // ORDERING: the fence orders what this side has published before the load of the
        // flag. It pairs with the fence in `set_flag`. The exchange publishes nothing: it
        // only chooses one thread that wakes the other side.
        fence(Ordering::SeqCst);
        let value = self.words[flag].load(Ordering::Relaxed);
        values.contains(&value) && self.words[flag].swap(0, Ordering::Relaxed) != 0
    }
}

/// Returns the number of lines of a record with `length` bytes of payload.
fn lines(length: usize) -> usize {
    (8 * HEAD + length).div_ceil(LINE_BYTES)
}

/// The end of a ring that writes records.
#[derive(Debug)]
pub(super) struct Sender<W> {
    memory: Memory<W>,
    /// The number of lines that were written since the start.
    position: u64,
    /// The value of `FREED` that the sender has read last.
    freed: u64,
}

impl<W: Deref<Target = [AtomicU64]> + Clone> Sender<W> {
    /// Returns the sender of a ring. Sender and receiver must have the same key.
    pub(super) fn new(words: W, key: u64) -> Self {
        let memory = Memory::new(words, key);
        Self {
            memory,
            position: 0,
            freed: 0,
        }
    }

    /// Writes as many of the bytes as the ring has room for, and returns their number.
    /// Calls `wake` each time that it has to wake a receiver that sleeps.
    ///
    /// # Errors
    ///
    /// Returns an error if the receiver's position makes no sense.
    pub(super) fn send(
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

    /// Returns the bell of the receiver.
    pub(super) fn bell(&self) -> Bell<W> {
        Bell(self.memory.clone())
    }

    /// Announces that the sender, which has found no room, is about to sleep until the ring
    /// has room. Returns `false` if the ring has room already. The sender must not sleep
    /// then.
    ///
    /// # Errors
    ///
    /// Returns an error if the receiver's position makes no sense.
    pub(super) fn may_sleep(&mut self) -> Result<bool, Scribbled> {
        let room = self.room_wanted();
        self.memory.set_flag(SENDER_SLEEPS, room.freed);
        self.read_freed()?;
        Ok(!room.is_there())
    }

    /// Returns the room for which a sender waits that has found no room.
    pub(super) fn room_wanted(&self) -> Room<W> {
        Room {
            memory: self.memory.clone(),
            // A full ring of one line has to be empty.
            freed: self.position.saturating_sub(self.memory.lines as u64 / 2),
        }
    }

    /// Returns the length of the next record if `length` bytes remain, or 0 if the ring has
    /// no room.
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

    /// Returns the number of lines that are free as far as the sender knows.
    fn room(&self) -> usize {
        // The lossless conversion: `read_freed` has checked the difference.
        self.memory.lines - (self.position - self.freed) as usize
    }

    fn read_freed(&mut self) -> Result<(), Scribbled> {
        // ORDERING: pairs with the store in `Receiver::free`. The sender writes to the
        // freed lines after the receiver has read them.
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
            // Chunks of exactly 16 bytes make the loop three times as fast.
            let (pairs, last) = (piece.chunks_exact(2), bytes.chunks_exact(16));
            let last_bytes = last.remainder();
            pairs.zip(last).for_each(&mut put);
            if !last_bytes.is_empty() {
                put((&piece[bytes.len() / 16 * 2..], last_bytes));
            }
            rest = later;
        }
        let first = memory.index(self.position);
        memory.words[first + 1].store(checksum.finish(), Ordering::Relaxed);
        // ORDERING: publishes the record. Pairs with the load in `Receiver::length`.
        memory.words[first].store(mask ^ payload.len() as u64, Ordering::Release);
        self.position += lines(payload.len()) as u64;
    }
}

/// The means to wake a ring's receiver although no record was written.
#[derive(Clone, Debug)]
pub(super) struct Bell<W>(Memory<W>);

impl<W: Deref<Target = [AtomicU64]>> Bell<W> {
    /// Returns `true` if the receiver sleeps. The caller has published something before,
    /// and then made a `SeqCst` fence.
    pub(super) fn is_asleep(&self) -> bool {
        // ORDERING: the caller's fence pairs with the fence in `set_flag`.
        self.0.words[RECEIVER_SLEEPS].load(Ordering::Relaxed) == ASLEEP
    }

    /// Returns `true` if the receiver sleeps and this call has cleared its flag, so that
    /// the caller has to wake the receiver.
    pub(super) fn must_wake(&self) -> bool {
        self.0.wakes(RECEIVER_SLEEPS, ASLEEP..=ASLEEP)
    }

    /// Like [`must_wake`](Self::must_wake), for a receiver that naps until the sender is
    /// idle.
    pub(super) fn must_wake_from_nap(&self) -> bool {
        self.0.wakes(RECEIVER_SLEEPS, NAPPING..=NAPPING)
    }
}

/// The room for which a sender waits. A thread that waits for the room has a copy.
#[derive(Clone, Debug)]
pub(super) struct Room<W> {
    memory: Memory<W>,
    /// The value of `FREED` with which half of the ring is free.
    freed: u64,
}

impl<W: Deref<Target = [AtomicU64]>> Room<W> {
    /// Returns `true` if half of the ring is free.
    pub(super) fn is_there(&self) -> bool {
        // ORDERING: `Relaxed` is enough, because the sender reads `FREED` once more before
        // it writes.
        self.memory.words[FREED].load(Ordering::Relaxed) >= self.freed
    }
}

/// The end of a ring that reads records.
#[derive(Debug)]
pub(super) struct Receiver<W> {
    next: Next<W>,
    /// The payload of the last record, if the caller's buffer was shorter, and the number
    /// of its bytes that the caller has got.
    spilled: (Vec<u8>, usize),
}

/// The place of the record that a receiver reads next. A thread that waits for the record
/// has a copy.
#[derive(Clone, Debug)]
pub(super) struct Next<W> {
    memory: Memory<W>,
    /// The number of lines that were read since the start.
    position: u64,
    /// The mask of the record.
    mask: u64,
    /// `true` if the receiver has bytes of an earlier record.
    has_spilled: bool,
}

impl<W: Deref<Target = [AtomicU64]>> Next<W> {
    /// Returns `true` if bytes have arrived.
    pub(super) fn is_there(&self) -> bool {
        self.has_spilled || self.length().is_some()
    }

    /// Announces that the receiver is about to sleep until bytes arrive. Returns `false` if
    /// bytes have arrived already. The receiver must not sleep then.
    pub(super) fn may_sleep(&self) -> bool {
        self.memory.set_flag(RECEIVER_SLEEPS, ASLEEP);
        !self.is_there()
    }

    /// Announces that the receiver is about to sleep for a short time, in which only an
    /// idle sender has to wake it. Returns `false` if bytes have arrived already.
    pub(super) fn may_nap(&self) -> bool {
        self.memory.set_flag(RECEIVER_SLEEPS, NAPPING);
        !self.is_there()
    }

    /// Announces that the receiver does not sleep any more.
    pub(super) fn wakes_up(&self) {
        // ORDERING: `Relaxed` is enough, because a sender that still reads 1 wakes the
        // receiver once more, which does no harm.
        self.memory.words[RECEIVER_SLEEPS].store(0, Ordering::Relaxed);
    }

    /// Returns the length of the record's payload, or `None` if the record has not been
    /// written yet.
    fn length(&self) -> Option<usize> {
        // ORDERING: pairs with the store in `Sender::write`, which publishes the record.
        let mark = self.memory.words[self.memory.index(self.position)].load(Ordering::Acquire);
        let length = usize::try_from(mark ^ self.mask).ok()?;
        // A ring may be smaller than the largest record.
        let is_possible = (1..=LARGEST).contains(&length) && lines(length) <= self.memory.lines;
        is_possible.then_some(length)
    }

    /// Copies the record's payload, which is as long as `into`.
    fn copy(&self, into: &mut [u8]) -> Result<(), Scribbled> {
        let memory = &self.memory;
        let mut checksum = Checksum::new(self.mask, into.len());
        // ORDERING: the loads of payload and checksum follow the load of the mark, which
        // acquired them. The store of `FREED` in `free` lets the sender overwrite them.
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
        let expected = memory.words[memory.index(self.position) + 1].load(Ordering::Relaxed);
        if checksum.finish() == expected {
            Ok(())
        } else {
            Err(Scribbled)
        }
    }

    fn free(&mut self, lines: usize) {
        self.position += lines as u64;
        self.mask = mask(self.memory.key, self.position);
        // ORDERING: pairs with the load in `Sender::read_freed`.
        self.memory.words[FREED].store(self.position, Ordering::Release);
    }
}

impl<W: Deref<Target = [AtomicU64]>> Receiver<W> {
    /// Returns the receiver of a ring. Sender and receiver must have the same key.
    pub(super) fn new(words: W, key: u64) -> Self {
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

    /// Returns the place of the record that the receiver reads next.
    pub(super) fn next(&self) -> &Next<W> {
        &self.next
    }

    /// Copies the next bytes to `into`, and returns their number, or 0 if no bytes have
    /// arrived. Calls `wake` if it has to wake a sender that sleeps.
    ///
    /// # Errors
    ///
    /// Returns an error if the next record does not fit its checksum.
    pub(super) fn receive(
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

#[cfg(all(any(test, concurrent_futures_fuzz), not(concurrent_futures_loom)))]
pub(super) mod fuzz;

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;

#[cfg(all(test, concurrent_futures_loom))]
mod model;
