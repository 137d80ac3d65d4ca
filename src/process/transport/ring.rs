//! A ring: a queue of bytes from one process to another, in memory that both processes map.
//!
//! The [`Sender`] writes *records* into the ring, and the [`Receiver`] reads the records in
//! the same order. A record is a piece of the byte stream. A record may hold several
//! messages, or a part of one message. This file holds what both ends share.
//!
//! # The memory
//!
//! The memory is an array of 64-bit words. A *line* is 8 words, as large as a cache line.
//!
//! | line | word | written by | means |
//! |---|---|---|---|
//! | 0 | `FREED` | receiver | the number of lines that the receiver has read since the start |
//! | 1 | `RECEIVER_SLEEPS` | both | `ASLEEP` while the receiver sleeps until a record arrives, `NAPPING` or `NAPPING_IN_BURST` while it sleeps for a short time |
//! | 1 | `SENDER_SLEEPS` | both | while the sender sleeps: the value of `FREED` for which it waits |
//! | from 2 | the records | sender | a record behind `p` earlier lines of records begins in line `2 + p % n`, where `n` is the number of the ring's lines for records |
//!
//! A record fills one or more whole lines. Words behind the payload, up to the end of the
//! last line, mean nothing:
//!
//! ```text
//! | mark u64 | checksum u64 | payload, then zeros up to the end of a word | unused words |
//! ```
//!
//! The *mark* is the length of the payload in bytes, combined by XOR with a
//! [mask](super::checksum::mask). The mask is a number that depends on the ring's key and
//! on the record's position `p`. The receiver combines the mark with the mask again. If the
//! result is not a possible length, the receiver assumes that the record has not been
//! written yet: until then, the line holds zeros, or bytes of a record that the receiver
//! has already read. So the sender writes no word outside of the record to announce it, and
//! a small record moves to the other CPU as one cache line.
//!
//! # The steps, and why no wake-up is lost
//!
//! | sender | receiver |
//! |---|---|
//! | writes payload and checksum | reads the mark, and goes on with the next step if there is no record |
//! | writes the mark (`Release`) | sets `RECEIVER_SLEEPS` |
//! | fence | fence |
//! | reads `RECEIVER_SLEEPS`; if it is `ASLEEP`, sets it to 0 and wakes the receiver | reads the mark again, and sleeps only if there is still no record |
//!
//! The two fences are `SeqCst`, so at least one of the two sides sees what the other side
//! wrote before its fence. Either the sender sees that the receiver sleeps, or the
//! receiver sees the record. The argument for a sender that waits for room is the same,
//! with `FREED` in place of the mark and `SENDER_SLEEPS` in place of `RECEIVER_SLEEPS`.
//! A thread that changes the flag of the other side to 0 has to wake that side, so each
//! sleep causes at most one wake-up.
//!
//! A sender without room waits until half of the ring is free, so that a long stream needs
//! few wake-ups. The receiver wakes the sender when `FREED` has reached the value for which
//! the sender waits. `FREED` reaches this value, because the receiver reads all records.
//!
//! # A process that writes to the ring's memory by mistake
//!
//! Each side keeps its own position in private memory, and copies each word out of the ring
//! before it checks the word. An impossible value of `FREED` is an error. A record whose
//! bytes or length were changed does not fit its [checksum](super::checksum::Checksum),
//! which is keyed and contains the record's position. So the receiver does not take an
//! earlier record in the same lines for a new record. If a mark was overwritten so that its
//! length is impossible, the receiver sees no record. The parent notices the lost record
//! when it asks the worker if the worker waits for a message (`transport/mod.rs`).

mod receiver;
mod sender;

use std::cmp::min;
use std::ops::{Deref, RangeInclusive};

pub(super) use self::receiver::{Next, Receiver};
pub(super) use self::sender::{Bell, Room, Sender};
use crate::sync::{AtomicU64, Ordering, fence};

/// The number of 64-bit words in a line of the ring, which is as large as a cache line.
const LINE: usize = 8;

const LINE_BYTES: usize = 8 * LINE;

/// The number of lines in front of the records.
const CONTROL_LINES: usize = 2;

const FREED: usize = 0;
const RECEIVER_SLEEPS: usize = LINE;
const SENDER_SLEEPS: usize = LINE + 1;

/// The values of `RECEIVER_SLEEPS` while the receiver sleeps. A receiver *naps* (sleeps for
/// a short time) in order to read many records at once. So a sender that has written a
/// record wakes the receiver only from `ASLEEP`. A sender that begins to wait, for room or
/// for a message, wakes the receiver from any nap. A sender that has nothing to do wakes
/// the receiver only from `NAPPING`.
const ASLEEP: u64 = 1;
const NAPPING: u64 = 2;
const NAPPING_IN_BURST: u64 = 3;

/// The number of words in a record in front of the payload: mark and checksum.
const HEAD: usize = 2;

/// The largest payload of a record, in bytes. With smaller records, the receiver begins to
/// read a long stream earlier; with larger records, each byte costs less time.
const LARGEST: usize = (32 << 10) - 8 * HEAD;

/// The smallest payload, in bytes, of a record that is not the last record of its
/// [`send`](Sender::send) call. Only the last record may be smaller than this. If the
/// remaining bytes do not fit, and there is no room for this many of them, the sender waits
/// for more room.
pub(super) const SMALLEST_PIECE: usize = 4 << 10;

/// The number of words that a ring for `bytes` bytes of records needs.
pub(super) const fn words(bytes: usize) -> usize {
    LINE * CONTROL_LINES + bytes / 8
}

/// The error of a ring with impossible words, which a process has written by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scribbled;

/// The memory of a ring: its words, the number of its lines for records (a power of two),
/// and the key of its checksums.
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
        // The conversion loses nothing, because the result is less than `lines`, a `usize`.
        let line = (position & (self.lines as u64 - 1)) as usize;
        LINE * (CONTROL_LINES + line)
    }

    /// Returns the words of a record's payload, in two pieces. If the record reaches beyond
    /// the end of the ring, the second piece is the part at the start of the ring.
    /// Otherwise the second piece is empty.
    fn payload(&self, position: u64, length: usize) -> [&[AtomicU64]; 2] {
        let records = &self.words[LINE * CONTROL_LINES..];
        let start = self.index(position) - LINE * CONTROL_LINES + HEAD;
        let count = length.div_ceil(8);
        let first = min(count, records.len() - start);
        [&records[start..start + first], &records[..count - first]]
    }

    /// Sets the flag of the calling side, which is about to sleep. After this call, the
    /// caller must look once more for what it waits for.
    fn set_flag(&self, flag: usize, value: u64) {
        // ORDERING: the fence orders the store before the next loads of this thread. It
        // pairs with the fence in `wakes`.
        self.words[flag].store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Clears the flag of the other side, if the flag's value is one of `values`. Returns
    /// `true` if this call has cleared the flag: then the caller has to wake the other
    /// side.
    fn wakes(&self, flag: usize, values: RangeInclusive<u64>) -> bool {
        // ORDERING: the fence orders what this side has published before the load of the
        // flag. It pairs with the fence in `set_flag`. The swap publishes nothing: it
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

#[cfg(all(any(test, concurrent_futures_fuzz), not(concurrent_futures_loom)))]
pub(super) mod fuzz;

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;

#[cfg(all(test, concurrent_futures_loom))]
pub(super) mod model;
