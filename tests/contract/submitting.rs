//! `submit`: values and failures come back, workers start on demand.

use std::panic::{AssertUnwindSafe, catch_unwind};

use concurrent_futures::{
    Error, Executor, Future, MapOptions, Report, TaskOptions, current_worker, submit,
};

use crate::fixture::{Fixture, Gate, LIMIT, Tracked, double, fail, hold, initialized, parse};

contract! {
    [inline, threads, processes] {
        submit_gives_the_value_back,
        two_arguments_travel_as_a_tuple,
        submit_with_several_arguments_needs_no_closure,
        any_error_travels_as_a_report,
        a_named_task_has_its_name_in_its_error_and_no_other_has,
        a_reference_to_an_executor_is_one,
        a_panic_is_the_error_and_names_place_and_worker,
        a_tasks_own_error_is_a_value,
        tasks_know_their_worker,
        large_values_come_and_go_whole,
        a_task_may_have_an_executor_of_its_own,
    }
    [inline, threads] {
        arguments_are_gone_before_the_result_is_there,
        a_panic_keeps_the_type_of_its_payload,
        an_option_that_cannot_be_honoured_is_refused_and_the_call_comes_back,
    }
    [threads, processes] {
        blocked_tasks_start_workers_up_to_the_maximum_and_no_more,
        sequential_tasks_reuse_one_worker,
        workers_start_one_by_one_as_tasks_come,
        each_worker_is_initialized_before_its_first_task,
        a_failing_initializer_breaks_the_pool,
        every_worker_recovers_from_panics,
        a_panic_is_its_own_tasks_alone,
        tasks_that_block_all_complete_with_few_workers,
    }
}

fn submit_gives_the_value_back<X: Fixture>() {
    let executor = X::executor(2);
    let future = executor.submit(double, 21).expect("it is open");
    assert_eq!(*future.result().expect("it returns"), 42);
    assert_eq!(*future.result().expect("as often as you like"), 42);
    assert_eq!(future.into_result().expect("it returned"), 42);
}

fn two_arguments_travel_as_a_tuple<X: Fixture>() {
    let executor = X::executor(2);
    let power = executor.submit(|(base, by)| i64::pow(base, by), (2, 10));
    assert_eq!(
        *power.expect("it is open").result().expect("it returns"),
        1024
    );
    let none = executor.submit(|()| 7_i64, ()).expect("it is open");
    assert_eq!(*none.result().expect("it returns"), 7);
}

fn submit_with_several_arguments_needs_no_closure<X: Fixture>() {
    fn sum(a: i64, b: i64, c: i64) -> i64 {
        a + b + c
    }
    let executor = X::executor(2);
    assert_eq!(
        submit!(executor, sum, 1, 2, 3)
            .expect("it is open")
            .into_result()
            .expect("it returns"),
        6
    );
    assert_eq!(
        submit!(executor, double, 4)
            .expect("it is open")
            .into_result()
            .expect("it returns"),
        8
    );
    assert_eq!(
        submit!(&executor, || 7_i64)
            .expect("it is open")
            .into_result()
            .expect("it returns"),
        7
    );
    let eight = submit!(
        executor,
        |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8| { [a, b, c, d, e, f, g, h] },
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8
    );
    let eight = eight
        .expect("it is open")
        .into_result()
        .expect("it returns");
    assert_eq!(eight, [1, 2, 3, 4, 5, 6, 7, 8]);
}

fn any_error_travels_as_a_report<X: Fixture>() {
    fn number(text: String) -> Result<i64, Report> {
        let number: i64 = text.parse()?;
        if number < 0 {
            return Err(Report::new("negative"));
        }
        Ok(number)
    }
    let executor = X::executor(2);
    let ask = |text: &str| {
        executor
            .submit(number, text.to_owned())
            .expect("it is open")
    };
    assert_eq!(
        ask("7")
            .into_result()
            .expect("it returns")
            .expect("it is one"),
        7
    );
    let report = ask("-1")
        .into_result()
        .expect("it returns")
        .expect_err("it is none");
    assert_eq!(report.message(), "negative");
    let report = ask("x")
        .into_result()
        .expect("it returns")
        .expect_err("it is none");
    assert!(report.message().contains("invalid digit"));
}

fn a_named_task_has_its_name_in_its_error_and_no_other_has<X: Fixture>() {
    let executor = X::executor(1);
    let view = X::with(&executor, TaskOptions::new().name("thumb"));
    let named = view
        .submit(fail, "ouch".to_owned())
        .expect("it is open")
        .exception();
    let plain = executor
        .submit(fail, "ouch".to_owned())
        .expect("it is open")
        .exception();
    let (Some(Error::Panicked(named)), Some(Error::Panicked(plain))) = (named, plain) else {
        panic!("both fail");
    };
    assert_eq!((named.task(), plain.task()), (Some("thumb"), None));
    assert!(
        named.to_string().starts_with("the task thumb panicked at"),
        "{named}"
    );
    assert_eq!(view.map(double, [1, 2]).expect("it is open").count(), 2);
    let texts = || ["ouch".to_owned(), "oh".to_owned()];
    let chunk = MapOptions::new().chunk_size(2);
    for map in [view.map(fail, texts()), view.map_with(chunk, fail, texts())] {
        let results: Vec<_> = map.expect("it is open").collect();
        for result in results {
            let Err(Error::Panicked(named)) = result else {
                panic!("each fails");
            };
            assert_eq!(named.task(), Some("thumb"));
        }
    }
    let tried = view
        .try_submit(fail, "ouch".to_owned())
        .expect("it is open");
    let Some(Error::Panicked(named)) = tried.exception() else {
        panic!("{tried:?}");
    };
    assert_eq!(named.task(), Some("thumb"));
    assert_eq!(view.max_workers(), executor.max_workers());
    assert_eq!(view.stats().finished, executor.stats().finished);
}

fn a_reference_to_an_executor_is_one<X: Fixture>() {
    fn doubled(executor: impl Executor, n: i64) -> i64 {
        let future = executor.submit(double, n).expect("it is open");
        future.into_result().expect("it returns")
    }
    let executor = X::executor(2);
    assert_eq!(doubled(&executor, 4), 8);
}

fn a_panic_is_the_error_and_names_place_and_worker<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor
        .submit(fail, "ouch".to_owned())
        .expect("it is open");
    let Some(Error::Panicked(panic)) = future.exception() else {
        panic!("{future:?}");
    };
    assert_eq!(panic.message(), "ouch");
    assert!(
        panic
            .location()
            .expect("the hook saw it")
            .contains("fixture.rs:")
    );
    assert!(panic.worker().is_some());
    let text = Error::Panicked(panic).to_string();
    assert!(
        text.contains("ouch") && text.contains("fixture.rs:"),
        "{text}"
    );
    // The worker is not lost to it.
    let next = executor.submit(double, 1).expect("it is open");
    assert_eq!(*next.result_timeout(LIMIT).expect("it returns"), 2);
    let stats = executor.stats();
    assert_eq!((stats.finished, stats.failed, stats.running), (1, 1, 0));
}

fn a_tasks_own_error_is_a_value<X: Fixture>() {
    let executor = X::executor(1);
    let future = executor.submit(parse, "x".to_owned()).expect("it is open");
    assert!(future.exception().is_none());
    assert!(
        future
            .result()
            .expect("it returned")
            .as_ref()
            .is_err_and(|e| e.contains("\"x\""))
    );
}

fn tasks_know_their_worker<X: Fixture>() {
    let executor = X::executor(1);
    let inside = executor
        .submit(
            |()| current_worker().map(|worker| (worker.name().to_owned(), worker.number())),
            (),
        )
        .expect("it is open");
    let (name, number) = inside
        .into_result()
        .expect("it returns")
        .expect("a worker runs it");
    assert!(!name.is_empty());
    assert_eq!(number, 0);
    assert!(current_worker().is_none());
}

/// As text, since serde takes bytes one by one.
fn large_values_come_and_go_whole<X: Fixture>() {
    const LARGE: usize = 64 << 20;
    let executor = X::executor(1);
    let made = executor.submit(|byte: char| byte.to_string().repeat(LARGE), '7');
    let made = made.expect("it is open").into_result().expect("it returns");
    let whole = "7".repeat(LARGE);
    assert!(made == whole);
    let there_and_back = executor
        .submit(|text: String| text, made)
        .expect("it is open");
    assert!(there_and_back.into_result().expect("it returns") == whole);
}

fn a_task_may_have_an_executor_of_its_own<X: Fixture>() {
    fn depth<X: Fixture>(left: i64) -> i64 {
        let Some(left) = left.checked_sub(1).filter(|left| *left >= 0) else {
            return 0;
        };
        let executor = X::executor(1);
        let inner = executor.submit(depth::<X>, left).expect("it is open");
        1 + inner.into_result().expect("it returns")
    }
    let executor = X::executor(1);
    let outer = executor.submit(depth::<X>, 8).expect("it is open");
    assert_eq!(*outer.result_timeout(LIMIT).expect("it returns"), 8);
}

/// Python's test_no_stale_references.
fn arguments_are_gone_before_the_result_is_there<X: Fixture>() {
    let executor = X::executor(1);
    let tracked = Tracked::default();
    for _ in 0..100 {
        let copies = executor.submit(|argument: Tracked| argument.copies(), tracked.clone());
        assert_eq!(
            copies
                .expect("it is open")
                .into_result()
                .expect("it returns"),
            2
        );
        assert_eq!(tracked.copies(), 1);
        drop(
            executor
                .submit(|_: Tracked| (), tracked.clone())
                .expect("it is open"),
        );
        let next = executor.submit(double, 1).expect("it is open");
        assert_eq!(*next.result_timeout(LIMIT).expect("it returns"), 2);
    }
    executor.shutdown();
    assert_eq!(tracked.copies(), 1, "unread ones too");
}

fn a_panic_keeps_the_type_of_its_payload<X: Fixture>() {
    #[derive(Debug, PartialEq)]
    struct Payload(i64);
    let executor = X::executor(1);
    let future = executor.submit(|n: i64| -> i64 { std::panic::panic_any(Payload(n)) }, 5);
    let Some(Error::Panicked(panic)) = future.expect("it is open").exception() else {
        panic!("it panics");
    };
    assert!(
        panic
            .location()
            .expect("the hook saw it")
            .contains("submitting.rs:")
    );
    let resumed = catch_unwind(AssertUnwindSafe(|| panic.resume()));
    let payload = resumed.expect_err("it resumes").downcast::<Payload>();
    assert_eq!(*payload.expect("the very one"), Payload(5));
}

fn an_option_that_cannot_be_honoured_is_refused_and_the_call_comes_back<X: Fixture>() {
    let executor = X::executor(1);
    let limit = TaskOptions::new().time_limit(LIMIT);
    for options in [limit, TaskOptions::new().retries(1)] {
        let view = X::with(&executor, options);
        assert!(matches!(
            view.submit(double, 1),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(
            view.map(double, [1]),
            Err(Error::InvalidArgument(_))
        ));
        let map = view
            .map_with(MapOptions::new().chunk_size(2), double, [1])
            .map(drop);
        assert!(matches!(map, Err(Error::InvalidArgument(_))));
        let refused = view
            .try_submit(double, 7)
            .expect_err("it cannot be honoured");
        assert!(matches!(refused.error, Error::InvalidArgument(_)));
        let (f, args) = refused.call;
        assert_eq!(f(args), 14);
    }
    assert_eq!(executor.stats().finished, 0);
    let view = X::with(&executor, TaskOptions::new().name("late"));
    view.shutdown();
    let refused = view.try_submit(double, 7).expect_err("it is shut down");
    assert!(matches!(refused.error, Error::ShutDown));
    assert_eq!(refused.call.1, 7);
}

/// Python's test_saturation.
fn blocked_tasks_start_workers_up_to_the_maximum_and_no_more<X: Fixture>() {
    let executor = X::executor(4);
    let mut gate = Gate::new();
    let futures: Vec<_> = (0..60)
        .map(|n| executor.submit(hold, (gate.port(), n)).expect("it is open"))
        .collect();
    gate.wait_for(4);
    X::hear(&executor, 4);
    let stats = executor.stats();
    assert_eq!((stats.workers, stats.running, stats.queued), (4, 4, 56));
    gate.open();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.into_result().expect("it returns"), n);
    }
    assert_eq!(executor.stats().workers, 4);
}

/// Python's test_idle_thread_reuse, and exact: no race with the worker.
fn sequential_tasks_reuse_one_worker<X: Fixture>() {
    let executor = X::executor(4);
    for n in 0..2_000 {
        let future = executor.submit(double, n).expect("it is open");
        assert_eq!(future.into_result().expect("it returns"), 2 * n);
        assert_eq!(executor.stats().workers, 1, "after task {n}");
    }
}

fn workers_start_one_by_one_as_tasks_come<X: Fixture>() {
    let executor = X::executor(3);
    assert_eq!(executor.stats().workers, 0);
    let mut gate = Gate::new();
    for n in 1..=3 {
        executor
            .submit(hold, (gate.port(), 0))
            .expect("it is open")
            .detach();
        gate.wait_for(1);
        assert_eq!(executor.stats().workers, n);
    }
    // One goes idle; the next task takes it instead of a new one.
    gate.open();
}

/// Python's InitializerMixin.test_initializer.
fn each_worker_is_initialized_before_its_first_task<X: Fixture>() {
    let executor = X::initializing();
    let futures: Vec<_> = (0..30)
        .map(|_| executor.submit(initialized, ()).expect("it is open"))
        .collect();
    for future in futures {
        assert_eq!(future.into_result().expect("it returns"), 7);
    }
}

/// Python's FailingInitializerMixin.test_initializer.
fn a_failing_initializer_breaks_the_pool<X: Fixture>() {
    let executor = X::failing_to_initialize("no licence");
    // The pool may break before each of these is submitted.
    let futures: Vec<_> = (0..10).map(|n| executor.submit(double, n)).collect();
    let errors = futures.into_iter().map(|future| match future {
        Ok(future) => {
            let waited = future.exception_timeout(LIMIT);
            waited.expect("it is settled").expect("it cannot run")
        }
        Err(error) => error,
    });
    for error in errors {
        let Error::Broken(cause) = &error else {
            panic!("{error:?}");
        };
        assert!(cause.to_string().contains("no licence"), "{cause}");
        assert!(error.to_string().contains("no licence"), "{error}");
    }
    assert!(matches!(executor.submit(double, 1), Err(Error::Broken(_))));
    assert!(executor.stats().broken);
    let report = executor.shutdown();
    assert_eq!((report.finished, report.queued, report.running), (0, 0, 0));
}

fn every_worker_recovers_from_panics<X: Fixture>() {
    let executor = X::executor(4);
    let failing = [0; 40].map(|_| executor.submit(fail, "no".to_owned()).expect("it is open"));
    for future in failing {
        let error = future.exception_timeout(LIMIT).expect("it ends");
        assert!(matches!(error, Some(Error::Panicked(_))));
    }
    let mut gate = Gate::new();
    let held = [0; 4].map(|_| executor.submit(hold, (gate.port(), 1)).expect("it is open"));
    gate.wait_for(4);
    X::hear(&executor, 4);
    let stats = executor.stats();
    assert_eq!((stats.workers, stats.running, stats.failed), (4, 4, 40));
    gate.open();
    for future in held {
        assert_eq!(*future.result_timeout(LIMIT).expect("it returns"), 1);
    }
}

fn a_panic_is_its_own_tasks_alone<X: Fixture>() {
    let executor = X::executor(2);
    let mut gate = Gate::new();
    let held = executor.submit(hold, (gate.port(), 1)).expect("it is open");
    gate.wait_for(1);
    let failing = executor.submit(fail, "no".to_owned()).expect("it is open");
    let behind = executor.submit(double, 4).expect("it is open");
    assert!(failing.exception_timeout(LIMIT).expect("it ends").is_some());
    assert_eq!(*behind.result_timeout(LIMIT).expect("it returns"), 8);
    assert!(held.running());
    gate.open();
    assert_eq!(*held.result_timeout(LIMIT).expect("it returns"), 1);
}

/// Python's test_blocking_with_limited_workers.
fn tasks_that_block_all_complete_with_few_workers<X: Fixture>() {
    let executor = X::executor(2);
    let mut gate = Gate::new();
    let futures: Vec<_> = (0..10)
        .map(|n| executor.submit(hold, (gate.port(), n)).expect("it is open"))
        .collect();
    gate.wait_for(2);
    for _ in 2..10 {
        gate.release_one();
        gate.wait_for(1);
        X::hear(&executor, 2);
        assert_eq!(executor.stats().running, 2);
    }
    gate.open();
    for (n, future) in (0..).zip(&futures) {
        assert_eq!(*future.result_timeout(LIMIT).expect("it returns"), n);
    }
}
