//! Waits inside code of the user's that the end of a task calls for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use concurrent_futures::{Error, ShutdownOptions, ThreadFuture, promise};
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

/// A value whose reading in the parent waits for the next one, so often.
mod chained {
    use std::cell::Cell;
    use std::sync::{Arc, Mutex};

    use concurrent_futures::ProcessPoolExecutor;
    use serde::{Deserialize, Deserializer, Serialize};

    thread_local! {
        pub(super) static LEFT: Cell<u32> = const { Cell::new(0) };
    }

    #[derive(Serialize)]
    pub(super) struct Chained(u8);

    impl<'de> Deserialize<'de> for Chained {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            struct Chained(u8);
            let read = Chained::deserialize(deserializer)?;
            if LEFT.get() > 0 {
                LEFT.set(LEFT.get() - 1);
                // The waiting thread reads it, inside this reading.
                let pool = POOL.lock().unwrap().clone();
                value(&pool.unwrap());
            }
            Ok(Self(read.0))
        }
    }

    pub(super) static POOL: Mutex<Option<Arc<ProcessPoolExecutor>>> = Mutex::new(None);

    pub(super) fn value(pool: &ProcessPoolExecutor) {
        let slow = |()| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            Chained(1)
        };
        let chained = pool.submit(slow, ()).unwrap();
        assert!(chained.into_result().is_ok());
    }
}

alone! {
    fn a_chain_of_values_whose_reading_waits_for_the_next_ends_well() {
        let executor = Arc::new(pool(1));
        *chained::POOL.lock().unwrap() = Some(Arc::clone(&executor));
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            chained::LEFT.set(1500);
            chained::value(&executor);
            // Otherwise one came before it was waited for, which ends the chain.
            if chained::LEFT.get() == 0 {
                break;
            }
        }
        assert_eq!(chained::LEFT.get(), 0);
        *chained::POOL.lock().unwrap() = None;
    }
}

/// A value whose reading in the parent waits until it may go on.
mod slow {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender};

    use serde::{Deserialize, Deserializer, Serialize};

    pub(super) static GATE: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);

    #[derive(Debug, Serialize)]
    pub(super) struct Slow;

    impl<'de> Deserialize<'de> for Slow {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            struct Slow;
            Slow::deserialize(deserializer)?;
            let gate = GATE.lock().unwrap().take();
            if let Some((begin, go_on)) = gate {
                begin.send(()).unwrap();
                go_on.recv_timeout(crate::fixture::LIMIT).unwrap();
            }
            Ok(Self)
        }
    }
}

alone! {
    fn a_shutdown_report_counts_a_task_whose_value_is_being_read_as_running() {
        let executor = pool(1);
        let (begin, begun) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel();
        *slow::GATE.lock().unwrap() = Some((begin, goes_on));
        let future = executor.submit(|()| slow::Slow, ()).unwrap();
        begun.recv_timeout(LIMIT).unwrap();
        assert!(future.running());
        let stats = executor.stats();
        assert_eq!((stats.queued, stats.running, stats.finished), (0, 1, 0));
        let left = executor.shutdown_with(ShutdownOptions::new().wait(false));
        assert_eq!((left.running, left.finished), (1, 0));
        go_on.send(()).unwrap();
        value(&future);
        let stats = executor.stats();
        assert_eq!((stats.queued, stats.running, stats.finished), (0, 0, 1));
    }
}
