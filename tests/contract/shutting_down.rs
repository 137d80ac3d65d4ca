//! Shutdown: nothing is lost, nothing hangs, nothing new gets in.

use std::time::Duration;

use concurrent_futures::{Error, Executor, Future, ShutdownOptions};

use crate::fixture::{self, Busy, Fixture, Gate, LIMIT, double, hold};

on_every_executor! {
    fn submit_after_shutdown_is_refused<X>() {
        let executor = X::executor(2);
        executor.shutdown();
        let refused = executor.submit(double, 1).map(drop);
        assert!(matches!(refused, Err(Error::ShutDown)), "{refused:?}");
        executor.shutdown(); // again, and it returns
    }

    /// Python's test_hang_issue12364.
    fn shutdown_lets_everything_finish<X>() {
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

    fn dropping_the_executor_waits_for_its_work<X>() {
        let executor = X::executor(2);
        let futures: Vec<_> = (0..50)
            .map(|n| executor.submit(double, n).expect("it is open"))
            .collect();
        drop(executor);
        assert!(futures.iter().all(Future::done));
    }

    /// Python's test_hang_gh94440.
    fn a_cancel_before_shutdown_does_not_hang_it<X>() {
        let executor = X::executor(1);
        let future = executor.submit(double, 1).expect("it is open");
        let cancelled = future.cancel();
        let report = executor.shutdown();
        assert_eq!(report.cancelled, u64::from(cancelled));
        assert_eq!(report.finished + report.cancelled, 1);
    }
}

on_every_pool! {
    fn shutdown_without_waiting_returns_at_once_and_the_work_goes_on<X>() {
        let mut busy = Busy::<X>::new();
        let pending = busy.pending();
        let report = busy.executor.shutdown_with(ShutdownOptions::new().wait(false));
        assert_eq!((report.running, report.queued), (1, 1));
        assert!(!pending.done());
        busy.gate.release_one();
        assert_eq!(*pending.result_timeout(LIMIT).expect("it runs"), 42);
        assert_eq!(busy.executor.shutdown().queued, 0);
    }

    fn shutdown_cancels_what_is_pending_if_asked<X>() {
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

    fn shutdown_waits_no_longer_than_its_limit<X>() {
        let busy = Busy::<X>::new();
        let limit = ShutdownOptions::new().timeout(Duration::from_millis(1));
        let report = busy.executor.shutdown_with(limit);
        assert_eq!(report.running, 1);
        busy.finish();
    }

    fn workers_are_gone_after_shutdown<X>() {
        let executor = X::executor(3);
        let mut gate = Gate::new();
        for n in 0..3 {
            executor.submit(hold, (gate.port(), n)).expect("it is open").detach();
        }
        gate.wait_for(3);
        assert_eq!(executor.stats().workers, 3);
        gate.open();
        executor.shutdown();
        assert_eq!(executor.stats().workers, 0);
    }

    fn every_thread_that_shuts_down_waits<X>() {
        let busy = Busy::<X>::new();
        let Busy { gate, executor, running } = busy;
        std::thread::scope(|scope| {
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
}
