//! Panics of the user's code where no caller gets them: in a `Drop`.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use concurrent_futures::{Error, Executor, Future, MapOptions};

use crate::fixture::{Bomb, Busy, Fixture, LIMIT, double, mean_to_panic};

contract! {
    [inline, threads, processes] {
        a_bomb_ends_its_own_task_at_most,
        a_map_outlives_bombs,
        a_chunk_of_bombs_is_no_worse_than_one,
    }
    [threads, processes] {
        a_cancel_contains_the_bomb_of_an_argument,
        a_cancel_contains_all_the_bombs_of_a_chunk,
    }
}

fn a_bomb_ends_its_own_task_at_most<X: Fixture>() {
    let drops = Arc::new(AtomicUsize::new(0));
    let bomb = || Bomb::new(&drops);
    let executor = X::executor(1);

    let argument = executor
        .submit(|bomb: Bomb| drop(bomb), bomb())
        .expect("it is open");
    let error = argument.exception_timeout(LIMIT).expect("in time");
    assert!(matches!(error, Some(Error::Panicked(_))), "{error:?}");

    drop(
        executor
            .submit(|bomb: Bomb| bomb, bomb())
            .expect("it is open"),
    );

    let thrown = |bomb: Bomb| -> () {
        mean_to_panic();
        std::panic::panic_any(bomb)
    };
    let payload = executor.submit(thrown, bomb()).expect("it is open");
    let error = payload.exception_timeout(LIMIT).expect("in time");
    assert!(matches!(error, Some(Error::Panicked(_))), "{error:?}");
    drop((payload, error));

    let told = bomb();
    let with_callback = executor.submit(double, 1).expect("it is open");
    with_callback.add_done_callback(move |_| drop(told));
    let never_called = bomb();
    with_callback.add_done_callback(move |_| {
        let _captured = &never_called;
    });

    let next = executor.submit(double, 2).expect("it is open");
    assert_eq!(*next.result_timeout(LIMIT).expect("the worker lives"), 4);
    let report = executor.shutdown();
    assert_eq!((report.finished, report.failed), (3, 2));
    assert!(matches!(
        executor.submit(|bomb: Bomb| drop(bomb), bomb()),
        Err(Error::ShutDown)
    ));
    assert_eq!(drops.load(Ordering::Relaxed), 6, "each once");
}

fn a_map_outlives_bombs<X: Fixture>() {
    let drops = Arc::new(AtomicUsize::new(0));
    let executor = X::executor(1);
    let bombs = || [(); 3].map(|()| Bomb::new(&drops));
    let mut results = executor
        .map(|bomb: Bomb| drop(bomb), bombs())
        .expect("it is open");
    assert!(results.all(|result| matches!(result, Err(Error::Panicked(_)))));
    let unread = executor
        .map(|bomb: Bomb| bomb, bombs())
        .expect("it is open");
    executor.shutdown();
    drop(unread);
    assert_eq!(drops.load(Ordering::Relaxed), 6);
}

/// Two panics at a time would abort the program.
fn a_chunk_of_bombs_is_no_worse_than_one<X: Fixture>() {
    let drops = Arc::new(AtomicUsize::new(0));
    let executor = X::executor(1);
    // One by one: a list of bombs is no safer in the test.
    let made = Cell::new(0);
    let bombs = || {
        (0..3).map(|_| {
            made.set(made.get() + 1);
            Bomb::new(&drops)
        })
    };
    let chunk = MapOptions::new().chunk_size(3);
    for unread in [3, 2] {
        let mut results = executor
            .map_with(chunk, |bomb: Bomb| bomb, bombs())
            .expect("it is open");
        for _ in unread..3 {
            let bomb = results
                .next()
                .expect("there are three")
                .expect("it returns");
            assert!(std::panic::catch_unwind(AssertUnwindSafe(|| drop(bomb))).is_err());
        }
        drop(results);
    }
    executor.shutdown();
    let refused = executor
        .map_with(chunk, |bomb: Bomb| drop(bomb), bombs())
        .map(drop);
    assert!(matches!(refused, Err(Error::ShutDown)));
    assert!(made.get() > 6);
    assert_eq!(drops.load(Ordering::Relaxed), made.get(), "each once");
}

fn a_cancel_contains_the_bomb_of_an_argument<X: Fixture>() {
    let drops = Arc::new(AtomicUsize::new(0));
    let busy = Busy::<X>::new();
    let pending = busy
        .executor
        .submit(|bomb: Bomb| drop(bomb), Bomb::new(&drops));
    assert!(pending.expect("it is open").cancel());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    busy.finish();
}

fn a_cancel_contains_all_the_bombs_of_a_chunk<X: Fixture>() {
    let drops = Arc::new(AtomicUsize::new(0));
    let busy = Busy::<X>::new();
    let bombs = (0..6).map(|_| Bomb::new(&drops));
    let chunk = MapOptions::new().chunk_size(3);
    drop(
        busy.executor
            .map_with(chunk, |bomb: Bomb| drop(bomb), bombs)
            .expect("it is open"),
    );
    assert_eq!(drops.load(Ordering::Relaxed), 6);
    busy.finish();
}
