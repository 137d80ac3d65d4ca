//! Shutdown: nothing is lost, nothing hangs, nothing new gets in.

use std::thread;
use std::time::Duration;

use concurrent_futures::{Error, Executor, Future, ShutdownOptions};

use crate::fixture::{Busy, Fixture, Gate, LIMIT, Tracked, double, hold, mean_to_panic, pass};

contract! {
    [inline, threads, processes] {
        submit_after_shutdown_is_refused,
        shutdown_lets_everything_finish,
        dropping_the_executor_waits_for_its_work,
        a_cancel_before_shutdown_does_not_hang_it,
        a_shutdown_in_a_hurry_leaves_no_task_in_between,
        a_limit_may_be_as_long_as_can_be,
        large_data_in_flight_hangs_nothing,
    }
    [threads, processes] {
        shutdown_without_waiting_returns_at_once_and_the_work_goes_on,
        shutdown_cancels_what_is_pending_if_asked,
        shutdown_waits_no_longer_than_its_limit,
        workers_are_gone_after_shutdown,
        every_thread_that_shuts_down_waits,
        large_data_in_flight_is_let_go_at_once,
        a_task_that_outlives_its_executor_may_panic,
        dropping_a_pool_whose_initializer_fails_settles_everything,
    }
}

fn submit_after_shutdown_is_refused<X: Fixture>() {
    let executor = X::executor(2);
    executor.shutdown();
    let refused = executor.submit(double, 1).map(drop);
    assert!(matches!(refused, Err(Error::ShutDown)), "{refused:?}");
    executor.shutdown(); // again, and it returns
}

/// Python's test_hang_issue12364.
fn shutdown_lets_everything_finish<X: Fixture>() {
    let executor = X::executor(2);
    let futures: Vec<_> = (0..50)
        .map(|n| executor.submit(double, n).expect("it is open"))
        .collect();
    let report = executor.shutdown();
    assert_eq!((report.finished, report.queued, report.running), (50, 0, 0));
    for (n, future) in (0..).zip(&futures) {
        assert_eq!(*future.result_timeout(Duration::ZERO).expect("done"), 2 * n);
    }
}

fn dropping_the_executor_waits_for_its_work<X: Fixture>() {
    let executor = X::executor(2);
    let futures: Vec<_> = (0..50)
        .map(|n| executor.submit(double, n).expect("it is open"))
        .collect();
    drop(executor);
    assert!(futures.iter().all(Future::done));
}

/// Python's test_hang_gh94440.
fn a_cancel_before_shutdown_does_not_hang_it<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor.submit(double, 1).expect("it is open");
    let cancelled = future.cancel();
    let report = executor.shutdown();
    assert_eq!(report.cancelled, u64::from(cancelled));
    assert_eq!(report.finished + report.cancelled, 1);
}

/// Python's test_cancel_futures_wait_false.
fn a_shutdown_in_a_hurry_leaves_no_task_in_between<X: Fixture>() {
    for _ in 0..50 {
        let executor = X::executor(2);
        let futures = [1, 2, 3].map(|n| executor.submit(double, n).expect("it is open"));
        let hurry = ShutdownOptions::new().wait(false).cancel_pending(true);
        executor.shutdown_with(hurry);
        drop(executor);
        for (n, future) in (1..).zip(futures) {
            match future.result_timeout(LIMIT) {
                Ok(value) => assert_eq!(*value, 2 * n),
                Err(error) => assert!(matches!(error, Error::Cancelled), "{error:?}"),
            }
        }
    }
}

fn a_limit_may_be_as_long_as_can_be<X: Fixture>() {
    let executor = X::executor(2);
    let future = executor.submit(double, 2).expect("it is open");
    let report = executor.shutdown_with(ShutdownOptions::new().timeout(Duration::MAX));
    assert_eq!((report.finished, report.running), (1, 0));
    assert_eq!(
        *future.result_timeout(Duration::MAX).expect("it is done"),
        4
    );
    assert!(
        future
            .exception_timeout(Duration::MAX)
            .expect("it is done")
            .is_none()
    );
}

/// New futures, results and cancels at the same time, with large data.
fn large_data_in_flight_hangs_nothing<X: Fixture>() {
    let executor = X::executor(2);
    let moved: usize = thread::scope(|scope| {
        let submitters = [0; 3].map(|_| {
            scope.spawn(|| {
                let mut moved = 0;
                for n in 0..20 {
                    let back = |text: String| text;
                    let future = executor
                        .submit(back, "1".repeat(1 << 20))
                        .expect("it is open");
                    if n % 3 == 0 && future.cancel() {
                        continue;
                    }
                    moved += future.result_timeout(LIMIT).expect("it returns").len();
                }
                moved
            })
        });
        submitters
            .map(|submitter| submitter.join().expect("no panic"))
            .iter()
            .sum()
    });
    let report = executor.shutdown();
    assert_eq!(report.finished + report.cancelled, 60);
    assert_eq!(report.finished << 20, u64::try_from(moved).expect("small"));
}

fn shutdown_without_waiting_returns_at_once_and_the_work_goes_on<X: Fixture>() {
    let mut busy = Busy::<X>::new();
    let pending = busy.pending();
    let report = busy
        .executor
        .shutdown_with(ShutdownOptions::new().wait(false));
    assert_eq!((report.running, report.queued), (1, 1));
    assert!(!pending.done());
    busy.gate.release_one();
    assert_eq!(*pending.result_timeout(LIMIT).expect("it runs"), 42);
    assert_eq!(busy.executor.shutdown().queued, 0);
}

fn shutdown_cancels_what_is_pending_if_asked<X: Fixture>() {
    let busy = Busy::<X>::new();
    let pending = [0; 5].map(|_| busy.pending());
    let hurry = ShutdownOptions::new().wait(false).cancel_pending(true);
    let report = busy.executor.shutdown_with(hurry);
    assert_eq!((report.running, report.cancelled), (1, 5));
    assert!(pending.iter().all(Future::cancelled));
    busy.gate.open();
    let report = busy.executor.shutdown();
    assert_eq!((report.finished, report.cancelled), (1, 5));
}

fn shutdown_waits_no_longer_than_its_limit<X: Fixture>() {
    let busy = Busy::<X>::new();
    let limit = ShutdownOptions::new().timeout(Duration::from_millis(1));
    let report = busy.executor.shutdown_with(limit);
    assert_eq!(report.running, 1);
    busy.finish();
}

fn workers_are_gone_after_shutdown<X: Fixture>() {
    let executor = X::executor(3);
    let mut gate = Gate::new();
    for n in 0..3 {
        executor
            .submit(hold, (gate.port(), n))
            .expect("it is open")
            .detach();
    }
    gate.wait_for(3);
    assert_eq!(executor.stats().workers, 3);
    gate.open();
    executor.shutdown();
    assert_eq!(executor.stats().workers, 0);
}

fn every_thread_that_shuts_down_waits<X: Fixture>() {
    let busy = Busy::<X>::new();
    let Busy {
        gate,
        executor,
        running,
    } = busy;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                executor.shutdown();
                assert!(running.done());
                assert_eq!(executor.stats().workers, 0);
            });
        }
        gate.open();
    });
}

fn large_data_in_flight_is_let_go_at_once<X: Fixture>() {
    let busy = Busy::<X>::new();
    let tracked = Tracked::default();
    let pending = [0; 16].map(|_| {
        let call = |(_, bytes): (Tracked, Vec<u8>)| bytes;
        let data = (tracked.clone(), vec![1; 1 << 20]);
        busy.executor.submit(call, data).expect("it is open")
    });
    let hurry = ShutdownOptions::new().wait(false).cancel_pending(true);
    assert_eq!(busy.executor.shutdown_with(hurry).cancelled, 16);
    assert_eq!(tracked.copies(), 1);
    assert!(pending.iter().all(Future::cancelled));
    busy.finish();
}

fn a_task_that_outlives_its_executor_may_panic<X: Fixture>() {
    fn pass_and_fail(port: u16) {
        pass(port);
        mean_to_panic();
        panic!("too late for the executor");
    }
    let executor = X::executor(1);
    let mut gate = Gate::new();
    let failing = executor
        .submit(pass_and_fail, gate.port())
        .expect("it is open");
    let behind = executor.submit(double, 1).expect("it is open");
    gate.wait_for(1);
    executor.shutdown_with(ShutdownOptions::new().wait(false));
    drop(executor);
    gate.open();
    let error = failing
        .exception_timeout(LIMIT)
        .expect("it ends")
        .expect("it panics");
    assert!(error.to_string().contains("too late"), "{error}");
    assert_eq!(*behind.result_timeout(LIMIT).expect("the worker lives"), 2);
}

fn dropping_a_pool_whose_initializer_fails_settles_everything<X: Fixture>() {
    let executor = X::failing_to_initialize("no licence");
    let futures: Vec<_> = (0..10)
        .filter_map(|n| executor.submit(double, n).ok())
        .collect();
    drop(executor);
    for future in &futures {
        let error = future
            .exception_timeout(Duration::ZERO)
            .expect("it is settled");
        assert!(matches!(error, Some(Error::Broken(_))), "{error:?}");
    }
}
