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
