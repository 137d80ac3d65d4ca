//! `map(..).unordered()`: each result as it comes, with its place.

use concurrent_futures::{Executor, MapOptions};

use crate::fixture::{Fixture, Gate, divide, double, hold};

contract! {
    [inline, threads, processes] {
        unordered_gives_each_result_with_its_place,
        unordered_takes_endless_items,
        a_shutdown_shows_in_an_unordered_map_too,
    }
    [threads, processes] {
        unordered_gives_the_fast_before_the_slow,
    }
}

fn unordered_gives_each_result_with_its_place<X: Fixture>() {
    let executor = X::executor(2);
    for chunk in [1, 3] {
        for buffer in [1, 4, 100] {
            let options = MapOptions::new().chunk_size(chunk).buffer_size(buffer);
            let mut results = executor
                .map_with(options, divide, [5, 0, 4, 2, 1])
                .expect("it is open");
            assert_eq!(
                results
                    .next()
                    .expect("it is the first")
                    .expect("it returns"),
                20
            );
            let mut places = Vec::new();
            for (place, result) in results.unordered() {
                assert_eq!(
                    result.ok(),
                    [None, None, Some(25), Some(50), Some(100)][place]
                );
                places.push(place);
            }
            places.sort_unstable();
            assert_eq!(places, [1, 2, 3, 4], "{options:?}");
        }
    }
}

fn unordered_takes_endless_items<X: Fixture>() {
    let executor = X::executor(2);
    let options = MapOptions::new().buffer_size(3);
    let results = executor
        .map_with(options, double, 0..)
        .expect("it is open")
        .unordered();
    let mut places = Vec::new();
    for (place, result) in results.take(100) {
        assert_eq!(
            result.expect("it returns"),
            2 * i64::try_from(place).expect("small")
        );
        places.push(place);
    }
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 100);
}

fn a_shutdown_shows_in_an_unordered_map_too<X: Fixture>() {
    let executor = X::executor(1);
    let options = MapOptions::new().buffer_size(2);
    let results = executor
        .map_with(options, double, 1..)
        .expect("it is open")
        .unordered();
    executor.shutdown();
    let mut all: Vec<_> = results
        .map(|(place, result)| (place, result.ok()))
        .collect();
    all.sort_unstable();
    assert_eq!(all, [(0, Some(2)), (1, Some(4)), (2, None)]);
}

fn unordered_gives_the_fast_before_the_slow<X: Fixture>() {
    let executor = X::executor(2);
    let (mut slow, mut fast) = (Gate::new(), Gate::new());
    let items = [(slow.port(), 1), (fast.port(), 2)];
    let mut results = executor.map(hold, items).expect("it is open").unordered();
    slow.wait_for(1);
    fast.wait_for(1);
    fast.open();
    let (place, result) = results.next().expect("one is released");
    assert_eq!((place, result.expect("it returns")), (1, 2));
    slow.open();
    let (place, result) = results.next().expect("the other too");
    assert_eq!((place, result.expect("it returns")), (0, 1));
    assert!(results.next().is_none());
}
