//! Making a pool: sizes, names, stacks, initializers.

use super::*;

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

#[test]
fn each_task_of_a_pool_that_can_have_no_thread_is_refused() {
    for capacity in [None, Some(1)] {
        let mut builder = ThreadPoolExecutor::builder().stack_size(isize::MAX as usize / 2);
        if let Some(tasks) = capacity {
            builder = builder.queue_capacity(tasks);
        }
        let executor = builder.build().unwrap();
        let meeting = Meeting::of(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    meeting.wait();
                    for _ in 0..3 {
                        let refused = executor.spawn(|| ()).map(drop);
                        assert!(matches!(refused, Err(Error::Spawn(_))), "{refused:?}");
                    }
                });
            }
        });
        executor.scope(|scope| {
            let refused = scope.spawn(|| ()).map(drop);
            assert!(matches!(refused, Err(Error::Spawn(_))), "{refused:?}");
        });
        let stats = executor.stats();
        assert_eq!((stats.workers, stats.idle, stats.queued), (0, 0, 0));
    }
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
    let meeting = Meeting::of(3);
    let futures = [0; 3].map(|_| {
        let meeting = Arc::clone(&meeting);
        let name = move || {
            meeting.wait();
            let worker = current_worker().unwrap();
            assert_eq!(worker.kind(), PoolKind::Threads);
            assert_eq!(Some(worker.name()), thread::current().name());
            worker.name().to_owned()
        };
        executor.spawn(name).unwrap()
    });
    let mut names = futures.map(take);
    names.sort();
    assert_eq!(names, ["given_0", "given_1", "given_2"]);
}

#[test]
fn default_names_differ_from_pool_to_pool() {
    let names = [0; 2].map(|_| {
        let executor = ThreadPoolExecutor::new().unwrap();
        let name = executor.spawn(|| thread::current().name().map(String::from));
        take(name.unwrap()).unwrap()
    });
    let unnamed = pool("", 1).spawn(|| thread::current().name().map(String::from));
    let unnamed = take(unnamed.unwrap()).unwrap();
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
    let future = executor.spawn(|| ()).unwrap();
    let error = future.exception_timeout(LIMIT).unwrap().unwrap();
    let Error::Broken(cause) = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**cause, Error::Other(_)));
    assert!(error.to_string().contains("invalid digit"), "{error}");
}

/// A pool of one worker, whose initializer fails with that text once the gate is opened.
fn pool_that_breaks(why: &'static str) -> (ThreadPoolExecutor, Opener) {
    let (opener, pass) = gate();
    let initializer = move |()| {
        pass();
        Err(why)
    };
    let builder = ThreadPoolExecutor::builder().max_workers(1);
    (
        builder.initializer(initializer, ()).build().unwrap(),
        opener,
    )
}

#[test]
fn an_initializer_that_fails_after_shutdown_still_settles_what_is_queued() {
    let (executor, opener) = pool_that_breaks("too late");
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
    let meeting = Meeting::of(2);
    let executor = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(
            move |()| Err::<(), _>(Bad).inspect_err(|_| meeting.wait()),
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
    drop(executor);
}

#[test]
fn a_broken_pool_tells_its_callbacks_when_all_is_settled() {
    let (executor, opener) = pool_that_breaks("broken");
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

#[test]
fn what_the_initializer_gets_reaches_each_worker() {
    thread_local!(static SHARED: Cell<Option<Arc<()>>> = const { Cell::new(None) });

    let (shared, _) = tracked();
    let executor = ThreadPoolExecutor::builder()
        .max_workers(3)
        .initializer(
            |shared| {
                let before = SHARED.replace(Some(shared));
                assert!(before.is_none(), "once on each worker");
            },
            Arc::clone(&shared),
        )
        .build()
        .unwrap();
    let meeting = Meeting::of(3);
    let futures = [0; 3].map(|_| {
        let meeting = Arc::clone(&meeting);
        let get = move || {
            meeting.wait();
            SHARED.take()
        };
        executor.spawn(get).unwrap()
    });
    for future in &futures {
        let got = wait(future).as_ref().unwrap();
        assert!(Arc::ptr_eq(got, &shared));
    }
}

/// Python's FailingInitializerResourcesTest.
#[cfg(target_os = "linux")]
/// Its worker may have failed before it is queued.
#[test]
fn the_first_task_of_a_pool_that_breaks_at_once_is_accepted_and_fails() {
    for _ in 0..2_000 {
        let executor = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(|()| Err("no licence"), ())
            .build()
            .unwrap();
        let future = executor.spawn(|| ()).expect("it was open");
        let error = future.exception_timeout(LIMIT).unwrap();
        assert!(matches!(error, Some(Error::Broken(_))), "{error:?}");
        assert!(matches!(executor.spawn(|| ()), Err(Error::Broken(_))));
        let stats = executor.stats();
        assert_eq!((stats.queued, stats.failed), (0, 1));
    }
}

#[test]
fn a_failing_initializer_leaves_no_threads_behind() {
    for _ in 0..20 {
        let executor = ThreadPoolExecutor::builder()
            .max_workers(4)
            .thread_name_prefix("failing")
            .initializer(|()| Err("no licence"), ())
            .build()
            .unwrap();
        let futures: Vec<_> = (0..8).filter_map(|_| executor.spawn(|| ()).ok()).collect();
        drop(executor);
        for future in &futures {
            let error = future.exception_timeout(Duration::ZERO).unwrap();
            assert!(matches!(error, Some(Error::Broken(_))), "{error:?}");
        }
    }
    assert_no_threads_named("failing");
}

#[test]
fn workers_whose_initializers_fail_together_settle_each_task_once() {
    const WORKERS: usize = 8;
    for _ in 0..20 {
        let meeting = Meeting::of(WORKERS);
        let executor = ThreadPoolExecutor::builder()
            .max_workers(WORKERS)
            .initializer(
                move |()| {
                    meeting.wait();
                    Err("all of them")
                },
                (),
            )
            .build()
            .unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let mut submitted = 0;
        // The last of them may come when it is broken already.
        for _ in 0..WORKERS + 10 {
            let Ok(future) = executor.spawn(|| ()) else {
                continue;
            };
            submitted += 1;
            let told = Arc::clone(&told);
            future.add_done_callback(move |future| {
                assert!(matches!(future.exception(), Some(Error::Broken(_))));
                told.fetch_add(1, Ordering::Relaxed);
            });
        }
        let report = executor.shutdown();
        assert!(submitted >= WORKERS);
        assert_eq!(told.load(Ordering::Relaxed), submitted);
        assert_eq!(report.failed, u64::try_from(submitted).unwrap());
        let stats = executor.stats();
        assert_eq!((stats.workers, stats.idle, stats.queued), (0, 0, 0));
    }
}

#[test]
fn a_callback_of_a_pool_that_breaks_may_submit_and_is_told() {
    let (executor, opener) = pool_that_breaks("broken");
    let executor = Arc::new(executor);
    let (inner, future) = (Arc::clone(&executor), executor.spawn(|| ()).unwrap());
    let (sender, answer) = mpsc::channel();
    future.add_done_callback(move |_| sender.send(inner.spawn(|| ()).map(drop)).unwrap());
    drop(opener);
    let refused = answer.recv_timeout(LIMIT).unwrap();
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
}

#[test]
fn workers_have_the_stack_that_was_asked_for() {
    /// Uses 4 KiB of stack and more for each level.
    fn deep(levels: usize) -> usize {
        let page = std::hint::black_box([1_u8; 4096]);
        match levels {
            0 => 0,
            _ => usize::from(page[levels % 4096]) + deep(levels - 1),
        }
    }
    // 16 MiB at least, which no thread has by itself.
    const LEVELS: usize = 4096;
    let executor = ThreadPoolExecutor::builder()
        .stack_size(LEVELS << 14)
        .build()
        .unwrap();
    assert_eq!(*wait(&executor.submit(deep, LEVELS).unwrap()), LEVELS);
}

#[test]
fn values_of_a_megabyte_fit_on_the_stack_of_a_worker() {
    type Large = [u64; 1 << 17];
    fn turn(mut large: Large) -> Large {
        large.reverse();
        large
    }
    let program = || {
        let executor = pool("large", 1);
        let future = executor.submit(turn, [3; 1 << 17]).unwrap();
        assert_eq!(future.into_result().unwrap()[7], 3);
        let made = executor.submit(|n| [n; 1 << 17], 5_u64).unwrap();
        assert_eq!(made.into_result().unwrap()[7], 5);
        let taken = executor
            .submit(|large: Large| large[7], [6; 1 << 17])
            .unwrap();
        assert_eq!(taken.into_result().unwrap(), 6);
        let (begin, begins) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let late = executor.spawn(move || begins.recv_timeout(LIMIT).map(|()| [7; 1 << 17]));
        let send = move |large: Result<Result<Large, _>, _>| {
            sender.send(large.unwrap().unwrap()[7]).unwrap();
        };
        late.unwrap().then(send);
        begin.send(()).unwrap();
        assert_eq!(receiver.recv_timeout(LIMIT).unwrap(), 7);
        let options = concurrent_futures::MapOptions::new().chunk_size(2);
        let turned = executor.map_with(options, turn, [[4; 1 << 17]; 3]).unwrap();
        turned.for_each(|large| assert_eq!(large.unwrap()[7], 4));
    };
    // The stack of the thread that submits is not the pool's.
    let submits = thread::Builder::new().stack_size(256 << 20).spawn(program);
    submits.unwrap().join().unwrap();
}

#[test]
fn sizes_may_be_as_large_as_can_be() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(usize::MAX)
        .queue_capacity(usize::MAX)
        .build()
        .unwrap();
    assert_eq!(executor.max_workers(), usize::MAX);
    let futures = [1, 2, 3].map(|n| executor.submit(|n| 2 * n, n).unwrap());
    assert_eq!(futures.each_ref().map(|future| *wait(future)), [2, 4, 6]);
    let options = concurrent_futures::MapOptions::new().automatic_chunks();
    let doubled = executor.map_with(options, |n: i32| 2 * n, 0..100).unwrap();
    assert_eq!(doubled.map(Result::unwrap).sum::<i32>(), 9900);
}

#[test]
fn what_panics_when_it_is_dropped_with_its_pool_does_not_leave_the_drop() {
    /// Counts how often it exploded.
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a bomb in a pool");
        }
    }
    impl Clone for Bomb {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }
    let exploded = Arc::new(AtomicUsize::new(0));
    let on_exit = Bomb(Arc::clone(&exploded));
    let captured = Bomb(Arc::clone(&exploded));
    let initializer = move |argument| {
        assert!(Arc::strong_count(&captured.0) > 0);
        leak::<Bomb>(argument);
    };
    let executor = ThreadPoolExecutor::builder()
        .initializer(initializer, Bomb(Arc::clone(&exploded)))
        .on_worker_exit(move || assert!(Arc::strong_count(&on_exit.0) > 0))
        .build()
        .unwrap();
    take(executor.spawn(|| 1).unwrap());
    drop(executor);
    assert_eq!(exploded.load(Ordering::Relaxed), 3, "each once");
}

/// A callback heard of one task while hundreds were still to be failed.
#[test]
fn a_pool_that_breaks_tells_of_no_task_before_all_have_ended() {
    const ROUNDS: usize = 1_000;
    const CHILDREN: usize = 200;
    let mut early_rounds = 0;
    for _ in 0..ROUNDS {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let workers = AtomicUsize::new(0);
        let fail_as_second = move |()| {
            if workers.fetch_add(1, Ordering::Relaxed) == 1 {
                let _ = gate.lock().unwrap().recv();
                return Err("no licence");
            }
            Ok(())
        };
        let executor = ThreadPoolExecutor::builder()
            .max_workers(2)
            .initializer(fail_as_second, ())
            .build();
        let executor = Arc::new(executor.unwrap());
        let (sender, told) = mpsc::channel();
        let other = Arc::clone(&executor);
        let parent = executor.spawn(move || {
            let spawn = |_| other.spawn(|| ()).unwrap();
            let all: Arc<Vec<ThreadFuture<()>>> = Arc::new((0..CHILDREN).map(spawn).collect());
            for child in all.iter() {
                let (all, sender) = (Arc::clone(&all), sender.clone());
                child.add_done_callback(move |_| {
                    let pending = all.iter().filter(|child| !child.done()).count();
                    sender.send(pending).unwrap();
                });
            }
            open.send(()).unwrap();
            while !other.stats().broken {
                thread::yield_now();
            }
        });
        parent.unwrap().into_result().unwrap();
        // One that a worker has in its hand at that moment is no concern of this test.
        let early = told.iter().take(CHILDREN).filter(|pending| *pending > 1);
        early_rounds += usize::from(early.count() > 0);
    }
    assert_eq!(early_rounds, 0, "of {ROUNDS} pools");
}

#[test]
fn a_worker_in_the_callback_of_a_failed_task_does_not_count_as_idle() {
    let (executor, opener) = pool_that_breaks("no licence");
    let executor = Arc::new(executor);
    let (sender, seen) = mpsc::channel();
    let future = executor.spawn(|| ()).unwrap();
    let observed = Arc::clone(&executor);
    future.add_done_callback(move |_| sender.send(observed.stats().idle).unwrap());
    drop(opener);
    assert_eq!(seen.recv_timeout(LIMIT), Ok(0));
    executor.shutdown();
}
