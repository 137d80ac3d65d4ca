//! Tasks: their values, what becomes of them, what their `Drop` may do.

use std::panic::{AssertUnwindSafe, catch_unwind};

use concurrent_futures::{InlineExecutor, MapOptions, TaskOptions};

use super::*;

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
    let big = take(big);
    assert!(big.len() == 64 << 20 && big.iter().all(|&byte| byte == 7));
}

#[test]
fn the_writes_of_a_task_are_visible_once_it_is_done() {
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
fn an_unread_value_is_dropped_by_shutdown_at_the_latest() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let (value, weak) = tracked();
    executor.spawn(move || value).unwrap().detach();
    executor.shutdown();
    assert!(weak.upgrade().is_none());
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
fn a_bomb_refused_for_an_option_does_not_explode_in_submit() {
    let drops = Arc::new(AtomicUsize::new(0));
    let bomb = || Bomb(Arc::clone(&drops));
    let executor = ThreadPoolExecutor::new().unwrap();
    let impossible = executor.with(TaskOptions::new().retries(1));
    let argument = impossible.submit(|_argument| (), bomb());
    assert!(matches!(argument, Err(Error::InvalidArgument(_))));
    let captured = bomb();
    let captures = impossible.spawn(move || drop(captured));
    assert!(matches!(captures, Err(Error::InvalidArgument(_))));
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

/// The last task of the map drops what the function captured, while it unwinds.
#[test]
fn a_map_whose_function_panics_and_captured_a_bomb_ends_no_program() {
    let drops = Arc::new(AtomicUsize::new(0));
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    for options in [MapOptions::new(), MapOptions::new().chunk_size(2)] {
        let captured = Bomb(Arc::clone(&drops));
        let function = move |n: usize| assert_eq!(Arc::strong_count(&captured.0), n);
        let results = executor.map_with(options, function, [0, 2, 0]).unwrap();
        let ran = results.map(|result| result.is_ok()).collect::<Vec<_>>();
        assert_eq!(ran, [false, true, false]);
    }
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

/// The map drops the iterator because the executor refuses an item.
#[test]
fn an_item_that_is_refused_has_its_error_though_the_drop_of_the_iterator_panics() {
    struct Endless {
        _bomb: Bomb,
        last: usize,
    }
    impl Iterator for Endless {
        type Item = usize;
        fn next(&mut self) -> Option<usize> {
            self.last += 1;
            Some(self.last)
        }
    }
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let drops = Arc::new(AtomicUsize::new(0));
    let buffered = MapOptions::new().buffer_size(1);
    let items = Endless {
        _bomb: Bomb(Arc::clone(&drops)),
        last: 0,
    };
    let mut results = executor.map_with(buffered, |n| n, items).unwrap();
    executor.shutdown();
    let first = catch_unwind(AssertUnwindSafe(|| results.next()));
    assert!(first.is_err() && drops.load(Ordering::Relaxed) == 1);
    assert_eq!(results.next().unwrap().unwrap(), 1);
    assert!(matches!(results.next(), Some(Err(Error::ShutDown))));
    assert!(results.next().is_none());
}

/// Their tasks are all submitted at once, and their results are all there.
#[test]
fn a_map_without_a_buffer_gives_all_that_is_there_after_its_limit() {
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let late = MapOptions::new().timeout(Duration::ZERO);
    let results = executor.map_with(late, |n| n, 0..10).unwrap();
    while executor.stats().finished < 10 {
        thread::yield_now();
    }
    assert!(results.map(Result::unwrap).eq(0..10));
}

/// After its limit, a map with a buffer drops the next item.
#[test]
fn an_item_that_is_too_late_may_be_a_bomb() {
    let drops = Arc::new(AtomicUsize::new(0));
    let executor = InlineExecutor::new().unwrap();
    let late = MapOptions::new().timeout(Duration::ZERO).buffer_size(1);
    let bombs = std::iter::repeat_with(|| Bomb(Arc::clone(&drops)));
    let keep = |bomb: Bomb| std::mem::ManuallyDrop::new(bomb);
    let mut results = executor.map_with(late, keep, bombs).unwrap();
    assert!(results.next().unwrap().is_ok());
    assert!(matches!(results.next(), Some(Err(Error::Timeout { .. }))));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

/// The iterator's panic leaves the map, or the drop of a map with a buffer.
#[test]
fn a_map_drops_bombs_in_its_function_and_its_iterator() {
    fn explode(map: impl FnOnce(Bomb, Bomb)) {
        let drops = Arc::new(AtomicUsize::new(0));
        let bomb = || Bomb(Arc::clone(&drops));
        let (captured, in_iterator) = (bomb(), bomb());
        let dropping = AssertUnwindSafe(|| map(captured, in_iterator));
        assert!(catch_unwind(dropping).is_err());
        // A worker that still runs a task of the map drops the function after it.
        let deadline = Instant::now() + LIMIT;
        while drops.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }
    macro_rules! explode {
        ($($executor:ident.$map:ident($($options:ident)?);)*) => { $(
            explode(|captured, in_iterator| {
                let uses = |bomb: &Bomb, n: usize| Arc::strong_count(&bomb.0) + n;
                let items = (0..9).map(move |n| uses(&in_iterator, n));
                let function = move |n| uses(&captured, n);
                drop($executor.$map($($options,)? function, items));
            });
        )* };
    }
    let buffered = MapOptions::new().buffer_size(1);
    let threads = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let inline = InlineExecutor::new().unwrap();
    let (named, refused) = (
        TaskOptions::new().name("bombs"),
        TaskOptions::new().retries(1),
    );
    let (threads_named, inline_named) = (threads.with(named.clone()), inline.with(named));
    let (threads_refused, inline_refused) = (threads.with(refused.clone()), inline.with(refused));
    explode! {
        threads.map();
        threads.map_with(buffered);
        threads_named.map();
        threads_named.map_with(buffered);
        threads_refused.map();
        threads_refused.map_with(buffered);
        inline.map();
        inline.map_with(buffered);
        inline_named.map();
        inline_named.map_with(buffered);
        inline_refused.map();
        inline_refused.map_with(buffered);
    }
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
    let named = executor.with(TaskOptions::new().name("two bombs"));
    let task = || {
        let captured = bomb();
        |argument| drop((captured, argument))
    };
    assert!(executor.submit(task(), bomb()).unwrap().cancel());
    assert!(named.submit(task(), bomb()).unwrap().cancel());
    assert_eq!(drops.load(Ordering::Relaxed), 4);
    drop(opener);
    executor.shutdown();
    assert!(executor.submit(task(), bomb()).is_err());
    assert!(named.submit(task(), bomb()).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 8);
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

/// So many copies of it lay on the stack of an unoptimized build that 2 MiB, what a test's
/// thread has, were too few.
#[test]
fn a_call_with_an_argument_of_100_kilobytes_can_be_submitted() {
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let first = executor.submit(|large: [u8; 100_000]| large[0], [1; 100_000]);
    assert_eq!(first.unwrap().into_result().unwrap(), 1);
}
