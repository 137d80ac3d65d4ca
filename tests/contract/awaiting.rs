//! Futures awaited, as a runtime awaits them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use concurrent_futures::{Error, Executor};

use crate::fixture::{Busy, Fixture, LIMIT, double, fail};

contract! {
    [inline, threads, processes] {
        it_gives_the_value_or_the_error,
        a_runtime_awaits_many_at_once,
    }
    [threads, processes] {
        a_task_outlives_the_runtime_that_awaited_it,
        a_poller_that_gave_up_is_not_woken,
    }
}

/// A runtime of one thread, which owns that thread until its work is done.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("it needs little")
}

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn it_gives_the_value_or_the_error<X: Fixture>() {
    let executor = X::executor(1);
    let value = executor.submit(double, 3).expect("it is open");
    assert_eq!(
        pollster::block_on(value.into_future()).expect("it returns"),
        6
    );
    let error = executor.submit(fail, "no".to_owned()).expect("it is open");
    let error = pollster::block_on(error.into_future());
    assert!(matches!(error, Err(Error::Panicked(_))));
}

/// Python's AsyncioTest: the executor behind an event loop.
fn a_runtime_awaits_many_at_once<X: Fixture>() {
    let executor = X::executor(2);
    let sum = runtime().block_on(async {
        let futures = (0..100).map(|n| executor.submit(double, n).expect("it is open"));
        let mut sum = 0;
        for future in futures.collect::<Vec<_>>() {
            let value = tokio::time::timeout(LIMIT, future.into_future()).await;
            sum += value.expect("in time").expect("it returns");
        }
        sum
    });
    assert_eq!(sum, 9900);
}

fn a_task_outlives_the_runtime_that_awaited_it<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let pending = busy.pending();
    let short = Duration::from_millis(1);
    let runtime = runtime();
    let pending = pending.into_future();
    let early = runtime.block_on(async { tokio::time::timeout(short, pending).await });
    assert!(early.is_err());
    drop(runtime);
    busy.gate.release_one();
    assert_eq!(busy.executor.shutdown().finished, 2);
}

/// Python's AsyncioTest: a cancelled bridge never calls into a closed loop.
fn a_poller_that_gave_up_is_not_woken<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let wakes = Arc::new(CountWakes::default());
    {
        let waker = Waker::from(Arc::clone(&wakes));
        let mut awaiting = pin!(busy.pending().into_future());
        let polled = Future::poll(awaiting.as_mut(), &mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert!(Arc::strong_count(&wakes) > 2, "registered");
    }
    assert_eq!(Arc::strong_count(&wakes), 1, "taken back");
    busy.gate.release_one();
    assert_eq!(busy.executor.shutdown().finished, 2, "the task ran");
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
}
