//! [`OfferMemory`]: the memory of the offers of a pool (`offers.rs`), which the parent
//! shares with all its workers.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::offers::{Claim, Offers, Taker, code, words};
use super::rings::Part;
use crate::sys::shared_memory::SharedMemory;

/// The largest number of offers at the same time. So many empty tasks take the workers
/// longer than the parent needs to wake up and to offer more.
const SLOTS: usize = 256;

/// The memory of a pool's offers, as one process maps it.
#[derive(Debug)]
pub(crate) struct OfferMemory {
    calls: Part,
    claims: Part,
    /// The key of the claims, which only the pool's processes know.
    key: u64,
}

impl OfferMemory {
    /// Maps the files of the memory in a worker, which can only read the calls.
    ///
    /// # Errors
    ///
    /// Returns an error if the files are not such a memory, or cannot be mapped.
    pub(crate) fn open([calls, claims]: &[OwnedFd; 2], key: u64) -> io::Result<Self> {
        Ok(Self {
            calls: Part::whole(SharedMemory::open_to_read(calls, words(SLOTS))?),
            claims: Part::whole(SharedMemory::open(claims, SLOTS)?),
            key,
        })
    }

    /// Returns the side of the worker with this number.
    pub(super) fn taker(self, worker: usize) -> Taker<Part> {
        Taker::new(self.calls, self.claims, self.key, code(worker))
    }
}

/// The offers of a pool, with the files that a new worker needs.
#[derive(Debug)]
pub(crate) struct PoolOffers {
    offers: Offers<Part>,
    files: Arc<[OwnedFd; 2]>,
    key: u64,
}

impl PoolOffers {
    /// Creates the memory.
    ///
    /// # Errors
    ///
    /// Returns an error if the system is short of memory or descriptors, or refuses shared
    /// memory.
    pub(crate) fn create() -> io::Result<Self> {
        let (calls, calls_file) = SharedMemory::create_to_read(words(SLOTS))?;
        let (claims, claims_file) = SharedMemory::create(SLOTS)?;
        let key = RandomState::new().build_hasher().finish();
        Ok(Self {
            offers: Offers::new(Part::whole(calls), Part::whole(claims), key),
            files: Arc::new([calls_file, claims_file]),
            key,
        })
    }

    pub(crate) fn files(&self) -> Arc<[OwnedFd; 2]> {
        Arc::clone(&self.files)
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Returns `true` if one more offer fits beside the offers from `oldest` on.
    pub(crate) fn has_room(&self, oldest: Option<u64>) -> bool {
        oldest.is_none_or(|oldest| self.offers.next() - oldest < self.offers.slots())
    }

    /// Offers a call to the workers, and returns the number of the offer.
    pub(crate) fn offer(&mut self, call: &[u8]) -> u64 {
        let offer = self.offers.next();
        self.offers.offer(call);
        offer
    }

    /// Tells the workers that no offer before `oldest`, or no offer at all, may be open.
    pub(crate) fn set_oldest(&self, oldest: Option<u64>) {
        self.offers.set_oldest(oldest.unwrap_or(self.offers.next()));
    }

    /// Takes an offer back. Returns `false` if a worker has taken it.
    pub(crate) fn recall(&self, offer: u64) -> bool {
        self.offers.recall(offer)
    }

    /// Marks an offer whose claim was overwritten as recalled.
    pub(crate) fn revoke(&self, offer: u64) {
        self.offers.revoke(offer);
    }

    /// Returns `true` if no worker has taken the offer.
    pub(crate) fn is_open(&self, offer: u64) -> bool {
        self.offers.claim(offer) == Claim::Open
    }

    /// Returns `true` if the worker with this number has taken the offer, and its claim
    /// says so.
    pub(crate) fn is_taken_by(&self, offer: u64, worker: usize) -> bool {
        self.offers.claim(offer) == Claim::By(code(worker))
    }

    /// Returns `true` if the claim of an offer was overwritten.
    pub(crate) fn is_scribbled(&self, offer: u64) -> bool {
        matches!(
            self.offers.claim(offer),
            Claim::Scribbled | Claim::Recalled | Claim::Later
        )
    }

    /// Returns `true` if this may be what a worker has written into its own memory.
    pub(crate) fn is_possible(&self, taken: u64) -> bool {
        taken <= self.offers.next()
    }
}
