//! `map` with a limit: what it yields in time, and what becomes of the rest.

use std::time::{Duration, Instant};

use concurrent_futures::{Error, Executor, Future, MapOptions};

use crate::fixture::{Fixture, Gate, LIMIT, double, hold, values};

contract! {
    [threads, processes] {
        a_map_that_times_out_cancels_the_rest_and_ends,
        a_map_that_times_out_counts_what_is_unfinished,
        an_unordered_map_that_times_out_cancels_the_rest_and_ends,
        a_buffered_map_has_a_limit_too_and_counts_what_it_submitted,
        a_map_within_its_limit_gives_everything,
        a_map_of_chunks_has_a_limit_too,
    }
    [inline, threads, processes] {
        a_buffered_map_submits_nothing_after_its_limit,
    }
}

/// Each result is there when it is asked for, and the items have no end: only the limit ends
/// the map.
fn a_buffered_map_submits_nothing_after_its_limit<X: Fixture>() {
    let executor = X::executor(1);
    let options = MapOptions::new()
        .timeout(Duration::from_millis(50))
        .buffer_size(4);
    let ends_late = |mut results: Box<dyn Iterator<Item = Result<i64, Error>> + '_>| {
        let begun = Instant::now();
        let late = results
            .by_ref()
            .find_map(Result::err)
            .expect("it has a limit");
        assert!(matches!(late, Error::Timeout { .. }), "{late}");
        assert!(results.next().is_none() && begun.elapsed() < LIMIT);
    };
    let map = || executor.map_with(options, double, 1..).expect("it is open");
    ends_late(Box::new(map()));
    ends_late(Box::new(map().unordered().map(|(_, result)| result)));
}

/// Python's test_map_timeout and test_executor_map_current_future_cancel.
fn a_map_that_times_out_cancels_the_rest_and_ends<X: Fixture>() {
    let executor = X::executor(1);
    let mut gate = Gate::new();
    let port = gate.port();
    let options = MapOptions::new().timeout(X::SLOWNESS * Duration::from_millis(200));
    let items = [(port, 1), (port, 2), (port, 3)];
    let mut results = executor.map_with(options, hold, items).expect("it is open");
    gate.wait_for(1);
    let timeout = results.next().expect("the limit is an item");
    assert!(
        matches!(
            timeout,
            Err(Error::Timeout {
                unfinished: 3,
                total: 3
            })
        ),
        "{timeout:?}"
    );
    assert!(results.next().is_none());
    gate.open();
    let report = executor.shutdown();
    assert_eq!((report.finished, report.cancelled), (1, 2));
}

/// A finished item counts as such, also behind one that is not.
fn a_map_that_times_out_counts_what_is_unfinished<X: Fixture>() {
    let executor = X::executor(2);
    let (mut shut, mut open) = (Gate::new(), Gate::new());
    let options = MapOptions::new().timeout(X::SLOWNESS * Duration::from_millis(200));
    let items = [(shut.port(), 1), (open.port(), 2)];
    let mut results = executor.map_with(options, hold, items).expect("it is open");
    shut.wait_for(1);
    open.wait_for(1);
    open.open();
    // On the same worker, so the one before it is known to be done.
    let next = executor.submit(double, 1).expect("it is open");
    assert!(next.exception().is_none());
    let timeout = results.next().expect("the limit is an item");
    assert!(
        matches!(
            timeout,
            Err(Error::Timeout {
                unfinished: 1,
                total: 2
            })
        ),
        "{timeout:?}"
    );
    shut.open();
}

fn an_unordered_map_that_times_out_cancels_the_rest_and_ends<X: Fixture>() {
    let executor = X::executor(1);
    let mut gate = Gate::new();
    let port = gate.port();
    let options = MapOptions::new().timeout(X::SLOWNESS * Duration::from_millis(200));
    let items = [(port, 1), (port, 2), (port, 3)];
    let results = executor.map_with(options, hold, items).expect("it is open");
    let mut results = results.unordered();
    gate.wait_for(1);
    let (_, timeout) = results.next().expect("the limit is an item");
    assert!(
        matches!(
            timeout,
            Err(Error::Timeout {
                unfinished: 3,
                total: 3
            })
        ),
        "{timeout:?}"
    );
    assert!(results.next().is_none());
    gate.open();
    let report = executor.shutdown();
    assert_eq!((report.finished, report.cancelled), (1, 2));
}

fn a_buffered_map_has_a_limit_too_and_counts_what_it_submitted<X: Fixture>() {
    let executor = X::executor(1);
    let mut gate = Gate::new();
    let port = gate.port();
    let mut open = Gate::new();
    let options = MapOptions::new()
        .timeout(X::SLOWNESS * Duration::from_millis(200))
        .buffer_size(2);
    let items = [(open.port(), 0), (port, 1), (port, 2), (port, 3)];
    let mut results = executor.map_with(options, hold, items).expect("it is open");
    open.wait_for(1);
    open.open();
    assert_eq!(
        results.next().expect("it is released").expect("it returns"),
        0
    );
    gate.wait_for(1);
    let timeout = results.next().expect("the limit is an item");
    assert!(
        matches!(
            timeout,
            Err(Error::Timeout {
                unfinished: 2,
                total: 3
            })
        ),
        "{timeout:?}"
    );
    assert!(results.next().is_none());
    gate.open();
}

fn a_map_within_its_limit_gives_everything<X: Fixture>() {
    let executor = X::executor(2);
    let options = MapOptions::new().timeout(LIMIT);
    let results = executor
        .map_with(options, double, 0..50)
        .expect("it is open");
    assert_eq!(values(results), (0..50).map(double).collect::<Vec<_>>());
}

/// The limit is the whole's: what is unfinished are chunks.
fn a_map_of_chunks_has_a_limit_too<X: Fixture>() {
    let executor = X::executor(1);
    let (mut open, mut gate) = (Gate::new(), Gate::new());
    let ports = [
        open.port(),
        open.port(),
        gate.port(),
        gate.port(),
        gate.port(),
    ];
    let options = MapOptions::new()
        .chunk_size(2)
        .timeout(X::SLOWNESS * Duration::from_millis(200));
    let items = ports.map(|port| (port, 1));
    let mut results = executor.map_with(options, hold, items).expect("it is open");
    open.wait_for(1);
    open.open();
    gate.wait_for(1);
    // Done by then, so they are given, however late it is.
    assert!(matches!(results.next(), Some(Ok(1))));
    assert!(matches!(results.next(), Some(Ok(1))));
    let timeout = results.next().expect("the limit is an item");
    assert!(
        matches!(
            timeout,
            Err(Error::Timeout {
                unfinished: 2,
                total: 3
            })
        ),
        "{timeout:?}"
    );
    assert!(results.next().is_none());
    gate.open();
    let report = executor.shutdown();
    assert_eq!((report.finished, report.cancelled), (2, 1));
}
