//! What only the pool of threads does: closures, names, stacks, its ends.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, PoolKind, ThreadFuture, ThreadPoolExecutor, current_worker};

/// No wait in a test is longer than this.
const LIMIT: Duration = Duration::from_secs(60);

/// The threads of this process whose name begins with `prefix`.
#[cfg(target_os = "linux")]
fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the listing and the look.
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// A joined thread leaves the list a moment later; waits for that moment.
#[cfg(target_os = "linux")]
fn assert_no_threads_named(prefix: &str) {
    let deadline = Instant::now() + LIMIT;
    while threads_named(prefix) > 0 {
        assert!(Instant::now() < deadline, "threads {prefix}* are left");
        thread::yield_now();
    }
}

/// A pool of `max_workers` threads named after the test.
fn pool(prefix: &str, max_workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder()
        .max_workers(max_workers)
        .thread_name_prefix(prefix)
        .build()
        .unwrap()
}

/// Holds tasks until the sender is dropped.
fn gate() -> (Sender<()>, impl Fn() + Clone + Send + 'static) {
    let (opener, closed) = mpsc::channel::<()>();
    let closed = Arc::new(Mutex::new(closed));
    let pass = move || {
        let opened = closed.lock().unwrap().recv_timeout(LIMIT);
        assert_eq!(opened, Err(mpsc::RecvTimeoutError::Disconnected));
    };
    (opener, pass)
}

/// A pool of one worker that is held until the sender is dropped.
fn held_pool() -> (ThreadPoolExecutor, Sender<()>) {
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let (opener, pass) = gate();
    let (sender, begun) = mpsc::channel();
    let task = move || {
        sender.send(()).unwrap();
        pass();
    };
    executor.spawn(task).unwrap().detach();
    begun.recv_timeout(LIMIT).unwrap();
    (executor, opener)
}

fn wait<T: 'static>(future: &ThreadFuture<T>) -> &T {
    future.result_timeout(LIMIT).unwrap()
}

// ---- making a pool ---------------------------------------------------------

#[test]
fn no_workers_are_refused() {
    let refused = ThreadPoolExecutor::with_max_workers(0).map(drop);
    let Err(Error::InvalidArgument(what)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*what, "max_workers must be at least 1");
}

#[test]
fn bad_names_and_stacks_are_refused_and_not_panicked_over() {
    let named = ThreadPoolExecutor::builder()
        .thread_name_prefix("a\0b")
        .build();
    assert!(matches!(named, Err(Error::InvalidArgument(_))));
    let stacked = ThreadPoolExecutor::builder().stack_size(usize::MAX).build();
    assert!(matches!(stacked, Err(Error::InvalidArgument(_))));
}

#[test]
fn a_thread_that_cannot_start_is_an_error_of_submit() {
    let executor = ThreadPoolExecutor::builder()
        .stack_size(isize::MAX as usize / 2)
        .build()
        .unwrap();
    let value = Arc::new(());
    let captured = Arc::clone(&value);
    let refused = executor.spawn(move || drop(captured)).map(drop);
    assert!(matches!(refused, Err(Error::Spawn(_))), "{refused:?}");
    assert_eq!(Arc::strong_count(&value), 1, "the closure is dropped");
    let stats = executor.stats();
    assert_eq!((stats.workers, stats.queued), (0, 0));
    executor.shutdown();
}

/// Without memory for one more stack; run alone, in a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_pool_with_workers_goes_on_when_no_more_can_start() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1000)
        .stack_size(1 << 44)
        .build()
        .unwrap();
    let (opener, pass) = gate();
    let mut started = Vec::new();
    // An address space has room for a few such stacks at most.
    for _ in 0..1000 {
        match executor.spawn(pass.clone()) {
            Ok(future) => started.push(future),
            Err(error) => {
                assert!(
                    started.is_empty() && matches!(error, Error::Spawn(_)),
                    "{error}"
                );
                return;
            }
        }
    }
    let stats = executor.stats();
    assert!(stats.workers < 1000);
    assert_eq!(stats.workers + stats.queued, 1000);
    drop(opener);
    assert_eq!(executor.shutdown().finished, 1000);
}

#[test]
fn the_default_size_is_pythons() {
    let cores = thread::available_parallelism().unwrap().get();
    let executor = ThreadPoolExecutor::new().unwrap();
    assert_eq!(executor.max_workers(), (cores + 4).min(32));
}

#[test]
fn threads_are_named_after_the_prefix() {
    let executor = pool("given", 3);
    let barrier = Arc::new(Barrier::new(3));
    let futures = [0; 3].map(|_| {
        let barrier = Arc::clone(&barrier);
        let name = move || {
            barrier.wait();
            let worker = current_worker().unwrap();
            assert_eq!(worker.kind(), PoolKind::Threads);
            assert_eq!(Some(worker.name()), thread::current().name());
            worker.name().to_owned()
        };
        executor.spawn(name).unwrap()
    });
    let mut names = futures.map(|future| future.into_result().unwrap());
    names.sort();
    assert_eq!(names, ["given_0", "given_1", "given_2"]);
}

#[test]
fn default_names_differ_from_pool_to_pool() {
    let names = [0; 2].map(|_| {
        let executor = ThreadPoolExecutor::new().unwrap();
        let name = executor.spawn(|| thread::current().name().map(String::from));
        name.unwrap().into_result().unwrap().unwrap()
    });
    let unnamed = pool("", 1).spawn(|| thread::current().name().map(String::from));
    let unnamed = unnamed.unwrap().into_result().unwrap().unwrap();
    for name in names.iter().chain([&unnamed]) {
        let numbers = name.strip_prefix("ThreadPoolExecutor-").unwrap();
        let (pool, worker) = numbers.split_once('_').unwrap();
        assert!(pool.parse::<usize>().is_ok() && worker == "0", "{name}");
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn an_initializer_may_return_an_error() {
    let executor = ThreadPoolExecutor::builder()
        .initializer(|n: String| n.parse::<i32>().map(drop), "x".to_owned())
        .build()
        .unwrap();
    let error = executor.spawn(|| ()).unwrap().into_result().unwrap_err();
    let Error::Broken(cause) = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**cause, Error::Other(_)));
    assert!(error.to_string().contains("invalid digit"), "{error}");
}

#[test]
fn an_initializer_that_fails_after_shutdown_still_settles_what_is_queued() {
    let (opener, pass) = gate();
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .initializer(
            move |()| {
                pass();
                Err("too late")
            },
            (),
        )
        .build()
        .unwrap();
    let futures = [0; 3].map(|_| executor.spawn(|| ()).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| executor.shutdown());
        drop(opener);
    });
    for future in futures {
        let error = future.exception_timeout(LIMIT).unwrap().unwrap();
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
    }
    assert_eq!(executor.stats().failed, 3);
}

#[expect(clippy::mem_forget, reason = "to drop it here would panic here")]
fn leak<T>(value: T) {
    std::mem::forget(value);
}

#[test]
fn an_error_whose_drop_panics_loses_no_worker() {
    #[derive(Debug)]
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bad")
        }
    }
    impl std::error::Error for Bad {}
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("a bomb in an error");
        }
    }
    let barrier = Arc::new(Barrier::new(2));
    let executor = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(
            move |()| Err::<(), _>(Bad).inspect_err(|_| _ = barrier.wait()),
            (),
        )
        .build()
        .unwrap();
    for _ in 0..2 {
        leak(executor.spawn(|| ()));
    }
    executor.shutdown();
    let stats = executor.stats();
    assert!(stats.broken);
    assert_eq!((stats.workers, stats.idle), (0, 0));
    leak(executor);
}

#[test]
fn a_broken_pool_tells_its_callbacks_when_all_is_settled() {
    let (opener, pass) = gate();
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .initializer(
            move |()| {
                pass();
                Err("broken")
            },
            (),
        )
        .build()
        .unwrap();
    let (first, second) = (
        executor.spawn(|| ()).unwrap(),
        executor.spawn(|| ()).unwrap(),
    );
    let (sender, told) = mpsc::channel();
    first.add_done_callback(move |_| sender.send(second.exception_timeout(LIMIT)).unwrap());
    drop(opener);
    let second = told.recv_timeout(LIMIT).unwrap().unwrap();
    assert!(matches!(second, Some(Error::Broken(_))));
    let first = first.exception_timeout(LIMIT).unwrap();
    assert!(matches!(first, Some(Error::Broken(_))));
    // That it broke outweighs that it is shut down.
    executor.shutdown();
    assert!(matches!(executor.spawn(|| ()), Err(Error::Broken(_))));
}

#[test]
fn the_initializer_is_one_of_the_pools_own() {
    let (hand_over, handed) = mpsc::channel::<Arc<ThreadPoolExecutor>>();
    let handed = Mutex::new(handed);
    let executor = ThreadPoolExecutor::builder()
        .initializer(
            move |()| {
                // It does not wait: that would wait for itself.
                handed
                    .lock()
                    .unwrap()
                    .recv_timeout(LIMIT)
                    .unwrap()
                    .shutdown();
            },
            (),
        )
        .build()
        .unwrap();
    let executor = Arc::new(executor);
    let future = executor.spawn(|| 5).unwrap();
    hand_over.send(Arc::clone(&executor)).unwrap();
    assert_eq!(*wait(&future), 5);
}

// ---- tasks -----------------------------------------------------------------

#[test]
fn values_need_neither_clone_nor_sync() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let cell = executor.spawn(|| Cell::new(1)).unwrap();
    wait(&cell).set(2);
    assert_eq!(cell.into_result().unwrap().into_inner(), 2);
}

#[test]
fn large_values_come_back_whole() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let big = executor.submit(|byte| vec![byte; 64 << 20], 7_u8).unwrap();
    let big = big.into_result().unwrap();
    assert!(big.len() == 64 << 20 && big.iter().all(|&byte| byte == 7));
}

#[test]
fn what_a_task_wrote_is_visible_to_whoever_sees_it_done() {
    let executor = ThreadPoolExecutor::new().unwrap();
    for n in 0..1000 {
        let written = Arc::new(AtomicUsize::new(0));
        let task = Arc::clone(&written);
        let future = executor
            .spawn(move || task.store(n, Ordering::Relaxed))
            .unwrap();
        let deadline = Instant::now() + LIMIT;
        while !future.done() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        assert_eq!(written.load(Ordering::Relaxed), n);
    }
}

/// Says by a weak reference whether the strong one is gone.
fn tracked() -> (Arc<()>, Weak<()>) {
    let value = Arc::new(());
    let weak = Arc::downgrade(&value);
    (value, weak)
}

#[test]
fn a_cancel_drops_closure_and_arguments_before_it_returns() {
    let (executor, _opener) = held_pool();
    let ((captured, captured_weak), (argument, argument_weak)) = (tracked(), tracked());
    let task = move |argument| drop((captured, argument));
    let future = executor.submit(task, argument).unwrap();
    assert!(captured_weak.upgrade().is_some() && argument_weak.upgrade().is_some());
    assert!(future.cancel());
    assert!(captured_weak.upgrade().is_none() && argument_weak.upgrade().is_none());
}

#[test]
fn closure_and_arguments_are_gone_before_the_result_is_there() {
    let executor = ThreadPoolExecutor::new().unwrap();
    for _ in 0..1000 {
        let ((captured, captured_weak), (argument, argument_weak)) = (tracked(), tracked());
        let task = move |_argument| assert_eq!(Arc::strong_count(&captured), 1);
        let future = executor.submit(task, argument).unwrap();
        wait(&future);
        assert!(captured_weak.upgrade().is_none() && argument_weak.upgrade().is_none());
    }
}

#[test]
fn a_value_that_nobody_reads_is_dropped_by_shutdown_at_the_latest() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let (value, weak) = tracked();
    executor.spawn(move || value).unwrap().detach();
    executor.shutdown();
    assert!(weak.upgrade().is_none());
}

struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a bomb in drop");
    }
}

#[test]
fn no_bomb_kills_a_worker() {
    let drops = Arc::new(AtomicUsize::new(0));
    let bomb = || Bomb(Arc::clone(&drops));
    let (executor, opener) = held_pool();

    let value = bomb();
    executor.spawn(move || value).unwrap().detach();
    let captured = bomb();
    executor.spawn(move || drop(captured)).unwrap().detach();
    executor.submit(|_argument| (), bomb()).unwrap().detach();
    let payload = bomb();
    executor
        .spawn(|| std::panic::panic_any(payload))
        .unwrap()
        .detach();
    let cancelled = bomb();
    assert!(executor.spawn(|| drop(cancelled)).unwrap().cancel());
    let told = bomb();
    let future = executor.spawn(|| ()).unwrap();
    future.add_done_callback(move |_| drop(told));

    drop(opener);
    wait(&executor.spawn(|| ()).unwrap());
    let report = executor.shutdown();
    assert_eq!(drops.load(Ordering::Relaxed), 6);
    // Finished: the held one, the value, the told one, the last. Failed: the
    // capture and the argument that ended their calls, and the payload.
    assert_eq!(
        (report.finished, report.failed, report.cancelled),
        (4, 3, 1)
    );
}

#[test]
fn tasks_start_in_the_order_of_their_submission() {
    let (executor, opener) = held_pool();
    let (sender, order) = mpsc::channel();
    for n in 0..100 {
        let sender = sender.clone();
        executor
            .spawn(move || sender.send(n).unwrap())
            .unwrap()
            .detach();
    }
    drop(opener);
    executor.shutdown();
    assert!(order.try_iter().eq(0..100));
}

#[test]
fn two_bombs_in_one_task_are_no_more_than_one() {
    let drops = Arc::new(AtomicUsize::new(0));
    let bomb = || Bomb(Arc::clone(&drops));
    let (executor, opener) = held_pool();
    let captured = bomb();
    let task = |argument| drop((captured, argument));
    assert!(executor.submit(task, bomb()).unwrap().cancel());
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    drop(opener);
    executor.shutdown();
    let captured = bomb();
    let task = |argument| drop((captured, argument));
    assert!(executor.submit(task, bomb()).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 4);
}

#[test]
fn a_drop_that_waits_for_a_waiter_does_not_stop_a_cancel() {
    /// Joins a thread that waits for the very future that is cancelled.
    struct Joins(Receiver<thread::JoinHandle<()>>);
    impl Drop for Joins {
        fn drop(&mut self) {
            self.0.recv_timeout(LIMIT).unwrap().join().unwrap();
        }
    }
    let (executor, _opener) = held_pool();
    let (sender, waiter) = mpsc::channel();
    let argument = Joins(waiter);
    let future = Arc::new(executor.submit(drop, argument).unwrap());
    let waiting = Arc::clone(&future);
    let thread = thread::spawn(move || {
        let ended = waiting.exception_timeout(LIMIT).unwrap();
        assert!(matches!(ended, Some(Error::Cancelled)));
    });
    sender.send(thread).unwrap();
    assert!(future.cancel());
}

// ---- workers ---------------------------------------------------------------

#[test]
fn a_worker_in_a_callback_does_not_count_as_idle() {
    let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
    let (hold, held) = gate();
    let (opener, pass) = gate();
    let (sender, entered) = mpsc::channel();
    let future = executor.spawn(held).unwrap();
    future.add_done_callback(move |_| {
        sender.send(()).unwrap();
        pass();
    });
    drop(hold);
    entered.recv_timeout(LIMIT).unwrap();
    // The only worker is in the callback: this needs another one.
    assert_eq!(*wait(&executor.spawn(|| 2).unwrap()), 2);
    assert_eq!(executor.stats().workers, 2);
    drop(opener);
}

#[test]
fn a_task_that_came_before_the_callback_gets_a_worker_too() {
    // The worker is free when its result is known, and turns to its callback
    // after that: a task that counted on it in between must not wait for it.
    for _ in 0..200 {
        let executor = Arc::new(ThreadPoolExecutor::with_max_workers(2).unwrap());
        let (hold, held) = gate();
        let future = executor.spawn(held).unwrap();
        let inner = Arc::clone(&executor);
        let (sender, answer) = mpsc::channel();
        future.add_done_callback(move |_| {
            let other = inner.spawn(|| 7).unwrap();
            sender.send(other.result_timeout(LIMIT).copied()).unwrap();
        });
        drop(hold);
        assert_eq!(answer.recv_timeout(LIMIT).unwrap().unwrap(), 7);
    }
}

#[test]
fn a_task_that_counted_on_a_worker_with_callbacks_gets_another() {
    // The worker is free when its result is known, and turns to its callback
    // then. What is submitted in between counts on it and must not wait for it.
    for _ in 0..2000 {
        let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
        let (opener, pass) = gate();
        let future = executor.spawn(|| ()).unwrap();
        future.add_done_callback(move |_| pass());
        future.result().unwrap();
        assert_eq!(*wait(&executor.spawn(|| 7).unwrap()), 7);
        drop(opener);
    }
}

#[test]
fn a_waker_on_a_worker_may_wait_for_another_task() {
    struct Submitter(Arc<ThreadPoolExecutor>, Sender<i32>);
    impl Wake for Submitter {
        fn wake(self: Arc<Self>) {
            let other = self.0.spawn(|| 7).unwrap();
            self.1.send(*wait(&other)).unwrap();
        }
    }
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(2).unwrap());
    let (hold, held) = gate();
    let future = executor.spawn(held).unwrap();
    let (sender, answer) = mpsc::channel();
    let waker = Waker::from(Arc::new(Submitter(Arc::clone(&executor), sender)));
    let mut awaiting = pin!((&future).into_future());
    let polled = std::future::Future::poll(awaiting.as_mut(), &mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(hold);
    assert_eq!(answer.recv_timeout(LIMIT), Ok(7));
}

#[test]
fn a_value_whose_drop_takes_its_time_does_not_hold_up_the_next_task() {
    struct Slow(Sender<()>, Option<Box<dyn Fn() + Send>>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            (self.1.take().unwrap())();
        }
    }
    let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
    let (sender, dropping) = mpsc::channel();
    let (opener, pass) = gate();
    let (hold, held) = gate();
    let task = move || {
        held();
        Slow(sender, Some(Box::new(pass)))
    };
    executor.spawn(task).unwrap().detach();
    drop(hold);
    dropping.recv_timeout(LIMIT).unwrap();
    assert_eq!(*wait(&executor.spawn(|| 2).unwrap()), 2);
    drop(opener);
}

#[test]
fn many_submitters_at_once_lose_nothing() {
    let executor = ThreadPoolExecutor::with_max_workers(4).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let cancelled: usize = thread::scope(|scope| {
        let submitters = [0; 4].map(|_| {
            scope.spawn(|| {
                let mut cancelled = 0;
                for n in 0..2000 {
                    let ran = Arc::clone(&ran);
                    let task = move || ran.fetch_add(1, Ordering::Relaxed);
                    let future = executor.spawn(task).unwrap();
                    if n % 3 == 0 && future.cancel() {
                        cancelled += 1;
                    }
                }
                cancelled
            })
        });
        submitters
            .map(|submitter| submitter.join().unwrap())
            .iter()
            .sum()
    });
    let report = executor.shutdown();
    let ran = ran.load(Ordering::Relaxed);
    assert_eq!(ran + cancelled, 8000);
    assert_eq!(report.finished, u64::try_from(ran).unwrap());
    assert_eq!(report.cancelled, u64::try_from(cancelled).unwrap());
    assert_eq!((report.queued, report.running), (0, 0));
}

#[test]
fn times_tell_waiting_from_running() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .record_timing(true)
        .build()
        .unwrap();
    let (opener, pass) = gate();
    let (sender, begun) = mpsc::channel();
    let task = move || {
        sender.send(()).unwrap();
        pass();
    };
    let first = executor.spawn(task).unwrap();
    let (second, cancelled) = (
        executor.spawn(|| ()).unwrap(),
        executor.spawn(|| ()).unwrap(),
    );
    begun.recv_timeout(LIMIT).unwrap();
    let running = first.timing().unwrap();
    assert!(running.waited().is_some() && running.ran().is_none());
    assert!(second.timing().unwrap().waited().is_none());
    assert!(cancelled.cancel());
    drop(opener);
    wait(&second);
    let [first, second] = [first, second].map(|future| future.timing().unwrap());
    assert!(
        second.queued() <= first.finished().unwrap(),
        "it waited for the first"
    );
    assert!(second.started() >= first.finished(), "one after the other");
    assert_eq!(
        first.ran().unwrap(),
        first.finished().unwrap() - first.started().unwrap()
    );
    let cancelled = cancelled.timing().unwrap();
    assert!(cancelled.started().is_none() && cancelled.finished().is_some());
}

// ---- a bounded queue -------------------------------------------------------

/// A pool of one worker that is held, with room for `capacity` more tasks.
fn bounded(capacity: usize) -> (Arc<ThreadPoolExecutor>, Sender<()>) {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(capacity)
        .build()
        .unwrap();
    let (opener, pass) = gate();
    let (sender, begun) = mpsc::channel();
    let task = move || {
        sender.send(()).unwrap();
        pass();
    };
    executor.spawn(task).unwrap().detach();
    begun.recv_timeout(LIMIT).unwrap();
    (Arc::new(executor), opener)
}

#[test]
fn a_full_queue_gives_the_call_back_and_has_room_after_a_cancel() {
    let (executor, opener) = bounded(2);
    let queued = [1, 2].map(|n| executor.submit(|n| n, n).unwrap());
    let refused = executor
        .try_submit(|text: String| text.len(), "kept".to_owned())
        .unwrap_err();
    assert!(matches!(refused.error, Error::QueueFull));
    let (f, text) = refused.call;
    assert_eq!(f(text), 4);
    assert!(queued[0].cancel());
    let third = executor.try_submit(|n| n, 3).unwrap();
    assert!(executor.try_submit(|n| n, 4).is_err());
    drop(opener);
    assert_eq!((*wait(&queued[1]), *wait(&third)), (2, 3));
}

#[test]
fn a_submit_waits_for_room() {
    let (executor, opener) = bounded(1);
    executor.spawn(|| ()).unwrap().detach();
    let ran = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (ran, inner) = (Arc::clone(&ran), Arc::clone(&executor));
                    let task = move || {
                        assert!(inner.stats().queued <= 1);
                        ran.fetch_add(1, Ordering::Relaxed)
                    };
                    executor.spawn(task).unwrap().detach();
                }
            });
        }
        drop(opener);
    });
    let report = executor.shutdown();
    assert_eq!((ran.load(Ordering::Relaxed), report.failed), (200, 0));
}

#[test]
fn a_shutdown_wakes_those_who_wait_for_room() {
    use concurrent_futures::ShutdownOptions;

    let (executor, opener) = bounded(1);
    executor.spawn(|| ()).unwrap().detach();
    let (sender, waiting) = mpsc::channel();
    thread::scope(|scope| {
        let submitters = [0; 3].map(|_| {
            let (executor, sender) = (&executor, sender.clone());
            scope.spawn(move || {
                sender.send(()).unwrap();
                executor.spawn(|| ()).map(ThreadFuture::detach)
            })
        });
        for _ in 0..3 {
            waiting.recv_timeout(LIMIT).unwrap();
        }
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        for submitter in submitters {
            assert!(matches!(submitter.join().unwrap(), Err(Error::ShutDown)));
        }
    });
    drop(opener);
}

#[test]
fn a_worker_never_waits_for_room() {
    let (executor, opener) = bounded(1);
    let inner = Arc::clone(&executor);
    let feeding = executor.spawn(move || {
        let fed = (0..100).map(|n| inner.spawn(move || n).unwrap());
        fed.collect::<Vec<_>>()
    });
    let (feeding, inner) = (feeding.unwrap(), Arc::clone(&executor));
    let (sender, told) = mpsc::channel();
    feeding.add_done_callback(move |_| {
        sender.send(inner.spawn(|| 100).unwrap()).unwrap();
    });
    drop(opener);
    for (n, future) in (0..).zip(feeding.into_result().unwrap()) {
        assert_eq!(*wait(&future), n);
    }
    assert_eq!(*wait(&told.recv_timeout(LIMIT).unwrap()), 100);
}

#[test]
fn no_room_at_all_is_refused() {
    let built = ThreadPoolExecutor::builder().queue_capacity(0).build();
    assert!(matches!(built, Err(Error::InvalidArgument(_))));
}

#[test]
fn each_worker_says_when_it_ends_even_if_that_panics() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let executor = ThreadPoolExecutor::builder()
        .max_workers(3)
        .on_worker_exit(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            panic!("at the exit");
        })
        .build()
        .unwrap();
    let (opener, pass) = gate();
    for _ in 0..3 {
        executor.spawn(pass.clone()).unwrap().detach();
    }
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    drop(opener);
    assert_eq!(executor.shutdown().finished, 3);
    assert_eq!(ended.load(Ordering::Relaxed), 3);
}

#[test]
fn an_inline_task_inside_a_task_gives_the_worker_back() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let kinds = executor.spawn(|| {
        let kind = || current_worker().map(|worker| worker.kind());
        let inline = concurrent_futures::InlineExecutor::new().unwrap();
        let inside = inline.spawn(kind).unwrap().into_result().unwrap();
        (inside, kind())
    });
    let expected = (Some(PoolKind::Inline), Some(PoolKind::Threads));
    assert_eq!(*wait(&kinds.unwrap()), expected);
}

// ---- the end ---------------------------------------------------------------

#[cfg(target_os = "linux")]
#[test]
fn threads_are_gone_after_shutdown_after_a_block_and_after_a_drop() {
    fn start(executor: &ThreadPoolExecutor, prefix: &str) -> [ThreadFuture<()>; 3] {
        let barrier = Arc::new(Barrier::new(4));
        let futures = [0; 3].map(|_| {
            let barrier = Arc::clone(&barrier);
            executor.spawn(move || _ = barrier.wait()).unwrap()
        });
        assert_eq!(executor.stats().workers, 3, "one for each blocked task");
        barrier.wait();
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
    let barrier = Arc::new(Barrier::new(2));
    for _ in 0..2 {
        let (exits, barrier) = (Arc::clone(&exits), Arc::clone(&barrier));
        let task = move || {
            barrier.wait();
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
fn a_callback_may_shut_its_pool_down_whatever_thread_runs_it() {
    let (executor, opener) = held_pool();
    let executor = Arc::new(executor);
    let future = executor.spawn(|| ()).unwrap();
    let inner = Arc::clone(&executor);
    future.add_done_callback(move |_| {
        assert_eq!(inner.shutdown().running, 1, "it does not wait");
        drop(opener);
    });
    assert!(future.cancel());
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
