//! [`Offers`]: the words in shared memory that say which tasks the worker has begun.
//!
//! The task with the `n`th call that the parent sends has the offer `n % OFFERS`. The parent and
//! the worker each count the calls. The values of an offer are masked numbers of tasks:
//!
//! | value | means | written by |
//! |---|---|---|
//! | the number of a task | the worker may begin this task | the parent, before it sends the task's call |
//! | the number, with `BEGUN` | the worker has begun this task | the worker, by a compare-and-swap |
//! | 0 | no task is offered | the parent, by a compare-and-swap |
//!
//! So for each task either the worker begins the task, or the parent *recalls* the task. A
//! worker skips the call of a task that is not offered. The parent uses an offer again only
//! after it knows what became of the offer's last task: the task has begun, or was recalled.
//!
//! After a worker has ended, the pool must know if the worker had begun its task, because a
//! task must not run twice. The message `Started` may be lost, because the task itself may
//! overwrite the shared memory before it ends its process. So the pool takes a task for
//! begun unless its offer still holds exactly the number of the task.

use std::ops::Deref;

use super::checksum::mask;
use crate::sync::{AtomicU64, Ordering};

/// The number of offers. All offers lie in one cache line.
pub(super) const OFFERS: u64 = 8;

/// The value of an offer if no task is offered.
const NONE: u64 = 0;

/// The bits that the worker adds to the offer of a task that it begins.
const BEGUN: u64 = 0x5555_5555_5555_5555;

/// The offers of one worker.
#[derive(Clone, Debug)]
pub(super) struct Offers<W> {
    words: W,
    key: u64,
}

impl<W: Deref<Target = [AtomicU64]>> Offers<W> {
    /// Returns the offers in [`OFFERS`] words. Both processes must have the same key.
    pub(super) fn new(words: W, key: u64) -> Self {
        Self { words, key }
    }

    /// Offers the task of the `n`th call to the worker, in the parent, before the parent sends
    /// the call.
    pub(super) fn offer(&self, n: u64, task: u64) {
        // ORDERING: the record of the call publishes the offer. See `Sender::write`.
        self.word(n).store(self.offer_of(task), Ordering::Relaxed);
    }

    /// Begins the task of the `n`th call, in the worker. Returns `false` if the parent has
    /// recalled the task.
    pub(super) fn begin(&self, n: u64, task: u64) -> bool {
        let offer = self.offer_of(task);
        self.exchange(n, offer, offer ^ BEGUN)
    }

    /// Recalls the task of the `n`th call, in the parent. Returns `false` if the worker has
    /// begun the task, or if the offer was overwritten.
    pub(super) fn recall(&self, n: u64, task: u64) -> bool {
        self.exchange(n, self.offer_of(task), NONE)
    }

    fn exchange(&self, n: u64, offer: u64, next: u64) -> bool {
        // ORDERING: `Relaxed` is enough, because the exchange publishes nothing: it only
        // chooses one of the two processes.
        let exchanged =
            self.word(n)
                .compare_exchange(offer, next, Ordering::Relaxed, Ordering::Relaxed);
        exchanged.is_ok()
    }

    fn word(&self, n: u64) -> &AtomicU64 {
        // The lossless conversion: the remainder is less than `OFFERS`.
        &self.words[(n % OFFERS) as usize]
    }

    fn offer_of(&self, task: u64) -> u64 {
        mask(self.key, task)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_begun_or_recalled_and_never_both() {
        let words: Vec<_> = (0..OFFERS).map(|_| AtomicU64::new(NONE)).collect();
        let (parent, worker) = (Offers::new(&words[..], 42), Offers::new(&words[..], 42));
        assert!(
            !worker.begin(0, 1) && !parent.recall(0, 1),
            "it is not offered"
        );
        parent.offer(0, 1);
        assert!(
            !worker.begin(0, 2) && !worker.begin(1, 1),
            "another is offered"
        );
        assert!(worker.begin(0, 1));
        assert!(!parent.recall(0, 1) && !worker.begin(0, 1));
        parent.offer(OFFERS, 2);
        parent.offer(1, 3);
        assert!(parent.recall(OFFERS, 2));
        assert!(!worker.begin(OFFERS, 2) && !parent.recall(OFFERS, 2));
        assert!(worker.begin(1, 3), "each call has an offer of its own");
        // A value that no process has written is no offer.
        parent.offer(2, 4);
        for nonsense in [0, 1, 4, u64::MAX] {
            words[2].store(nonsense, Ordering::Relaxed);
            assert!(!worker.begin(2, 4) && !parent.recall(2, 4));
        }
    }
}

#[cfg(all(test, concurrent_futures_loom))]
mod model;
