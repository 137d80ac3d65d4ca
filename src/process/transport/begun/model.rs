//! Models of the word that names the last task of a worker, whose threads the model checker
//! `loom` runs in every order that needs at most three preemptions.

use std::sync::Arc;

use loom::thread;

use super::super::ring::model::{Bell, memory};
use super::super::ring::{Receiver, Sender};
use super::*;
use crate::sync::Tracked;

const KEY: u64 = 42;

fn word() -> Arc<[AtomicU64]> {
    Arc::new([AtomicU64::new(0)])
}

/// A worker begins a task that never ends, while the pool goes to sleep. If the pool learnt
/// neither from the word nor from a message that the task has begun, it would sleep for
/// ever, which `loom` reports as a deadlock.
#[test]
fn a_pool_that_goes_to_sleep_learns_of_each_begin() {
    loom::model(|| {
        let (ring, word, bell) = (memory(), word(), Bell::new());
        let begun = Begun::new(&word[..], KEY);
        begun.record(0);
        let later = begun.later_than(0, None);
        let worker = {
            let (ring, word, bell) = (ring.clone(), word.clone(), bell.clone());
            thread::spawn(move || {
                let mut sender = Sender::new(&ring[..], KEY);
                Begun::new(&word[..], KEY).record(1);
                if sender.is_receiver_asleep() {
                    assert_eq!(sender.send(b"s", || bell.ring()), Ok(1));
                }
            })
        };
        let receiver = Receiver::new(&ring[..], KEY);
        while !receiver.next().is_there() && !later.is_there() {
            if receiver.next().may_sleep() && !later.is_there() {
                bell.sleep();
            }
            receiver.next().wakes_up();
        }
        worker.join().expect("no panic");
    });
}

/// The pool may use the memory of a call again as soon as it sees that the call's task has
/// begun.
#[test]
fn a_task_has_begun_only_after_its_call_was_copied() {
    loom::model(|| {
        let word = word();
        let call = Tracked::new();
        let worker = {
            let (word, call) = (word.clone(), call.clone());
            thread::spawn(move || {
                call.read();
                Begun::new(&word[..], KEY).record(1);
            })
        };
        if Begun::new(&word[..], KEY).is_last(1) {
            call.write();
        }
        worker.join().expect("no panic");
    });
}
