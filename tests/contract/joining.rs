//! Many tasks and those who wait for all of them: again and again, from many
//! threads, in waves; and tasks for which no thread waits.

use std::sync::mpsc;
use std::thread;

use concurrent_futures::{Error, Executor, Future, ReturnWhen, wait};

use crate::fixture::{Fixture, Gate, LIMIT, double, hold};

contract! {
    [inline, threads, processes] {
        a_task_whose_future_is_dropped_runs_all_the_same,
        wave_after_wave_is_waited_for,
        many_threads_submit_and_wait_in_waves,
        ten_thousand_tasks_at_once_are_none_too_many,
    }
    [threads, processes] {
        many_threads_wait_for_the_same_tasks,
        a_wave_is_waited_for_without_the_next,
    }
}

fn a_task_whose_future_is_dropped_runs_all_the_same<X: Fixture>() {
    let executor = X::executor(2);
    for n in 0..50 {
        drop(executor.submit(double, n).expect("it is open"));
    }
    let report = executor.shutdown();
    assert_eq!((report.finished, report.cancelled), (50, 0));
}

fn wave_after_wave_is_waited_for<X: Fixture>() {
    let executor = X::executor(3);
    for wave in 1..=20 {
        let submit = |n| executor.submit(double, n).expect("it is open");
        let futures: Vec<_> = (0..20).map(submit).collect();
        for _ in 0..3 {
            let waited = wait(&futures, ReturnWhen::AllCompleted, Some(LIMIT));
            assert_eq!(waited.done.len(), 20);
        }
        let stats = executor.stats();
        assert_eq!(
            (stats.finished, stats.queued, stats.running),
            (20 * wave, 0, 0)
        );
        assert!(stats.workers <= 3);
    }
}

fn many_threads_submit_and_wait_in_waves<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let futures = [1, 2, 3].map(submit);
                    let waited = wait(futures, ReturnWhen::AllCompleted, Some(LIMIT));
                    let values = waited.done.into_iter().map(Future::into_result);
                    assert_eq!(values.sum::<Result<i64, Error>>().expect("they return"), 12);
                }
            });
        }
    });
    assert_eq!(executor.shutdown().finished, 300);
}

fn ten_thousand_tasks_at_once_are_none_too_many<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let futures: Vec<_> = (0..10_000).map(submit).collect();
    let values = futures.into_iter().map(Future::into_result);
    assert_eq!(
        values.sum::<Result<i64, Error>>().expect("they return"),
        99_990_000
    );
    assert!(executor.stats().workers <= 2);
    assert_eq!(executor.shutdown().finished, 10_000);
}

fn many_threads_wait_for_the_same_tasks<X: Fixture>() {
    let executor = X::executor(2);
    let mut gate = Gate::new();
    let futures: Vec<_> = (0..10)
        .map(|n| executor.submit(hold, (gate.port(), n)).expect("it is open"))
        .collect();
    gate.wait_for(2);
    let (sender, waiting) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..8 {
            let (futures, sender) = (&futures, sender.clone());
            scope.spawn(move || {
                sender.send(()).expect("the test waits");
                let waited = wait(futures, ReturnWhen::AllCompleted, Some(LIMIT));
                assert_eq!(waited.done.len(), 10);
                for (n, future) in (0..).zip(futures) {
                    assert_eq!(*future.result_timeout(LIMIT).expect("it returned"), n);
                }
            });
        }
        for _ in 0..8 {
            waiting.recv_timeout(LIMIT).expect("they start");
        }
        gate.open();
    });
}

/// The first wave is waited for while the second is under way.
fn a_wave_is_waited_for_without_the_next<X: Fixture>() {
    let executor = X::executor(2);
    let (mut first, mut second) = (Gate::new(), Gate::new());
    let submit = |gate: &Gate| executor.submit(hold, (gate.port(), 1)).expect("it is open");
    let wave = [submit(&first)];
    let next = [submit(&second)];
    first.wait_for(1);
    second.wait_for(1);
    first.open();
    assert!(
        wait(wave, ReturnWhen::AllCompleted, Some(LIMIT))
            .not_done
            .is_empty()
    );
    X::hear(&executor, 1);
    assert!(next[0].running());
    second.open();
    assert!(
        wait(next, ReturnWhen::AllCompleted, Some(LIMIT))
            .not_done
            .is_empty()
    );
}
