//! [`OfferMemory`]: the memory of the offers of a pool (`offers.rs`), which the parent
//! shares with all its workers.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::offers::{Offers, Status, Taker, code, space, words};
use super::rings::Part;
use crate::sys::shared_memory::{SharedMemory, reserve};

/// The largest number of offers at the same time. While the workers run this many tasks,
/// even empty tasks, the parent has enough time to wake up and to offer more.
const SLOTS: usize = 256;

/// The number of words of space for calls that are longer than a *slot*, the memory of one
/// offer. A larger space might not fit into a CPU's cache.
const SPACE: usize = (512 << 10) / 8;

/// The number of words of space for which the parent reserves memory at a time. A new pool
/// has reserved none, because most calls fit into a slot, and the kernel needs time to make
/// pages.
const RESERVED: usize = (64 << 10) / 8;

/// The number of bytes of the longest call that the parent offers as a whole. In place of a
/// longer call, the parent offers a short message. The worker that takes this message asks
/// the parent for the call.
const LONGEST: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct OfferMemory {
    calls: Part,
    statuses: Part,
    /// The key with which the processes encode ([`seal`](super::checksum::seal)) the
    /// statuses of the offers. Only the pool's processes know the key.
    key: u64,
}

impl OfferMemory {
    /// Maps the files of the memory in a worker. The worker can read the calls, but not
    /// write them.
    pub(crate) fn open([calls, statuses]: &[OwnedFd; 2], key: u64) -> io::Result<Self> {
        Ok(Self {
            calls: Part::whole(SharedMemory::open_to_read(calls, words(SLOTS, SPACE))?),
            statuses: Part::whole(SharedMemory::open(statuses, SLOTS)?),
            key,
        })
    }

    /// Returns the [`Taker`] with which the worker with this number takes offers.
    pub(super) fn taker(self, worker: usize) -> Taker<Part> {
        Taker::new(self.calls, self.statuses, self.key, code(worker))
    }
}

#[cfg(test)]
impl OfferMemory {
    pub(crate) fn overwrite_status(&self, offer: u64, word: u64) {
        let at = usize::try_from(offer).unwrap() % SLOTS;
        // ORDERING: relaxed is enough, because no other memory depends on the word.
        self.statuses[at].store(word, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The offers of a pool, with the files that a new worker needs.
#[derive(Debug)]
pub(crate) struct PoolOffers {
    offers: Offers<Part>,
    files: Arc<[OwnedFd; 2]>,
    key: u64,
    /// The offers whose calls are longer than a slot, from the oldest on, each with the
    /// range of the words that it uses in the space behind the slots.
    allotted: VecDeque<(u64, Range<usize>)>,
    /// The number of words, at the start of the space, whose pages exist. The parent may
    /// write only to these words.
    reserved: usize,
}

impl PoolOffers {
    /// Creates the memory.
    pub(crate) fn create() -> io::Result<Self> {
        let (calls, calls_file) =
            SharedMemory::create_to_read(words(SLOTS, SPACE), words(SLOTS, 0))?;
        let (statuses, statuses_file) = SharedMemory::create(SLOTS)?;
        let key = RandomState::new().build_hasher().finish();
        Ok(Self {
            offers: Offers::new(Part::whole(calls), Part::whole(statuses), key),
            files: Arc::new([calls_file, statuses_file]),
            key,
            allotted: VecDeque::new(),
            reserved: 0,
        })
    }

    pub(crate) fn files(&self) -> Arc<[OwnedFd; 2]> {
        Arc::clone(&self.files)
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Returns `true` if one more call, even the longest, fits beside the offers that are
    /// in use. These are the offers from `oldest` on. `None` means that no offer is in use.
    pub(crate) fn has_room(&self, oldest: Option<u64>) -> bool {
        let has_space = |oldest| self.place(LONGEST / 8, oldest).is_some();
        self.has_slot(oldest) && oldest.is_none_or(has_space)
    }

    /// Returns `true` if a slot is free beside the offers that are in use. These are the
    /// offers from `oldest` on. `None` means that no offer is in use.
    pub(crate) fn has_slot(&self, oldest: Option<u64>) -> bool {
        oldest.is_none_or(|oldest| self.offers.next() - oldest < self.offers.slots())
    }

    /// Offers a call to the workers, and returns the number of the offer. Returns `None` if
    /// the call is too long, or if there is no space or memory for it. `oldest` is the
    /// oldest offer that is in use, if there is one. The caller has checked that a slot is
    /// free.
    pub(crate) fn offer(&mut self, call: &[u8], oldest: Option<u64>) -> Option<u64> {
        let offer = self.offers.next();
        let words = space(call.len());
        if words == 0 {
            return Some(self.offer_in_slot(call));
        }
        if words > LONGEST / 8 {
            return None;
        }
        let oldest = oldest.unwrap_or(offer);
        let given_back = |allotted: &&(u64, Range<usize>)| allotted.0 < oldest;
        while self.allotted.front().filter(given_back).is_some() {
            self.allotted.pop_front();
        }
        let start = self.place(words, oldest)?;
        self.reserve(start + words)?;
        self.allotted.push_back((offer, start..start + words));
        self.offers.offer(call, start);
        Some(offer)
    }

    /// Offers a call that fits into a slot, and returns the number of the offer.
    pub(crate) fn offer_in_slot(&mut self, call: &[u8]) -> u64 {
        let offer = self.offers.next();
        self.offers.offer(call, 0);
        offer
    }

    /// Searches the space for `words` words in a row that no offer from `oldest` on uses.
    /// Returns the index of the first of these words, or `None` if there are no such words.
    fn place(&self, words: usize, oldest: u64) -> Option<usize> {
        let given_back = self.allotted.partition_point(|(offer, _)| *offer < oldest);
        let mut in_use = self.allotted.range(given_back..).map(|(_, space)| space);
        let Some(first) = in_use.next() else {
            return Some(0);
        };
        let last = in_use.next_back().unwrap_or(first);
        // The words in use go from `first` to `last`, perhaps across the end of the space
        // to its start.
        let has_wrapped = last.start < first.start;
        let end = if has_wrapped { first.start } else { SPACE };
        if words <= end - last.end {
            return Some(last.end);
        }
        (!has_wrapped && words <= first.start).then_some(0)
    }

    /// Reserves memory for the first `space` words of the space. Returns `None` if the
    /// system is short of memory.
    fn reserve(&mut self, space: usize) -> Option<()> {
        if space > self.reserved {
            let more = space.next_multiple_of(RESERVED);
            let [calls, _] = &*self.files;
            reserve(calls, words(SLOTS, more)).ok()?;
            self.reserved = more;
        }
        Some(())
    }

    /// Tells the workers that no offer before `oldest` is open, or with `None`, that no
    /// offer is open.
    pub(crate) fn set_oldest(&self, oldest: Option<u64>) {
        self.offers.set_oldest(oldest.unwrap_or(self.offers.next()));
    }

    /// Takes an offer back. Returns `false` if the offer is no longer open, for example
    /// because a worker has taken it.
    pub(crate) fn recall(&self, offer: u64) -> bool {
        self.offers.recall(offer)
    }

    /// Marks an offer as recalled, after a task has overwritten its status, or after a
    /// worker has declined it.
    pub(crate) fn revoke(&self, offer: u64) {
        self.offers.revoke(offer);
    }

    /// Returns `true` if the status of the offer says that the offer is open: neither taken
    /// by a worker nor recalled. Returns `false` if a task has overwritten the status.
    pub(crate) fn is_open(&self, offer: u64) -> bool {
        self.offers.status(offer) == Status::Open
    }

    /// Returns `true` if the status of the offer says that the worker with this number has
    /// taken the offer.
    pub(crate) fn is_taken_by(&self, offer: u64, worker: usize) -> bool {
        self.offers.status(offer) == Status::By(code(worker))
    }

    /// Returns `true` if the statuses of the offers can tell these two workers apart.
    pub(crate) fn can_tell_apart(worker: usize, other: usize) -> bool {
        code(worker) != code(other)
    }

    /// Returns `true` if a task has overwritten the status of an offer, even if the pool
    /// has already revoked the offer for this reason. The caller asks only about an offer
    /// that the pool has not assigned to a worker yet.
    pub(crate) fn is_scribbled(&self, offer: u64) -> bool {
        matches!(
            self.offers.status(offer),
            Status::Scribbled | Status::Recalled | Status::Later
        )
    }

    /// Returns `true` if the pool has made at least `taken` offers. A worker writes the
    /// number of its last offer, plus one, into its word `TAKEN` (`rings.rs`). If that word
    /// holds a number that is not possible, a task has overwritten the word.
    pub(crate) fn is_possible(&self, taken: u64) -> bool {
        taken <= self.offers.next()
    }
}

#[cfg(any(test, concurrent_futures_fuzz))]
pub(super) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_space_that_may_be_written_has_pages() {
        let mut offers = PoolOffers::create().unwrap();
        let has_pages = |offers: &PoolOffers| {
            let blocks = rustix::fs::fstat(&offers.files[0]).unwrap().st_blocks;
            512 * usize::try_from(blocks).unwrap() >= 8 * words(SLOTS, offers.reserved)
        };
        assert!(has_pages(&offers) && offers.reserved == 0);
        for n in 0..8 {
            let offer = offers.offer(&vec![1; LONGEST], Some(0));
            assert_eq!(offer, Some(n));
            assert!(has_pages(&offers), "{n}");
        }
        assert_eq!(offers.reserved, SPACE);
        assert_eq!(offers.offer(&vec![1; LONGEST], Some(0)), None);
    }

    #[test]
    fn no_space_is_allotted_twice_and_all_of_it_is_used() {
        let mut offers = PoolOffers::create().unwrap();
        let mut in_use = VecDeque::new();
        let (mut wraps, mut refusals) = (0, 0);
        for n in 0..5000_usize {
            let call = vec![1; 300 + (n * 7919) % (LONGEST - 300)];
            let oldest = in_use.front().copied();
            match offers.offer(&call, oldest) {
                Some(offer) => in_use.push_back(offer),
                None => {
                    refusals += 1;
                    in_use.pop_front();
                    continue;
                }
            }
            let of = |offer: &u64| offers.allotted.iter().find(|(other, _)| other == offer);
            let spaces: Vec<_> = in_use
                .iter()
                .filter_map(of)
                .map(|(_, space)| space)
                .collect();
            assert_eq!(spaces.len(), in_use.len());
            let last = spaces.last().expect("there is one");
            wraps += usize::from(last.start == 0);
            assert!(spaces.iter().all(|space| space.end <= SPACE));
            let overlaps =
                |space: &&&Range<usize>| space.start < last.end && last.start < space.end;
            assert_eq!(spaces.iter().filter(overlaps).count(), 1, "only itself");
            // Keeps about as many offers in use as the space can hold.
            if in_use.len() > 10 + n % 5 {
                in_use.pop_front();
            }
            if n % 100 == 0 {
                in_use.drain(1..);
            }
        }
        assert!(wraps > 10 && refusals > 10, "{wraps} {refusals}");
        // If `has_room` returns `true`, even the longest call fits.
        let mut rooms = 0;
        for n in 0..2000_usize {
            let oldest = in_use.front().copied();
            if offers.has_room(oldest) {
                let longer = [LONGEST, LONGEST, 300, 5000, 30_000][n % 5];
                in_use.push_back(offers.offer(&vec![1; longer], oldest).unwrap());
                rooms += usize::from(in_use.len() > 10);
            } else {
                in_use.pop_front();
            }
        }
        assert!(rooms > 100, "{rooms}");
        assert_eq!(offers.offer(&vec![1; LONGEST + 1], None), None);
        assert!(offers.offer(&vec![1; LONGEST], None).is_some());
    }
}
