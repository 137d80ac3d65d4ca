//! Waits inside code of the user's that the end of a task calls for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use concurrent_futures::{Error, ThreadFuture, promise};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fixture::*;

/// Waits when it is decoded, for what is in [`AWAITED`] if something is.
#[derive(Debug)]
struct Waits(bool);

static AWAITED: Mutex<Option<ThreadFuture<()>>> = Mutex::new(None);
static DECODES: AtomicBool = AtomicBool::new(false);

impl Serialize for Waits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Waits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        let awaited = AWAITED.lock().unwrap().take();
        DECODES.store(true, Ordering::Release);
        Ok(Self(awaited.is_some_and(|future| future.result().is_ok())))
    }
}

/// A task.
fn waits(port: u16) -> Waits {
    hold((port, 0));
    Waits(false)
}

alone! {
    /// Seen as a use after free by AddressSanitizer: the wait inside left the list
    /// in place of the one around it.
    fn a_value_that_waits_while_it_is_decoded_leaves_other_waits_alone() {
        let executor = pool(1);
        for _ in 0..50 {
            let mut gate = Gate::new();
            let work = executor.submit(waits, gate.port()).unwrap();
            gate.wait_for(1);
            let (inner, awaited) = promise();
            *AWAITED.lock().unwrap() = Some(awaited);
            let (own, future) = promise::<bool>();
            thread::scope(|scope| {
                scope.spawn(move || {
                    gate.open();
                    thread::yield_now();
                    inner.set_result(()).unwrap();
                });
                // Walks along the list again and again.
                scope.spawn(move || {
                    while !future.done() {
                        let (other, unrelated) = promise::<()>();
                        scope.spawn(move || other.set_result(()).unwrap());
                        unrelated.result().unwrap();
                    }
                    assert!(*future.result().unwrap());
                });
                own.run(|| work.result().unwrap().0);
            });
        }
    }

    /// A task waits for one of the pool, whose value waits, while it is decoded,
    /// for a third, which waits for the first.
    fn a_circle_through_a_value_that_waits_while_it_is_decoded_is_told() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let work = executor.submit(waits, gate.port()).unwrap();
        gate.wait_for(1);
        let (own, first) = promise::<Result<bool, Error>>();
        let (third, awaited) = promise::<()>();
        *AWAITED.lock().unwrap() = Some(awaited);
        let (sender, ended) = mpsc::channel();
        let other = sender.clone();
        let last = thread::spawn(move || {
            third.run(|| {
                while !DECODES.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                for _ in 0..100 {
                    thread::yield_now(); // until it most likely waits
                }
                drop(first.result().map(drop));
            });
            other.send(()).unwrap();
        });
        thread::spawn(move || {
            own.run(|| work.result().map(|value| value.0));
            sender.send(()).unwrap();
        });
        gate.open();
        for _ in 0..2 {
            ended.recv_timeout(LIMIT).expect("no circle is left");
        }
        last.join().unwrap();
    }
}
