//! Several futures at once: `wait`, `wait_until`, `as_completed`, `completions`.

use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Error, Executor, Future, ReturnWhen, Waitable, as_completed, completions, promise, wait,
    wait_until,
};

use crate::fixture::{Busy, Fixture, Gate, LIMIT, double, fail, hold, parse};

contract! {
    [inline, threads, processes] {
        a_future_that_is_given_twice_counts_once,
        one_that_is_enough_ends_the_wait_though_others_ended_with_it,
        all_completed_waits_for_all_and_keeps_their_order,
        one_that_failed_already_is_enough,
        a_tasks_own_error_is_found_by_a_predicate,
        as_completed_yields_each_once_with_its_key,
        nothing_is_waited_for_in_no_time,
        outputs_mix,
        completions_are_a_channel_that_ends,
        whatever_stands_for_a_future_is_waited_for,
        a_limit_may_be_as_long_as_can_be,
        a_wait_of_no_time_sees_what_is_done,
    }
    [threads, processes] {
        first_completed_returns_with_the_first,
        what_is_done_already_is_enough,
        first_exception_returns_with_the_first_failure,
        all_completed_counts_cancels_and_failures,
        a_wait_that_times_out_gives_what_is_so_far,
        a_hundred_released_together_lose_no_wake_up,
        as_completed_in_no_time_yields_what_is_done_and_counts_the_rest,
        as_completed_keeps_nothing_of_what_it_yielded,
        futures_come_in_while_it_runs,
        an_iterator_that_panics_leaves_nothing_registered,
        a_dropped_completions_lets_its_futures_go,
    }
}

/// Python's test_20369.
fn a_future_that_is_given_twice_counts_once<X: Fixture>() {
    let executor = X::executor(2);
    let future = executor.submit(double, 1).expect("it is open");
    let waited = wait([&future, &future], ReturnWhen::AllCompleted, Some(LIMIT));
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 0));
    assert_eq!(as_completed([&future, &future]).count(), 1);
    assert_eq!(as_completed([("a", &future), ("b", &future)]).count(), 1);
    assert_eq!(
        as_completed([Box::new(&future), Box::new(&future)]).count(),
        1
    );
    let shared = std::rc::Rc::new(&future);
    assert_eq!(as_completed([&shared, &shared.clone()]).count(), 1);
    let shared = std::rc::Rc::new(future);
    assert_eq!(as_completed([shared.clone(), shared]).count(), 1);
}

/// Those that ended together are all asked about; one of them is enough.
fn one_that_is_enough_ends_the_wait_though_others_ended_with_it<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let done = [submit(1), submit(2)];
    assert!(done.iter().all(|future| future.exception().is_none()));
    let (_kept, pending) = promise::<i64>();
    let all: [&dyn Waitable; 3] = [&done[0], &done[1], &pending];
    for enough in 0..2 {
        let mut asked = 0;
        let is_enough = |_: &&dyn Waitable| {
            asked += 1;
            asked == enough + 1
        };
        let begin = Instant::now();
        let waited = wait_until(all, is_enough, Some(LIMIT));
        assert!(begin.elapsed() < LIMIT, "it waited for one more");
        assert_eq!((waited.done.len(), waited.not_done.len()), (2, 1));
        assert_eq!(asked, 2);
    }
}

fn all_completed_waits_for_all_and_keeps_their_order<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let futures: Vec<_> = (0..20).map(submit).collect();
    let waited = wait(futures, ReturnWhen::AllCompleted, Some(LIMIT));
    assert!(waited.not_done.is_empty());
    let values = waited.done.into_iter().map(|future| future.into_result());
    let values: Vec<i64> = values.map(|value| value.expect("it returns")).collect();
    assert_eq!(values, (0..20).map(double).collect::<Vec<_>>());
}

/// Python's test_first_exception_one_already_failed.
fn one_that_failed_already_is_enough<X: Fixture>() {
    let executor = X::executor(2);
    let failed = executor.submit(fail, "no".to_owned()).expect("it is open");
    assert!(failed.exception().is_some());
    let well = executor.submit(double, 1).expect("it is open");
    assert!(well.exception().is_none());
    let waited = wait([&well, &failed], ReturnWhen::FirstException, Some(LIMIT));
    assert_eq!(waited.done.len(), 2, "both are done by then");
}

fn a_tasks_own_error_is_found_by_a_predicate<X: Fixture>() {
    let executor = X::executor(2);
    let futures = ["1", "two", "3"].map(|text| {
        (
            text,
            executor.submit(parse, text.to_owned()).expect("it is open"),
        )
    });
    let waited = wait(&futures, ReturnWhen::FirstException, Some(LIMIT));
    assert_eq!(waited.done.len(), 3, "an error of its own is no exception");
    let mut asked = Vec::new();
    let is_error = |(text, future): &&(&'static str, _)| {
        asked.push(*text);
        Future::result(future).is_ok_and(Result::is_err)
    };
    let waited = wait_until(&futures, is_error, Some(LIMIT));
    assert_eq!(waited.done.len(), 3);
    asked.sort_unstable();
    assert_eq!(asked, ["1", "3", "two"], "each is asked once");
}

/// Python's test_no_timeout.
fn as_completed_yields_each_once_with_its_key<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| (n, executor.submit(double, n).expect("it is open"));
    let mut seen = Vec::new();
    for (n, future) in as_completed((0..20).map(submit)) {
        assert_eq!(future.into_result().expect("it returns"), 2 * n);
        seen.push(n);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

fn nothing_is_waited_for_in_no_time<X: Fixture>() {
    let executor = X::executor(1);
    let mut none: Vec<<X::Executor as Executor>::Future<i64>> = Vec::new();
    assert!(as_completed(&mut none).next().is_none());
    for when in [
        ReturnWhen::FirstCompleted,
        ReturnWhen::FirstException,
        ReturnWhen::AllCompleted,
    ] {
        assert!(wait(&none, when, None).done.is_empty());
    }
    assert!(completions(none).recv().is_err());
    executor.shutdown();
}

fn outputs_mix<X: Fixture>() {
    let executor = X::executor(2);
    let number = executor.submit(double, 1).expect("it is open");
    let parsed = executor.submit(parse, "1".to_owned()).expect("it is open");
    let mixed: [&dyn Waitable; 2] = [&number, &parsed];
    let waited = wait(mixed, ReturnWhen::AllCompleted, Some(LIMIT));
    assert_eq!(waited.done.len(), 2);
    assert_eq!(
        as_completed(mixed)
            .timeout(LIMIT)
            .filter(Result::is_ok)
            .count(),
        2
    );
}

fn completions_are_a_channel_that_ends<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| (n, executor.submit(double, n).expect("it is open"));
    let ended = completions((0..20).map(submit));
    for _ in 0..20 {
        let (n, future) = ended.recv_timeout(LIMIT).expect("it comes");
        assert_eq!(future.into_result().expect("it returns"), 2 * n);
    }
    assert!(
        ended
            .recv_timeout(LIMIT)
            .is_err_and(|error| error.is_disconnected())
    );
}

fn whatever_stands_for_a_future_is_waited_for<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let (borrowed, mut exclusive) = (submit(1), submit(2));
    let (boxed, shared) = (Box::new(submit(3)), Arc::new(submit(4)));
    let (counted, keyed) = (Rc::new(submit(5)), ("a key", submit(6)));
    let twice = Arc::new((7, Box::new(submit(7))));
    let all: [Box<dyn Waitable + '_>; 7] = [
        Box::new(&borrowed),
        Box::new(&mut exclusive),
        Box::new(boxed),
        Box::new(shared),
        Box::new(counted),
        Box::new(keyed),
        Box::new(twice),
    ];
    let waited = wait(&all, ReturnWhen::AllCompleted, Some(LIMIT));
    assert_eq!(
        waited.done.len(),
        7,
        "seven tasks and not one of them twice"
    );
    assert_eq!(
        as_completed(all)
            .timeout(LIMIT)
            .filter(Result::is_ok)
            .count(),
        7
    );
}

fn a_limit_may_be_as_long_as_can_be<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let futures = [submit(1), submit(2)];
    let waited = wait(&futures, ReturnWhen::AllCompleted, Some(Duration::MAX));
    assert_eq!(waited.done.len(), 2);
    let mut all = as_completed(&futures);
    assert!(
        all.next_timeout(Duration::MAX)
            .expect("no timeout")
            .is_some()
    );
    assert_eq!(all.timeout(Duration::MAX).filter(Result::is_ok).count(), 1);
}

fn a_wait_of_no_time_sees_what_is_done<X: Fixture>() {
    let executor = X::executor(2);
    let future = executor.submit(double, 1).expect("it is open");
    assert!(future.exception_timeout(LIMIT).expect("in time").is_none());
    use ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
    for when in [FirstCompleted, FirstException, AllCompleted] {
        assert_eq!(wait([&future], when, Some(Duration::ZERO)).done.len(), 1);
    }
    let first = as_completed([&future]).next_timeout(Duration::ZERO);
    assert!(first.expect("it is done").is_some());
    assert!(completions([future]).try_recv().is_ok());
}

/// Python's test_first_completed.
fn first_completed_returns_with_the_first<X: Fixture>() {
    let executor = X::executor(2);
    let (mut slow, mut fast) = (Gate::new(), Gate::new());
    let futures = [
        executor.submit(hold, (slow.port(), 1)).expect("it is open"),
        executor.submit(hold, (fast.port(), 2)).expect("it is open"),
    ];
    slow.wait_for(1);
    fast.wait_for(1);
    fast.open();
    let waited = wait(&futures, ReturnWhen::FirstCompleted, Some(LIMIT));
    assert!(std::ptr::eq(waited.done[0], &futures[1]));
    assert!(std::ptr::eq(waited.not_done[0], &futures[0]));
    slow.open();
}

/// Python's test_first_completed_some_already_completed.
fn what_is_done_already_is_enough<X: Fixture>() {
    let busy = Busy::<X>::new();
    let (pending, cancelled) = (busy.pending(), busy.pending());
    cancelled.cancel();
    let waited = wait([&pending, &cancelled], ReturnWhen::FirstCompleted, None);
    assert!(std::ptr::eq(waited.done[0], &cancelled));
    assert_eq!(waited.not_done.len(), 1);
    busy.finish();
}

/// Python's test_first_exception, and demand 8: a cancel is done at once.
fn first_exception_returns_with_the_first_failure<X: Fixture>() {
    let busy = Busy::<X>::new();
    let (well, cancelled) = (busy.pending(), busy.pending());
    let failing = busy
        .executor
        .submit(fail, "no".to_owned())
        .expect("it is open");
    let mut gate = Gate::new();
    let held = busy
        .executor
        .submit(hold, (gate.port(), 3))
        .expect("it is open");
    cancelled.cancel();
    let all = [&well, &cancelled, &failing, &held];
    let early = wait(all, ReturnWhen::FirstException, Some(Duration::ZERO));
    assert_eq!(
        (early.done.len(), early.not_done.len()),
        (1, 3),
        "a cancel is no failure"
    );
    busy.gate.open();
    gate.wait_for(1);
    let waited = wait(all, ReturnWhen::FirstException, Some(LIMIT));
    assert_eq!((waited.done.len(), waited.not_done.len()), (3, 1));
    assert!(std::ptr::eq(waited.not_done[0], &held));
    gate.open();
}

/// Python's test_all_completed.
fn all_completed_counts_cancels_and_failures<X: Fixture>() {
    let busy = Busy::<X>::new();
    let (well, cancelled) = (busy.pending(), busy.pending());
    let failing = busy
        .executor
        .submit(fail, "no".to_owned())
        .expect("it is open");
    cancelled.cancel();
    thread::scope(|scope| {
        let all = [&well, &cancelled, &failing];
        let waiter = scope.spawn(move || {
            let waited = wait(all, ReturnWhen::AllCompleted, Some(LIMIT));
            (waited.done.len(), waited.not_done.len())
        });
        busy.gate.open();
        assert_eq!(waiter.join().expect("no panic"), (3, 0));
    });
}

/// Python's test_timeout.
fn a_wait_that_times_out_gives_what_is_so_far<X: Fixture>() {
    let busy = Busy::<X>::new();
    let (pending, cancelled) = (busy.pending(), busy.pending());
    cancelled.cancel();
    let limit = Some(Duration::from_millis(1));
    let waited = wait([&pending, &cancelled], ReturnWhen::AllCompleted, limit);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    assert!(!pending.done());
    busy.finish();
}

/// Python's test_pending_calls_race.
fn a_hundred_released_together_lose_no_wake_up<X: Fixture>() {
    let executor = X::executor(10);
    let mut gate = Gate::new();
    let submit = |n| executor.submit(hold, (gate.port(), n)).expect("it is open");
    let futures: Vec<_> = (0..100).map(submit).collect();
    gate.wait_for(10);
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            start.wait();
            wait(&futures, ReturnWhen::AllCompleted, Some(LIMIT))
                .not_done
                .len()
        });
        start.wait();
        gate.open();
        assert_eq!(waiter.join().expect("no panic"), 0);
    });
}

/// Python's test_zero_timeout and test_correct_timeout_exception_msg.
fn as_completed_in_no_time_yields_what_is_done_and_counts_the_rest<X: Fixture>() {
    let busy = Busy::<X>::new();
    let (pending, cancelled) = (busy.pending(), busy.pending());
    cancelled.cancel();
    let mut all = as_completed([&pending, &cancelled]).timeout(Duration::ZERO);
    let first = all.next().expect("one is done").expect("in time");
    assert!(std::ptr::eq(first, &cancelled));
    let late = all.next().expect("one is not");
    let Err(Error::Timeout {
        unfinished: 1,
        total: 2,
    }) = late
    else {
        panic!("{late:?}");
    };
    assert!(late.is_err_and(|error| error.to_string().contains("1 of 2")));
    assert!(all.next().is_none());
    busy.finish();
}

/// Python's test_free_reference_yielded_future.
fn as_completed_keeps_nothing_of_what_it_yielded<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = Arc::new(busy.pending());
    future.cancel();
    let mut all = as_completed([Arc::clone(&future), Arc::new(busy.pending())]);
    drop(all.next());
    assert_eq!(Arc::strong_count(&future), 1);
    busy.finish();
}

fn futures_come_in_while_it_runs<X: Fixture>() {
    let executor = X::executor(2);
    let submit = |n| executor.submit(double, n).expect("it is open");
    let mut all = as_completed([submit(1)]);
    let mut seen = Vec::new();
    while let Some(future) = all.next_timeout(LIMIT).expect("in time") {
        let n = future.into_result().expect("it returns");
        seen.push(n);
        if n < 1000 {
            all.add(submit(n));
        }
    }
    assert_eq!(seen, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
}

fn an_iterator_that_panics_leaves_nothing_registered<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = Arc::new(busy.pending());
    let items = || {
        let mut first = Some(Arc::clone(&future));
        std::iter::from_fn(move || Some(first.take().expect("the iterator panics")))
    };
    let caught = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    assert!(caught(&|| drop(completions(items()))).is_err());
    assert!(caught(&|| drop(as_completed(items()))).is_err());
    assert!(caught(&|| drop(wait(items(), ReturnWhen::AllCompleted, None))).is_err());
    assert_eq!(Arc::strong_count(&future), 1);
    busy.finish();
}

fn a_dropped_completions_lets_its_futures_go<X: Fixture>() {
    let busy = Busy::<X>::new();
    let future = Arc::new(busy.pending());
    drop(completions([Arc::clone(&future)]));
    assert_eq!(Arc::strong_count(&future), 1);
    assert!(!future.cancelled());
    busy.finish();
    assert_eq!(*future.result().expect("it ran"), 42);
}
