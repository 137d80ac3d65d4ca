//! Several tasks in flight to one worker: none is lost, none runs twice, none waits behind a
//! long one while a worker is idle, and each can be cancelled until it has begun.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use concurrent_futures::{
    Error, Future, ProcessFuture, ProcessPoolExecutor, ShutdownOptions, TrySubmitError,
    current_worker,
};

use crate::by_main::list;
use crate::fixture::{Fixture, Gate, double, hold};
use crate::launcher::{Launched, is_usual, launcher};

list! {
    tasks_move_from_a_busy_worker_to_an_idle_one,
    a_task_that_was_sent_ahead_can_be_cancelled,
    a_shutdown_cancels_what_was_sent_ahead,
    tasks_begin_in_the_order_of_their_submission,
    what_is_cancelled_does_not_run_and_all_else_does,
    the_end_of_a_worker_loses_no_task_that_was_sent_ahead,
    a_worker_gets_no_more_tasks_than_it_may_run,
    a_full_queue_counts_what_was_sent_ahead,
    large_arguments_are_sent_ahead_and_recalled,
    calls_of_all_sizes_arrive_as_they_were_sent,
    a_killed_task_takes_none_of_the_others_with_it,
}

/// Returns a pool whose workers have four tasks each at once.
fn pool(workers: usize) -> ProcessPoolExecutor {
    let launcher = launcher().workers(workers).in_flight(4);
    ProcessPoolExecutor::builder()
        .launcher(launcher)
        .build()
        .unwrap()
}

/// Holds the only worker of a pool, which has tasks behind the held one.
fn held(
    tasks: i64,
) -> (
    ProcessPoolExecutor,
    Gate,
    ProcessFuture<i64>,
    Vec<ProcessFuture<i64>>,
) {
    let pool = pool(1);
    let mut gate = Gate::new();
    let running = pool.submit(hold, (gate.port(), 0)).unwrap();
    gate.wait_for(1);
    Launched::<0>::hear(&pool, 1);
    let behind = (0..tasks)
        .map(|n| pool.submit(double, n).unwrap())
        .collect();
    (pool, gate, running, behind)
}

fn tasks_move_from_a_busy_worker_to_an_idle_one() {
    let pool = pool(2);
    let (mut long, mut short) = (Gate::new(), Gate::new());
    let first = pool.submit(hold, (long.port(), 1)).unwrap();
    let second = pool.submit(hold, (short.port(), 2)).unwrap();
    long.wait_for(1);
    short.wait_for(1);
    let behind: Vec<_> = (0..20).map(|n| pool.submit(double, n).unwrap()).collect();
    short.open();
    for (n, task) in (0..).zip(&behind) {
        assert_eq!(*task.result().unwrap(), 2 * n);
    }
    assert!(!first.done());
    long.open();
    assert_eq!(
        (*first.result().unwrap(), *second.result().unwrap()),
        (1, 2)
    );
}

fn a_task_that_was_sent_ahead_can_be_cancelled() {
    let (pool, gate, running, behind) = held(6);
    assert_eq!(pool.stats().queued, 6);
    assert!(behind.iter().all(|task| !task.running()));
    assert!(!running.cancel());
    for task in &behind[1..5] {
        assert!(task.cancel() && task.cancelled());
    }
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.cancelled), (2, 4));
    gate.open();
    assert_eq!(*behind[0].result().unwrap(), 0);
    assert_eq!(*behind[5].result().unwrap(), 10);
    pool.shutdown();
    assert_eq!(pool.stats().finished, 3);
}

fn a_shutdown_cancels_what_was_sent_ahead() {
    let (pool, gate, running, behind) = held(10);
    let at_once = ShutdownOptions::new().wait(false).cancel_pending(true);
    let report = pool.shutdown_with(at_once);
    assert_eq!(
        (report.running, report.cancelled, report.queued),
        (1, 10, 0)
    );
    assert!(behind.iter().all(Future::cancelled));
    gate.open();
    assert_eq!(*running.result().unwrap(), 0);
    assert_eq!(pool.shutdown().finished, 1);
}

/// Returns the number of tasks that this process has begun.
fn count(_: u64) -> u64 {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    BEGUN.fetch_add(1, Ordering::Relaxed) + 1
}

fn tasks_begin_in_the_order_of_their_submission() {
    let pool = pool(1);
    let tasks: Vec<_> = (0..500).map(|n| pool.submit(count, n).unwrap()).collect();
    for (n, task) in (1..).zip(tasks) {
        assert_eq!(*task.result().unwrap(), n);
    }
}

/// Cancels that race with the starts of tasks: the number of tasks that have run is the number
/// of those whose cancel returned `false`.
fn what_is_cancelled_does_not_run_and_all_else_does() {
    let pool = pool(1);
    let (mut cancelled, mut values) = (0, 0);
    for _ in 0..20 {
        let tasks: Vec<_> = (0..50).map(|n| pool.submit(count, n).unwrap()).collect();
        let (front, back) = tasks.split_at(25);
        let cancels = |tasks: &[ProcessFuture<u64>]| {
            let cancels = tasks.iter().rev().filter(|task| task.cancel());
            cancels.count() as u64
        };
        let (one, other) = thread::scope(|scope| {
            let one = scope.spawn(|| cancels(&tasks));
            let other = scope.spawn(|| cancels(front));
            (one.join().unwrap(), other.join().unwrap())
        });
        let all = tasks.iter().filter(|task| task.cancelled()).count() as u64;
        assert!(one.max(other) <= all && back.len() == 25);
        cancelled += all;
        let left = tasks.iter().filter(|task| !task.cancelled());
        values += left.filter(|task| task.result().is_ok()).count() as u64;
    }
    assert_eq!(cancelled + values, 1000);
    assert_eq!(
        *pool.submit(count, 0).unwrap().result().unwrap(),
        values + 1
    );
    assert_eq!(pool.stats().cancelled, cancelled);
}

fn the_end_of_a_worker_loses_no_task_that_was_sent_ahead() {
    let pool = pool(2);
    for _ in 0..5 {
        let dies = |n: i64| -> i64 {
            if n % 10 == 3 {
                std::process::exit(3);
            }
            n
        };
        let tasks: Vec<_> = (0..40).map(|n| pool.submit(dies, n).unwrap()).collect();
        for (n, task) in (0..).zip(tasks) {
            match task.into_result() {
                Ok(value) => assert!(value == n && n % 10 != 3, "{n}"),
                Err(Error::WorkerDied(death)) => {
                    // A command that passes the bytes on may have lost the start of a task.
                    let is_unknown = !is_usual() && death.times_begun() == 0;
                    assert!(is_unknown || (death.times_begun(), n % 10) == (1, 3), "{n}");
                }
                Err(error) => panic!("{n}: {error}"),
            }
        }
    }
}

fn a_worker_gets_no_more_tasks_than_it_may_run() {
    let pool = ProcessPoolExecutor::builder()
        .launcher(launcher().in_flight(8))
        .max_tasks_per_child(3)
        .build()
        .unwrap();
    let number = |_: i64| current_worker().unwrap().number();
    let tasks: Vec<_> = (0..12).map(|n| pool.submit(number, n).unwrap()).collect();
    let numbers: Vec<usize> = tasks
        .into_iter()
        .map(|task| task.into_result().unwrap())
        .collect();
    assert_eq!(numbers, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}

fn a_full_queue_counts_what_was_sent_ahead() {
    let pool = ProcessPoolExecutor::builder()
        .launcher(launcher().in_flight(8))
        .queue_capacity(2)
        .build()
        .unwrap();
    let mut gate = Gate::new();
    let running = pool.submit(hold, (gate.port(), 1)).unwrap();
    gate.wait_for(1);
    let waiting = [1, 2].map(|n| pool.submit(double, n).unwrap());
    let full = pool.try_submit(double, 3);
    assert!(
        matches!(
            full,
            Err(TrySubmitError {
                error: Error::QueueFull,
                ..
            })
        ),
        "{full:?}"
    );
    let blocked = thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.submit(double, 4).unwrap().into_result());
        gate.open();
        blocked.join().unwrap()
    });
    assert_eq!(blocked.unwrap(), 8);
    assert!(waiting.iter().all(|task| task.result().is_ok()) && running.result().is_ok());
}

fn large_arguments_are_sent_ahead_and_recalled() {
    let (pool, gate, running, _) = held(0);
    let length = |bytes: Vec<u8>| bytes.len();
    let large: Vec<_> = (0..4)
        .map(|_| pool.submit(length, vec![1; 4 << 20]).unwrap())
        .collect();
    // The reader takes all of them while the task runs.
    assert!(large[1].cancel() && large[2].cancel());
    gate.open();
    assert_eq!(*running.result().unwrap(), 0);
    for task in [&large[0], &large[3]] {
        assert_eq!(*task.result().unwrap(), 4 << 20);
    }
}

/// Short calls go together in one system call, and long ones in several.
fn calls_of_all_sizes_arrive_as_they_were_sent() {
    let launcher = launcher().in_flight(8);
    let builder = ProcessPoolExecutor::builder().launcher(launcher);
    let pool = builder.build().unwrap();
    let sum = |numbers: Vec<f64>| (numbers.len(), numbers.iter().sum::<f64>());
    // The numbers of a long one are sent from where they are.
    let sizes = [3, 0, 700, 5_000, 1, 2_000, 21_000, 2, 40_003];
    let argument = |n: u64| -> Vec<f64> {
        let size = sizes[n as usize % sizes.len()] + 13 * n as usize % 1_999;
        (0..size).map(|at| (at as u64 % (n + 2)) as f64).collect()
    };
    let arrays: Vec<_> = (0..600)
        .map(|n| {
            let array = pool.submit(sum, argument(n)).unwrap();
            (array, pool.submit(double, n as i64).unwrap())
        })
        .collect();
    for (n, (array, number)) in (0..).zip(&arrays) {
        assert_eq!(*array.result().unwrap(), sum(argument(n)), "{n}");
        assert_eq!(*number.result().unwrap(), 2 * n as i64);
    }
}

fn a_killed_task_takes_none_of_the_others_with_it() {
    let (pool, gate, running, behind) = held(6);
    // A task that has not begun is cancelled in place of that.
    assert!(behind[0].kill() && behind[0].cancelled());
    assert!(running.kill());
    assert!(matches!(running.exception(), Some(Error::Killed(_))));
    for (n, task) in (0..).zip(&behind).skip(1) {
        assert_eq!(*task.result().unwrap(), 2 * n);
    }
    gate.open();
    pool.shutdown();
}
