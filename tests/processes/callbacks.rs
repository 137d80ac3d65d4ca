//! Code of the user's that runs in this process, on the pool's own thread.

use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use concurrent_futures::{
    Error, MapOptions, ProcessFuture, ProcessPoolExecutor, ReturnWhen, ShutdownOptions,
    TaskOptions, as_completed, completions, promise, wait, wait_until,
};

use crate::fixture::*;

/// Runs a future whose wakers poll it themselves.
fn polled_in_waker(future: impl std::future::Future<Output = ()> + Send + 'static) {
    type Polled = Option<Pin<Box<dyn std::future::Future<Output = ()> + Send>>>;
    struct InWaker(Mutex<Polled>);
    impl Wake for InWaker {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(Arc::clone(&self));
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
    Arc::new(InWaker(Mutex::new(Some(Box::pin(future))))).wake();
}

/// A pool of one worker, whose queue has room for this many tasks.
fn bounded(queue_capacity: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(queue_capacity)
        .build()
        .unwrap()
}

alone! {
    /// On the one thread that brings in the results, a wait for the next one is
    /// a deadlock that can be told.
    fn a_wait_in_a_callback_for_a_task_of_the_pool_is_told_to_be_a_deadlock() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let first = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let second = executor.submit(double, 2).unwrap();
        let (sender, told) = mpsc::channel();
        first.add_done_callback(move |first| {
            assert_eq!(*first.result().unwrap(), 1);
            let lent = second.result().copied();
            sender.send((lent, second.exception())).unwrap();
        });
        gate.open();
        let (lent, exception) = told.recv_timeout(LIMIT).unwrap();
        assert!(matches!(lent, Err(Error::WouldDeadlock)), "{lent:?}");
        assert!(matches!(exception, Some(Error::WouldDeadlock)), "{exception:?}");
        assert_goes_on(&executor);
    }

    /// By the waits that have no error of their own as well: the future has it then.
    fn no_wait_in_a_callback_for_a_task_of_the_pool_hangs() {
        type Wait = fn(&Arc<ProcessPoolExecutor>, ProcessFuture<i64>) -> Result<i64, Error>;
        let waits: [Wait; 7] = [
            |_, future| {
                let mut waited = wait([future], ReturnWhen::AllCompleted, None);
                assert!(waited.done.is_empty());
                waited.not_done.remove(0).into_result()
            },
            |_, future| {
                let mut waited = wait_until([future], |_| true, None);
                assert!(waited.done.is_empty());
                waited.not_done.remove(0).into_result()
            },
            |_, future| as_completed([future]).next().unwrap().into_result(),
            |_, future| completions([future]).recv().unwrap().into_result(),
            |_, future| pollster::block_on(future.into_future()),
            |_, future| pollster::block_on(async { (&future).await.copied() }),
            |executor, _| executor.map(double, [2]).unwrap().unordered().next().unwrap().1,
        ];
        for wait in waits {
            let executor = Arc::new(pool(1));
            let mut gate = Gate::new();
            let first = executor.submit(hold, (gate.port(), 1)).unwrap();
            gate.wait_for(1);
            let second = executor.submit(double, 2).unwrap();
            let (sender, told) = mpsc::channel();
            let inner = Arc::clone(&executor);
            first.add_done_callback(move |_| sender.send(wait(&inner, second)).unwrap());
            gate.open();
            let outcome = told.recv_timeout(LIMIT).expect("it does not hang");
            assert!(matches!(outcome, Err(Error::WouldDeadlock)), "{outcome:?}");
            assert_goes_on(&executor);
        }
    }

    /// As a program does that keeps all its futures in one list.
    fn a_callback_that_waits_for_what_is_done_and_what_is_not_goes_on() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let before = executor.submit(double, 1).unwrap();
        assert_eq!(*before.result_timeout(LIMIT).unwrap(), 2);
        let first = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let second = executor.submit(double, 2).unwrap();
        let (sender, told) = mpsc::channel();
        first.add_done_callback(move |_| {
            let waited = wait([before, second], ReturnWhen::AllCompleted, None);
            sender.send((waited.done.len(), waited.not_done.len())).unwrap();
        });
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).expect("it does not hang"), (1, 1));
        assert_goes_on(&executor);
    }

    /// As the smallest runtimes poll: it does not block, so it may find a task
    /// unfinished that comes in over this very thread.
    fn an_await_that_a_waker_polls_goes_on() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let first = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let second = executor.submit(double, 2).unwrap();
        let (sender, told) = mpsc::channel();
        let both = async move { sender.send((first.await, second.await)).unwrap() };
        polled_in_waker(both);
        gate.open();
        let (first, second) = told.recv_timeout(LIMIT).expect("it is woken");
        assert_eq!((first.unwrap(), second.unwrap()), (1, 4));
    }

    /// The pool's own thread waits for a callback of what the shutdown cancels.
    fn a_shutdown_in_a_callback_of_another_pool_runs_the_callbacks_that_it_waits_for() {
        let executor = Arc::new(pool(1));
        let mut gate = Gate::new();
        let (kept, awaited) = promise::<()>();
        let (waits, waiting) = mpsc::channel();
        // On the pool's thread, until the callback of `pending` has run.
        executor.submit(double, 1).unwrap().then(move |_| {
            waits.send(()).unwrap();
            awaited.result_timeout(LIMIT).unwrap();
        });
        executor.submit(hold, (gate.port(), 7)).unwrap().detach();
        let pending = executor.submit(double, 2).unwrap();
        let (cancelled, opens) = mpsc::channel();
        pending.add_done_callback(move |_| {
            kept.set_result(()).unwrap();
            cancelled.send(()).unwrap();
        });
        gate.wait_for(1);
        waiting.recv_timeout(LIMIT).unwrap();
        let opener = std::thread::spawn(move || {
            let is_cancelled = opens.recv_timeout(LIMIT);
            gate.open();
            is_cancelled.unwrap();
        });
        let (other, future) = promise::<()>();
        let inner = Arc::clone(&executor);
        future.add_done_callback(move |_| {
            inner.shutdown_with(ShutdownOptions::new().cancel_pending(true));
        });
        other.set_result(()).unwrap();
        opener.join().unwrap();
        assert!(pending.cancelled());
    }

    fn a_callback_of_another_thread_may_wait() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let pending = executor.submit(double, 2).unwrap();
        let (sender, told) = mpsc::channel();
        pending.add_done_callback(move |_| {
            gate.open();
            sender.send(held.into_result()).unwrap();
        });
        assert!(pending.cancel());
        assert_eq!(told.recv_timeout(LIMIT).unwrap().unwrap(), 1);
    }

    /// A thread that waits decodes the value. It is neither the task's worker nor is the task
    /// in which it waits the task that fails.
    fn a_panic_of_a_deserialize_belongs_to_its_own_task() {
        #[derive(Debug, serde::Serialize)]
        struct Explosive;
        impl<'de> serde::Deserialize<'de> for Explosive {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("boom")
            }
        }
        let processes = Arc::new(pool(1));
        let threads = concurrent_futures::ThreadPoolExecutor::with_max_workers(1).unwrap();
        let named = TaskOptions::new().name("outer");
        for inner in ["inner", ""] {
            let processes = Arc::clone(&processes);
            let outer = threads.with(named.clone()).spawn(move || {
                let options = match inner {
                    "" => TaskOptions::new(),
                    name => TaskOptions::new().name(name),
                };
                let future = processes.with(options).submit(|()| Explosive, ()).unwrap();
                let Some(Error::Panicked(panic)) = future.exception() else {
                    panic!("{future:?}")
                };
                (panic.task().map(str::to_owned), panic.worker().map(str::to_owned))
            });
            let expected = Some(inner.to_owned()).filter(|name| !name.is_empty());
            assert_eq!(outer.unwrap().into_result().unwrap(), (expected, None));
        }
    }

    /// The thread that decodes has no worker, but the task that it runs inside has one.
    fn a_task_inside_a_deserialize_has_its_own_worker() {
        static THREADS: Mutex<Option<concurrent_futures::ThreadPoolExecutor>> = Mutex::new(None);
        #[derive(Debug)]
        struct Names(Option<String>, Option<String>);
        impl serde::Serialize for Names {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_unit()
            }
        }
        impl<'de> serde::Deserialize<'de> for Names {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <()>::deserialize(from)?;
                let name = || Some(concurrent_futures::current_worker()?.name().to_owned());
                let inside = THREADS.lock().unwrap().as_ref().unwrap().spawn(name).unwrap();
                Ok(Self(name(), inside.into_result().unwrap()))
            }
        }
        let threads = concurrent_futures::ThreadPoolExecutor::builder().max_workers(1);
        let threads = threads.thread_name_prefix("inside").build().unwrap();
        let (processes, mut gate) = (Arc::new(pool(1)), Gate::new());
        let (own, port) = (Arc::clone(&processes), gate.port());
        let outer = threads.spawn(move || {
            let future = own.submit(|port| { hold((port, 0)); Names(None, None) }, port).unwrap();
            let Names(outside, inside) = future.into_result().unwrap();
            (outside, inside)
        });
        *THREADS.lock().unwrap() = Some(threads);
        gate.wait_for(1);
        gate.open();
        let names = outer.unwrap().into_result().unwrap();
        assert_eq!(names, (None, Some("inside_0".to_owned())));
        *THREADS.lock().unwrap() = None;
    }

    /// The worker is stopped, so it has the task and has not begun it.
    fn a_task_that_its_worker_has_not_begun_counts_as_queued() {
        let executors = [
            pool(1),
            pool_by_socket(1),
            ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_child(9).build().unwrap(),
        ];
        for executor in executors {
            assert_goes_on(&executor);
            let worker = only_worker(&executor);
            stop(worker);
            let future = executor.submit(double, 1).unwrap();
            let stats = executor.stats();
            assert_eq!((stats.queued, stats.running), (1, 0));
            let report = executor.shutdown_with(ShutdownOptions::new().wait(false));
            assert_eq!((report.queued, report.running), (1, 0));
            send(worker, rustix::process::Signal::CONT);
            assert_eq!(*value(&future), 2);
            let stats = executor.stats();
            assert_eq!((stats.queued, stats.running, stats.finished), (0, 0, 2));
        }
    }

    /// A worker that is there, or may be started, is as good as room.
    fn a_task_that_a_worker_can_take_at_once_takes_no_room() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(3)
            .queue_capacity(1)
            .build()
            .unwrap();
        for round in 1..=5 {
            let gate = Gate::new();
            let call = || executor.try_submit(hold, (gate.port(), round));
            let held: Vec<_> = (0..4).map(|_| call().unwrap()).collect();
            assert!(matches!(call(), Err(refused) if matches!(refused.error, Error::QueueFull)));
            gate.open();
            for future in &held {
                assert_eq!(*value(future), round);
            }
        }
    }

    fn a_callback_may_submit_more_than_the_queue_holds() {
        let executor = bounded(1);
        let executor = Arc::new(executor);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        // Keeps the only worker, so that no worker makes room.
        let mut other = Gate::new();
        executor.submit(hold, (other.port(), 1)).unwrap().detach();
        let (sender, futures) = mpsc::channel();
        let own = Arc::clone(&executor);
        held.add_done_callback(move |_| {
            for n in 0..20 {
                sender.send(own.submit(double, n).unwrap()).unwrap();
            }
        });
        gate.open();
        other.wait_for(1);
        let futures = [(); 20].map(|()| futures.recv_timeout(LIMIT).unwrap());
        other.open();
        for (n, future) in (0..).zip(&futures) {
            assert_eq!(*value(future), 2 * n);
        }
    }

    /// The items have no end, and the worker is held: only the limit ends the map.
    fn a_map_with_a_limit_does_not_wait_longer_for_room() {
        let limit = MapOptions::new().timeout(Duration::from_millis(50));
        for options in [limit, limit.chunk_size(3)] {
            let executor = bounded(1);
            let mut gate = Gate::new();
            executor.submit(hold, (gate.port(), 1)).unwrap().detach();
            gate.wait_for(1);
            let mut results = executor.map_with(options, double, 1..).unwrap();
            let late = results.next().expect("the limit is an item");
            let is_late = matches!(late, Err(Error::Timeout { unfinished: 2, total: 2 }));
            assert!(is_late, "{late:?}");
            assert!(results.next().is_none());
            gate.open();
            let report = executor.shutdown();
            assert_eq!((report.finished, report.cancelled), (1, 1));
        }
    }

    fn a_full_queue_is_told_or_waited_for() {
        let executor = bounded(2);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let queued = [1, 2].map(|n| executor.submit(double, n).unwrap());
        let refused = executor.try_submit(double, 3).unwrap_err();
        assert!(matches!(refused.error, Error::QueueFull) && refused.call.1 == 3);
        std::thread::scope(|scope| {
            let (sender, submitted) = mpsc::channel();
            let executor = &executor;
            scope.spawn(move || sender.send(executor.submit(double, 4).unwrap()).unwrap());
            assert!(queued[0].cancel(), "which makes room");
            let third = submitted.recv_timeout(LIMIT).unwrap();
            gate.open();
            assert_eq!(*value(&third), 8);
        });
        assert_eq!((*value(&held), *value(&queued[1])), (1, 4));
    }

    fn a_shutdown_wakes_who_waits_for_room() {
        let executor = bounded(1);
        let mut gate = Gate::new();
        executor.submit(hold, (gate.port(), 1)).unwrap().detach();
        gate.wait_for(1);
        executor.submit(double, 1).unwrap().detach();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| executor.submit(double, 2).map(drop));
            executor.shutdown_with(concurrent_futures::ShutdownOptions::new().wait(false));
            let refused = waiting.join().unwrap();
            assert!(matches!(refused, Err(Error::ShutDown)), "{refused:?}");
        });
        gate.open();
    }

    /// All of them, and not only as many as were queued.
    fn a_pool_that_breaks_wakes_who_waits_for_room() {
        let mut gate = Gate::new();
        let fail_late = |port| {
            hold((port, 0));
            Err("broken")
        };
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .queue_capacity(1)
            .initializer(fail_late, gate.port())
            .build()
            .unwrap();
        // One for the worker that is being made ready, and one that waits.
        let queued = [1, 2].map(|n| executor.submit(double, n).unwrap());
        gate.wait_for(1);
        let (sender, numbers) = mpsc::channel();
        std::thread::scope(|scope| {
            let submitters = [0; 4].map(|_| {
                let (executor, sender) = (&executor, sender.clone());
                scope.spawn(move || {
                    // SAFETY: asks for a number.
                    sender.send(unsafe { libc::gettid() }).unwrap();
                    executor.submit(double, 3).map(drop)
                })
            });
            for number in numbers.iter().take(submitters.len()) {
                // Those that do not wait yet are refused just as well.
                let path = format!("/proc/self/task/{number}/stat");
                while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
                    std::thread::yield_now();
                }
            }
            gate.open();
            for submitter in submitters {
                let refused = submitter.join().unwrap();
                assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
            }
        });
        assert!(queued.each_ref().map(error).iter().all(|e| matches!(e, Error::Broken(_))));
    }

    /// Python's test_gh105829_should_not_deadlock_if_wakeup_pipe_full.
    fn submit_never_blocks_on_the_way_to_the_workers() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let futures: Vec<_> = (0..20_000).map(|n| executor.submit(double, n).unwrap()).collect();
        assert!(!held.done());
        assert!(futures.iter().rev().all(|future| future.cancel()));
        gate.open();
        assert_eq!(executor.shutdown().cancelled, 20_000);
    }

    /// Python's test_python_finalization_error: the pool's own threads cannot be
    /// started.
    fn a_pool_whose_threads_cannot_start_says_so_and_tries_again() {
        use rustix::process::{Resource, getrlimit, setrlimit};

        let executor = pool(1);
        let before = getrlimit(Resource::As);
        let mut tight = before;
        tight.current = Some(1 << 20);
        setrlimit(Resource::As, tight).unwrap();
        let refused = executor.submit(double, 1).map(drop);
        setrlimit(Resource::As, before).unwrap();
        assert!(matches!(refused, Err(Error::Spawn(_))), "{refused:?}");
        assert_goes_on(&executor);
    }

    fn a_panicking_callback_harms_no_other_task() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        held.add_done_callback(|_| panic!("a bad callback"));
        gate.open();
        assert_eq!(*value(&held), 1);
        assert_goes_on(&executor);
    }
}
