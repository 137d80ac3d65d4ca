//! The workers of the driver, one step at a time, and their tasks, which overwrite memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::super::checksum::seal;
use super::super::super::offers::{Found, Status, Taker};
use super::super::super::rings::{Part, Rings};
use super::super::SLOTS;
use super::{Driver, Input, WORKERS, byte_at};

/// A message of a worker that the pool has not read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    Started(u64),
    Declined(u64),
    Ended,
}

/// The state of a worker between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Searching,
    Found(u64),
    Taken(u64),
    Written(u64),
    Running,
    Killed,
}

/// A worker, together with the pool's record of it.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) taker: Taker<Part>,
    pub(super) rings: Rings,
    pub(super) call: Vec<u8>,
    pub(super) at: At,
    pub(super) said: VecDeque<Said>,
    /// The offer whose task the pool has assigned to the worker, and `true` if the pool
    /// has read that the task has begun.
    pub(super) assigned: Option<(u64, bool)>,
}

impl Driver {
    /// Lets each worker make up to three steps between two steps of the pool.
    pub(super) fn work(&mut self, input: &mut Input<'_>) {
        let steps = input.byte();
        for worker in 0..self.workers.len() {
            for _ in 0..steps >> (2 * worker) & 3 {
                self.step(worker);
            }
        }
    }

    pub(super) fn step(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        worker.at = match worker.at {
            At::Searching => match worker.taker.find() {
                Found::Open(offer) => At::Found(offer),
                Found::Nothing | Found::Scribbled(_) => At::Searching,
            },
            At::Found(offer) => match worker.taker.take(offer, &mut worker.call) {
                true => At::Taken(offer),
                false => At::Searching,
            },
            At::Taken(offer) => {
                worker.rings.take(offer);
                At::Written(offer)
            }
            At::Written(offer) if worker.taker.is_still_taken(offer) => {
                worker.said.push_back(Said::Started(offer));
                At::Running
            }
            At::Written(offer) => {
                worker.said.push_back(Said::Declined(offer));
                At::Searching
            }
            At::Running => {
                worker.said.push_back(Said::Ended);
                At::Searching
            }
            At::Killed => At::Killed,
        };
        let worker = &self.workers[at];
        if let (At::Running, Some(Said::Started(offer))) = (worker.at, worker.said.back()) {
            self.begin(at, *offer);
        }
    }

    fn begin(&mut self, at: usize, offer: u64) {
        if self.forges {
            return;
        }
        let number = self.task_of[offer as usize];
        let task = &mut self.tasks[number];
        task.begun += 1;
        assert_eq!(task.begun, 1, "task {number} begins once");
        assert!(!task.is_recalled, "task {number} was recalled");
        let call = &self.workers[at].call;
        let is_short = call.len() == 8.min(task.length);
        assert!(call.len() == task.length || is_short, "its length");
        let bytes = (0..call.len()).map(|place| byte_at(number, place));
        assert!(bytes.eq(call.iter().copied()), "the bytes of {number}");
    }

    /// Lets a running task overwrite a status, or the word `TAKEN` of its worker's own
    /// memory.
    pub(super) fn overwrite(&self, input: &mut Input<'_>) {
        let worker = &self.workers[input.index(WORKERS.len())];
        let place = input.byte();
        let value = match input.byte() % 4 {
            0 => 0,
            1 => input.u64(),
            2 => self.statuses[input.index(SLOTS)].load(Ordering::Relaxed),
            _ => self.valid(input),
        };
        if worker.at != At::Running {
            return;
        }
        // In half of the cases, the task overwrites the status of one of the oldest offers.
        let next = self.offers.offers.next();
        let oldest = self.offered.first().copied().unwrap_or(next);
        let offer = match place % 4 {
            0 => {
                let taken = worker.rings.taken_word();
                let before = taken.swap(value, Ordering::Relaxed);
                if !self.forges && self.offers.is_possible(worker.rings.taken()) {
                    taken.store(before, Ordering::Relaxed);
                }
                return;
            }
            1 | 2 => oldest + u64::from(place >> 5),
            _ => u64::from(input.byte()),
        };
        let word: &AtomicU64 = &self.statuses[(offer % SLOTS as u64) as usize];
        let before = word.swap(value, Ordering::Relaxed);
        // A task that does not forge must not write a status that is valid for an offer of
        // this slot, so such a change is undone. Old offers count too, because a worker
        // that is late still looks at them.
        let slots = SLOTS as u64;
        let mut all = (offer % slots..=next + slots).step_by(SLOTS);
        if !self.forges && all.any(|n| self.offers.offers.status(n) != Status::Scribbled) {
            word.store(before, Ordering::Relaxed);
        }
    }

    /// Returns a valid status of an offer whose number is near the next offer's number.
    fn valid(&self, input: &mut Input<'_>) -> u64 {
        let next = self.offers.offers.next();
        let number = (next + 300).saturating_sub(u64::from(input.u16() % 1000));
        let by = u64::from(input.byte() % 3);
        seal(self.offers.key, number << 16 | by)
    }
}
