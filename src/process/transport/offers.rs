//! The *offers*: a queue of calls in memory that the parent and all workers of a pool map.
//! A worker that waits for a task takes the oldest offer itself, so the parent need not
//! know which worker is free, and the workers take the tasks in the order in which the
//! parent has offered them.
//!
//! The parent numbers the offers from 0. The offer with the number `n` lies in the *slot*
//! with the number `n % slots`, which later offers use again. There are two memories:
//!
//! * The *calls*, to which only the parent can write: the number of the next offer, the
//!   number of the oldest offer that may be open, and in each slot a call. Behind the slots
//!   is the *space*, in which the parent allots words to each call that is longer than a
//!   slot.
//! * The *statuses*, to which all processes can write: one word for each slot, which says
//!   what became of the offer.
//!
//! | the status of offer `n` | means | written by |
//! |---|---|---|
//! | `n`, open | a worker may take the task | the parent, after it has written the call |
//! | `n`, a worker | this worker has taken the task | the worker, by a compare-and-swap |
//! | `n`, recalled | no worker may take the task any more | the parent, by a compare-and-swap, or by a swap if it *revokes* the offer (see below) |
//!
//! So if a task is cancelled, and the parent recalls its offer, then either a worker has
//! taken the offer before, or no worker can ever take it. The parent uses a slot again only
//! after it has recalled or revoked the slot's offer, or after the worker that took the
//! offer has ended, has recorded that it has begun the task (`begun.rs`), or has sent a
//! message through its ring. The worker does so only after it has copied the bytes of the
//! call.
//!
//! # Why no wake-up is lost
//!
//! A worker that finds no offer sets the flag `RECEIVER_SLEEPS` of the ring from the
//! parent (`ring.rs`), and looks for an offer once more before it sleeps. The parent
//! publishes an offer, and then reads the flags of the workers that it believes to be
//! idle. `SeqCst` fences stand between the two steps of each side, so at least one side
//! sees what the other side wrote.
//!
//! # A process that writes to the statuses by mistake
//!
//! Statuses are [sealed](super::checksum::seal) numbers, so a word that a task has
//! overwritten is almost never a valid status of any offer. A worker that finds an
//! overwritten status wakes the parent. The worker takes neither this offer nor a later
//! offer until the parent knows what became of this offer. The parent cannot know if a
//! worker had taken the offer before its status was overwritten. So the parent *revokes*
//! the offer: it marks the offer as recalled, and then reads from each worker's own memory
//! which offer that worker has taken last (`rings.rs`). After a worker has taken an offer,
//! it writes the offer's number into its own memory, and then reads the status once more. A
//! `SeqCst` fence stands between the two steps of the parent, and another between the two
//! steps of the worker. So at least one of the two processes sees what the other process
//! wrote. A worker that finds the status of its offer recalled or overwritten tells the
//! parent that it does not begin the task.

use std::ops::Deref;

use super::checksum::{seal, unseal};
use super::word::word_of;
use crate::sync::{AtomicU64, Ordering, fence};

const SLOT: usize = 32;

/// The number of bytes of the longest call that fits into a slot. The slot's first word
/// holds the length of its call.
const LONGEST: usize = 8 * (SLOT - 1);

/// The number of words in front of the slots: two cache lines.
const FRONT: usize = 16;

/// The index of the word that holds the number of the next offer.
const NEXT: usize = 0;

/// The index of the word that holds the number of the oldest offer that may be open. The
/// workers seldom read this word, so it has a cache line of its own.
const OLDEST: usize = 8;

/// A status consists of the offer's number and a 16-bit *code*. The code `OPEN` means that
/// a worker may take the offer.
const OPEN: u64 = 0;

/// The code `RECALLED` means that the parent has recalled the offer. Each code between
/// `OPEN` and `RECALLED` stands for a worker, which has taken the offer.
const RECALLED: u64 = 0xffff;

/// Returns the size, in words, of the memory *calls* with `slots` slots, and with `space`
/// words behind the slots.
pub(super) const fn words(slots: usize, space: usize) -> usize {
    FRONT + SLOT * slots + space
}

/// Returns the number of words of space that a call with `length` bytes needs.
pub(super) fn space(length: usize) -> usize {
    match length {
        0..=LONGEST => 0,
        _ => length.div_ceil(8),
    }
}

/// The two memories of the offers, and the key of the statuses. A clone refers to the
/// same memories.
#[derive(Clone, Debug)]
struct Memory<W> {
    calls: W,
    statuses: W,
    key: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    /// A worker with this code has taken the offer.
    By(u64),
    Recalled,
    Scribbled,
    Later,
}

/// Returns the code by which a status names the worker with this number. Several numbers
/// have the same code, but workers that live at the same time have different codes.
pub(super) fn code(worker: usize) -> u64 {
    worker as u64 % (RECALLED - 1) + 1
}

impl<W: Deref<Target = [AtomicU64]>> Memory<W> {
    fn new(calls: W, statuses: W, key: u64) -> Self {
        let slots = statuses.len();
        assert!(slots.is_power_of_two(), "there are 2^n slots for offers");
        Self {
            calls,
            statuses,
            key,
        }
    }

    fn slots(&self) -> u64 {
        self.statuses.len() as u64
    }

    /// Returns the number of the next offer. After this call, this thread sees the calls of
    /// all earlier offers.
    fn next(&self) -> u64 {
        // ORDERING: the fence pairs with the store of `NEXT` in `Offers::offer`. The load
        // itself is `Relaxed`, because a worker maps the calls as memory that it can only
        // read, and from such memory only a `Relaxed` load is allowed.
        let next = self.calls[NEXT].load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        next
    }

    /// Returns the number of the oldest offer that may be open.
    fn oldest(&self) -> u64 {
        // ORDERING: `Relaxed` is enough, because a number that is out of date does no harm.
        self.calls[OLDEST].load(Ordering::Relaxed)
    }

    /// Returns the number of the slot of offer `n`: `n % slots`. The number of slots is a
    /// power of two, because a division would take ten times as long.
    fn index(&self, n: u64) -> usize {
        // This conversion is lossless: the remainder is a valid index.
        (n & (self.slots() - 1)) as usize
    }

    fn status_word(&self, n: u64) -> &AtomicU64 {
        &self.statuses[self.index(n)]
    }

    fn slot(&self, n: u64) -> &[AtomicU64] {
        let start = FRONT + SLOT * self.index(n);
        &self.calls[start..start + SLOT]
    }

    /// Returns the words of space from `start` on.
    fn space(&self, start: usize) -> &[AtomicU64] {
        let space = &self.calls[FRONT + SLOT * self.statuses.len()..];
        space.get(start..).unwrap_or_default()
    }

    fn status(&self, n: u64) -> Status {
        // ORDERING: `Relaxed` is enough, because a status publishes no other data: it only
        // says which process has the offer. The parent publishes the call by its store of
        // `NEXT` (`Offers::offer`).
        let bits = unseal(self.key, self.status_word(n).load(Ordering::Relaxed));
        let (number, by) = (bits >> 16, bits & 0xffff);
        let laps = number.wrapping_sub(n);
        match by {
            _ if laps > 0 && self.index(laps) == 0 && laps >> 40 == 0 => Status::Later,
            _ if laps != 0 => Status::Scribbled,
            OPEN => Status::Open,
            RECALLED => Status::Recalled,
            code => Status::By(code),
        }
    }

    fn word(&self, n: u64, by: u64) -> u64 {
        seal(self.key, n << 16 | by)
    }

    /// Changes the status of an offer from open to the code `by`, which is the code of a
    /// worker or `RECALLED`. Returns `false` if the offer is not open.
    fn take(&self, n: u64, by: u64) -> bool {
        let (before, after) = (self.word(n, OPEN), self.word(n, by));
        // ORDERING: `Relaxed` is enough, for the reason given in `status`.
        let taken = self.status_word(n).compare_exchange(
            before,
            after,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        taken.is_ok()
    }
}

#[derive(Debug)]
pub(super) struct Offers<W> {
    memory: Memory<W>,
    next: u64,
}

impl<W: Deref<Target = [AtomicU64]>> Offers<W> {
    /// Returns the offers in these memories, which must hold zeros. All processes must use
    /// the same `key` for the statuses.
    pub(super) fn new(calls: W, statuses: W, key: u64) -> Self {
        Self {
            memory: Memory::new(calls, statuses, key),
            next: 0,
        }
    }

    /// Returns the largest number of offers that may exist at the same time.
    pub(super) fn slots(&self) -> u64 {
        self.memory.slots()
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Offers a call to the workers. The bytes of a call that is longer than a slot lie in
    /// the space from the word `start` on. The caller has checked that the slot and these
    /// words are free.
    pub(super) fn offer(&mut self, call: &[u8], start: usize) {
        let n = self.next;
        let memory = &self.memory;
        let slot = memory.slot(n);
        // ORDERING: `Relaxed` is enough, because the store of `NEXT` publishes the slot.
        slot[0].store(call.len() as u64, Ordering::Relaxed);
        let to = match space(call.len()) {
            0 => &slot[1..],
            _ => {
                slot[1].store(start as u64, Ordering::Relaxed);
                memory.space(start)
            }
        };
        for (word, bytes) in to.iter().zip(call.chunks(8)) {
            word.store(word_of(bytes), Ordering::Relaxed);
        }
        memory
            .status_word(n)
            .store(memory.word(n, OPEN), Ordering::Relaxed);
        self.next = n + 1;
        // ORDERING: publishes the slot and the status. Pairs with the fence in
        // `Memory::next`.
        memory.calls[NEXT].store(self.next, Ordering::Release);
        // ORDERING: orders the offer before the loads of the workers' flags. Pairs with the
        // fence in `Memory::set_flag` of `ring.rs`.
        fence(Ordering::SeqCst);
    }

    /// Tells the workers that no offer before `oldest` is open.
    pub(super) fn set_oldest(&self, oldest: u64) {
        // ORDERING: `Relaxed` is enough, as in `Memory::oldest`.
        self.memory.calls[OLDEST].store(oldest, Ordering::Relaxed);
    }

    pub(super) fn status(&self, n: u64) -> Status {
        self.memory.status(n)
    }

    /// Takes an offer back. Returns `false` if the offer is no longer open, for example
    /// because a worker has taken it.
    pub(super) fn recall(&self, n: u64) -> bool {
        self.memory.take(n, RECALLED)
    }

    /// Marks an offer as recalled, after a task has overwritten its status, or after a
    /// worker has declined it. A worker that has taken the offer either has already
    /// recorded the offer's number by `Rings::take`, or does not begin the task.
    pub(super) fn revoke(&self, n: u64) {
        let word = self.memory.word(n, RECALLED);
        // ORDERING: the fence orders the store before the caller's loads of what each
        // worker has taken. It pairs with the fence in `Taker::is_still_taken`. A store
        // would be enough in place of the swap. But the model checker `loom` does not order
        // a store after a compare-and-swap of the worker, even if the store overwrites the
        // result of the compare-and-swap.
        self.memory.status_word(n).swap(word, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// Records in a worker's word `TAKEN` (`rings.rs`) that the worker has taken this offer.
pub(super) fn record_taken(word: &AtomicU64, key: u64, n: u64) {
    // ORDERING: publishes the messages that the worker has sent about its previous offer,
    // maybe on another thread. Pairs with the load in `last_taken`. The fence in
    // `Taker::is_still_taken` stands between this store and the load of the offer's status.
    word.store(seal(key, n + 1), Ordering::Release);
}

/// Returns what [`record_taken`] has recorded last: the number of an offer, plus one.
pub(super) fn last_taken(word: &AtomicU64, key: u64) -> u64 {
    // ORDERING: acquires the messages that the worker has sent about its previous offer.
    // The fence in `Offers::revoke` stands between the change of the offer's status and
    // this load.
    unseal(key, word.load(Ordering::Acquire))
}

#[derive(Debug)]
pub(super) struct Taker<W> {
    memory: Memory<W>,
    code: u64,
    /// The number of the oldest offer that may be open. All older offers were taken or
    /// recalled.
    cursor: u64,
}

/// The result of a worker's search for an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Open(u64),
    /// The status of the offer with this number was overwritten. The worker takes no later
    /// offer until the parent knows what became of this offer.
    Scribbled(u64),
}

impl<W: Deref<Target = [AtomicU64]>> Taker<W> {
    /// Returns the side of the offers that belongs to the worker with this code.
    pub(super) fn new(calls: W, statuses: W, key: u64, code: u64) -> Self {
        Self {
            memory: Memory::new(calls, statuses, key),
            code,
            cursor: 0,
        }
    }

    /// Searches for the oldest open offer.
    pub(super) fn find(&mut self) -> Found {
        let next = self.memory.next();
        while self.cursor < next {
            match self.memory.status(self.cursor) {
                Status::Open => return Found::Open(self.cursor),
                Status::By(_) | Status::Recalled => self.cursor += 1,
                // The parent knows what became of the offers before `oldest`, so their
                // statuses do not matter.
                Status::Later | Status::Scribbled if self.cursor < self.memory.oldest() => {
                    self.cursor = self.memory.oldest();
                }
                Status::Later | Status::Scribbled => return Found::Scribbled(self.cursor),
            }
        }
        Found::Nothing
    }

    /// Takes an open offer, and copies its bytes into `call`. Returns `false` if the offer
    /// is no longer open.
    pub(super) fn take(&mut self, n: u64, call: &mut Vec<u8>) -> bool {
        if !self.memory.take(n, self.code) {
            return false;
        }
        call.clear();
        let slot = self.memory.slot(n);
        // ORDERING: `Relaxed` is enough: `find` has acquired the slot, and the parent
        // writes to the slot again only after the worker's next message, or after it has
        // revoked the offer, and then the worker does not run the call.
        let number = |word: &AtomicU64| usize::try_from(word.load(Ordering::Relaxed));
        let length = number(&slot[0]).unwrap_or(0);
        let from = match space(length) {
            0 => &slot[1..],
            _ => self.memory.space(number(&slot[1]).unwrap_or(0)),
        };
        // The buffer never gets larger than the memory from which the call is copied.
        call.resize(8 * length.div_ceil(8).min(from.len()), 0);
        for (bytes, word) in call.chunks_exact_mut(8).zip(from) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        call.truncate(length);
        true
    }

    /// Returns `false` if the status of the offer that the worker has taken was
    /// overwritten, or if the parent has revoked the offer. Before this call the worker
    /// must have written the offer's number into its own memory (`Rings::take`).
    pub(super) fn is_still_taken(&self, n: u64) -> bool {
        // ORDERING: orders the earlier store in `Rings::take` before the load of the
        // status. Pairs with the fence in `Offers::revoke`.
        fence(Ordering::SeqCst);
        self.memory.status(n) == Status::By(self.code)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;

#[cfg(all(test, concurrent_futures_loom))]
mod model;
