//! The end of a pool: what was submitted is done, and nothing is left.

use std::sync::{Arc, mpsc};

use concurrent_futures::{Error, ProcessPoolExecutor, ReturnWhen, ShutdownOptions, wait};
use rustix::process::Signal;

use crate::fixture::*;

fn recycling(max_workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::builder()
        .max_workers(max_workers)
        .max_tasks_per_child(1)
        .build()
        .unwrap()
}

fn no_wait() -> ShutdownOptions {
    ShutdownOptions::new().wait(false)
}

/// Threads of this process that a pool has started.
fn pool_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("cf-")).count()
}

alone! {
    /// Python's test_context_manager_shutdown and test_del_shutdown.
    fn a_block_waits_for_the_work_and_ends_workers_and_threads() {
        let futures: Vec<_> = {
            let executor = pool(2);
            (0..20).map(|n| executor.submit(double, n).unwrap()).collect()
        };
        for (n, future) in (0..).zip(futures) {
            assert!(future.done());
            assert_eq!(future.into_result().unwrap(), 2 * n);
        }
        assert_eq!(pool_threads(), 0);
    }

    /// Python's test_shutdown_no_wait.
    fn after_a_shutdown_that_does_not_wait_the_work_goes_on() {
        let executor = pool(2);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let pending: Vec<_> = (0..10).map(|n| executor.submit(double, n).unwrap()).collect();
        executor.shutdown_with(no_wait());
        assert!(!held.done());
        drop(executor);
        assert!(!held.done(), "nor does the drop");
        gate.open();
        assert_eq!(*value(&held), 1);
        for (n, future) in (0..).zip(&pending) {
            assert_eq!(*value(future), 2 * n);
        }
    }

    /// Python's test_shutdown_gh_132969_case_1.
    fn recycling_and_a_failure_and_a_shutdown_go_together() {
        let executor = recycling(1);
        let bad = executor.submit(|n: i64| 1 / n, 0).unwrap();
        let good = executor.submit(double, 1).unwrap();
        executor.shutdown_with(no_wait());
        assert!(matches!(error(&bad), Error::Panicked(_)));
        assert_eq!(*value(&good), 2);
    }

    /// Python's test_shutdown_gh_132969_case_2.
    fn recycling_and_a_failure_and_a_shutdown_go_together_on_four_workers() {
        let executor = recycling(4);
        let bad = executor.submit(|n: i64| 1 / n, 0).unwrap();
        let good: Vec<_> = (0..12).map(|n| executor.submit(double, n).unwrap()).collect();
        executor.shutdown_with(no_wait());
        assert!(matches!(error(&bad), Error::Panicked(_)));
        for (n, future) in (0..).zip(&good) {
            assert_eq!(*value(future), 2 * n);
        }
    }

    /// Python's test_shutdown_no_wait_max_tasks_gh119592.
    fn workers_are_replaced_after_a_shutdown_that_does_not_wait() {
        let executor = recycling(1);
        let futures: Vec<_> = (0..6).map(|n| executor.submit(double, n).unwrap()).collect();
        executor.shutdown_with(no_wait());
        for (n, future) in (0..).zip(&futures) {
            assert_eq!(*value(future), 2 * n);
        }
    }

    /// Python's test_gc_during_max_tasks_worker_exit_gh152967.
    fn an_executor_may_be_dropped_while_its_last_worker_is_replaced() {
        for _ in 0..10 {
            let executor = recycling(1);
            let first = executor.submit(double, 0).unwrap();
            let rest = [1, 2, 3].map(|n| executor.submit(double, n).unwrap());
            value(&first);
            drop(executor);
            assert!(rest.iter().all(|future| future.done()));
        }
    }

    /// Python's test_max_tasks_early_shutdown.
    fn a_shutdown_at_once_loses_no_task_of_workers_that_are_replaced() {
        let executor = recycling(3);
        let futures: Vec<_> = (0..6).map(|n| executor.submit(double, n).unwrap()).collect();
        let report = executor.shutdown();
        assert_eq!((report.finished, report.failed), (6, 0));
        for (n, future) in (0..).zip(futures) {
            assert_eq!(future.into_result().unwrap(), 2 * n);
        }
    }

    /// Python's test_shutdown_deadlock.
    fn a_worker_that_dies_during_the_shutdown_does_not_hang_it() {
        let executor = pool(2);
        let mut gate = Gate::new();
        let held = [1, 2].map(|n| executor.submit(hold, (gate.port(), n)).unwrap());
        gate.wait_for(2);
        let pids = executor.stats().pids;
        executor.shutdown_with(no_wait());
        send(pids[0], Signal::KILL);
        let waited = wait(&held, ReturnWhen::FirstCompleted, Some(LIMIT));
        assert_eq!(waited.done.len(), 1);
        assert_eq!(death(waited.done[0]).signal(), Some("SIGKILL"));
        gate.open();
        let report = executor.shutdown();
        assert_eq!((report.failed, report.finished), (1, 1));
    }

    fn a_worker_that_does_not_go_is_ended() {
        let executor = pool(1);
        let own = *value(&executor.submit(pid, ()).unwrap());
        stop(own);
        executor.shutdown();
        assert!(!exists(own));
    }

    fn a_pool_that_never_ran_anything_ends_at_once() {
        let report = pool(3).shutdown();
        assert_eq!((report.finished, report.queued), (0, 0));
        assert_eq!(pool_threads(), 0);
    }

    fn a_callback_may_shut_its_pool_down_and_drop_it() {
        let executor = Arc::new(pool(1));
        let own = Arc::clone(&executor);
        let mut gate = Gate::new();
        let future = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let (sender, told) = mpsc::channel();
        future.add_done_callback(move |_| {
            let report = own.shutdown();
            drop(Arc::into_inner(own).unwrap());
            sender.send(report.finished).unwrap();
        });
        drop(executor);
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), 1);
    }

    fn futures_outlive_their_pool() {
        let future = pool(1).submit(double, 4).unwrap();
        assert!(!future.cancel() && !future.kill());
        assert_eq!(*value(&future), 8);
    }

    /// The pool's threads have ended, and what they were called by may be others' there.
    fn a_fork_that_drops_a_pool_leaves_its_own_threads_alone() {
        let executor = pool(1);
        value(&executor.submit(double, 1).unwrap());
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        let names = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
            tasks.filter_map(move |task| name(task).ok()).collect::<Vec<_>>()
        };
        while names().iter().any(|name| name.starts_with("cf-")) {
            std::thread::yield_now();
        }
        // SAFETY: the fork ends itself.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: takes a number. The signal ends a fork that hangs.
            unsafe { libc::alarm(20) };
            let (gate, gates) = std::sync::mpsc::channel::<()>();
            let gates = std::sync::Arc::new(std::sync::Mutex::new(gates));
            let threads = [(); 4].map(|()| {
                let gates = std::sync::Arc::clone(&gates);
                std::thread::spawn(move || gates.lock().is_ok_and(|gate| gate.recv().is_err()))
            });
            drop(executor);
            drop(gate);
            let joined = threads.into_iter().filter_map(|thread| thread.join().ok());
            let joined = i32::try_from(joined.count()).unwrap();
            // SAFETY: takes a number, and runs nothing of the parent's.
            unsafe { libc::_exit(joined) };
        }
        let mut status = -1;
        // SAFETY: a number of ours.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 4, "{status:#x}");
    }


    /// It has the memory of the parent and none of its threads.
    fn a_fork_of_the_parent_is_no_second_parent() {
        let executor = pool(1);
        value(&executor.submit(double, 1).unwrap());
        // SAFETY: the child calls what needs no other thread, and ends itself.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let refused = executor.submit(double, 1);
            let is_refused = matches!(refused, Err(Error::Other(_)));
            executor.kill_workers();
            executor.shutdown();
            drop(executor);
            // SAFETY: it ends, with nothing of the parent's being run.
            unsafe { libc::_exit(i32::from(!is_refused)) };
        }
        let mut status = -1;
        // SAFETY: the status is ours to be written.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
        assert_goes_on(&executor);
        assert_eq!(executor.stats().replaced, 0, "the worker was left alone");
    }

    /// Whatever the pool's threads hold is closed before `shutdown` returns.
    fn shutdown_waits_for_processes_and_threads() {
        let executor = pool(2);
        let pids = [0; 2].map(|_| executor.submit(pid, ()).unwrap());
        let pids = pids.each_ref().map(|future| *value(future));
        executor.shutdown();
        assert_eq!(pool_threads(), 0);
        assert!(!pids.into_iter().any(exists));
    }
}
