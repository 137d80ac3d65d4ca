//! An executor of another crate, over `promise()`: what comes with the trait.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::{
    Error, Executor, MapOptions, Portable, ShutdownOptions, ShutdownReport, Stats, ThreadFuture,
    TrySubmitError, promise,
};

/// Runs each call at once; each third fails with a timeout of its own.
#[derive(Default)]
struct ThirdTimesOut {
    calls: AtomicUsize,
}

impl Executor for ThirdTimesOut {
    type Future<T: Send + Sync + 'static> = ThreadFuture<T>;

    fn submit<A: Portable, R: Portable + Sync>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<ThreadFuture<R>, Error> {
        let (promise, future) = promise();
        if self.calls.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            promise.set_exception(Error::Timeout {
                unfinished: 7,
                total: 9,
            })?;
        } else {
            promise.run(|| f(args));
        }
        Ok(future)
    }

    fn try_submit<A: Portable, R: Portable + Sync>(
        &self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<ThreadFuture<R>, TrySubmitError<fn(A) -> R, A>> {
        Ok(self.submit(f, args).expect("it is never refused"))
    }

    fn shutdown_with(&self, _options: ShutdownOptions) -> ShutdownReport {
        self.stats().into()
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        stats.finished = self
            .calls
            .load(Ordering::Relaxed)
            .try_into()
            .expect("small");
        stats
    }

    fn max_workers(&self) -> usize {
        0 // an elastic pool without a worker yet
    }
}

/// Python's test_map_timeout_from_callable: an item's error, not the map's end.
#[test]
fn a_time_out_of_an_item_is_not_the_maps() {
    let executor = ThirdTimesOut::default();
    let options = MapOptions::new().timeout(Duration::from_secs(60));
    let results = executor
        .map_with(options, |n: i32| n, 0..6)
        .expect("it is never refused");
    let results: Vec<_> = results.collect();
    assert_eq!(results.len(), 6);
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(value) => assert_eq!(usize::try_from(*value), Ok(n)),
            Err(Error::Timeout {
                unfinished: 7,
                total: 9,
            }) => assert_eq!(n % 3, 2),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn chunks_are_run_item_by_item() {
    let executor = ThirdTimesOut::default();
    let options = MapOptions::new().chunk_size(100);
    let results = executor
        .map_with(options, |n: i32| n, 0..6)
        .expect("it is never refused");
    assert_eq!(results.count(), 6);
    assert_eq!(executor.stats().finished, 6);
    let refused = executor
        .map_with(options.chunk_size(0), |n: i32| n, 0..6)
        .map(drop);
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
}

#[test]
fn a_reference_hands_everything_on() {
    fn drawn<E: Executor>(executor: E) -> usize {
        let drawn = Cell::new(0);
        let items = std::iter::from_fn(|| {
            drawn.set(drawn.get() + 1);
            Some(drawn.get())
        });
        let options = MapOptions::new().buffer_size(2);
        let results = executor
            .map_with(options, |n: usize| n, items)
            .expect("it is never refused");
        assert_eq!(results.take(1).filter(Result::is_ok).count(), 1);
        drawn.get()
    }
    let executor = ThirdTimesOut::default();
    assert_eq!(drawn(&executor), 3);
    assert_eq!(Executor::stats(&&executor).finished, 3);
    assert_eq!(Executor::max_workers(&&executor), 0);
    assert_eq!(Executor::shutdown(&&executor).finished, 3);
}
