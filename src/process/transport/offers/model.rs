//! A model of the offers, for `loom` to run in every order that threads allow.

use std::sync::Arc;

use loom::thread;

use super::super::ring::{Receiver, Sender, words};
use super::*;

const KEY: u64 = 42;

/// The parent offers a task, recalls it, and offers the next task under the same word. The
/// worker takes the calls from a ring, and does not reach the last one in each order.
#[test]
fn a_task_is_begun_or_recalled_also_when_its_offer_is_used_again() {
    loom::model(|| {
        let offers: Arc<Vec<_>> = Arc::new((0..OFFERS).map(|_| AtomicU64::new(NONE)).collect());
        let ring: Arc<Vec<_>> = Arc::new((0..words(128)).map(|_| AtomicU64::new(0)).collect());
        let worker = {
            let (offers, ring) = (offers.clone(), ring.clone());
            thread::spawn(move || {
                let offers = Offers::new(&offers[..], KEY);
                let mut receiver = Receiver::new(&ring[..], KEY);
                let mut begun = [false; 2];
                let mut task = [0];
                for n in [0, OFFERS] {
                    match receiver.receive(&mut task, || {}).expect("it is whole") {
                        0 => return begun,
                        _ => begun[usize::from(task[0]) - 1] = offers.begin(n, task[0].into()),
                    }
                }
                begun
            })
        };
        let offers = Offers::new(&offers[..], KEY);
        let mut sender = Sender::new(&ring[..], KEY);
        let mut call = |n, task: u8| {
            offers.offer(n, task.into());
            assert_eq!(sender.send(&[task], || {}), Ok(1));
        };
        call(0, 1);
        let mut recalled = [offers.recall(0, 1), false];
        if recalled[0] {
            // The offer is free, although the worker has perhaps not read the call.
            call(OFFERS, 2);
            recalled[1] = offers.recall(OFFERS, 2);
        }
        let begun = worker.join().expect("no panic");
        assert_ne!(begun[0], recalled[0]);
        assert!(!(begun[1] && recalled[1]));
    });
}
