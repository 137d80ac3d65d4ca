//! [`OfferedTasks`]: the tasks that lie in the memory of a pool's offers, and that the pool
//! has not assigned to a worker yet. An offer is the call of a task in shared memory, from
//! which any worker may take it. `offers.rs` says what the pool does with the offers.

use std::collections::VecDeque;

use super::queued_task::InFlight;
use crate::encoded::EncodedCall;
use crate::process::transport::PoolOffers;
use crate::process::wire::frame::{Kind, bare};

pub(super) struct OfferedTasks {
    pub(super) offers: PoolOffers,
    /// The tasks in the order of their offers, except those that the pool has assigned.
    pub(super) tasks: VecDeque<Offer>,
    /// The offers whose tasks the pool has assigned to workers before it has read the
    /// workers' messages about the offers. The workers may still copy the calls, so the
    /// slots stay in use.
    unread: Vec<u64>,
}

pub(super) struct Offer {
    pub(super) number: u64,
    pub(super) task: InFlight,
}

impl OfferedTasks {
    pub(super) fn new(offers: PoolOffers) -> Self {
        Self {
            offers,
            tasks: VecDeque::new(),
            unread: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns `true` if one more task can be offered, with a call of any length.
    pub(super) fn has_room(&self) -> bool {
        self.offers.has_room(self.oldest())
    }

    /// Returns `true` if a *slot*, which is the memory for one offer, is free.
    pub(super) fn has_slot(&self) -> bool {
        self.offers.has_slot(self.oldest())
    }

    /// Returns the number of the oldest offer whose slot is in use.
    fn oldest(&self) -> Option<u64> {
        let oldest = self.tasks.front().map(|offer| offer.number);
        self.unread.iter().copied().chain(oldest).min()
    }

    /// Keeps the slot of an offer until [`free_slot`](Self::free_slot).
    pub(super) fn keep(&mut self, offer: u64) {
        self.unread.push(offer);
    }

    pub(super) fn keeps(&self, offer: u64) -> bool {
        self.unread.contains(&offer)
    }

    /// Frees the slot of an offer, because its worker has copied the call or has ended.
    pub(super) fn free_slot(&mut self, offer: u64) {
        self.unread.retain(|unread| *unread != offer);
    }

    pub(super) fn push(&mut self, mut task: InFlight) {
        let call = task.entry.task.call().and_then(EncodedCall::as_slice);
        let oldest = self.oldest();
        let instead = bare(Kind::LongTask, task.entry.number);
        let number = call.and_then(|call| self.offers.offer(call, oldest));
        let number = number.unwrap_or_else(|| self.offers.offer_in_slot(&instead));
        task.offer = Some(number);
        self.tasks.push_back(Offer { number, task });
    }

    /// Returns `true` if this worker may have taken the task with this number: the status
    /// of the task's offer names this worker, or was overwritten.
    #[inline]
    pub(super) fn may_begin(&self, task: u64, worker: usize) -> bool {
        let mut offers = self.tasks.iter();
        let offer = offers.find(|offer| offer.task.entry.number == task);
        offer.is_some_and(|offer| {
            let number = offer.number;
            self.offers.is_taken_by(number, worker) || self.offers.is_scribbled(number)
        })
    }

    /// Returns the number of offers that no worker has taken, but at most `most`. The
    /// workers take the oldest offers first, so this method counts from the newest offer
    /// back to the first one that is not open.
    pub(super) fn count_open(&self, most: usize) -> usize {
        let newest = self.tasks.iter().rev().take(most);
        let may_be_taken = |offer: &&Offer| {
            // An overwritten status counts too: the pool then wakes a worker for the offer,
            // and this worker finds the status and wakes the supervisor.
            self.offers.is_open(offer.number) || self.offers.is_scribbled(offer.number)
        };
        newest.take_while(may_be_taken).count()
    }

    /// Returns `true` if there are at least `count` offers that no worker has taken.
    pub(super) fn has_open(&self, count: usize) -> bool {
        let first = self.tasks.len().checked_sub(count);
        // The workers take the oldest offers first.
        first.is_some_and(|first| self.offers.is_open(self.tasks[first].number))
    }

    /// Returns `true` if the pool has neither assigned the task of this offer to a worker
    /// nor taken the task back.
    pub(super) fn has(&self, offer: u64) -> bool {
        self.tasks.iter().any(|other| other.number == offer)
    }

    pub(super) fn are_all_open(&self) -> bool {
        // The workers take the oldest offer first.
        let oldest = self.tasks.front();
        oldest.is_none_or(|offer| self.offers.is_open(offer.number))
    }

    pub(super) fn is_any_open(&self) -> bool {
        let mut numbers = self.tasks.iter().map(|offer| offer.number);
        numbers.any(|number| self.offers.is_open(number))
    }

    pub(super) fn remove(
        &mut self,
        mut is_it: impl FnMut(&PoolOffers, &Offer) -> bool,
    ) -> Option<InFlight> {
        let offers = &self.offers;
        let at = self.tasks.iter().position(|offer| is_it(offers, offer))?;
        let removed = self.tasks.remove(at).map(|offer| offer.task);
        if at == 0 {
            let oldest = self.tasks.front().map(|offer| offer.number);
            self.offers.set_oldest(oldest);
        }
        removed
    }

    /// Removes the oldest task that `worker`, which has ended, had taken. `taken` is the
    /// worker's own record of the last offer that it had taken (`ParentEnd::taken`).
    pub(super) fn remove_taken_by(&mut self, worker: usize, taken: u64) -> Option<InFlight> {
        self.remove(|offers, offer| is_taken(offers, offer, worker, taken))
    }

    /// Returns `true` if [`remove_taken_by`](Self::remove_taken_by) finds a task.
    pub(super) fn has_taken(&self, worker: usize, taken: u64) -> bool {
        let mut tasks = self.tasks.iter();
        tasks.any(|offer| is_taken(&self.offers, offer, worker, taken))
    }
}

fn is_taken(offers: &PoolOffers, offer: &Offer, worker: usize, taken: u64) -> bool {
    let is_last = taken == offer.number + 1 && offers.is_scribbled(offer.number);
    is_last || offers.is_taken_by(offer.number, worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_use_until_its_worker_has_read_the_call() {
        let mut offered = OfferedTasks::new(PoolOffers::create().unwrap());
        let first = offered.offers.offer_in_slot(b"first");
        offered.keep(first);
        let mut offers = 1;
        while offered.has_room() {
            offered.offers.offer_in_slot(b"later");
            offers += 1;
        }
        assert_eq!(offers, 256);
        offered.free_slot(first);
        assert!(offered.has_room());
    }
}
