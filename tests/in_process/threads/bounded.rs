//! A bounded queue: room, refusals, and what workers may do.

use super::*;
use concurrent_futures::MapOptions;

#[cfg(target_os = "linux")]
crate::alone::alone! {
    /// The memory is left for one stack, not for two.
    fn a_thread_that_cannot_be_started_is_no_room() {
        use rustix::process::{Resource, setrlimit};

        let executor = ThreadPoolExecutor::builder()
            .max_workers(2)
            .stack_size(1 << 30)
            .queue_capacity(1)
            .build()
            .unwrap();
        let (_held, opener) = hold_a_worker(&executor);
        let before = crate::alone::leave_memory(1 << 29);
        let queued = executor.try_submit(|n| n, 1).unwrap();
        assert_eq!(executor.stats().workers, 1, "it could not be started");
        let refused = executor.try_submit(|n| n, 2).unwrap_err();
        assert!(matches!(refused.error, Error::QueueFull), "{refused}");
        // A submit waits until the worker that there is comes by.
        thread::scope(|scope| {
            let waits = scope.spawn(|| executor.submit(|n| n, 3).map(take));
            drop(opener);
            assert_eq!(waits.join().unwrap().unwrap(), 3);
        });
        assert_eq!((take(queued), executor.stats().workers), (1, 1));
        // Where there are none, it says so, and goes on when there is memory.
        let none = ThreadPoolExecutor::builder().stack_size(1 << 30).build().unwrap();
        let refused = none.try_submit(|n| n, 4).unwrap_err();
        assert!(matches!(refused.error, Error::Spawn(_)), "{refused}");
        assert_eq!((refused.call.1, none.stats().queued), (4, 0));
        setrlimit(Resource::As, before).unwrap();
        assert_eq!(take(none.submit(|n| n, 4).unwrap()), 4);
    }
}

/// A pool of one worker that is held, with room for `capacity` more tasks.
fn bounded(capacity: usize) -> (Arc<ThreadPoolExecutor>, Opener) {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(capacity)
        .build()
        .unwrap();
    let (task, opener) = hold_a_worker(&executor);
    task.detach();
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

/// The items have no end, and the worker is held: only the limit ends the map.
#[test]
fn a_map_with_a_limit_does_not_wait_longer_for_room() {
    let limit = MapOptions::new().timeout(Duration::from_millis(50));
    let is_late = |late: &Result<i32, Error>| {
        let (unfinished, total) = match late {
            Err(Error::Timeout { unfinished, total }) => (*unfinished, *total),
            _ => return false,
        };
        (unfinished, total) == (2, 2)
    };
    for options in [
        limit,
        limit.chunk_size(3),
        limit.automatic_chunks(),
        limit.buffer_size(5),
    ] {
        let (executor, opener) = bounded(1);
        let mut results = executor.map_with(options, |n| n, 1..).unwrap();
        let late = results.next().expect("the limit is an item");
        assert!(is_late(&late), "{late:?}");
        assert!(results.next().is_none());
        let mut results = executor.map_with(options, |n| n, 1..).unwrap().unordered();
        let (submitted, late) = results.next().expect("the limit is an item");
        assert!(is_late(&late), "{late:?}");
        assert!(submitted >= 2 && results.next().is_none());
        drop(opener);
        drop(results);
        let report = executor.shutdown();
        assert_eq!((report.finished, report.cancelled), (1, 2));
    }
}

/// A worker that is there, or may be started, is as good as room.
#[test]
fn a_task_that_a_worker_can_take_at_once_takes_no_room() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(8)
        .queue_capacity(1)
        .build()
        .unwrap();
    for _ in 0..20 {
        let (opener, pass) = gate();
        let hold = || {
            let pass = pass.clone();
            executor.try_submit(move |()| pass(), ())
        };
        let held: Vec<_> = (0..9).map(|_| hold().unwrap()).collect();
        assert!(matches!(hold(), Err(refused) if matches!(refused.error, Error::QueueFull)));
        drop(opener);
        for task in &held {
            wait(task);
        }
    }
    assert_eq!(executor.stats().finished, 180);
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
    for (n, future) in (0..).zip(take(feeding)) {
        assert_eq!(*wait(&future), n);
    }
    assert_eq!(*wait(&told.recv_timeout(LIMIT).unwrap()), 100);
}

#[test]
fn a_callback_never_waits_for_room_whatever_thread_runs_it() {
    let (executor, opener) = bounded(1);
    let pending = executor.spawn(|| ()).unwrap();
    let inner = Arc::clone(&executor);
    let (sender, fed) = mpsc::channel();
    pending.add_done_callback(move |_| {
        for n in 0..10 {
            sender.send(inner.spawn(move || n).unwrap()).unwrap();
        }
    });
    assert!(pending.cancel());
    assert_eq!(
        executor.stats().failed,
        0,
        "it waited till the held task gave up"
    );
    drop(opener);
    for n in 0..10 {
        assert_eq!(*wait(&fed.try_recv().unwrap()), n);
    }
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
    // They meet, so that each needs a worker of its own.
    let meeting = Meeting::of(3);
    for _ in 0..3 {
        let (pass, meeting) = (pass.clone(), Arc::clone(&meeting));
        let task = move || {
            pass();
            meeting.wait();
        };
        executor.spawn(task).unwrap().detach();
    }
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    drop(opener);
    assert_eq!(executor.shutdown().finished, 3);
    assert_eq!(ended.load(Ordering::Relaxed), 3);
}

#[test]
fn a_worker_that_was_never_ready_does_not_say_when_it_ends() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let executor = ThreadPoolExecutor::builder()
        .initializer(|()| Err("not ready"), ())
        .on_worker_exit(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let future = executor.spawn(|| ()).unwrap();
    let error = future.exception_timeout(LIMIT).unwrap();
    assert!(matches!(error, Some(Error::Broken(_))));
    executor.shutdown();
    assert_eq!(ended.load(Ordering::Relaxed), 0);
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

#[test]
fn a_pool_that_breaks_wakes_those_who_wait_for_room() {
    let (opener, pass) = gate();
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .initializer(
            move |()| {
                pass();
                Err("broken")
            },
            (),
        )
        .build()
        .unwrap();
    // One for the worker that is being made ready, and one that waits.
    let [first, second] = [(); 2].map(|()| executor.spawn(|| ()).unwrap());
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
        let full = executor.try_submit(|()| (), ()).unwrap_err();
        assert!(matches!(full.error, Error::QueueFull));
        drop(opener);
        for submitter in submitters {
            assert!(matches!(submitter.join().unwrap(), Err(Error::Broken(_))));
        }
    });
    for future in [first, second] {
        let error = future.exception_timeout(LIMIT).unwrap();
        assert!(matches!(error, Some(Error::Broken(_))));
    }
}

#[test]
fn a_full_queue_that_all_workers_feed_runs_dry() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(2)
        .queue_capacity(1)
        .build()
        .unwrap();
    /// Runs for itself and for two more, down to the last generation.
    fn feed(executor: &Arc<ThreadPoolExecutor>, generation: u32, ran: &Arc<AtomicUsize>) {
        ran.fetch_add(1, Ordering::Relaxed);
        for _ in 0..if generation == 0 { 0 } else { 2 } {
            let (inner, ran) = (Arc::clone(executor), Arc::clone(ran));
            let child = move || feed(&inner, generation - 1, &ran);
            executor.spawn(child).unwrap().detach();
        }
    }
    let (executor, ran) = (Arc::new(executor), Arc::new(AtomicUsize::new(0)));
    let (inner, counter) = (Arc::clone(&executor), Arc::clone(&ran));
    executor
        .spawn(move || feed(&inner, 9, &counter))
        .unwrap()
        .detach();
    let deadline = Instant::now() + LIMIT;
    while ran.load(Ordering::Relaxed) < 1023 {
        assert!(Instant::now() < deadline, "{:?}", executor.stats());
        thread::yield_now();
    }
    let report = executor.shutdown();
    assert_eq!((report.finished, report.failed), (1023, 0));
}
