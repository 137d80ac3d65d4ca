//! The states of a future, its timeouts, and threads that wait for it.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use concurrent_futures::{Error, Executor, Future};

use crate::fixture::{Busy, Fixture, LIMIT, double, fail, hold};

contract! {
    [inline, threads, processes] {
        a_finished_future_is_done_and_cannot_be_cancelled,
        a_debug_text_shows_the_state_and_what_came,
    }
    [threads, processes] {
        a_pending_future_can_be_cancelled_and_a_running_one_cannot,
        a_zero_timeout_asks_without_waiting,
        a_timeout_ends_the_wait_and_not_the_task,
        a_waiter_wakes_with_the_value,
        a_waiter_wakes_with_the_error,
        a_waiter_wakes_when_it_is_cancelled,
        readers_at_once_agree,
        running_is_true_only_while_the_function_runs,
    }
}

fn a_finished_future_is_done_and_cannot_be_cancelled<X: Fixture>() {
    let executor = X::executor(1);
    let well = executor.submit(double, 1).expect("it is open");
    let badly = executor.submit(fail, "no".to_owned()).expect("it is open");
    assert!(well.exception().is_none() && badly.exception().is_some());
    for future in [&well, &badly] {
        assert!(!future.cancel());
        assert_eq!(
            (future.done(), future.running(), future.cancelled()),
            (true, false, false)
        );
    }
    assert_eq!(*well.result_timeout(Duration::ZERO).expect("it is done"), 2);
    assert!(matches!(
        badly.result_timeout(Duration::ZERO),
        Err(Error::Panicked(_))
    ));
    assert!(matches!(well.exception_timeout(Duration::ZERO), Ok(None)));
    assert!(matches!(
        badly.exception_timeout(Duration::ZERO),
        Ok(Some(Error::Panicked(_)))
    ));
}

fn a_debug_text_shows_the_state_and_what_came<X: Fixture>() {
    let executor = X::executor(1);
    let well = executor.submit(double, 1).expect("it is open");
    let badly = executor.submit(fail, "no".to_owned()).expect("it is open");
    assert!(well.exception().is_none() && badly.exception().is_some());
    let (well, badly) = (format!("{well:?}"), format!("{badly:?}"));
    assert!(well.contains("finished, returned i64"), "{well}");
    assert!(badly.contains("finished, raised Panicked"), "{badly}");
}

fn a_pending_future_can_be_cancelled_and_a_running_one_cannot<X: Fixture>() {
    let busy = Busy::<X>::new();
    let pending = busy.pending();
    assert_eq!(
        (pending.done(), pending.running(), pending.cancelled()),
        (false, false, false)
    );
    assert!(busy.running.running() && !busy.running.done());
    assert!(format!("{pending:?}").contains("pending"));

    assert!(!busy.running.cancel());
    assert!(busy.running.running() && !busy.running.cancelled());
    assert!(pending.cancel());
    assert!(pending.cancel(), "the second time too");
    assert_eq!(
        (pending.done(), pending.running(), pending.cancelled()),
        (true, false, true)
    );
    assert!(format!("{pending:?}").contains("cancelled"));
    assert!(matches!(pending.result(), Err(Error::Cancelled)));
    assert!(matches!(pending.exception(), Some(Error::Cancelled)));
    let stats = busy.executor.stats();
    assert_eq!((stats.running, stats.queued, stats.cancelled), (1, 0, 1));
    busy.finish();
}

fn a_zero_timeout_asks_without_waiting<X: Fixture>() {
    let busy = Busy::<X>::new();
    let pending = busy.pending();
    for future in [&*busy.running, &pending] {
        let early = future.result_timeout(Duration::ZERO);
        assert!(matches!(
            early,
            Err(Error::Timeout {
                unfinished: 1,
                total: 1
            })
        ));
        let early = future.exception_timeout(Duration::ZERO);
        assert!(matches!(
            early,
            Err(Error::Timeout {
                unfinished: 1,
                total: 1
            })
        ));
    }
    pending.cancel();
    assert!(matches!(
        pending.result_timeout(Duration::ZERO),
        Err(Error::Cancelled)
    ));
    assert!(matches!(
        pending.exception_timeout(Duration::ZERO),
        Ok(Some(Error::Cancelled))
    ));
    busy.finish();
}

fn a_timeout_ends_the_wait_and_not_the_task<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let early = busy.running.result_timeout(Duration::from_millis(1));
    assert!(matches!(early, Err(Error::Timeout { .. })));
    assert!(busy.running.running());
    busy.gate.release_one();
    assert_eq!(*busy.running.result_timeout(LIMIT).expect("it returns"), 1);
}

fn a_waiter_wakes_with_the_value<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let future = Arc::new(busy.pending());
    let waiters = [0; 4].map(|_| {
        let future = Arc::clone(&future);
        thread::spawn(move || future.result_timeout(LIMIT).copied())
    });
    busy.gate.release_one();
    for waiter in waiters {
        assert_eq!(waiter.join().expect("no panic").expect("it returns"), 42);
    }
}

fn a_waiter_wakes_with_the_error<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let future = Arc::new(
        busy.executor
            .submit(fail, "no".to_owned())
            .expect("it is open"),
    );
    let other = Arc::clone(&future);
    let waiter = thread::spawn(move || other.exception_timeout(LIMIT));
    busy.gate.release_one();
    let error = waiter.join().expect("no panic").expect("in time");
    assert!(matches!(error, Some(Error::Panicked(_))));
}

fn a_waiter_wakes_when_it_is_cancelled<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = Arc::new(busy.pending());
    let other = Arc::clone(&future);
    let waiter = thread::spawn(move || other.result_timeout(LIMIT).copied());
    assert!(future.cancel());
    assert!(matches!(
        waiter.join().expect("no panic"),
        Err(Error::Cancelled)
    ));
    busy.finish();
}

/// Python's test_get_snapshot: what several threads read of a future agrees.
fn readers_at_once_agree<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let future = Arc::new(busy.pending());
    let (ready, started) = mpsc::channel();
    let readers = [0; 4].map(|_| {
        let (future, ready) = (Arc::clone(&future), ready.clone());
        thread::spawn(move || {
            ready.send(()).expect("the test waits");
            let mut done_before = false;
            for _ in 0..1000 {
                match future.result_timeout(Duration::ZERO) {
                    Ok(value) => {
                        assert_eq!(*value, 42);
                        done_before = true;
                    }
                    Err(Error::Timeout { .. }) => assert!(!done_before, "it never goes back"),
                    Err(other) => panic!("{other:?}"),
                }
                assert!(!future.cancelled());
            }
        })
    });
    for _ in 0..4 {
        started.recv_timeout(LIMIT).expect("readers start");
    }
    busy.gate.release_one();
    for reader in readers {
        reader.join().expect("they agree");
    }
    assert_eq!(*future.result_timeout(LIMIT).expect("it returns"), 42);
}

fn running_is_true_only_while_the_function_runs<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let second = busy
        .executor
        .submit(hold, (busy.gate.port(), 2))
        .expect("it is open");
    assert!(!second.running());
    busy.gate.release_one();
    busy.gate.wait_for(1);
    assert_eq!(
        *busy.running.result_timeout(LIMIT).expect("it was let go"),
        1
    );
    X::hear(&busy.executor, 1);
    assert_eq!(busy.executor.stats().running, 1, "this hears what began");
    assert!(second.running() && !busy.running.running());
    busy.gate.release_one();
    assert_eq!(*second.result_timeout(LIMIT).expect("it returns"), 2);
    assert!(!second.running());
}
