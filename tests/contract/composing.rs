//! Futures made of futures, with `then` and a promise: what other libraries
//! call `collect` and `compose` is a few lines of a program.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use concurrent_futures::{Error, Executor, Future, Promise, ThreadFuture, promise};

use crate::fixture::{Busy, Fixture, Gate, LIMIT, double, fail, hold};

contract! {
    [inline, threads, processes] {
        collected_values_are_in_the_order_of_their_futures,
        one_that_fails_is_the_error_of_the_collection,
        a_result_and_an_error_go_through_what_is_composed,
        what_is_composed_can_be_composed,
    }
    [threads, processes] {
        values_that_end_in_reverse_are_collected_in_order,
        a_cancel_goes_through,
        what_is_composed_can_be_cancelled_by_itself,
    }
}

/// The values so far, and the promise as long as it is not kept.
type Collected = (Vec<Option<i64>>, Option<Promise<Vec<i64>>>);

/// The values of all in their order, or the first error that there is.
fn collect<F: Future<Output = i64>>(futures: Vec<F>) -> ThreadFuture<Vec<i64>> {
    let (promise, future) = promise();
    if futures.is_empty() {
        promise.set_result(Vec::new()).expect("it is pending");
        return future;
    }
    let all: Collected = (vec![None; futures.len()], Some(promise));
    let all = Arc::new(Mutex::new(all));
    for (place, future) in futures.into_iter().enumerate() {
        let all = Arc::clone(&all);
        future.then(move |outcome| {
            let mut all = all.lock().expect("no thread panics with it");
            let whole = match outcome {
                Ok(value) => {
                    all.0[place] = Some(value);
                    all.0.iter().copied().collect::<Option<Vec<_>>>().map(Ok)
                }
                Err(error) => Some(Err(error)),
            };
            let kept = whole.and_then(|whole| Some((whole, all.1.take()?)));
            // Others' callbacks run in there.
            drop(all);
            match kept {
                Some((Ok(values), promise)) => promise.set_result(values).expect("the first"),
                Some((Err(error), promise)) => promise.set_exception(error).expect("the first"),
                None => {}
            }
        });
    }
    future
}

/// Returns a future of what `f` makes of the outcome.
fn compose<F, U>(
    future: F,
    f: impl FnOnce(Result<F::Output, Error>) -> U + Send + 'static,
) -> ThreadFuture<U>
where
    F: Future,
    U: Send + 'static,
{
    let (promise, composed) = promise();
    future.then(move |outcome| promise.run(|| f(outcome)));
    composed
}

fn values(future: &ThreadFuture<Vec<i64>>) -> &[i64] {
    future.result_timeout(LIMIT).expect("it is settled")
}

fn collected_values_are_in_the_order_of_their_futures<X: Fixture>() {
    let executor = X::executor(3);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let many = collect((0..20).map(submit).collect());
    assert!(values(&many).iter().copied().eq((0..20).map(double)));
    assert_eq!(values(&collect(vec![submit(4)])), [8]);
    assert!(values(&collect(Vec::<ThreadFuture<i64>>::new())).is_empty());
}

fn one_that_fails_is_the_error_of_the_collection<X: Fixture>() {
    let executor = X::executor(3);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let failing = executor
        .submit(fail, "the third".to_owned())
        .expect("it is open");
    let futures = vec![submit(1), submit(2), failing, submit(3)];
    let error = collect(futures)
        .exception_timeout(LIMIT)
        .expect("it is settled");
    assert!(error.expect("one fails").to_string().contains("the third"));
}

fn a_result_and_an_error_go_through_what_is_composed<X: Fixture>() {
    let executor = X::executor(1);
    let value = executor.submit(double, 3).expect("it is open");
    let text = compose(value, |outcome| outcome.map(|n| n.to_string()));
    assert_eq!(
        text.result_timeout(LIMIT)
            .expect("it is set")
            .as_deref()
            .ok(),
        Some("6")
    );
    let error = executor.submit(fail, "no".to_owned()).expect("it is open");
    let mended = compose(error, |outcome| outcome.unwrap_or(-1));
    assert_eq!(*mended.result_timeout(LIMIT).expect("it is set"), -1);
    let failing = executor.submit(double, 1).expect("it is open");
    let failing = compose(failing, |outcome| -> i64 {
        panic!("not {:?}", outcome.ok())
    });
    let error = failing
        .exception_timeout(LIMIT)
        .expect("it is set")
        .expect("it panics");
    assert!(error.to_string().contains("not Some(2)"), "{error}");
}

fn what_is_composed_can_be_composed<X: Fixture>() {
    let executor = X::executor(1);
    let first = executor.submit(double, 1).expect("it is open");
    let mut composed = compose(first, |n| n.expect("it returns"));
    for _ in 0..100 {
        composed = compose(composed, |n| n.expect("it returns") + 1);
    }
    assert_eq!(*composed.result_timeout(LIMIT).expect("it is set"), 102);
}

fn values_that_end_in_reverse_are_collected_in_order<X: Fixture>() {
    let executor = X::executor(3);
    let mut gates = [0; 3].map(|_| Gate::new());
    let futures = (0..)
        .zip(&gates)
        .map(|(n, gate)| executor.submit(hold, (gate.port(), n)).expect("it is open"));
    let all = collect(futures.collect());
    for gate in &mut gates {
        gate.wait_for(1);
    }
    for gate in gates.into_iter().rev() {
        assert!(!all.done());
        gate.open();
    }
    assert_eq!(values(&all), [0, 1, 2]);
}

fn a_cancel_goes_through<X: Fixture>() {
    let busy = Busy::<X>::new();
    let cancelled = busy.pending();
    assert!(cancelled.cancel());
    let all = collect(vec![busy.pending(), cancelled]);
    let error = all.exception_timeout(LIMIT).expect("it is settled");
    assert!(matches!(error, Some(Error::Cancelled)));
    let cancelled = busy.pending();
    assert!(cancelled.cancel());
    let composed = compose(cancelled, |outcome| {
        matches!(outcome, Err(Error::Cancelled))
    });
    assert!(composed.result_timeout(LIMIT).expect("it is set"));
    busy.finish();
}

fn what_is_composed_can_be_cancelled_by_itself<X: Fixture>() {
    let busy = Busy::<X>::new();
    let called = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&called);
    let composed = compose(busy.pending(), move |_| {
        counter.fetch_add(1, Ordering::Relaxed)
    });
    assert!(composed.cancel());
    busy.gate.open();
    assert_eq!(busy.executor.shutdown().finished, 2, "the source goes on");
    assert_eq!(called.load(Ordering::Relaxed), 0);
    assert!(composed.cancelled());
}
