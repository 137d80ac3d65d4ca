//! The executor without workers: borrowed and unsendable values, and calls inside
//! calls, all of it on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use concurrent_futures::{
    Error, Executor, InlineExecutor, MapOptions, PoolKind, ShutdownOptions, TaskOptions,
    current_worker,
};

fn inline() -> InlineExecutor {
    InlineExecutor::new().expect("it never fails")
}

#[test]
fn a_task_is_over_when_submit_returns() {
    let executor = inline();
    let future = executor.spawn(|| thread::current().id());
    let future = future.expect("it is open");
    assert!(future.done());
    let value = future.result_timeout(Duration::ZERO).expect("it is done");
    assert_eq!(*value, thread::current().id());
}

#[test]
fn values_need_be_neither_clone_nor_send_nor_sync() {
    struct Unique(Rc<Cell<i32>>); // neither Clone nor Debug
    let executor = inline();
    let shared = Rc::new(Cell::new(1));
    let unique = executor.submit(Unique, Rc::clone(&shared));
    let unique = unique.expect("it is open");
    unique.result().expect("it returned").0.set(2);
    let given = unique.into_result().expect("it returned").0;
    assert_eq!((given.get(), Rc::strong_count(&shared)), (2, 2));
    let cell = executor.spawn(|| Cell::new(1)).expect("it is open");
    cell.result().expect("it returned").set(3);
    let cell = cell.into_result().expect("it returned");
    assert_eq!(cell.into_inner(), 3);
}

#[test]
fn a_map_may_borrow_what_its_function_changes() {
    let executor = inline();
    let seen = RefCell::new(Vec::new());
    let note = |n: i32| {
        seen.borrow_mut().push(n);
        n
    };
    let results = executor.map(note, [3, 1, 2]).expect("it is open");
    assert_eq!(results.filter(Result::is_ok).count(), 3);
    let one = MapOptions::new().buffer_size(1);
    let mut lazy = executor.map_with(one, note, [4, 5, 6]).expect("it is open");
    assert!(lazy.next().is_some_and(|result| result.is_ok()));
    drop(lazy);
    assert_eq!(*seen.borrow(), [3, 1, 2, 4, 5], "the last is never drawn");
}

#[test]
fn a_task_may_submit_and_wait_to_any_depth() {
    fn count(executor: &InlineExecutor, left: usize) -> usize {
        if left == 0 {
            let stats = executor.stats();
            assert_eq!((stats.running, stats.idle, stats.finished), (100, 0, 0));
            return 0;
        }
        let inner = executor.spawn(|| count(executor, left - 1));
        1 + inner
            .expect("it is open")
            .into_result()
            .expect("it returns")
    }
    let executor = inline();
    assert_eq!(count(&executor, 100), 100);
    let stats = executor.stats();
    assert_eq!((stats.running, stats.idle, stats.finished), (0, 1, 100));
}

#[test]
fn a_task_may_shut_its_own_executor_down() {
    let executor = inline();
    let report = executor.spawn(|| executor.shutdown_with(ShutdownOptions::new()));
    let report = report.expect("it is open").into_result();
    assert_eq!(report.expect("it returns").running, 1, "it did not wait");
    assert!(matches!(executor.spawn(|| ()), Err(Error::ShutDown)));
    assert_eq!(executor.shutdown().running, 0);
}

#[test]
fn the_worker_is_the_submitter_for_the_time_of_the_call() {
    let executor = inline();
    let worker = executor.spawn(|| current_worker().expect("a task runs"));
    let worker = worker.expect("it is open").into_result();
    let worker = worker.expect("it returns");
    assert_eq!(worker.kind(), PoolKind::Inline);
    assert_eq!(worker.pid(), std::process::id());
    let failing = executor.spawn(|| -> () { panic!("no") });
    assert!(failing.expect("it is open").exception().is_some());
    assert!(current_worker().is_none(), "after a panic too");
}

#[test]
fn what_a_callback_submits_is_run_inside_of_it() {
    let executor = std::sync::Arc::new(inline());
    let inner = std::sync::Arc::clone(&executor);
    let future = executor.submit(|n: i64| n, 1).expect("it is open");
    future.add_done_callback(move |_| {
        let next = Executor::submit(&*inner, |n: i64| n, 2);
        assert!(next.expect("it is open").done());
    });
    assert_eq!(executor.stats().finished, 2);
}

#[test]
fn a_bomb_refused_for_an_option_does_not_explode_in_submit() {
    struct Bomb<'a>(&'a Cell<u32>);
    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic!("a bomb in drop");
        }
    }

    let drops = Cell::new(0);
    let executor = inline();
    let impossible = executor.with(TaskOptions::new().retries(1));
    let argument = impossible.submit(|_argument| (), Bomb(&drops));
    assert!(matches!(argument, Err(Error::InvalidArgument(_))));
    let captured = Bomb(&drops);
    let captures = impossible.spawn(|| drop(captured));
    assert!(matches!(captures, Err(Error::InvalidArgument(_))));
    assert_eq!(drops.get(), 2);
}

#[test]
fn the_initializer_runs_once_on_the_thread_that_builds() {
    let builds = thread::current().id();
    let runs = Rc::new(Cell::new(0));
    let counts = Rc::clone(&runs);
    let builder = InlineExecutor::builder().initializer(
        move |first| {
            assert_eq!(thread::current().id(), builds);
            let worker = current_worker().expect("it runs as a worker");
            assert_eq!(worker.kind(), PoolKind::Inline);
            counts.set(counts.get() + first);
        },
        1,
    );
    let executor = builder.build().expect("it succeeds");
    assert!(current_worker().is_none());
    for _ in 0..3 {
        executor.spawn(|| ()).expect("it is open").detach();
    }
    assert_eq!((runs.get(), executor.stats().finished), (1, 3));
}

#[test]
fn a_failed_initializer_makes_no_executor() {
    let panic: fn(&str) = |text| panic!("{text}");
    let panics = InlineExecutor::builder().initializer(panic, "no disk");
    let fails = InlineExecutor::builder().initializer(|()| Err("no disk"), ());
    for builder in [panics, fails] {
        let error = builder.build().expect_err("it is broken");
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
        assert!(error.to_string().contains("no disk"), "{error}");
    }
}

#[test]
fn an_initializer_that_is_not_called_may_panic_in_its_drop() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb in drop");
        }
    }
    let builder = || InlineExecutor::builder().initializer(|_bomb| (), Bomb);
    drop(builder());
    let refused = builder().queue_capacity(0).build();
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
}

#[test]
fn a_task_records_its_times_if_it_should() {
    let wait = Duration::from_millis(1);
    let executor = InlineExecutor::builder().record_timing(true).build();
    let future = executor.expect("it is open").spawn(|| thread::sleep(wait));
    let timing = future
        .expect("it is open")
        .timing()
        .expect("it was recorded");
    assert!(timing.ran().is_some_and(|ran| ran >= wait));
    let executor = inline();
    assert!(
        executor
            .spawn(|| ())
            .expect("it is open")
            .timing()
            .is_none()
    );
}
