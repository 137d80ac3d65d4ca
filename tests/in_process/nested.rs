//! Tasks that wait for tasks of their own pool: they cannot starve it.
//!
//! The waiting worker runs the awaited task itself if it has not begun: that
//! very task, and only in a wait without a limit.

use std::future::{Future as _, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Error, InlineExecutor, MapOptions, PoolKind, Promise, ReturnWhen, ShutdownOptions,
    ThreadFuture, ThreadPoolExecutor, Waited, as_completed, completions, current_worker, promise,
    wait, wait_until,
};

use crate::LIMIT;

type Shared = Arc<ThreadPoolExecutor>;

fn pool(max_workers: usize) -> Shared {
    Arc::new(ThreadPoolExecutor::with_max_workers(max_workers).unwrap())
}

/// Runs `task` on the only worker of a pool, which it gets, and gives its value.
fn on_the_only_worker<T: Send + 'static>(task: impl FnOnce(&Shared) -> T + Send + 'static) -> T {
    let executor = pool(1);
    let inner = Arc::clone(&executor);
    let future = executor.spawn(move || task(&inner)).unwrap();
    if let Err(error) = future.exception_timeout(LIMIT) {
        panic!("the only worker waits for itself: {error}");
    }
    let value = future.into_result().unwrap();
    let stats = executor.stats();
    assert_eq!((stats.workers, stats.queued, stats.running), (1, 0, 0));
    value
}

/// A task whose value says which thread ran it.
fn who(executor: &Shared) -> ThreadFuture<thread::ThreadId> {
    executor.spawn(|| thread::current().id()).unwrap()
}

#[test]
fn result_runs_the_awaited_task() {
    let (outer, inner) = on_the_only_worker(|executor| {
        let inner = who(executor);
        (thread::current().id(), *inner.result().unwrap())
    });
    assert_eq!(outer, inner);
}

#[test]
fn into_result_and_exception_run_it_too() {
    on_the_only_worker(|executor| {
        assert_eq!(who(executor).into_result().unwrap(), thread::current().id());
        assert!(who(executor).exception().is_none());
        let failing = executor.spawn(|| -> () { panic!("inside") }).unwrap();
        assert!(matches!(failing.exception(), Some(Error::Panicked(_))));
    });
}

#[test]
fn a_task_that_fails_in_a_wait_is_counted_as_failed() {
    let executor = pool(1);
    let inner = Arc::clone(&executor);
    let outer = executor.spawn(move || {
        let task: fn() = || panic!("in a wait");
        let failing = inner.spawn(task).unwrap();
        matches!(failing.exception(), Some(Error::Panicked(_)))
    });
    assert_eq!(outer.unwrap().result_timeout(LIMIT).ok(), Some(&true));
    let report = executor.shutdown();
    assert_eq!((report.finished, report.failed), (1, 1));
}

#[test]
fn every_kind_of_wait_runs_what_it_waits_for() {
    on_the_only_worker(|executor| {
        let all = [who(executor), who(executor), who(executor)];
        let waited = wait(&all, ReturnWhen::AllCompleted, None);
        assert_eq!(waited.done.len(), 3);
        assert_eq!(as_completed([who(executor), who(executor)]).count(), 2);
        let first = [who(executor), who(executor)];
        assert_eq!(wait(&first, ReturnWhen::FirstCompleted, None).done.len(), 1);
        assert_eq!(wait(&first, ReturnWhen::AllCompleted, None).done.len(), 2);
        for chunk in [1, 2] {
            let options = MapOptions::new().chunk_size(chunk);
            let doubled = executor.map_with(options, |n: i32| 2 * n, 1..=3).unwrap();
            assert_eq!(doubled.map(Result::unwrap).sum::<i32>(), 12);
        }
        let awaited = pollster::block_on(who(executor).into_future()).unwrap();
        assert_eq!(awaited, thread::current().id());
        let lent = who(executor);
        assert!(pollster::block_on((&lent).into_future()).is_ok());
    });
}

#[test]
fn waits_for_some_of_many_run_no_more_than_that_takes() {
    on_the_only_worker(|executor| {
        let five = || [0; 5].map(|_| who(executor));
        let (all, mut asked) = (five(), 0);
        let third = |_: &&ThreadFuture<_>| {
            asked += 1;
            asked == 3
        };
        let waited = wait_until(&all, third, None);
        assert_eq!((waited.done.len(), waited.not_done.len()), (3, 2));
        assert!(waited.not_done.iter().all(|future| future.cancel()));

        let mut numbers = executor.map(|n: i32| n, 0..5).unwrap().unordered();
        assert!(numbers.next().is_some_and(|(_, result)| result.is_ok()));
        assert_eq!(executor.stats().queued, 4);
        assert_eq!(numbers.filter(|(_, result)| result.is_ok()).count(), 4);

        let mut some = as_completed(five());
        assert!(some.next().is_some());
        assert_eq!(executor.stats().queued, 4);
        some.for_each(|future| assert!(future.done()));
    });
}

#[test]
fn a_tree_of_tasks_that_wait_needs_no_more_workers_than_there_are() {
    fn fibonacci(executor: &Shared, n: u64) -> u64 {
        if n < 2 {
            return n;
        }
        let inner = Arc::clone(executor);
        let left = executor.spawn(move || fibonacci(&inner, n - 1)).unwrap();
        let right = fibonacci(executor, n - 2);
        left.into_result().unwrap() + right
    }
    for workers in [1, 2, 4] {
        let executor = pool(workers);
        let inner = Arc::clone(&executor);
        let result = executor.spawn(move || fibonacci(&inner, 16)).unwrap();
        assert_eq!(*result.result_timeout(LIMIT).unwrap(), 987);
        assert_eq!(executor.stats().queued, 0);
        assert!(executor.stats().workers <= workers);
    }
}

/// rayon-rs/rayon#592: who waits with a lock in its hands must not be made to
/// run a task that wants that lock.
#[test]
fn no_unrelated_task_is_run_under_a_held_lock() {
    on_the_only_worker(|executor| {
        let lock = Arc::new(Mutex::new(()));
        let wanted = Arc::clone(&lock);
        let unrelated = executor
            .spawn(move || drop(wanted.try_lock().unwrap()))
            .unwrap();
        let held = lock.lock().unwrap();
        assert_eq!(*who(executor).result().unwrap(), thread::current().id());
        assert!(!unrelated.done());
        drop(held);
        assert!(unrelated.exception().is_none());
    });
}

#[test]
fn a_wait_with_a_limit_runs_nothing() {
    on_the_only_worker(|executor| {
        let inner = who(executor);
        let short = Duration::from_millis(1);
        assert!(matches!(
            inner.result_timeout(short),
            Err(Error::Timeout { .. })
        ));
        assert!(matches!(
            inner.exception_timeout(short),
            Err(Error::Timeout { .. })
        ));
        assert!(
            wait([&inner], ReturnWhen::AllCompleted, Some(short))
                .done
                .is_empty()
        );
        assert!(as_completed([&inner]).next_timeout(short).is_err());
        assert!(!inner.done() && !inner.running());
        assert!(inner.cancel());
    });
}

#[test]
fn a_task_of_another_pool_is_left_to_that_pool() {
    let other = pool(1);
    let (outer, inner) = on_the_only_worker(move |_| {
        let inner = *who(&other).result().unwrap();
        (thread::current().id(), inner)
    });
    assert_ne!(outer, inner);
}

#[test]
fn each_task_runs_once_on_whichever_thread() {
    let executor = pool(2);
    let ran = Arc::new(AtomicUsize::new(0));
    let (inner, counter) = (Arc::clone(&executor), Arc::clone(&ran));
    let waiting = executor
        .spawn(move || {
            for _ in 0..5000 {
                let counter = Arc::clone(&counter);
                let one = inner
                    .spawn(move || counter.fetch_add(1, Ordering::Relaxed))
                    .unwrap();
                one.into_result().unwrap();
            }
        })
        .unwrap();
    waiting.result_timeout(LIMIT).unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 5000);
    assert_eq!(executor.shutdown().finished, 5001);
}

#[test]
fn waiting_for_oneself_is_an_error() {
    let executor = pool(1);
    let (hand_over, handed) = mpsc::channel::<ThreadFuture<()>>();
    let (sender, answer) = mpsc::channel();
    let future = executor
        .spawn(move || {
            let own = handed.recv_timeout(LIMIT).unwrap();
            sender.send(own.result().copied()).unwrap();
            let early = own.result_timeout(Duration::from_millis(1)).copied();
            sender.send(early).unwrap();
            sender.send(own.into_result()).unwrap();
        })
        .unwrap();
    hand_over.send(future).unwrap();
    let next = || answer.recv_timeout(LIMIT).unwrap();
    assert!(matches!(next(), Err(Error::WouldDeadlock)));
    assert!(
        matches!(next(), Err(Error::Timeout { .. })),
        "a limit ends the wait"
    );
    assert!(matches!(next(), Err(Error::WouldDeadlock)));
}

#[test]
fn waiting_in_a_circle_on_one_thread_is_an_error() {
    let answer = on_the_only_worker(|executor| {
        let (hand_over, handed) = mpsc::channel::<Arc<ThreadFuture<()>>>();
        let (sender, answer) = mpsc::channel();
        let inner = Arc::clone(executor);
        // The first waits for the second, which waits for the first.
        let first = inner
            .clone()
            .spawn(move || {
                let first = handed.recv_timeout(LIMIT).unwrap();
                let second = inner.spawn(move || {
                    sender.send(first.result().copied()).unwrap();
                });
                second.unwrap().into_result().unwrap();
            })
            .unwrap();
        let first = Arc::new(first);
        hand_over.send(Arc::clone(&first)).unwrap();
        first.result().unwrap();
        answer.recv_timeout(LIMIT).unwrap()
    });
    assert!(matches!(answer, Err(Error::WouldDeadlock)));
}

/// `n` tasks, each on a thread of its own, that wait for the next one.
fn refused_in_a_ring_of(n: usize) -> usize {
    let executor = pool(n);
    let (begin, begun) = mpsc::channel();
    let (earlier, waited) = promise::<()>();
    let waited = Arc::new(waited);
    let (futures, senders): (Vec<_>, Vec<_>) = (0..n)
        .map(|_| {
            let begin = begin.clone();
            let waited = Arc::clone(&waited);
            let (sender, next) = mpsc::channel::<Arc<ThreadFuture<bool>>>();
            let task = move || {
                begin.send(()).unwrap();
                waited.result().unwrap(); // a wait that is over is none
                let next = next.recv_timeout(LIMIT).unwrap();
                matches!(next.result(), Err(Error::WouldDeadlock))
            };
            (Arc::new(executor.spawn(task).unwrap()), sender)
        })
        .unzip();
    for _ in 0..n {
        begun.recv_timeout(LIMIT).unwrap();
    }
    for _ in 0..100 {
        thread::yield_now(); // until they most likely wait
    }
    earlier.set_result(()).unwrap();
    for (sender, next) in senders.iter().zip(futures.iter().cycle().skip(1)) {
        sender.send(Arc::clone(next)).unwrap();
    }
    let refused = |future: &Arc<ThreadFuture<bool>>| *future.result_timeout(LIMIT).unwrap();
    futures.iter().filter(|future| refused(future)).count()
}

#[test]
fn waiting_in_a_circle_over_several_threads_is_an_error_of_one_of_them() {
    for n in [2, 3, 8] {
        for _ in 0..20 {
            assert_eq!(refused_in_a_ring_of(n), 1, "of {n}");
        }
    }
}

#[test]
fn waiting_in_a_circle_with_a_callback_is_an_error_of_one_of_them() {
    for _ in 0..20 {
        let executor = pool(2);
        let (give, given) = mpsc::channel::<ThreadFuture<()>>();
        let (begin, begun) = mpsc::channel();
        let of_task = executor.spawn(move || {
            begin.send(()).unwrap();
            let first = given.recv_timeout(LIMIT).unwrap();
            matches!(first.into_result(), Err(Error::WouldDeadlock))
        });
        let of_task = Arc::new(of_task.unwrap());
        begun.recv_timeout(LIMIT).unwrap();
        let (sender, of_callback) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        let first = executor.spawn(move || assert!(held.recv_timeout(LIMIT).is_err()));
        let (first, second) = (first.unwrap(), Arc::clone(&of_task));
        first.add_done_callback(move |_| {
            let refused = matches!(second.result(), Err(Error::WouldDeadlock));
            sender.send(refused).unwrap();
        });
        drop(hold);
        give.send(first).unwrap();
        let of_callback = of_callback.recv_timeout(LIMIT).unwrap();
        assert_ne!(of_callback, *of_task.result_timeout(LIMIT).unwrap());
    }
}

#[test]
fn waits_that_close_no_circle_are_never_refused() {
    let executor = pool(4);
    let mut futures: Vec<Arc<ThreadFuture<usize>>> = Vec::new();
    for n in 0..500_usize {
        // Each waits for some of those before it.
        let awaited = [n / 2, n * 7 % n.max(1), n.saturating_sub(1)];
        let awaited: Vec<_> = awaited.iter().filter(|&&k| k < n).collect();
        let awaited: Vec<_> = awaited.iter().map(|&&k| Arc::clone(&futures[k])).collect();
        let task = move || {
            let longest = awaited.iter().map(|future| *future.result().unwrap());
            longest.max().map_or(1, |longest| longest + 1)
        };
        futures.push(Arc::new(executor.spawn(task).unwrap()));
    }
    let last = futures.last().unwrap().result_timeout(LIMIT).unwrap();
    assert_eq!(*last, 500);
}

#[test]
fn a_promise_that_is_run_knows_its_own_future_too() {
    let (promise, future) = promise::<()>();
    let future = Arc::new(future);
    let own = Arc::clone(&future);
    promise.run(move || assert!(matches!(own.result(), Err(Error::WouldDeadlock))));
    assert!(future.exception().is_none());
}

#[test]
fn a_task_with_callbacks_is_told_before_the_wait_for_its_value_ends() {
    on_the_only_worker(|executor| {
        let (sender, told) = mpsc::channel();
        let inner = who(executor);
        inner.add_done_callback(move |_| sender.send(thread::current().id()).unwrap());
        inner.into_result().unwrap();
        assert_eq!(told.try_recv(), Ok(thread::current().id()));
    });
}

#[test]
fn a_pool_that_breaks_leaves_a_task_that_runs_in_a_wait_alone() {
    assert_eq!(break_beside_a_wait(false), (2, 0, 0));
}

/// Its entry stays in the queue, behind that of a newer one, which fails.
#[test]
fn a_pool_that_breaks_leaves_an_older_task_that_runs_in_a_wait_alone() {
    assert_eq!(break_beside_a_wait(true), (2, 1, 0));
}

/// Breaks a pool while its worker runs a task inside a wait, and perhaps has a newer one
/// in its queue. Returns the numbers of finished, failed and queued tasks.
fn break_beside_a_wait(has_newer: bool) -> (u64, u64, usize) {
    let (fail, failing) = mpsc::channel::<()>();
    let failing = Mutex::new(failing);
    let started = AtomicUsize::new(0);
    let executor = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(
            move |()| match started.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                _ => {
                    let told = failing.lock().unwrap().recv_timeout(LIMIT);
                    assert_eq!(told, Err(mpsc::RecvTimeoutError::Disconnected));
                    Err("the second fails")
                }
            },
            (),
        )
        .build()
        .unwrap();
    let executor = Arc::new(executor);
    let outer = Arc::clone(&executor);
    let waiting = executor.spawn(move || {
        let inner = Arc::clone(&outer);
        let running = outer.spawn(move || {
            drop(fail);
            let deadline = Instant::now() + LIMIT;
            while inner.stats().workers > 1 {
                assert!(Instant::now() < deadline);
                thread::yield_now();
            }
            assert!(inner.stats().broken);
            42
        });
        if has_newer {
            outer.spawn(|| ()).unwrap().detach();
        }
        running.unwrap().into_result()
    });
    let waiting = waiting.unwrap();
    let inner = waiting.result_timeout(LIMIT).unwrap();
    assert_eq!(*inner.as_ref().unwrap(), 42);
    let stats = executor.stats();
    (stats.finished, stats.failed, stats.queued)
}

#[test]
fn a_task_that_a_callback_waits_for_runs_as_if_it_were_elsewhere() {
    let executor = pool(1);
    let (hold, held) = mpsc::channel::<()>();
    let first = executor
        .spawn(move || held.recv_timeout(LIMIT).is_err())
        .unwrap();
    let (sender, answer) = mpsc::channel();
    let inner = Arc::clone(&executor);
    first.add_done_callback(move |_| {
        // Completes a promise, whose callback it needs to have run.
        let job = inner.spawn(|| {
            let (promise, future) = promise::<i32>();
            let (told, hears) = mpsc::channel();
            future.add_done_callback(move |_| told.send(()).unwrap());
            promise.set_result(1).unwrap();
            (hears.try_recv().is_ok(), future.into_result().ok())
        });
        sender.send(job.unwrap().into_result()).unwrap();
    });
    drop(hold);
    let answer = answer.recv_timeout(LIMIT).unwrap();
    assert_eq!(answer.unwrap(), (true, Some(1)));
}

/// Runs `f` in a callback on the only worker of a pool, and gives its value.
fn in_a_callback_of_the_only_worker<T: Send + 'static>(
    f: impl FnOnce(&Shared) -> T + Send + 'static,
) -> T {
    let executor = pool(1);
    let (hold, held) = mpsc::channel::<()>();
    let first = executor.spawn(move || held.recv_timeout(LIMIT).is_err());
    let (sender, answer) = mpsc::channel();
    let inner = Arc::clone(&executor);
    first
        .unwrap()
        .then(move |_| sender.send(f(&inner)).unwrap());
    drop(hold);
    answer.recv_timeout(LIMIT).expect("it does not hang")
}

/// It says `WouldDeadlock`, and `.await` hangs.
#[test]
fn a_callback_may_wait_for_an_unrelated_task_with_callbacks() {
    type Wait = fn(ThreadFuture<i32>) -> Result<i32, Error>;
    let waits: [Wait; 2] = [ThreadFuture::into_result, |future| {
        pollster::block_on(future.into_future())
    }];
    for wait in waits {
        let (waited, told) = in_a_callback_of_the_only_worker(move |executor| {
            let (sender, told) = mpsc::channel();
            let task = executor.spawn(|| 1).unwrap();
            task.add_done_callback(move |_| sender.send(thread::current().id()).unwrap());
            let waited = wait(task);
            (waited, told.try_recv().is_ok())
        });
        assert_eq!(waited.unwrap(), 1);
        assert!(told);
    }
}

/// So does one that only waits for it to be done: the callback may wait, in ways
/// of its own, for what the task's callback does.
#[test]
fn the_callbacks_of_a_task_that_a_callback_waits_for_run_at_once() {
    let waits: [fn(&ThreadFuture<i32>); 4] = [
        |task| assert_eq!(*task.result().unwrap(), 1),
        |task| assert!(pollster::block_on(task.into_future()).is_ok()),
        |task| drop(wait([task], ReturnWhen::AllCompleted, None)),
        |task| assert_eq!(as_completed([task]).count(), 1),
    ];
    for wait in waits {
        let heard = in_a_callback_of_the_only_worker(move |executor| {
            let (sender, told) = mpsc::channel();
            let task = executor.spawn(|| 1).unwrap();
            task.add_done_callback(move |_| sender.send(()).unwrap());
            wait(&task);
            told.recv_timeout(Duration::from_secs(2)).is_ok()
        });
        assert!(heard);
    }
}

/// A pool that is shut down ends many tasks before it tells of one.
#[test]
fn a_callback_may_wait_for_another_task_that_ended_together_with_its_own() {
    for wait in [ThreadFuture::into_result, |future: ThreadFuture<i32>| {
        pollster::block_on(future.into_future())
    }] {
        let executor = pool(1);
        let (begin, begun) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        let running = executor.spawn(move || {
            begin.send(()).unwrap();
            held.recv_timeout(LIMIT).is_err()
        });
        begun.recv_timeout(LIMIT).unwrap();
        let [first, second] = [1, 2].map(|n| executor.spawn(move || n).unwrap());
        second.add_done_callback(|_| {});
        let (sender, answer) = mpsc::channel();
        first.then(move |_| sender.send(wait(second)).unwrap());
        let other = Arc::clone(&executor);
        let closing = thread::spawn(move || {
            let hurry = ShutdownOptions::new().wait(false).cancel_pending(true);
            other.shutdown_with(hurry);
        });
        let answer = answer.recv_timeout(LIMIT).expect("it does not hang");
        assert!(matches!(answer, Err(Error::Cancelled)), "{answer:?}");
        closing.join().unwrap();
        drop(hold);
        assert!(running.unwrap().into_result().unwrap());
    }
}

/// A worker waits until a task is told that the shutdown cancels, and the shutdown
/// waits for the worker; all this inside a callback.
#[test]
fn a_callback_may_shut_a_pool_down_whose_worker_waits_for_what_it_cancels() {
    let executor = pool(1);
    let (begin, begun) = mpsc::channel();
    let (give, given) = mpsc::channel::<ThreadFuture<i32>>();
    let waiting = executor.spawn(move || {
        let pending = given.recv_timeout(LIMIT).unwrap();
        begin.send(()).unwrap();
        loop {
            // Not run here, as an untimed wait would.
            match pending.result_timeout(Duration::from_millis(1)) {
                Err(Error::Timeout { .. }) => {}
                _ => return pending.into_result().err(),
            }
        }
    });
    let pending = executor.spawn(|| 1).unwrap();
    pending.add_done_callback(|_| {});
    give.send(pending).unwrap();
    begun.recv_timeout(LIMIT).unwrap();
    let (promise, future) = promise::<()>();
    let (sender, closed) = mpsc::channel();
    future.then(move |_| {
        executor.shutdown_with(ShutdownOptions::new().cancel_pending(true));
        sender.send(()).unwrap();
    });
    thread::spawn(move || promise.set_result(()).unwrap());
    closed.recv_timeout(LIMIT).expect("it does not hang");
    assert!(matches!(
        waiting.unwrap().into_result(),
        Ok(Some(Error::Cancelled))
    ));
}

/// A task that waits for a task that waits for a task ... on one worker, with the
/// stack that threads have.
#[test]
fn a_chain_of_100_000_waits_ends_well() {
    fn chain(executor: &Arc<ThreadPoolExecutor>, left: u32) -> u32 {
        if left == 0 {
            return 0;
        }
        let inner = Arc::clone(executor);
        let next = executor.spawn(move || chain(&inner, left - 1)).unwrap();
        1 + next.into_result().unwrap()
    }
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(1).unwrap());
    let inner = Arc::clone(&executor);
    let length = executor.spawn(move || chain(&inner, 100_000)).unwrap();
    assert_eq!(length.into_result().unwrap(), 100_000);
}

/// Each task uses most of the stack that the pool gives to a task, and waits for the next one.
#[test]
fn a_task_inside_a_wait_has_as_much_stack_as_the_task_that_waits() {
    const STACK: usize = 8 << 20;
    /// Calls `f` below `left` bytes of stack, or more in an unoptimized build.
    fn below(left: usize, f: &mut dyn FnMut()) -> u8 {
        const PIECE: usize = 16 << 10;
        let piece = std::hint::black_box([1_u8; PIECE]);
        match left.checked_sub(PIECE) {
            Some(left) => below(left, f).wrapping_add(std::hint::black_box(piece)[left % PIECE]),
            None => {
                f();
                0
            }
        }
    }
    fn chain(executor: &Shared, left: u32) -> u32 {
        let mut length = 0;
        below(STACK / 4, &mut || {
            if left > 0 {
                let inner = Arc::clone(executor);
                let next = executor.spawn(move || chain(&inner, left - 1)).unwrap();
                length = 1 + next.into_result().unwrap();
            }
        });
        length
    }
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .stack_size(STACK);
    let executor = Arc::new(executor.build().unwrap());
    let inner = Arc::clone(&executor);
    let length = executor.spawn(move || chain(&inner, 10)).unwrap();
    assert_eq!(length.into_result().unwrap(), 10);
}

/// The same with the stack that a careful program gives its threads, and with
/// other waits than `result`.
#[test]
fn a_chain_of_awaits_and_scopes_on_a_small_stack_ends_well() {
    fn chain(executor: &Arc<ThreadPoolExecutor>, left: u32) -> u32 {
        if left == 0 {
            return 0;
        }
        if left % 2 == 0 {
            let inner = Arc::clone(executor);
            let next = executor.spawn(move || chain(&inner, left - 1)).unwrap();
            return 1 + pollster::block_on(next.into_future()).unwrap();
        }
        executor.scope(|scope| {
            let next = scope.spawn(|| chain(executor, left - 1)).unwrap();
            1 + next.into_result().unwrap()
        })
    }
    let builder = ThreadPoolExecutor::builder().max_workers(1);
    let executor = Arc::new(builder.stack_size(64 << 10).build().unwrap());
    let inner = Arc::clone(&executor);
    let length = executor.spawn(move || chain(&inner, 2_000)).unwrap();
    assert_eq!(length.into_result().unwrap(), 2_000);
}

type Wait = fn(ThreadFuture<u8>) -> Result<u8, Error>;

/// The untimed waits that only give futures, each with the error or value of that
/// future then, and `.await`.
const WAITS: [Wait; 7] = [
    |future| {
        let waited = wait([future], ReturnWhen::AllCompleted, None);
        let mut all = waited.done.into_iter().chain(waited.not_done);
        all.next().unwrap().into_result()
    },
    |future| {
        let waited = wait_until([future], |_| false, None);
        let mut all = waited.done.into_iter().chain(waited.not_done);
        all.next().unwrap().into_result()
    },
    |future| as_completed([future]).next().unwrap().into_result(),
    |future| {
        let ended = completions([future]);
        let future = ended.recv().unwrap();
        assert!(ended.recv().is_err(), "it was the only one");
        future.into_result()
    },
    |future| completions([future]).iter().next().unwrap().into_result(),
    |future| pollster::block_on(future.into_future()),
    |future| pollster::block_on(async { (&future).await.copied() }),
];

#[cfg(target_os = "linux")]
crate::alone::alone! {
    /// The only worker would have to run the task, and there is no memory for its stack.
    fn a_wait_without_memory_for_a_stack_is_told() {
        /// Waits for a task that does the same, until a wait is told that it cannot.
        fn dive(executor: &Arc<ThreadPoolExecutor>, wait: Wait, left: u32) -> u8 {
            let mut uses_stack = [0_u8; 1 << 20];
            std::hint::black_box(&mut uses_stack);
            let inner = Arc::clone(executor);
            let next = move || dive(&inner, wait, left.checked_sub(1).expect("no wait is told"));
            match wait(executor.spawn(next).unwrap()) {
                Err(Error::WouldDeadlock) => 7,
                told => told.unwrap(),
            }
        }

        let builder = ThreadPoolExecutor::builder().max_workers(1);
        let executor = Arc::new(builder.stack_size(64 << 20).build().unwrap());
        executor.spawn(|| ()).unwrap().into_result().unwrap();
        crate::alone::leave_memory(32 << 20);
        for wait in WAITS.into_iter().chain([ThreadFuture::into_result as Wait]) {
            let inner = Arc::clone(&executor);
            let dives = executor.spawn(move || dive(&inner, wait, 200)).unwrap();
            assert_eq!(*dives.result_timeout(LIMIT).unwrap(), 7);
        }
    }

    /// It hung: no other thread could run the task, and its scope tried only once.
    fn a_scope_without_memory_for_a_stack_says_so() {
        /// Opens a scope for a task that does the same.
        fn dive(executor: &ThreadPoolExecutor, left: u32) {
            let mut uses_stack = [0_u8; 1 << 20];
            std::hint::black_box(&mut uses_stack);
            let left = left.checked_sub(1).expect("the memory ends");
            executor.scope(|scope| scope.spawn(move || dive(executor, left)).unwrap().detach());
        }

        let builder = ThreadPoolExecutor::builder().max_workers(1);
        let executor = Arc::new(builder.stack_size(64 << 20).build().unwrap());
        executor.spawn(|| ()).unwrap().into_result().unwrap();
        crate::alone::leave_memory(32 << 20);
        let inner = Arc::clone(&executor);
        let dives = executor.spawn(move || dive(&inner, 200)).unwrap();
        let error = dives.exception_timeout(LIMIT).unwrap().unwrap();
        assert!(error.to_string().contains("no memory for the stack"), "{error}");
        assert_eq!(*executor.spawn(|| 1).unwrap().result_timeout(LIMIT).unwrap(), 1);
        let stats = executor.stats();
        assert_eq!((stats.queued, stats.running), (0, 0));
    }
}

/// An initializer runs before its worker takes a task, so it must not wait for one.
#[test]
fn an_initializer_that_waits_for_its_own_pool_is_told() {
    for wait in WAITS.into_iter().chain([ThreadFuture::into_result as Wait]) {
        let (sender, futures) = mpsc::channel::<ThreadFuture<u8>>();
        let futures = Mutex::new(futures);
        let executor = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(
                move |()| {
                    let future = futures.lock().unwrap().recv_timeout(LIMIT).unwrap();
                    match wait(future) {
                        Err(Error::WouldDeadlock) => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                },
                (),
            )
            .build()
            .unwrap();
        sender.send(executor.spawn(|| 7).unwrap()).unwrap();
        let other = executor.spawn(|| 8).unwrap();
        assert_eq!(*other.result_timeout(LIMIT).unwrap(), 8);
    }
}

/// The initializer could not run what was queued. A task on the same thread can.
#[test]
fn what_an_initializer_has_waited_for_is_tried_again_in_a_task() {
    type Next = Box<dyn FnMut() -> ThreadFuture<u8>>;
    thread_local! {
        static NEXT: std::cell::RefCell<Option<Next>> = const { std::cell::RefCell::new(None) };
    }
    fn of_set(futures: Vec<ThreadFuture<u8>>) -> Next {
        let mut all = as_completed(futures);
        Box::new(move || all.next().unwrap())
    }
    fn of_channel(futures: Vec<ThreadFuture<u8>>) -> Next {
        let all = completions(futures);
        Box::new(move || all.recv().unwrap())
    }
    for make in [of_set, of_channel] {
        let (sender, futures) = mpsc::channel();
        let (waits, waiting) = mpsc::channel();
        let ends = Mutex::new((futures, waits));
        let initializer = move |()| {
            let ends = ends.lock().unwrap();
            let mut next = make(ends.0.recv_timeout(LIMIT).unwrap());
            ends.1.send(()).unwrap();
            assert_eq!(next().into_result().unwrap(), 1);
            NEXT.set(Some(next));
            Ok::<(), Error>(())
        };
        let executor = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(initializer, ())
            .build()
            .unwrap();
        let second = || NEXT.take().unwrap()().into_result().unwrap();
        let waiter = executor.spawn(second).unwrap();
        let queued = executor.spawn(|| 7).unwrap();
        let (promise, promised) = promise();
        sender.send(vec![promised, queued]).unwrap();
        waiting.recv_timeout(LIMIT).unwrap();
        // By then the initializer most likely sleeps; if not, there is less to see.
        thread::sleep(Duration::from_millis(20));
        promise.set_result(1).unwrap();
        assert_eq!(*waiter.result_timeout(LIMIT).unwrap(), 7);
    }
}

#[test]
fn what_another_thread_adds_to_a_set_is_run_by_the_worker_that_waits_for_it() {
    let executor = pool(1);
    let empty = executor
        .spawn(|| as_completed::<ThreadFuture<u8>>([]))
        .unwrap();
    let mut all = empty.into_result().unwrap();
    let (sender, receiver) = mpsc::channel();
    let waiter = executor.spawn(move || {
        let mut all: concurrent_futures::AsCompleted<ThreadFuture<u8>> =
            receiver.recv_timeout(LIMIT).unwrap();
        all.next().unwrap().into_result().unwrap()
    });
    all.add(executor.spawn(|| 7).unwrap());
    sender.send(all).unwrap();
    assert_eq!(*waiter.unwrap().result_timeout(LIMIT).unwrap(), 7);
}

#[test]
fn a_task_that_waits_for_itself_beside_others_is_told() {
    for wait in WAITS {
        let executor = pool(2);
        let (hand_over, handed) = mpsc::channel::<ThreadFuture<u8>>();
        let (sender, answer) = mpsc::channel();
        let future = executor.spawn(move || {
            let own = handed.recv_timeout(LIMIT).unwrap();
            sender.send(wait(own)).unwrap();
            1
        });
        hand_over.send(future.unwrap()).unwrap();
        let answer = answer.recv_timeout(LIMIT).expect("it does not hang");
        assert!(matches!(answer, Err(Error::WouldDeadlock)), "{answer:?}");
    }
}

/// Those that end elsewhere come first, and what is left then is told.
#[test]
fn a_wait_for_itself_and_another_task_gives_the_other_one_first() {
    let executor = pool(2);
    let (hand_over, handed) = mpsc::channel::<ThreadFuture<u8>>();
    let (go, gone) = mpsc::channel::<()>();
    let (sender, answer) = mpsc::channel();
    let future = executor.spawn(move || {
        let own = handed.recv_timeout(LIMIT).unwrap();
        let other = handed.recv_timeout(LIMIT).unwrap();
        let mut all = as_completed([own, other]);
        go.send(()).unwrap();
        let (first, second) = (all.next().unwrap(), all.next().unwrap());
        assert!(all.next().is_none());
        sender
            .send((first.into_result(), second.into_result()))
            .unwrap();
        1
    });
    hand_over.send(future.unwrap()).unwrap();
    let other = executor.spawn(move || {
        gone.recv_timeout(LIMIT).unwrap();
        2
    });
    hand_over.send(other.unwrap()).unwrap();
    let (first, second) = answer.recv_timeout(LIMIT).expect("it does not hang");
    assert_eq!(first.unwrap(), 2);
    assert!(matches!(second, Err(Error::WouldDeadlock)), "{second:?}");
}

/// Tasks that are done do not make the wait take its own task for one that can end.
#[test]
fn a_task_that_waits_for_itself_and_for_what_is_done_is_told() {
    type Split = fn([ThreadFuture<u8>; 2]) -> Waited<ThreadFuture<u8>>;
    let waits: [Split; 2] = [
        |futures| wait(futures, ReturnWhen::AllCompleted, None),
        |futures| wait_until(futures, |_| false, None),
    ];
    for wait in waits {
        let executor = pool(2);
        let (hand_over, handed) = mpsc::channel::<[ThreadFuture<u8>; 2]>();
        let (sender, answer) = mpsc::channel();
        let future = executor.spawn(move || {
            let waited = wait(handed.recv_timeout(LIMIT).unwrap());
            sender.send((waited.done.len(), waited.not_done)).unwrap();
            1
        });
        let other = executor.spawn(|| 2).unwrap();
        assert_eq!(*other.result_timeout(LIMIT).unwrap(), 2);
        hand_over.send([other, future.unwrap()]).unwrap();
        let (done, mut left) = answer.recv_timeout(LIMIT).expect("it does not hang");
        assert_eq!((done, left.len()), (1, 1));
        assert_eq!(left.remove(0).into_result().unwrap(), 1);
    }
}

#[test]
fn completions_received_by_the_only_worker_run_what_they_are_for() {
    let sums = on_the_only_worker(|executor| {
        let tasks = || [1, 2, 3].map(|n| executor.spawn(move || n).unwrap());
        let ended = completions(tasks());
        let mut sum = 0;
        while let Ok(future) = ended.recv() {
            sum += future.into_result().unwrap();
        }
        let by_iter = completions(tasks());
        let by_iter = by_iter.iter().map(|future| future.into_result().unwrap());
        (sum, by_iter.sum::<i32>())
    });
    assert_eq!(sums, (6, 6));
}

/// The only worker receives, and runs the task inside, which receives from the same channel.
#[test]
fn the_last_task_of_completions_that_receives_itself_finds_the_end() {
    let received = on_the_only_worker(|executor| {
        let (sender, channel) = mpsc::channel::<Arc<concurrent_futures::Completions<_>>>();
        let receives = move || {
            let own = channel.recv_timeout(LIMIT).unwrap();
            own.recv()
                .map(|future: ThreadFuture<bool>| future.done())
                .is_err()
        };
        let ended = Arc::new(completions([executor.spawn(receives).unwrap()]));
        sender.send(Arc::clone(&ended)).unwrap();
        let found_the_end = ended.recv().unwrap().into_result().unwrap();
        (found_the_end, ended.recv().is_err())
    });
    assert_eq!(received, (true, true));
}

/// Both are there: a task that cannot end here, and one that ends meanwhile.
#[test]
fn completions_give_what_has_arrived_before_what_cannot_end() {
    let (to_other, promises) = mpsc::channel::<(concurrent_futures::Promise<u8>, u32)>();
    let other = thread::spawn(move || {
        loop {
            match promises.try_recv() {
                Ok((promise, pause)) => {
                    (0..pause).for_each(|_| std::hint::spin_loop());
                    promise.set_result(1).unwrap();
                }
                Err(mpsc::TryRecvError::Empty) => std::hint::spin_loop(),
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    });
    for round in 0..2000 {
        let (own, own_future) = promise::<u8>();
        let (others, others_future) = promise::<u8>();
        let mut is_first = true;
        own.run(|| {
            let all = completions([("own", own_future), ("other's", others_future)]);
            to_other.send((others, round % 100)).unwrap();
            is_first = all.recv().unwrap().0 == "other's";
            0
        });
        assert!(is_first, "{round}");
    }
    drop(to_other);
    other.join().unwrap();
}

/// While other workers run the same tasks.
#[test]
fn each_future_of_completions_comes_once_to_workers_that_help() {
    let executor = pool(2);
    for _ in 0..50 {
        let collect = |executor: &Shared| {
            let inner = Arc::clone(executor);
            let collected = executor.spawn(move || {
                let tasks = (0..100).map(|n| (n, inner.spawn(move || n).unwrap()));
                let ended = completions(tasks.collect::<Vec<_>>());
                let mut seen: Vec<i32> = ended
                    .iter()
                    .map(|(n, future)| {
                        assert_eq!(future.into_result().unwrap(), n);
                        n
                    })
                    .collect();
                seen.sort_unstable();
                seen
            });
            collected.unwrap()
        };
        for collected in [collect(&executor), collect(&executor), collect(&executor)] {
            collected.exception_timeout(LIMIT).unwrap();
            let seen = collected.into_result().unwrap();
            assert!(seen.into_iter().eq(0..100));
        }
    }
}

/// A runtime that polls inside the waker, as the smallest ones do.
struct PolledInWaker(Mutex<Option<Pin<Box<dyn std::future::Future<Output = ()> + Send>>>>);

impl PolledInWaker {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut slot = self.0.lock().unwrap();
        if let Some(mut future) = slot.take() {
            if future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
            {
                *slot = Some(future);
            }
        }
    }
}

impl Wake for PolledInWaker {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}

/// A poll in a waker does not block, so it may find a task unfinished, whatever the
/// thread that wakes has still to do.
#[test]
fn an_await_that_a_waker_polls_goes_on() {
    let executor = pool(1);
    let (sender, answer) = mpsc::channel();
    let (promise, promised) = promise::<u8>();
    let (own_sender, own) = mpsc::channel::<ThreadFuture<u8>>();
    // Sets the promise, whose waker polls what awaits this very task.
    let task = executor.spawn(move || {
        promise.set_result(1).unwrap();
        2
    });
    let awaits = async move {
        let first = promised.await;
        let own = own.recv_timeout(LIMIT).unwrap();
        sender.send((first, own.await)).unwrap();
    };
    own_sender.send(task.unwrap()).unwrap();
    Arc::new(PolledInWaker(Mutex::new(Some(Box::pin(awaits))))).poll();
    let (first, second) = answer.recv_timeout(LIMIT).expect("it is woken");
    assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
}

/// Each callback completes the next promise, and waits until that is told.
#[test]
fn a_chain_of_10_000_callbacks_that_wait_ends_well() {
    fn step(mut left: Vec<(Promise<()>, ThreadFuture<()>)>, count: &Arc<AtomicUsize>) {
        let Some((promise, future)) = left.pop() else {
            return;
        };
        let inner = Arc::clone(count);
        future.add_done_callback(move |_| {
            inner.fetch_add(1, Ordering::Relaxed);
            step(left, &inner);
        });
        promise.set_result(()).unwrap();
        future.into_result().unwrap();
    }
    let count = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&count);
    on_the_only_worker(move |_| step((0..10_000).map(|_| promise()).collect(), &inner));
    assert_eq!(count.load(Ordering::Relaxed), 10_000);
}

/// However deep in the chain it is, and however small the stacks of the pool are.
#[test]
fn a_task_that_runs_in_a_wait_finds_half_a_megabyte_of_stack() {
    #[inline(never)]
    fn use_stack() {
        std::hint::black_box(&mut [1_u8; 512 << 10]);
    }
    fn chain(executor: &Arc<ThreadPoolExecutor>, left: u32) {
        use_stack();
        if left > 0 {
            let inner = Arc::clone(executor);
            let next = executor.spawn(move || chain(&inner, left - 1)).unwrap();
            next.into_result().unwrap();
        }
    }
    on_the_only_worker(|executor| chain(executor, 2_000));
    let small = ThreadPoolExecutor::builder()
        .max_workers(1)
        .stack_size(128 << 10);
    let small = Arc::new(small.build().unwrap());
    let inner = Arc::clone(&small);
    let waits = small.spawn(move || inner.spawn(use_stack).unwrap().into_result());
    waits.unwrap().into_result().unwrap().unwrap();
}

/// The other thread could not run it, this one can.
#[test]
fn a_worker_runs_what_another_thread_has_waited_for_before() {
    type Inner = ThreadFuture<i32>;
    let first = |way: u32, executor: &Shared| -> Box<dyn FnOnce() -> bool + Send> {
        let (promise, promised) = promise();
        let inner: Inner = executor.spawn(|| 7).unwrap();
        let sets = thread::spawn(move || promise.set_result(1).unwrap());
        if way == 0 {
            let mut both = as_completed([promised, inner]);
            assert_eq!(both.next().unwrap().into_result().unwrap(), 1);
            sets.join().unwrap();
            Box::new(move || both.next().unwrap().into_result().is_ok_and(|n| n == 7))
        } else {
            let both = completions([promised, inner]);
            assert_eq!(both.recv().unwrap().into_result().unwrap(), 1);
            sets.join().unwrap();
            Box::new(move || both.recv().unwrap().into_result().is_ok_and(|n| n == 7))
        }
    };
    for way in [0, 1] {
        let executor = pool(1);
        let (sender, next) = mpsc::channel::<Box<dyn FnOnce() -> bool + Send>>();
        let outer = executor.spawn(move || next.recv_timeout(LIMIT).unwrap()());
        let outer = outer.unwrap();
        sender.send(first(way, &executor)).unwrap();
        let waited = outer.result_timeout(LIMIT);
        assert!(waited.is_ok_and(|is_right| *is_right), "{way}: it starves");
    }
}

/// The task that needs this thread comes last.
#[test]
fn a_task_of_its_own_among_completions_holds_up_no_other() {
    let executor = pool(1);
    let (hand_over, handed) = mpsc::channel::<ThreadFuture<()>>();
    let (promise, promised) = promise::<()>();
    let (sender, answers) = mpsc::channel();
    let task = executor.spawn(move || {
        let own = handed.recv_timeout(LIMIT).unwrap();
        let both = completions([own, promised]);
        for _ in 0..2 {
            let next = both.recv().unwrap();
            sender.send(next.into_result()).unwrap();
        }
    });
    hand_over.send(task.unwrap()).unwrap();
    let early = answers.recv_timeout(Duration::from_millis(100));
    assert!(early.is_err(), "the other may still be done: {early:?}");
    promise.set_result(()).unwrap();
    let first = answers.recv_timeout(LIMIT).expect("it does not hang");
    assert!(first.is_ok(), "{first:?}");
    let second = answers.recv_timeout(LIMIT).expect("it does not hang");
    assert!(matches!(second, Err(Error::WouldDeadlock)), "{second:?}");
}

/// The waker's own polls go on later, those of the task do not.
#[test]
fn a_task_that_runs_inside_a_waker_and_awaits_itself_is_told() {
    type Own = Arc<ThreadFuture<bool>>;
    struct WaitsFor(Mutex<Option<Own>>);
    impl Wake for WaitsFor {
        fn wake(self: Arc<Self>) {
            let task = self.0.lock().unwrap().take().unwrap();
            let _ = task.result();
        }
    }
    let executor = pool(1);
    let (sender, answer) = mpsc::channel();
    let inner = Arc::clone(&executor);
    let outer = executor.spawn(move || {
        let (hand_over, handed) = mpsc::channel::<Own>();
        let task = inner.spawn(move || {
            let own = handed.recv_timeout(LIMIT).unwrap();
            matches!(
                pollster::block_on((&*own).into_future()),
                Err(Error::WouldDeadlock)
            )
        });
        let task = Arc::new(task.unwrap());
        hand_over.send(Arc::clone(&task)).unwrap();
        let waker = Waker::from(Arc::new(WaitsFor(Mutex::new(Some(Arc::clone(&task))))));
        let (promise, promised) = promise::<()>();
        let mut awaits = Box::pin(promised.into_future());
        assert!(
            awaits
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        promise.set_result(()).unwrap();
        sender.send(*task.result().unwrap()).unwrap();
    });
    assert!(answer.recv_timeout(LIMIT).expect("it does not hang"));
    outer.unwrap().into_result().unwrap();
}

/// A task that another thread looks at just now is still the worker's to run.
#[test]
fn threads_that_receive_beside_the_only_worker_take_nothing_from_it() {
    for _ in 0..300 {
        on_the_only_worker(|executor| {
            let tasks: Vec<_> = (0..4).map(|_| who(executor)).collect();
            let ended = Arc::new(completions(tasks));
            let together = Arc::new(Barrier::new(3));
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let (ended, together) = (Arc::clone(&ended), Arc::clone(&together));
                    thread::spawn(move || {
                        together.wait();
                        while ended.recv().is_ok() {}
                    })
                })
                .collect();
            together.wait();
            while ended.recv().is_ok() {}
            for other in others {
                other.join().unwrap();
            }
        });
    }
}

/// The only worker runs the task inside a wait, which is inside a call of another executor.
#[test]
fn a_task_that_runs_inside_an_inline_call_has_its_own_pools_worker() {
    let executor = pool(1);
    let inner = Arc::clone(&executor);
    let kinds = executor.spawn(move || {
        let kind = || current_worker().map(|worker| worker.kind());
        let inline = InlineExecutor::new().unwrap();
        let inside = inline.spawn(|| {
            let task = inner.spawn(move || {
                let nested = InlineExecutor::new().unwrap().spawn(kind);
                (kind(), nested.unwrap().into_result().unwrap())
            });
            (task.unwrap().into_result().unwrap(), kind())
        });
        (inside.unwrap().into_result().unwrap(), kind())
    });
    let (threads, inline) = (Some(PoolKind::Threads), Some(PoolKind::Inline));
    let kinds = kinds.unwrap().into_result().unwrap();
    assert_eq!(kinds, (((threads, inline), inline), threads));
}
