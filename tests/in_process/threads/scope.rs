//! Scopes: tasks that borrow, and a block that does not end before them.

use super::*;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Borrows a count and adds to it when it is dropped, after a while in which a
/// scope that does not wait would be gone.
struct Counts<'a>(&'a AtomicUsize);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        for _ in 0..50 {
            thread::yield_now();
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the scope on a thread of its own, so that one that hangs is noticed.
fn within_limit<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(catch_unwind(AssertUnwindSafe(f)));
    });
    let outcome = receiver
        .recv_timeout(LIMIT)
        .expect("the scope ends in time");
    thread.join().unwrap();
    outcome.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> &str {
    payload.downcast_ref::<&str>().unwrap()
}

#[test]
fn tasks_borrow_and_change_what_stands_around_the_scope() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let mut numbers: Vec<usize> = (0..1000).collect();
    let factor = 3;
    executor.scope(|scope| {
        for part in numbers.chunks_mut(100) {
            let future = scope.submit(|part| part_times(part, &factor), part);
            future.unwrap().detach();
        }
    });
    assert!(numbers.iter().enumerate().all(|(n, &m)| m == 3 * n));
}

fn part_times(part: &mut [usize], factor: &usize) {
    for number in part {
        *number *= factor;
    }
}

#[test]
fn a_future_gives_a_value_that_borrows() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let text = String::from("one two");
    let second = executor.scope(|scope| {
        let future = scope.spawn(|| text.split(' ').nth(1)).unwrap();
        assert_eq!(*future.result_timeout(LIMIT).unwrap(), Some("two"));
        future.into_result().unwrap()
    });
    assert_eq!(second, Some("two"));
}

/// The value of a task without a handle is dropped by its worker; a scope
/// that ended before that would leave it a borrow of what is gone.
#[test]
fn a_value_is_never_dropped_after_the_scope_ended() {
    let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
    for _ in 0..200 {
        let drops = AtomicUsize::new(0);
        executor.scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| Counts(&drops)).unwrap().detach();
            }
            let kept = scope.spawn(|| Counts(&drops)).unwrap();
            kept.result().unwrap();
        });
        assert_eq!(drops.into_inner(), 4);
    }
}

#[test]
fn function_arguments_and_callbacks_are_gone_when_the_scope_ends() {
    let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
    for _ in 0..200 {
        let drops = AtomicUsize::new(0);
        let (told, weak) = tracked();
        executor.scope(|scope| {
            let captured = Counts(&drops);
            let task = move |argument| drop((captured, argument));
            let future = scope.submit(task, Counts(&drops)).unwrap();
            future.add_done_callback(move |_| drop(told));
            future.detach();
        });
        assert_eq!(drops.into_inner(), 2);
        assert!(weak.upgrade().is_none());
    }
}

#[test]
fn a_cancelled_task_of_a_scope_leaves_nothing_behind() {
    let (executor, opener) = held_pool();
    let drops = AtomicUsize::new(0);
    let (sender, told) = mpsc::channel();
    executor.scope(|scope| {
        let captured = Counts(&drops);
        let future = scope.spawn(move || drop(captured)).unwrap();
        future.add_done_callback(move |future| sender.send(future.cancelled()).unwrap());
        assert!(future.cancel());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
    assert_eq!(told.try_recv(), Ok(true));
    assert_eq!(executor.stats().cancelled, 1);
    // What the queue still holds of it is passed over after the scope.
    drop(opener);
    assert_eq!(executor.spawn(|| 1).unwrap().into_result().unwrap(), 1);
}

#[test]
fn a_scope_ends_behind_the_callbacks_of_its_tasks() {
    let executor = ThreadPoolExecutor::new().unwrap();
    for _ in 0..200 {
        let told = Arc::new(AtomicUsize::new(0));
        executor.scope(|scope| {
            let future = scope.spawn(|| ()).unwrap();
            let count = Arc::clone(&told);
            future.add_done_callback(move |_| {
                for _ in 0..20 {
                    thread::yield_now();
                }
                count.fetch_add(1, Ordering::Relaxed);
            });
            let count = Arc::clone(&told);
            future.then(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }
}

/// Inside a callback, what completes is told when the callback has returned; a
/// scope in it must not wait for that.
#[test]
fn a_scope_in_a_callback_ends_behind_the_callbacks_of_what_it_cancels() {
    within_limit(|| {
        let (executor, opener) = held_pool();
        let executor = Arc::new(executor);
        let (promise, future) = concurrent_futures::promise();
        let (sender, told) = mpsc::channel();
        let inner = Arc::clone(&executor);
        future.add_done_callback(move |_| {
            inner.scope(|scope| {
                let future = scope.spawn(|| ()).unwrap();
                let sender = sender.clone();
                future.add_done_callback(move |_| sender.send("told").unwrap());
                assert!(future.cancel());
            });
            sender.send("ended").unwrap();
        });
        promise.set_result(1).unwrap();
        assert!(told.try_iter().eq(["told", "ended"]));
        drop(opener);
    });
}

#[test]
fn a_task_of_a_scope_may_submit_to_it() {
    within_limit(|| {
        for workers in [1, 2] {
            let executor = ThreadPoolExecutor::with_max_workers(workers).unwrap();
            let count = AtomicUsize::new(0);
            executor.scope(|scope| {
                for _ in 0..10 {
                    let outer = || {
                        count.fetch_add(1, Ordering::Relaxed);
                        let inner = || count.fetch_add(1, Ordering::Relaxed);
                        scope.spawn(inner).unwrap().detach();
                    };
                    scope.spawn(outer).unwrap().detach();
                }
            });
            assert_eq!(count.into_inner(), 20);
        }
    });
}

#[test]
fn a_scope_in_the_only_worker_runs_its_tasks_there() {
    within_limit(|| {
        let executor = Arc::new(ThreadPoolExecutor::with_max_workers(1).unwrap());
        let inner = Arc::clone(&executor);
        let sum = executor.spawn(move || {
            let total = AtomicUsize::new(0);
            inner.scope(|scope| {
                for n in 0..10 {
                    let total = &total;
                    let task = move || total.fetch_add(n, Ordering::Relaxed);
                    scope.spawn(task).unwrap().detach();
                }
            });
            total.into_inner()
        });
        assert_eq!(sum.unwrap().into_result().unwrap(), 45);
    });
}

/// The other worker is blocked until that task has run.
#[test]
fn a_worker_at_the_end_of_a_scope_runs_what_is_submitted_to_it_later() {
    within_limit(|| {
        let executor = Arc::new(ThreadPoolExecutor::with_max_workers(2).unwrap());
        let inner = Arc::clone(&executor);
        let outer = executor.spawn(move || {
            let (sender, begun) = mpsc::channel();
            inner.scope(|scope| {
                let task = move || {
                    sender.send(()).unwrap();
                    for _ in 0..1000 {
                        thread::yield_now(); // until the other most likely waits
                    }
                    let (sender, ran) = mpsc::channel();
                    let late = scope.spawn(move || sender.send(()).unwrap()).unwrap();
                    late.detach();
                    ran.recv_timeout(LIMIT).expect("a worker runs it");
                };
                scope.spawn(task).unwrap().detach();
                begun.recv_timeout(LIMIT).unwrap();
            });
        });
        outer.unwrap().into_result().unwrap();
    });
}

#[test]
fn tasks_of_a_scope_have_their_times_recorded_too() {
    let executor = ThreadPoolExecutor::builder().record_timing(true).build();
    let executor = executor.unwrap();
    let ran = executor.scope(|scope| {
        let future = scope.spawn(|| ()).unwrap();
        future.result().unwrap();
        future.timing().and_then(|timing| timing.ran())
    });
    assert!(ran.is_some());
}

#[test]
fn an_unread_panic_of_a_task_ends_the_scope() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let drops = AtomicUsize::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        executor.scope(|scope| {
            scope.spawn(|| panic!("unread")).unwrap().detach();
            scope.spawn(|| Counts(&drops)).unwrap().detach();
        });
    }));
    assert_eq!(message_of(&*outcome.unwrap_err()), "unread");
    assert_eq!(drops.into_inner(), 1, "not before all have ended");
}

/// No caller gets the value then; a second panic would end the program.
#[test]
fn a_panic_of_a_task_ends_a_scope_whose_value_is_a_bomb() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let drops = Arc::new(AtomicUsize::new(0));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        executor.scope(|scope| {
            let task: fn() = || panic!("in a task");
            scope.spawn(task).unwrap().detach();
            Bomb(Arc::clone(&drops))
        })
    }));
    let Err(payload) = caught else {
        panic!("not read");
    };
    assert_eq!(message_of(&*payload), "in a task");
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn a_panic_that_was_read_does_not_end_the_scope() {
    let executor = ThreadPoolExecutor::new().unwrap();
    executor.scope(|scope| {
        let panicking = || scope.spawn(|| panic!("read")).unwrap();
        assert!(panicking().exception().is_some());
        assert!(panicking().into_result().is_err());
        assert!(panicking().result_timeout(LIMIT).is_err());
        panicking().then(|outcome| assert!(outcome.is_err()));
        panicking().add_done_callback(|future| assert!(future.exception().is_some()));
        let futures = [panicking(), panicking()];
        for future in concurrent_futures::as_completed(&futures) {
            assert!(matches!(future.result(), Err(Error::Panicked(_))));
        }
    });
}

#[test]
fn a_look_at_the_debug_text_reads_no_panic() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        executor.scope(|scope| {
            let future = scope.spawn(|| panic!("unread")).unwrap();
            concurrent_futures::wait(
                [&future],
                concurrent_futures::ReturnWhen::FirstException,
                Some(LIMIT),
            );
            assert!(format!("{future:?}").contains("raised"));
        });
    }));
    assert_eq!(message_of(&*outcome.unwrap_err()), "unread");
}

#[test]
fn a_scope_whose_closure_panics_waits_and_goes_on_with_that_panic() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let drops = AtomicUsize::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        executor.scope(|scope| {
            scope.spawn(|| Counts(&drops)).unwrap().detach();
            scope.spawn(|| panic!("of a task")).unwrap().detach();
            panic!("of the closure");
        })
    }));
    assert_eq!(message_of(&*outcome.unwrap_err()), "of the closure");
    assert_eq!(drops.into_inner(), 1);
}

/// A callback that panicked out of its scope left the thread between turns.
#[test]
fn callbacks_run_as_ever_after_a_scope_that_panicked_in_one() {
    within_limit(|| {
        let executor = Arc::new(ThreadPoolExecutor::with_max_workers(1).unwrap());
        let (promise, future) = concurrent_futures::promise();
        let (second, second_future) = concurrent_futures::promise();
        let (sender, told) = mpsc::channel();
        let of_second = sender.clone();
        second_future.add_done_callback(move |_| of_second.send("second").unwrap());
        let inner = Arc::clone(&executor);
        future.add_done_callback(move |_| {
            let scoped = AssertUnwindSafe(|| inner.scope(|_| panic!("out of the scope")));
            assert!(catch_unwind(scoped).is_err());
            second.set_result(1).unwrap();
            sender.send("first").unwrap();
        });
        promise.set_result(1).unwrap();
        assert!(
            told.try_iter().eq(["first", "second"]),
            "callbacks do not nest"
        );
    });
}

#[test]
fn a_scope_of_a_pool_that_is_shut_down_refuses_and_ends() {
    let executor = ThreadPoolExecutor::new().unwrap();
    executor.shutdown();
    let drops = AtomicUsize::new(0);
    executor.scope(|scope| {
        assert!(matches!(
            scope.spawn(|| Counts(&drops)),
            Err(Error::ShutDown)
        ));
        let refused = scope.try_submit(drop, Counts(&drops)).unwrap_err();
        assert!(matches!(refused.error, Error::ShutDown));
        assert_eq!(drops.load(Ordering::Relaxed), 0, "it comes back");
    });
    assert_eq!(drops.into_inner(), 1);
}

#[test]
fn a_scope_ends_when_its_pool_breaks_or_is_shut_down_under_it() {
    within_limit(|| {
        let broken = ThreadPoolExecutor::builder()
            .initializer(|()| Err("no licence"), ())
            .build()
            .unwrap();
        let drops = AtomicUsize::new(0);
        broken.scope(|scope| {
            let captured = Counts(&drops);
            if let Ok(future) = scope.spawn(move || drop(captured)) {
                assert!(matches!(future.exception(), Some(Error::Broken(_))));
            }
        });
        assert_eq!(drops.into_inner(), 1);

        let (executor, opener) = held_pool();
        let drops = AtomicUsize::new(0);
        executor.scope(|scope| {
            let captured = Counts(&drops);
            let future = scope.spawn(move || drop(captured)).unwrap();
            let hurry = concurrent_futures::ShutdownOptions::new()
                .wait(false)
                .cancel_pending(true);
            assert_eq!(executor.shutdown_with(hurry).cancelled, 1);
            assert!(future.cancelled());
        });
        assert_eq!(drops.into_inner(), 1);
        drop(opener);
    });
}

#[test]
fn bombs_in_a_scope_neither_end_it_early_nor_kill_a_worker() {
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let drops = Arc::new(AtomicUsize::new(0));
    let bomb = || Bomb(Arc::clone(&drops));
    executor.scope(|scope| {
        let value = bomb();
        scope.spawn(move || value).unwrap().detach();
        let told = bomb();
        let future = scope.spawn(|| ()).unwrap();
        future.add_done_callback(move |_| drop(told));
        // An argument's bomb goes off in the task, which panics with it.
        assert!(scope.submit(drop, bomb()).unwrap().exception().is_some());
    });
    assert_eq!(drops.load(Ordering::Relaxed), 3);
    assert_eq!(executor.spawn(|| 1).unwrap().into_result().unwrap(), 1);
}

#[test]
fn a_scope_takes_turns_with_a_bounded_queue() {
    within_limit(|| {
        let executor = ThreadPoolExecutor::builder()
            .max_workers(2)
            .queue_capacity(1)
            .build()
            .unwrap();
        let count = AtomicUsize::new(0);
        executor.scope(|scope| {
            for _ in 0..100 {
                let task = || count.fetch_add(1, Ordering::Relaxed);
                scope.spawn(task).unwrap().detach();
            }
        });
        assert_eq!(count.into_inner(), 100);
    });
}
