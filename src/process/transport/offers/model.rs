//! Models of the offers, whose threads the model checker `loom` runs in every order that
//! needs at most three preemptions.

use std::sync::Arc;

use loom::thread;

use super::super::ring::{Receiver, Sender, words as ring_words};
use super::*;

const KEY: u64 = 0x1357_9bdf_0246_8ace;

type Words = Arc<Vec<AtomicU64>>;

fn zeros(count: usize) -> Words {
    Arc::new((0..count).map(|_| AtomicU64::new(0)).collect())
}

/// Returns the two memories of a queue of offers (see the head of `offers.rs`), filled with
/// zeros: the *calls* with this number of slots, and the *statuses*.
fn memories(slots: usize) -> [Words; 2] {
    [zeros(words(slots, 0)), zeros(slots)]
}

/// Takes the oldest offer, and returns its only byte.
fn take(worker: &mut Taker<&[AtomicU64]>) -> Option<u8> {
    let mut call = Vec::new();
    loop {
        match worker.find() {
            Found::Open(n) if worker.take(n, &mut call) => return Some(call[0]),
            Found::Open(_) => {}
            _ => return None,
        }
    }
}

/// Two workers take offers, and the parent recalls an offer. Each offer is taken or
/// recalled at most once.
#[test]
fn each_offer_is_taken_or_recalled_and_only_once() {
    loom::model(|| {
        let [calls, statuses] = memories(2);
        let workers = [1, 2].map(|number| {
            let (calls, statuses) = (calls.clone(), statuses.clone());
            thread::spawn(move || {
                let mut worker = Taker::new(&calls[..], &statuses[..], KEY, code(number));
                [take(&mut worker), take(&mut worker)]
            })
        });
        let mut parent = Offers::new(&calls[..], &statuses[..], KEY);
        parent.offer(b"a", 0);
        parent.offer(b"b", 0);
        let recalled = parent.recall(0).then_some(b'a');
        let taken = workers.map(|worker| worker.join().expect("no panic"));
        let mut all: Vec<u8> = taken
            .into_iter()
            .flatten()
            .flatten()
            .chain(recalled)
            .collect();
        all.sort_unstable();
        // The offer `b` may be left, because both workers may have looked for offers before
        // the parent made it.
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
        for n in [0, 1] {
            let left = parent.status(n) == Status::Open;
            assert_ne!(left, all.contains(&(b'a' + n as u8)));
        }
    });
}

/// The parent uses the only slot again after the worker has reported that it has copied
/// the call, or after a recall. So the worker takes each call at most once, and never the
/// first call after the second.
#[test]
fn a_slot_is_used_again_only_when_its_call_was_copied() {
    loom::model(|| {
        let [calls, statuses] = memories(1);
        let said = zeros(1);
        let worker = {
            let (calls, statuses, said) = (calls.clone(), statuses.clone(), said.clone());
            thread::spawn(move || {
                let mut worker = Taker::new(&calls[..], &statuses[..], KEY, code(1));
                let first = take(&mut worker);
                // ORDERING: like the store of the mark of the worker's message in its ring.
                said[0].store(u64::from(first.is_some()), Ordering::Release);
                [first, take(&mut worker)]
            })
        };
        let mut parent = Offers::new(&calls[..], &statuses[..], KEY);
        parent.offer(b"a", 0);
        // ORDERING: like the load of the mark of this message in the parent.
        if said[0].load(Ordering::Acquire) == 1 || parent.recall(0) {
            parent.offer(b"b", 0);
        }
        let [first, second] = worker.join().expect("no panic");
        // The worker may have looked before the parent made the offers.
        let all: Vec<u8> = first.into_iter().chain(second).collect();
        assert!(matches!(&all[..], b"" | b"a" | b"b" | b"ab"), "{all:?}");
    });
}

/// A worker that is about to sleep looks for an offer, while the parent makes an offer.
/// Either the worker finds the offer, or the parent sees that it must wake the worker.
#[test]
fn no_worker_sleeps_beside_an_offer_without_being_woken() {
    loom::model(|| {
        let [calls, statuses] = memories(2);
        let ring = zeros(ring_words(128));
        let worker = {
            let (calls, statuses, ring) = (calls.clone(), statuses.clone(), ring.clone());
            thread::spawn(move || {
                let mut worker = Taker::new(&calls[..], &statuses[..], KEY, code(1));
                let receiver = Receiver::new(&ring[..], KEY);
                receiver.next().may_sleep() && worker.find() == Found::Nothing
            })
        };
        let mut parent = Offers::new(&calls[..], &statuses[..], KEY);
        let sender = Sender::new(&ring[..], KEY);
        parent.offer(b"a", 0);
        let wakes = sender.is_receiver_asleep();
        let sleeps = worker.join().expect("no panic");
        assert!(!sleeps || wakes);
    });
}

/// A status is overwritten while a worker takes the offer. The parent revokes the offer,
/// and runs the task elsewhere unless the worker has recorded that it has taken the offer.
#[test]
fn a_revoked_offer_is_begun_here_or_elsewhere_and_never_in_both() {
    loom::model(|| {
        let [calls, statuses] = memories(1);
        let taken = zeros(1);
        {
            Offers::new(&calls[..], &statuses[..], KEY).offer(b"a", 0);
        }
        let worker = {
            let (calls, statuses, taken) = (calls.clone(), statuses.clone(), taken.clone());
            thread::spawn(move || {
                let mut worker = Taker::new(&calls[..], &statuses[..], KEY, code(1));
                if take(&mut worker).is_none() {
                    return false;
                }
                record_taken(&taken[0], KEY, 0);
                worker.is_still_taken(0)
            })
        };
        // This is a swap and not a store for the reason that `Offers::revoke` gives.
        statuses[0].swap(12345, Ordering::Relaxed);
        let mut parent = Offers::new(&calls[..], &statuses[..], KEY);
        parent.next = 1;
        parent.revoke(0);
        let goes_elsewhere = last_taken(&taken[0], KEY) != 1;
        let begins = worker.join().expect("no panic");
        assert!(!(begins && goes_elsewhere));
    });
}

/// One thread of a worker sends a message about an offer, and another thread takes the next
/// offer. If the parent sees that the next offer is recorded as taken, it must find the
/// message.
#[test]
fn a_worker_has_sent_its_messages_before_it_records_the_next_offer() {
    loom::model(|| {
        let ring = zeros(ring_words(64));
        let taken = zeros(1);
        let parent = {
            let (ring, taken) = (ring.clone(), taken.clone());
            thread::spawn(move || {
                if last_taken(&taken[0], KEY) == 2 {
                    assert!(Receiver::new(&ring[..], KEY).next().is_there());
                }
            })
        };
        let sending = thread::spawn(move || {
            assert_eq!(Sender::new(&ring[..], KEY).send(b"a", || {}), Ok(1));
        });
        sending.join().expect("no panic");
        record_taken(&taken[0], KEY, 1);
        parent.join().expect("no panic");
    });
}

/// The worker may stop for ever before it takes the offer that it has found. Then the
/// parent can recall the offer. If the parent cannot recall the offer, the worker has taken
/// it.
#[test]
fn a_worker_that_stops_holds_no_offer_that_it_has_not_taken() {
    loom::model(|| {
        let [calls, statuses] = memories(2);
        let steps = zeros(1);
        let worker = {
            let (calls, statuses, steps) = (calls.clone(), statuses.clone(), steps.clone());
            thread::spawn(move || {
                let mut worker = Taker::new(&calls[..], &statuses[..], KEY, code(1));
                let Found::Open(n) = worker.find() else {
                    return;
                };
                if steps[0].load(Ordering::Relaxed) == 0 {
                    return;
                }
                worker.take(n, &mut Vec::new());
            })
        };
        let mut parent = Offers::new(&calls[..], &statuses[..], KEY);
        parent.offer(b"a", 0);
        steps[0].store(1, Ordering::Relaxed);
        let is_recalled = parent.recall(0);
        worker.join().expect("no panic");
        let expected = if is_recalled {
            Status::Recalled
        } else {
            Status::By(code(1))
        };
        assert_eq!(parent.status(0), expected);
    });
}
