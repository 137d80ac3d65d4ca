//! `map`: the order of the items, failing items, chunks, buffers, limits.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use concurrent_futures::{Error, Executor, Future, Map, MapOptions, ShutdownOptions};

use crate::fixture::{Busy, Fixture, Gate, Tracked, divide, double, hold, values};

contract! {
    [inline, threads, processes] {
        map_gives_what_the_serial_map_gives,
        map_goes_on_after_an_item_that_failed,
        map_names_the_panic_of_an_item,
        map_refuses_sizes_of_zero,
        a_buffer_changes_nothing_in_the_results,
        a_buffer_takes_endless_items_and_never_one_too_many,
        chosen_chunks_change_nothing_in_the_results,
        map_after_shutdown_is_refused,
        a_shutdown_shows_in_a_buffered_map,
        a_map_ends_at_the_first_end_of_its_iterator,
        several_inputs_are_zipped,
        endless_inputs_are_zipped_lazily,
        a_shutdown_right_after_a_map_loses_nothing,
        an_iterator_of_items_that_panics_leaves_the_executor_whole,
        a_buffered_map_goes_on_after_its_iterator_panicked,
        a_buffered_map_whose_iterator_only_panics_keeps_no_result_back,
        a_chunk_has_the_items_before_a_panic_of_the_iterator,
        sizes_and_limits_may_be_as_large_as_can_be,
    }
    [inline, threads] {
        map_keeps_nothing_of_what_it_yielded,
    }
    [threads, processes] {
        map_runs_unread,
        dropping_a_map_cancels_what_has_not_begun,
        a_chunk_that_is_cancelled_is_an_error_for_each_item,
        an_iterator_of_items_that_panics_cancels_what_was_drawn,
    }
}

fn map_gives_what_the_serial_map_gives<X: Fixture>() {
    let executor = X::executor(3);
    let serial: Vec<i64> = (0..100).map(double).collect();
    assert_eq!(
        values(executor.map(double, 0..100).expect("it is open")),
        serial
    );
    for chunk in [1, 3, 99, 100, 101, usize::MAX] {
        let options = MapOptions::new().chunk_size(chunk);
        let results = executor
            .map_with(options, double, 0..100)
            .expect("it is open");
        assert_eq!(values(results), serial, "in chunks of {chunk}");
    }
    assert!(values(executor.map(double, []).expect("it is open")).is_empty());
}

fn map_goes_on_after_an_item_that_failed<X: Fixture>() {
    let executor = X::executor(2);
    for chunk in [1, 2, 4, 10] {
        let options = MapOptions::new().chunk_size(chunk);
        let mut results = executor
            .map_with(options, divide, [5, 4, 0, 2, 0, 1])
            .expect("it is open");
        let quotients: Vec<Option<i64>> = results.by_ref().map(Result::ok).collect();
        assert_eq!(
            quotients,
            [Some(20), Some(25), None, Some(50), None, Some(100)]
        );
        assert!(results.next().is_none(), "and stays exhausted");
    }
}

fn map_names_the_panic_of_an_item<X: Fixture>() {
    let executor = X::executor(2);
    for chunk in [1, 3] {
        let options = MapOptions::new().chunk_size(chunk);
        let mut results = executor
            .map_with(options, divide, [0, 1])
            .expect("it is open");
        let Some(Err(Error::Panicked(panic))) = results.next() else {
            panic!("100 / 0 panics");
        };
        assert!(panic.message().contains("divide by zero"), "{panic}");
    }
}

fn map_refuses_sizes_of_zero<X: Fixture>() {
    let executor = X::executor(1);
    for options in [
        MapOptions::new().chunk_size(0),
        MapOptions::new().buffer_size(0),
    ] {
        let refused = executor.map_with(options, double, [1]).map(drop);
        let Err(Error::InvalidArgument(what)) = refused else {
            panic!("{refused:?}");
        };
        assert!(what.contains("at least 1"), "{what}");
    }
}

fn a_buffer_changes_nothing_in_the_results<X: Fixture>() {
    let executor = X::executor(2);
    let serial: Vec<i64> = (0..10).map(double).collect();
    for buffer in [1, 2, 10, 20] {
        for chunk in [1, 3] {
            let options = MapOptions::new().buffer_size(buffer).chunk_size(chunk);
            let results = executor
                .map_with(options, double, 0..10)
                .expect("it is open");
            assert_eq!(values(results), serial, "{options:?}");
        }
    }
}

fn a_buffer_takes_endless_items_and_never_one_too_many<X: Fixture>() {
    let executor = X::executor(2);
    let drawn = Rc::new(Cell::new(0_i64));
    let items = {
        let drawn = Rc::clone(&drawn);
        std::iter::from_fn(move || {
            drawn.set(drawn.get() + 1);
            Some(drawn.get())
        })
    };
    let options = MapOptions::new().buffer_size(4);
    let mut results = executor
        .map_with(options, double, items)
        .expect("it is open");
    assert_eq!(drawn.get(), 4);
    for n in 1..=20 {
        let result = results.next().expect("it is endless");
        assert_eq!(result.expect("it returns"), 2 * n);
        assert_eq!(drawn.get(), 4 + n);
    }
    drop(results);
    executor.shutdown();
    assert_eq!(drawn.get(), 24);
}

fn chosen_chunks_change_nothing_in_the_results<X: Fixture>() {
    let executor = X::executor(2);
    let serial: Vec<i64> = (0..5000).map(double).collect();
    let options = MapOptions::new().automatic_chunks();
    let known = executor
        .map_with(options, double, 0..5000)
        .expect("it is open");
    assert_eq!(values(known), serial);
    let unknown = (0..).take_while(|n| *n < 5000);
    let results = executor
        .map_with(options, double, unknown)
        .expect("it is open");
    assert_eq!(values(results), serial);
    let none = executor.map_with(options, double, []).expect("it is open");
    assert!(values(none).is_empty());
}

fn map_after_shutdown_is_refused<X: Fixture>() {
    let executor = X::executor(1);
    executor.shutdown();
    assert!(matches!(executor.map(double, [1]), Err(Error::ShutDown)));
    let empty = executor.map(double, []).expect("nothing to refuse");
    assert_eq!(empty.count(), 0);
}

fn a_shutdown_shows_in_a_buffered_map<X: Fixture>() {
    let executor = X::executor(1);
    let options = MapOptions::new().buffer_size(2);
    let mut results = executor.map_with(options, double, 1..).expect("it is open");
    executor.shutdown();
    assert_eq!(results.next().expect("submitted").expect("it returns"), 2);
    assert_eq!(results.next().expect("submitted").expect("it returns"), 4);
    // The item that could not be submitted is not passed over in silence.
    assert!(matches!(results.next(), Some(Err(Error::ShutDown))));
    assert!(results.next().is_none());
}

/// Python's test_map_buffersize_on_multiple_iterables; a map of tuples is
/// what Python calls starmap.
fn several_inputs_are_zipped<X: Fixture>() {
    let executor = X::executor(2);
    let power = |(base, exponent): (i64, u32)| base.pow(exponent);
    let serial = [1, 2, 9, 64];
    for buffer in [1, 2, 4, 8] {
        for chunk in [1, 3] {
            let options = MapOptions::new().buffer_size(buffer).chunk_size(chunk);
            let inputs = (1..5).zip(0..);
            let results = executor
                .map_with(options, power, inputs)
                .expect("it is open");
            assert_eq!(values(results), serial, "{options:?}");
        }
    }
    let shorter = executor
        .map(power, (1..).zip([0, 1, 2]))
        .expect("it is open");
    assert_eq!(values(shorter), serial[..3]);
}

/// Python's test_map_buffersize_on_multiple_infinite_iterables.
fn endless_inputs_are_zipped_lazily<X: Fixture>() {
    let executor = X::executor(2);
    let options = MapOptions::new().buffer_size(2);
    let sum = |(a, b): (i64, i64)| a + b;
    let mut results = executor
        .map_with(options, sum, (0..).zip(10..))
        .expect("it is open");
    for n in 0..10 {
        let result = results.next().expect("it is endless");
        assert_eq!(result.expect("it returns"), 10 + 2 * n);
    }
}

/// Python's test_shutdown_race_issue12456.
fn a_shutdown_right_after_a_map_loses_nothing<X: Fixture>() {
    for _ in 0..100 / X::SLOWNESS {
        let executor = X::executor(4);
        let results = executor.map(double, 0..=4).expect("it is open");
        executor.shutdown();
        drop(executor);
        assert_eq!(
            values(results),
            [0, 2, 4, 6, 8],
            "they outlive the executor"
        );
    }
}

fn an_iterator_of_items_that_panics_leaves_the_executor_whole<X: Fixture>() {
    let executor = X::executor(1);
    let items = || (0..).inspect(|n| assert!(*n < 3, "no more items"));
    let caught = |f: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(f));
    assert!(caught(&mut || drop(executor.map(double, items()))).is_err());
    let options = MapOptions::new().buffer_size(3);
    let mut lazy = executor
        .map_with(options, double, items())
        .expect("it is open");
    assert!(
        caught(&mut || drop(lazy.next())).is_err(),
        "it draws the fourth"
    );
    drop(lazy);
    assert_eq!(
        values(executor.map(double, 0..3).expect("it is open")),
        [0, 2, 4]
    );
    let report = executor.shutdown();
    assert_eq!((report.running, report.finished + report.cancelled), (0, 9));
}

/// The function that returns the next result of a map.
type Next<'a> = dyn FnMut() -> Option<Result<i64, Error>> + 'a;

/// Checks a map that returns its results in the order of the items, and an unordered one.
fn in_both_orders<'a>(
    map: impl Fn() -> Result<Map<'a, i64>, Error>,
    check: impl Fn(&mut Next<'_>),
) {
    let mut ordered = map().expect("it is open");
    check(&mut || ordered.next());
    let mut unordered = map().expect("it is open").unordered();
    check(&mut || unordered.next().map(|(_, result)| result));
}

/// An iterator may yield an item after `None`, as that of a channel or a terminal does.
fn a_map_ends_at_the_first_end_of_its_iterator<X: Fixture>() {
    let executor = X::executor(1);
    for options in [
        MapOptions::new(),
        MapOptions::new().buffer_size(1),
        MapOptions::new().chunk_size(4).buffer_size(1),
        MapOptions::new().automatic_chunks().buffer_size(1),
    ] {
        let mut yielded = 0_i64;
        let items = std::iter::from_fn(move || {
            yielded += 1;
            (yielded != 3).then_some(yielded)
        });
        let map = executor.map_with(options, double, items.take(9));
        let results = map.expect("it is open");
        let results: Vec<i64> = results.map(|result| result.expect("it runs")).collect();
        assert_eq!(results, [2, 4]);
    }
}

fn a_buffered_map_goes_on_after_its_iterator_panicked<X: Fixture>() {
    let executor = X::executor(1);
    for buffer in [1, 3] {
        let items = || (0..8).inspect(|n| assert_ne!(*n, 4, "one item less"));
        let map = || executor.map_with(MapOptions::new().buffer_size(buffer), double, items());
        in_both_orders(map, |next| {
            let (mut doubled, mut panics) = (Vec::new(), 0);
            loop {
                match catch_unwind(AssertUnwindSafe(&mut *next)) {
                    Ok(Some(result)) => doubled.push(result.expect("it runs")),
                    Ok(None) => break,
                    Err(_) => panics += 1,
                }
            }
            assert_eq!((doubled, panics), (vec![0, 2, 4, 6, 10, 12, 14], 1));
        });
    }
}

fn a_chunk_has_the_items_before_a_panic_of_the_iterator<X: Fixture>() {
    let executor = X::executor(1);
    let items = (0..8).inspect(|n| assert_ne!(*n, 4, "one item less"));
    let options = MapOptions::new().chunk_size(3).buffer_size(1);
    let mut map = executor
        .map_with(options, double, items)
        .expect("it is open");
    let mut panics = 0;
    let doubled = std::iter::from_fn(|| {
        loop {
            match catch_unwind(AssertUnwindSafe(|| map.next())) {
                Ok(result) => return result,
                Err(_) => panics += 1,
            }
        }
    });
    let doubled = doubled.collect::<Result<Vec<_>, _>>().expect("all run");
    assert_eq!(doubled, [0, 2, 4, 6, 10, 12, 14]);
    assert_eq!(panics, 1);
}

fn a_buffered_map_whose_iterator_only_panics_keeps_no_result_back<X: Fixture>() {
    let executor = X::executor(1);
    let items = || (0..).inspect(|n| assert!(*n < 6, "no more items"));
    let map = || executor.map_with(MapOptions::new().buffer_size(3), double, items());
    in_both_orders(map, |next| {
        let calls = (0..20).filter_map(|_| catch_unwind(AssertUnwindSafe(&mut *next)).ok());
        let doubled = calls.map(|result| result.expect("more items").expect("it runs"));
        assert!(doubled.eq([0, 2, 4, 6, 8, 10]));
    });
}

fn sizes_and_limits_may_be_as_large_as_can_be<X: Fixture>() {
    let executor = X::executor(2);
    let options = MapOptions::new()
        .buffer_size(usize::MAX)
        .timeout(Duration::MAX);
    for options in [
        options,
        options.chunk_size(usize::MAX),
        options.automatic_chunks(),
    ] {
        let results = executor
            .map_with(options, double, 0..3)
            .expect("it is open");
        assert_eq!(values(results), [0, 2, 4]);
        let results = executor
            .map_with(options, double, 0..3)
            .expect("it is open");
        assert_eq!(results.unordered().count(), 3);
    }
}

/// Python's test_free_reference.
fn map_keeps_nothing_of_what_it_yielded<X: Fixture>() {
    let executor = X::executor(2);
    let tracked = Tracked::default();
    let items = [(); 3].map(|()| tracked.clone());
    let mut results = executor
        .map(|item: Tracked| item, items)
        .expect("it is open");
    executor.shutdown();
    for left in (0..3).rev() {
        drop(results.next().expect("there is one more"));
        assert_eq!(tracked.copies(), 1 + left);
    }
}

/// Python's test_map_submits_without_iteration.
fn map_runs_unread<X: Fixture>() {
    let executor = X::executor(2);
    let mut gate = Gate::new();
    let port = gate.port();
    let _unread = executor
        .map(hold, [(port, 1), (port, 2)])
        .expect("it is open");
    gate.wait_for(2);
    gate.open();
    assert_eq!(executor.shutdown().finished, 2);
}

fn dropping_a_map_cancels_what_has_not_begun<X: Fixture>() {
    for chunk in [1, 2, 4] {
        let executor = X::executor(1);
        let mut gate = Gate::new();
        let port = gate.port();
        let options = MapOptions::new().chunk_size(chunk);
        let held = executor.submit(hold, (port, 0)).expect("it is open");
        gate.wait_for(1);
        let results = executor
            .map_with(options, hold, (0..20).map(move |n| (port, n)))
            .expect("it is open");
        if chunk == 1 {
            drop(results.unordered());
        } else {
            drop(results);
        }
        gate.open();
        assert!(held.exception().is_none());
        let report = executor.shutdown();
        assert_eq!((report.finished, report.failed), (1, 0));
        assert_eq!(report.cancelled, 20 / u64::try_from(chunk).expect("small"));
    }
}

fn a_chunk_that_is_cancelled_is_an_error_for_each_item<X: Fixture>() {
    let executor = X::executor(1);
    let mut gate = Gate::new();
    executor
        .submit(hold, (gate.port(), 0))
        .expect("it is open")
        .detach();
    gate.wait_for(1);
    let options = MapOptions::new().chunk_size(3);
    let results = executor
        .map_with(options, double, 0..5)
        .expect("it is open");
    let hurry = ShutdownOptions::new().wait(false).cancel_pending(true);
    assert_eq!(executor.shutdown_with(hurry).cancelled, 2);
    let cancelled = results.filter(|result| matches!(result, Err(Error::Cancelled)));
    assert_eq!(cancelled.count(), 5);
    gate.open();
}

fn an_iterator_of_items_that_panics_cancels_what_was_drawn<X: Fixture>() {
    let busy = Busy::<X>::new();
    let items = (0..).inspect(|n| assert!(*n < 3, "no more items"));
    let caught = catch_unwind(AssertUnwindSafe(|| drop(busy.executor.map(double, items))));
    assert!(caught.is_err());
    assert_eq!(busy.executor.stats().cancelled, 3);
    busy.finish();
}
