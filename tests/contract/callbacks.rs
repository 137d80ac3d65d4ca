//! Done-callbacks: each once, in order, and a bad one harms no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, ThreadId};

use concurrent_futures::{Error, Executor, Future};

use crate::fixture::{Busy, Fixture, Gate, LIMIT, double, fail, hold};

contract! {
    [inline, threads, processes] {
        added_after_success_it_runs_at_once_here,
        added_after_failure_it_runs_at_once_here,
        one_that_panics_at_once_does_not_reach_the_adder,
        then_gets_the_value_itself,
        one_may_add_another_which_runs_behind_it,
    }
    [threads, processes] {
        added_while_pending_it_sees_the_result,
        added_while_pending_it_sees_the_exception,
        a_cancel_runs_it_before_it_returns,
        added_after_a_cancel_it_runs_at_once_here,
        one_that_panics_does_not_stop_later_ones_nor_the_worker,
        they_run_in_the_order_of_adding,
        into_result_waits_for_them,
        one_may_cancel_others_whose_callbacks_run_too,
        one_may_submit_the_next_task,
        those_that_race_with_the_end_run_once_each,
    }
}

/// The observations of a callback: the state it saw, and its thread.
#[derive(Debug)]
struct Told {
    outcome: Result<i64, Error>,
    cancelled: bool,
    thread: ThreadId,
}

/// A callback that reports, and where its reports arrive.
fn report<F: Future<Output = i64>>() -> (impl FnOnce(&F) + Send + 'static, Receiver<Told>) {
    let (sender, receiver): (Sender<Told>, _) = mpsc::channel();
    let callback = move |future: &F| {
        assert!(future.done());
        let told = Told {
            outcome: future.result().copied(),
            cancelled: future.cancelled(),
            thread: thread::current().id(),
        };
        sender.send(told).expect("the test waits");
    };
    (callback, receiver)
}

fn added_after_success_it_runs_at_once_here<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor.submit(double, 3).expect("it is open");
    assert!(future.exception().is_none());
    let (callback, told) = report();
    future.add_done_callback(callback);
    let told = told.try_recv().expect("it ran already");
    assert_eq!(told.outcome.expect("it returned"), 6);
    assert_eq!(told.thread, thread::current().id());
}

fn added_after_failure_it_runs_at_once_here<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor.submit(fail, "no".to_owned()).expect("it is open");
    assert!(future.exception().is_some());
    let (callback, told) = report();
    future.add_done_callback(callback);
    let told = told.try_recv().expect("it ran already");
    assert!(matches!(told.outcome, Err(Error::Panicked(_))));
    assert_eq!(told.thread, thread::current().id());
}

fn one_that_panics_at_once_does_not_reach_the_adder<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor.submit(double, 3).expect("it is open");
    assert!(future.exception().is_none());
    future.add_done_callback(|_| panic!("a bad callback"));
    let (callback, told) = report();
    future.add_done_callback(callback);
    assert!(told.try_recv().is_ok());
}

fn then_gets_the_value_itself<X: Fixture>() {
    let executor = X::executor(1);
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(|n: i64| vec![n], 3).expect("it is open");
    future.then(move |value| sender.send(value).expect("the test waits"));
    let value = receiver.recv_timeout(LIMIT).expect("it runs");
    assert_eq!(value.expect("it returned"), [3]);
}

fn one_may_add_another_which_runs_behind_it<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor.submit(double, 3).expect("it is open");
    let (sender, order) = mpsc::channel();
    let end = sender.clone();
    future.add_done_callback(move |future: &<X::Executor as Executor>::Future<i64>| {
        future.add_done_callback(move |future| {
            let value = future.result().copied();
            end.send(value.expect("it returned"))
                .expect("the test waits");
        });
        sender.send(0).expect("the test waits");
    });
    assert_eq!(order.recv_timeout(LIMIT), Ok(0));
    assert_eq!(order.recv_timeout(LIMIT), Ok(6));
    executor.shutdown();
    assert!(order.try_recv().is_err(), "each once");
}

fn added_while_pending_it_sees_the_result<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy.pending();
    let (callback, told) = report();
    future.add_done_callback(callback);
    assert!(told.try_recv().is_err(), "not before it is done");
    busy.gate.open();
    let told = told.recv_timeout(LIMIT).expect("it runs");
    assert_eq!(told.outcome.expect("it returned"), 42);
    assert!(!told.cancelled);
}

fn added_while_pending_it_sees_the_exception<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy
        .executor
        .submit(fail, "no".to_owned())
        .expect("it is open");
    let (callback, told) = report();
    future.add_done_callback(callback);
    busy.gate.open();
    let told = told.recv_timeout(LIMIT).expect("it runs");
    assert!(matches!(told.outcome, Err(Error::Panicked(_))));
}

fn a_cancel_runs_it_before_it_returns<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy.pending();
    let (callback, told) = report();
    future.add_done_callback(callback);
    assert!(future.cancel());
    let told = told.try_recv().expect("it ran already");
    assert!(told.cancelled && matches!(told.outcome, Err(Error::Cancelled)));
    assert_eq!(told.thread, thread::current().id());
    busy.finish();
}

fn added_after_a_cancel_it_runs_at_once_here<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy.pending();
    assert!(future.cancel());
    let (callback, told) = report();
    future.add_done_callback(callback);
    assert!(told.try_recv().expect("it ran already").cancelled);
    busy.finish();
}

fn one_that_panics_does_not_stop_later_ones_nor_the_worker<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy.pending();
    let (before, first) = report();
    let (after, second) = report();
    future.add_done_callback(before);
    future.add_done_callback(|_| panic!("a bad callback"));
    future.add_done_callback(after);
    busy.gate.open();
    assert!(first.recv_timeout(LIMIT).is_ok());
    assert!(second.recv_timeout(LIMIT).is_ok());
    let next = busy.executor.submit(double, 1).expect("it is open");
    assert_eq!(*next.result_timeout(LIMIT).expect("the worker lives"), 2);
}

fn they_run_in_the_order_of_adding<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy.pending();
    let (sender, receiver) = mpsc::channel();
    for n in 0..100 {
        let sender = sender.clone();
        future.add_done_callback(move |_| sender.send(n).expect("the test waits"));
    }
    busy.gate.open();
    let order: Vec<i32> = (0..100)
        .map(|_| receiver.recv_timeout(LIMIT).expect("it runs"))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

fn into_result_waits_for_them<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = busy.pending();
    let (callback, told) = report();
    future.add_done_callback(callback);
    busy.gate.open();
    assert_eq!(future.into_result().expect("it returns"), 42);
    assert!(told.try_recv().is_ok(), "it ran before");
}

fn one_may_cancel_others_whose_callbacks_run_too<X: Fixture>() {
    let busy = Busy::<X>::new();
    let first = busy.pending();
    // Keeps the worker from the other tasks, in each kind of executor.
    let gate = Gate::new();
    let held = busy
        .executor
        .submit(hold, (gate.port(), 1))
        .expect("it is open");
    let (second, third) = (busy.pending(), busy.pending());
    let (sender, order) = mpsc::channel();
    let senders = [0; 3].map(|_| sender.clone());
    let [one, two, three] = senders;
    third.add_done_callback(move |future| {
        three.send((3, future.cancelled())).expect("the test waits");
    });
    second.add_done_callback(move |future| {
        assert!(third.cancel());
        two.send((2, future.cancelled())).expect("the test waits");
    });
    first.add_done_callback(move |future| {
        assert!(second.cancel());
        one.send((1, future.cancelled())).expect("the test waits");
    });
    busy.gate.open();
    let told = [0; 3].map(|_| order.recv_timeout(LIMIT).expect("they are told"));
    assert_eq!(told, [(1, false), (2, true), (3, true)]);
    gate.open();
    assert_eq!(*held.result_timeout(LIMIT).expect("it returns"), 1);
    let report = busy.executor.shutdown();
    assert_eq!((report.finished, report.cancelled), (3, 2));
    assert!(order.try_recv().is_err(), "each once");
}

/// Each task is submitted by the callback of the one before it; the last
/// callback has the last reference to the executor.
fn one_may_submit_the_next_task<X: Fixture>() {
    fn follow<E: Executor + Send + Sync + 'static>(executor: Arc<E>, n: i64, end: Sender<i64>) {
        let future = executor.submit(double, n).expect("it is open");
        let inner = Arc::clone(&executor);
        drop(executor);
        future.add_done_callback(move |future: &E::Future<i64>| {
            let value = future.result().copied().expect("it returned");
            if n < 1000 {
                follow(inner, n + 1, end);
            } else {
                drop(inner);
                end.send(value).expect("the test waits");
            }
        });
    }
    // One worker, which is held, or in the callback: each task is still pending
    // when its callback is added, which so never runs inside the one before.
    let Busy { gate, executor, .. } = Busy::<X>::new();
    let (sender, last) = mpsc::channel();
    follow(Arc::new(executor), 0, sender);
    gate.open();
    assert_eq!(last.recv_timeout(LIMIT), Ok(2000));
}

fn those_that_race_with_the_end_run_once_each<X: Fixture>() {
    for _ in 0..20 {
        let mut busy = Busy::<X>::new();
        let future = busy.pending();
        let told = Arc::new(AtomicUsize::new(0));
        let (sender, started) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..4 {
                let (future, told, sender) = (&future, &told, sender.clone());
                scope.spawn(move || {
                    sender.send(()).expect("the test waits");
                    for _ in 0..100 {
                        let told = Arc::clone(told);
                        future.add_done_callback(move |_| {
                            told.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
            for _ in 0..4 {
                started.recv_timeout(LIMIT).expect("they start");
            }
            busy.gate.release_one();
        });
        busy.executor.shutdown();
        assert_eq!(told.load(Ordering::Relaxed), 400);
    }
}
