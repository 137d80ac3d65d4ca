//! `map_with(MapOptions::new().automatic_chunks(), ..)`: the sizes of the chunks.

use std::cell::Cell;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, MapOptions};

use crate::fixture::{Fixture, Gate, LIMIT, double, hold, values};

contract! {
    [threads, processes] {
        items_are_a_task_each_while_none_has_ended,
        long_items_are_a_task_each,
        short_items_share_tasks,
        an_item_that_takes_for_ever_holds_up_no_other,
    }
}

const ITEMS: i64 = 500;

/// Takes longer than a chunk should.
fn nap(n: i64) -> i64 {
    sleep(Duration::from_millis(1));
    n
}

/// Waits at the gate if there is one.
fn hold_if_asked((port, n): (Option<u16>, i64)) -> i64 {
    port.map_or(n, |port| hold((port, n)))
}

fn items_are_a_task_each_while_none_has_ended<X: Fixture>() {
    // So many that the map would make larger chunks if no item had begun.
    const MANY: i64 = 6000;
    let executor = X::executor(2);
    let gate = Gate::new();
    let port = gate.port();
    let gate = Cell::new(Some(gate));
    let items = (0..MANY).map(|n| {
        if n == 2 {
            let mut closed = gate.take().expect("it is not open");
            closed.wait_for(2);
            gate.set(Some(closed));
            let start = Instant::now();
            while executor.stats().running < 2 {
                assert!(start.elapsed() < LIMIT, "{:?}", executor.stats());
                yield_now();
            }
        }
        ((n < 2).then_some(port), n)
    });
    let options = MapOptions::new().automatic_chunks();
    let results = executor
        .map_with(options, hold_if_asked, items)
        .expect("it is open");
    gate.take().expect("it is not open").open();
    assert!(values(results).into_iter().eq(0..MANY));
    assert_eq!(executor.shutdown().finished, 6000);
}

fn long_items_are_a_task_each<X: Fixture>() {
    let executor = X::executor(2);
    // The map reads one task before it submits the next, and so knows how long it ran.
    let options = MapOptions::new().automatic_chunks().buffer_size(1);
    let results = executor.map_with(options, nap, 0..50).expect("it is open");
    assert!(values(results).into_iter().eq(0..50));
    assert_eq!(executor.shutdown().finished, 50);
}

fn short_items_share_tasks<X: Fixture>() {
    let executor = X::executor(2);
    let options = MapOptions::new().automatic_chunks().buffer_size(1);
    let results = executor
        .map_with(options, double, 0..ITEMS)
        .expect("it is open");
    assert!(values(results).into_iter().eq((0..ITEMS).map(double)));
    let tasks = executor.shutdown().finished;
    assert!(tasks < 500, "{tasks} tasks");
}

fn an_item_that_takes_for_ever_holds_up_no_other<X: Fixture>() {
    let executor = X::executor(2);
    let gate = Gate::new();
    let port = gate.port();
    let items = (0..ITEMS).map(|n| ((n == 0).then_some(port), n));
    let options = MapOptions::new().automatic_chunks();
    let results = executor
        .map_with(options, hold_if_asked, items)
        .expect("it is open");
    let mut results = results.unordered();
    let mut early: Vec<_> = results.by_ref().take(499).map(|(place, _)| place).collect();
    early.sort_unstable();
    assert!(early.into_iter().eq(1..500));
    gate.open();
    let (place, last) = results.next().expect("it is held");
    assert_eq!((place, last.expect("it returns")), (0, 0));
}
