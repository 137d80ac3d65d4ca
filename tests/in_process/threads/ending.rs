//! The end of a pool: by shutdown, by a block, by a drop, by its own tasks.

use super::*;

#[cfg(target_os = "linux")]
#[test]
fn threads_are_gone_after_shutdown_after_a_block_and_after_a_drop() {
    fn start(executor: &ThreadPoolExecutor, prefix: &str) -> [ThreadFuture<()>; 3] {
        let meeting = Meeting::of(4);
        let futures = [0; 3].map(|_| {
            let meeting = Arc::clone(&meeting);
            executor.spawn(move || meeting.wait()).unwrap()
        });
        assert_eq!(executor.stats().workers, 3, "one for each blocked task");
        meeting.wait();
        assert_eq!(threads_named(prefix), 3);
        futures
    }
    let executor = pool("end-s", 3);
    let _futures = start(&executor, "end-s");
    executor.shutdown();
    assert_no_threads_named("end-s");

    {
        let executor = pool("end-b", 3);
        let _futures = start(&executor, "end-b");
    }
    assert_no_threads_named("end-b");

    let executor = pool("end-d", 3);
    let futures = start(&executor, "end-d");
    drop(executor);
    assert!(futures.iter().all(|future| future.done()));
    assert_no_threads_named("end-d");
}

#[test]
fn a_drop_after_a_shutdown_that_did_not_wait_does_not_wait_either() {
    use concurrent_futures::ShutdownOptions;

    let (executor, opener) = held_pool();
    let last = executor.spawn(|| 3).unwrap();
    executor.shutdown_with(ShutdownOptions::new().wait(false));
    drop(executor);
    assert!(!last.done());
    drop(opener);
    assert_eq!(*wait(&last), 3, "the work goes on");
}

#[cfg(target_os = "linux")]
#[test]
fn threads_end_after_a_shutdown_that_did_not_wait() {
    use concurrent_futures::ShutdownOptions;

    let executor = pool("end-n", 2);
    let (opener, pass) = gate();
    let future = executor.spawn(pass).unwrap();
    let last = executor.spawn(|| 3).unwrap();
    executor.shutdown_with(ShutdownOptions::new().wait(false));
    drop(opener);
    wait(&future);
    assert_eq!(*wait(&last), 3);
    assert_no_threads_named("end-n");
    drop(executor);
}

#[test]
fn shutdown_waits_for_the_threads_themselves_and_drops_the_initializer() {
    struct AtExit(Arc<AtomicUsize>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            // Long enough for a shutdown that does not join to be gone.
            (0..100).for_each(|_| thread::yield_now());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static LOCAL: Cell<Option<AtExit>> = const { Cell::new(None) });

    let (captured, weak) = tracked();
    let executor = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(move |()| assert_eq!(Arc::strong_count(&captured), 1), ())
        .build()
        .unwrap();
    let exits = Arc::new(AtomicUsize::new(0));
    let meeting = Meeting::of(2);
    for _ in 0..2 {
        let (exits, meeting) = (Arc::clone(&exits), Arc::clone(&meeting));
        let task = move || {
            meeting.wait();
            LOCAL.set(Some(AtExit(exits)));
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.shutdown();
    assert_eq!(exits.load(Ordering::Relaxed), 2);
    assert!(weak.upgrade().is_some());
    drop(executor);
    assert!(weak.upgrade().is_none());
}

/// The `Drop` waits until a channel has the other task, and this task's waker sends it.
#[test]
fn the_drop_of_a_cancelled_task_may_wait_for_another_cancelled_task() {
    type Ended = concurrent_futures::Completions<ThreadFuture<i32>>;
    struct Waits(Receiver<Ended>, Sender<bool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let ended = self.0.recv_timeout(LIMIT).unwrap();
            self.1.send(ended.recv_timeout(LIMIT).is_ok()).unwrap();
        }
    }
    let (executor, opener) = held_pool();
    let ((to_drop, ended), (told, came)) = (mpsc::channel(), mpsc::channel());
    let first = executor.submit(drop, Waits(ended, told)).unwrap();
    let second = executor.spawn(|| 1).unwrap();
    to_drop
        .send(concurrent_futures::completions([second]))
        .unwrap();
    let cancels = concurrent_futures::ShutdownOptions::new().cancel_pending(true);
    executor.shutdown_with(cancels.wait(false));
    assert!(first.cancelled());
    assert_eq!(came.recv_timeout(LIMIT), Ok(true));
    drop(opener);
}

#[test]
fn a_task_may_shut_its_own_pool_down() {
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(2).unwrap());
    let shut_down = || {
        let executor = Arc::clone(&executor);
        move || executor.shutdown().running
    };
    let (first, second) = (
        executor.spawn(shut_down()).unwrap(),
        executor.spawn(shut_down()),
    );
    assert!(*wait(&first) >= 1);
    match second {
        Ok(second) => assert!(*wait(&second) >= 1),
        Err(error) => assert!(matches!(error, Error::ShutDown)),
    }
    assert!(matches!(executor.spawn(|| ()), Err(Error::ShutDown)));
}

#[test]
fn the_last_owner_of_a_pool_may_be_its_own_worker() {
    let (executor, opener) = held_pool();
    let executor = Arc::new(executor);
    let own = Arc::clone(&executor);
    let (hand_over, handed) = mpsc::channel::<()>();
    let dropping = executor
        .spawn(move || {
            // Until the test has let go of its own reference.
            let gone: Receiver<()> = handed;
            assert!(gone.recv_timeout(LIMIT).is_err());
            drop(Arc::into_inner(own).unwrap());
        })
        .unwrap();
    let behind = executor.spawn(|| 9).unwrap();
    drop(executor);
    drop(hand_over);
    drop(opener);
    wait(&dropping);
    assert_eq!(*wait(&behind), 9, "what was queued still runs");
}

#[test]
fn cancelling_what_is_pending_tells_its_callbacks_when_all_is_cancelled() {
    use concurrent_futures::ShutdownOptions;

    let (executor, opener) = held_pool();
    let (first, second) = (
        executor.spawn(|| ()).unwrap(),
        executor.spawn(|| ()).unwrap(),
    );
    let (sender, told) = mpsc::channel();
    first.add_done_callback(move |_| sender.send(second.exception_timeout(LIMIT)).unwrap());
    executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(true));
    assert!(matches!(told.try_recv(), Ok(Ok(Some(Error::Cancelled)))));
    drop(opener);
}

#[test]
fn a_second_shutdown_may_cancel_what_the_first_left_pending() {
    use concurrent_futures::ShutdownOptions;

    let (executor, opener) = held_pool();
    let pending = executor.spawn(|| ()).unwrap();
    let patient = ShutdownOptions::new().wait(false);
    assert_eq!(executor.shutdown_with(patient).queued, 1);
    let report = executor.shutdown_with(patient.cancel_pending(true));
    assert_eq!((report.queued, report.cancelled, report.running), (0, 1, 1));
    assert!(pending.cancelled());
    drop(opener);
}

#[test]
fn a_callback_may_shut_its_pool_down_whatever_thread_runs_it() {
    let (executor, opener) = held_pool();
    let executor = Arc::new(executor);
    let future = executor.spawn(|| ()).unwrap();
    let inner = Arc::clone(&executor);
    let (sender, report) = mpsc::channel();
    future.add_done_callback(move |_| sender.send(inner.shutdown()).unwrap());
    assert!(future.cancel());
    assert_eq!(report.try_recv().unwrap().running, 1, "it did not wait");
    drop(opener);
    assert_eq!(executor.shutdown().running, 0);
}

#[test]
fn a_limit_holds_beside_cancelling() {
    use concurrent_futures::ShutdownOptions;

    let (executor, opener) = held_pool();
    let limit = ShutdownOptions::new()
        .cancel_pending(true)
        .timeout(Duration::from_millis(1));
    assert_eq!(executor.shutdown_with(limit).running, 1);
    drop(opener);
}

#[test]
fn a_callback_on_a_worker_may_shut_the_pool_down() {
    let (executor, opener) = held_pool();
    let executor = Arc::new(executor);
    let (sender, returned) = mpsc::channel();
    let future = executor.spawn(|| ()).unwrap();
    let inner = Arc::clone(&executor);
    future.add_done_callback(move |_| {
        inner.shutdown();
        sender.send(()).unwrap();
    });
    drop(opener);
    returned.recv_timeout(LIMIT).unwrap();
}

#[test]
fn the_last_owner_of_a_pool_may_be_a_callback() {
    for ends_by_cancel in [false, true] {
        let (executor, opener) = held_pool();
        let executor = Arc::new(executor);
        let (own, first) = (Arc::clone(&executor), executor.spawn(|| ()).unwrap());
        let behind = executor.spawn(|| 9).unwrap();
        let (sender, dropped) = mpsc::channel();
        first.add_done_callback(move |_| {
            drop(Arc::into_inner(own).unwrap());
            sender.send(()).unwrap();
        });
        drop(executor);
        if ends_by_cancel {
            assert!(first.cancel());
            assert!(dropped.try_recv().is_ok());
            assert!(!behind.done(), "it did not wait");
        }
        drop(opener);
        if !ends_by_cancel {
            dropped.recv_timeout(LIMIT).unwrap();
        }
        assert_eq!(*wait(&behind), 9, "what was queued still runs");
    }
}

#[test]
fn a_task_may_own_a_pool_of_its_own_and_leave_it_behind() {
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let inner = executor.spawn(|| {
        let own = ThreadPoolExecutor::with_max_workers(1).unwrap();
        let future = own.spawn(|| 3).unwrap();
        // Its drop waits here: for another pool's workers that does no harm.
        drop(own);
        assert!(future.done());
        future
    });
    let inner = inner.unwrap();
    assert_eq!(*wait(wait(&inner)), 3);
}

/// Another thread was about to cancel them, and had taken them out of the queue.
#[test]
fn a_shutdown_waits_for_what_another_shutdown_cancels() {
    use concurrent_futures::ShutdownOptions;

    let (executor, opener) = held_pool();
    let pending: Vec<_> = (0..200_000)
        .map(|n| executor.spawn(move || n).unwrap())
        .collect();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let report = executor.shutdown();
            (report, pending.iter().all(|future| future.done()))
        });
        scope.spawn(|| {
            let cancels = ShutdownOptions::new().wait(false).cancel_pending(true);
            executor.shutdown_with(cancels)
        });
        let deadline = Instant::now() + LIMIT;
        while executor.stats().cancelled == 0 {
            assert!(Instant::now() < deadline, "none is cancelled");
            thread::yield_now();
        }
        drop(opener);
        let (report, all_done) = waiting.join().unwrap();
        assert!(all_done);
        assert_eq!(report.finished + report.cancelled, 200_001);
    });
}

#[cfg(target_os = "linux")]
crate::alone::alone! {
    /// Its `shutdown` would wait for the very thread.
    fn the_last_owner_of_a_broken_pool_may_be_a_local_of_its_threads() {
        thread_local! {
            static OWNER: std::cell::RefCell<Option<Arc<ThreadPoolExecutor>>> =
                const { std::cell::RefCell::new(None) };
        }
        let started = AtomicUsize::new(0);
        let fail_as_second = move |()| match started.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err("no second licence"),
        };
        let executor = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_name_prefix("end-l")
            .initializer(fail_as_second, ())
            .build()
            .unwrap();
        let executor = Arc::new(executor);
        let ((opener, pass), owner) = (gate(), Arc::clone(&executor));
        let (begins, begun) = std::sync::mpsc::channel();
        let first = executor.spawn(move || {
            begins.send(()).unwrap();
            OWNER.set(Some(owner));
            pass();
        });
        // A task that had not begun would fail with the pool.
        begun.recv_timeout(LIMIT).unwrap();
        let second = executor.spawn(|| ()).unwrap();
        let error = second.exception_timeout(LIMIT).unwrap();
        assert!(matches!(error, Some(Error::Broken(_))), "{error:?}");
        drop(executor);
        drop(opener);
        first.unwrap().result_timeout(LIMIT).unwrap();
        assert_no_threads_named("end-l");
    }

    fn a_local_of_a_workers_thread_may_shut_the_pool_down_while_that_is_waited_for() {
        struct ShutsDown(Arc<ThreadPoolExecutor>);
        impl Drop for ShutsDown {
            fn drop(&mut self) {
                self.0.shutdown();
            }
        }
        thread_local! {
            static OWNER: std::cell::RefCell<Option<ShutsDown>> =
                const { std::cell::RefCell::new(None) };
        }
        let executor = Arc::new(pool("end-t", 1));
        let owner = Arc::clone(&executor);
        executor.spawn(move || OWNER.set(Some(ShutsDown(owner)))).unwrap().detach();
        assert_eq!(executor.shutdown().finished, 1);
        assert_no_threads_named("end-t");
    }
}
