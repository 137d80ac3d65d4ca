//! Workers: how many there are, which one takes a task, and for how long.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use concurrent_futures::{Error, ProcessPoolExecutor, current_worker};
use serde::{Deserialize, Serialize};

use crate::fixture::*;

alone! {
    /// Python's test_processes_terminate.
    fn a_worker_starts_for_each_blocked_task_and_all_are_reaped() {
        let executor = pool(5);
        assert!(executor.stats().pids.is_empty());
        let mut gate = Gate::new();
        for n in 0..3 {
            executor.submit(hold, (gate.port(), n)).unwrap().detach();
        }
        gate.wait_for(3);
        let pids = executor.stats().pids;
        assert_eq!(pids.len(), 3);
        gate.open();
        executor.shutdown();
        assert!(!pids.into_iter().any(exists));
    }

    /// Python's test_saturation.
    fn there_are_never_more_workers_than_asked_for() {
        let executor = pool(2);
        let mut gate = Gate::new();
        let futures: Vec<_> = (0..30)
            .map(|n| executor.submit(hold, (gate.port(), n)).unwrap())
            .collect();
        gate.wait_for(2);
        let stats = executor.stats();
        assert_eq!((stats.workers, stats.pids.len(), stats.queued), (2, 2, 28));
        gate.open();
        for (n, future) in (0..).zip(&futures) {
            assert_eq!(*value(future), n);
        }
        assert_eq!(executor.stats().workers, 2);
    }

    /// Python's test_idle_process_reuse_one.
    fn sequential_tasks_use_one_process() {
        let executor = pool(4);
        let pids: BTreeSet<u32> = (0..200)
            .map(|_| *value(&executor.submit(pid, ()).unwrap()))
            .collect();
        assert_eq!(pids.len(), 1);
        assert_eq!(executor.stats().workers, 1);
    }

    /// Python's test_idle_process_reuse_multiple.
    fn idle_workers_are_used_before_new_ones_start() {
        let executor = pool(4);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 0)).unwrap();
        gate.wait_for(1);
        for n in 0..10 {
            assert_eq!(*value(&executor.submit(double, n).unwrap()), 2 * n);
        }
        let two = [executor.submit(double, 1), executor.submit(double, 2)];
        for future in two {
            value(&future.unwrap());
        }
        gate.open();
        value(&held);
        assert!(executor.stats().workers <= 3, "{:?}", executor.stats());
    }

    /// The output of a parent that has closed its own went to a worker, and the
    /// output of its tasks to files of theirs.
    fn a_pool_keeps_off_the_standard_descriptors() {
        use rustix::io::fcntl_dupfd_cloexec;
        use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};

        /// Returns the targets of the three standard descriptors.
        fn standard((): ()) -> Vec<Option<String>> {
            let target = |number| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
            let standard = (0..3).map(target);
            standard.map(|target| Some(target?.display().to_string())).collect()
        }

        let saved = [stdin(), stdout(), stderr()].map(|fd| fcntl_dupfd_cloexec(fd, 3).unwrap());
        for number in 0..3 {
            // SAFETY: no thread uses them meanwhile; they come back below.
            unsafe { libc::close(number) };
        }
        let (parents, workers) = {
            let executor = pool(1);
            let workers = executor.submit(standard, ()).and_then(|future| future.into_result());
            (standard(()), workers)
        };
        dup2_stdin(&saved[0]).unwrap();
        dup2_stdout(&saved[1]).unwrap();
        dup2_stderr(&saved[2]).unwrap();
        assert_eq!(parents, [None, None, None]);
        let null = Some("/dev/null".to_owned());
        assert_eq!(workers.unwrap(), [null.clone(), null.clone(), null]);
    }

    /// Python's test_max_tasks_per_child.
    fn a_worker_ends_after_its_last_task_and_is_replaced() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .max_tasks_per_child(3)
            .build()
            .unwrap();
        let pids: Vec<u32> = (0..7)
            .map(|_| *value(&executor.submit(pid, ()).unwrap()))
            .collect();
        assert!(pids[..3].iter().all(|pid| *pid == pids[0]), "{pids:?}");
        assert!(pids[3..6].iter().all(|pid| *pid == pids[3]), "{pids:?}");
        assert!(pids[0] != pids[3] && pids[3] != pids[6], "{pids:?}");
        assert_eq!(executor.stats().workers, 1, "never two at once");
        assert_eq!(executor.stats().replaced, 2);
    }

    /// Python's test_max_tasks_per_child_pending_tasks_gh115634.
    fn a_backlog_longer_than_the_workers_last_still_completes() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(2)
            .max_tasks_per_child(2)
            .build()
            .unwrap();
        let futures: Vec<_> = (0..15).map(|n| executor.submit(double, n).unwrap()).collect();
        for (n, future) in (0..).zip(&futures) {
            assert_eq!(*value(future), 2 * n);
        }
        assert!(executor.stats().replaced >= 5, "{:?}", executor.stats());
    }

    /// Python's test_ressources_gced_in_workers.
    fn arguments_are_gone_in_the_worker_when_the_task_is_over() {
        static DROPS: AtomicU32 = AtomicU32::new(0);

        #[derive(Serialize, Deserialize)]
        struct Counted;

        impl Drop for Counted {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::Relaxed);
            }
        }

        let executor = pool(1);
        value(&executor.submit(|counted: Counted| drop(counted), Counted).unwrap());
        value(&executor.submit(|_: Counted| (), Counted).unwrap());
        let drops = executor.submit(|()| DROPS.load(Ordering::Relaxed), ()).unwrap();
        assert_eq!(*value(&drops), 2);
        assert_eq!(DROPS.load(Ordering::Relaxed), 2, "and so are those of the submitter");
    }

    fn replacements_are_initialized_too() {
        static SEED: AtomicU32 = AtomicU32::new(0);

        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .max_tasks_per_child(2)
            .initializer(|seed| SEED.store(seed, Ordering::Relaxed), 42)
            .build()
            .unwrap();
        for _ in 0..5 {
            let seed = executor.submit(|()| SEED.fetch_add(100, Ordering::Relaxed) % 100, ());
            assert_eq!(*value(&seed.unwrap()), 42);
        }
        assert_eq!(executor.stats().replaced, 2);
    }

    fn workers_know_who_they_are() {
        let executor = pool(1);
        let who = |()| current_worker().map(|w| (w.kind().to_string(), w.number(), w.name().to_owned(), w.pid()));
        let (kind, number, name, own) = value(&executor.submit(who, ()).unwrap()).clone().unwrap();
        assert_eq!((&*kind, number), ("processes", 0));
        assert!(name.starts_with("ProcessPoolExecutor-") && name.ends_with("_0"), "{name}");
        assert_eq!(own, only_worker(&executor));
    }

    fn workers_have_an_empty_input_and_the_environment_that_was_asked_for() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .env("CONCURRENT_FUTURES_TEST_PLACE", "afar")
            .current_dir("/")
            .build()
            .unwrap();
        let look = |()| {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line).ok();
            let place = std::env::var("CONCURRENT_FUTURES_TEST_PLACE").ok();
            (read, place, std::env::current_dir().ok())
        };
        let seen = executor.submit(look, ()).unwrap();
        assert_eq!(*value(&seen), (Some(0), Some("afar".to_owned()), Some("/".into())));
    }

    /// A pool made in a task has workers of its own, which end with it.
    fn a_task_may_have_a_pool_of_its_own() {
        let executor = pool(1);
        let nested = |n| {
            let inner = ProcessPoolExecutor::with_max_workers(1).unwrap();
            let future = inner.submit(double, n).unwrap();
            (future.into_result().unwrap(), inner.submit(pid, ()).unwrap().into_result().unwrap())
        };
        let nested = executor.submit(nested, 21).unwrap();
        let (doubled, inner) = *value(&nested);
        assert_eq!(doubled, 42);
        assert_ne!(inner, only_worker(&executor));
        assert!(!exists(inner));
    }

    fn nonsense_is_refused_by_the_builder() {
        let builder = ProcessPoolExecutor::builder;
        for builder in [
            builder().max_workers(0),
            builder().queue_capacity(0),
            builder().max_tasks_per_child(0),
            builder().env("", "x"),
            builder().env("a=b", "x"),
            builder().env("a", "x\0y"),
        ] {
            assert!(matches!(builder.build(), Err(Error::InvalidArgument(_))));
        }
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(ProcessPoolExecutor::new().unwrap().max_workers(), cores);
    }
}
