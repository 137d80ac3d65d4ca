//! Tasks and workers that are ended on purpose.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, ProcessPoolExecutor, ShutdownOptions, TaskOptions, Transport};
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::*;

/// A task that writes a line when it ends by itself.
fn end((port, path): (u16, String)) {
    hold((port, 0));
    std::fs::write(path, "ended").unwrap();
}

alone! {
    fn kill_ends_a_running_task_and_no_other() {
        let executor = pool(2);
        let mut gate = Gate::new();
        let other = executor.submit(hold, (gate.port(), 7)).unwrap();
        gate.wait_for(1);
        let endless = executor.submit(linger, ()).unwrap();
        wait_until_running(&endless);
        assert!(!endless.cancel());
        assert!(endless.kill());
        assert!(matches!(error(&endless), Error::Killed(_)));
        assert!(endless.kill(), "it was before") ;
        gate.open();
        assert_eq!(*value(&other), 7);
        assert!(!other.kill());
        assert_goes_on(&executor);
    }

    /// Its task would be queued again, for workers that are killed as they start.
    fn a_worker_that_dies_while_its_pool_is_killed_leaves_no_task_behind() {
        for at_once in [true, false] {
            let executor = pool(1);
            assert_goes_on(&executor);
            let pid = executor.stats().pids[0];
            let worker = Pid::from_raw(pid as i32).unwrap();
            stop(pid);
            let sent = executor.submit(double, 1).unwrap();
            let pending = executor.submit(double, 2).unwrap();
            pending.add_done_callback(move |_| {
                // It may be gone.
                let _ = kill_process(worker, Signal::KILL);
            });
            if at_once {
                executor.kill_workers();
            } else {
                executor.terminate_workers();
            }
            // A worker that is asked to end may answer before.
            let ended = sent.exception_timeout(LIMIT).unwrap();
            assert!(ended.is_some() || !at_once, "{ended:?}");
            assert!(pending.cancelled());
            assert_eq!(executor.stats().replaced, 0);
        }
    }

    /// They are taken out of the queue before they are cancelled.
    fn a_shutdown_beside_a_kill_waits_until_all_are_cancelled() {
        let executor = Arc::new(pool(1));
        let running = executor.submit(linger, ()).unwrap();
        wait_until_running(&running);
        let pending: Vec<_> = (0..20_000)
            .map(|n| executor.submit(double, n).unwrap())
            .collect();
        let other = Arc::clone(&executor);
        let waits = thread::spawn(move || other.shutdown());
        while let Ok(future) = executor.submit(double, 0) {
            future.detach();
        }
        let other = Arc::clone(&executor);
        let kills = thread::spawn(move || other.kill_workers());
        let report = waits.join().unwrap();
        let open = pending.iter().filter(|future| !future.done()).count();
        assert_eq!((report.queued, open), (0, 0));
        kills.join().unwrap();
    }

    fn a_callback_of_a_cancelled_task_may_wait_for_one_that_is_killed_with_it() {
        let executor = pool(1);
        let running = Arc::new(executor.submit(linger, ()).unwrap());
        wait_until_running(&running);
        let pending = executor.submit(double, 1).unwrap();
        let (sender, seen) = channel();
        let other = Arc::clone(&running);
        pending.add_done_callback(move |_| {
            sender.send(other.result().map(drop)).unwrap();
        });
        executor.kill_workers();
        let seen = seen.recv_timeout(LIMIT).expect("the callback ends");
        assert!(matches!(seen, Err(Error::Killed(_))), "{seen:?}");
    }

    fn kill_cancels_a_task_that_was_not_sent() {
        let executor = pool(1);
        let mut gate = Gate::new();
        executor.submit(hold, (gate.port(), 7)).unwrap().detach();
        gate.wait_for(1);
        let pending = executor.submit(double, 1).unwrap();
        assert!(pending.kill());
        assert!(pending.cancelled() && pending.kill());
        gate.open();
        assert_goes_on(&executor);
    }

    /// `true` exactly if the task has no value, however close the race.
    fn kill_tells_the_truth() {
        let executor = pool(1);
        let (mut killed, mut returned) = (0, 0);
        for n in 0..200 {
            let future = executor.submit(double, n).unwrap();
            let until = Instant::now() + Duration::from_micros(5 * n.unsigned_abs());
            while Instant::now() < until {}
            if future.kill() {
                assert!(matches!(error(&future), Error::Killed(_) | Error::Cancelled));
                killed += 1;
            } else {
                assert_eq!(*value(&future), 2 * n);
                returned += 1;
            }
        }
        assert_eq!(killed + returned, 200);
        assert_goes_on(&executor);
    }

    fn a_task_beyond_its_limit_is_ended_and_the_pool_goes_on() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .time_limit(Duration::from_millis(30))
            .build()
            .unwrap();
        let slow = executor.submit(linger, ()).unwrap();
        let Error::TimeLimit(end) = error(&slow) else {
            panic!("{slow:?}");
        };
        assert_eq!(end.limit(), Some(Duration::from_millis(30)));
        assert!(end.ran_for() >= end.limit() && end.pid().is_some() && end.task().is_none());
        assert_goes_on(&executor);
        let patient = executor.with(TaskOptions::new().time_limit(LIMIT));
        let nap = |()| std::thread::sleep(Duration::from_millis(60));
        value(&patient.submit(nap, ()).unwrap());
    }

    fn a_killed_task_is_named_with_its_worker() {
        let executor = pool(1);
        let named = executor.with(TaskOptions::new().name("page 18"));
        let future = named.submit(linger, ()).unwrap();
        wait_until_running(&future);
        let worker = only_worker(&executor);
        assert!(future.kill());
        let killed = error(&future);
        let text = killed.to_string();
        let Error::Killed(end) = killed else {
            panic!("{killed:?}");
        };
        assert_eq!((end.task(), end.pid()), (Some("page 18"), Some(worker)));
        assert!(end.ran_for().is_some() && end.limit().is_none());
        assert!(text.contains(&format!("the task page 18 in the worker process {worker}")), "{text}");
    }

    /// Retries are for deaths.
    fn a_task_beyond_its_limit_is_not_begun_again() {
        let marker = scratch_file("too-long").display().to_string();
        let executor = pool(1);
        let options = TaskOptions::new().time_limit(Duration::from_millis(500)).retries(2);
        let slow = |path: String| -> () {
            let file = std::fs::File::options().create(true).append(true).open(path);
            std::io::Write::write_all(&mut file.unwrap(), b"begun ").unwrap();
            linger(())
        };
        let future = executor.with(options).submit(slow, marker.clone()).unwrap();
        assert!(matches!(error(&future), Error::TimeLimit(_)));
        assert_goes_on(&executor);
        assert_eq!(std::fs::read_to_string(&marker).unwrap(), "begun ");
        std::fs::remove_file(&marker).unwrap();
    }

    /// The limit counts from the start: neither the wait for a worker, nor its
    /// own start, nor an initializer.
    fn a_limit_counts_from_the_start_of_the_task() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(std::thread::sleep, Duration::from_millis(300))
            .time_limit(Duration::from_millis(250))
            .build()
            .unwrap();
        let nap = |()| std::thread::sleep(Duration::from_millis(60));
        let naps: Vec<_> = (0..6).map(|_| executor.submit(nap, ()).unwrap()).collect();
        naps.iter().for_each(|nap| *value(nap));
    }

    /// Python's test_kill_workers and test_force_shutdown_workers.
    fn kill_workers_ends_what_runs_and_cancels_what_does_not() {
        let path = scratch_file("killed");
        let executor = pool(2);
        let mut gate = Gate::new();
        let call = (gate.port(), path.display().to_string());
        let running = [0; 2].map(|_| executor.submit(end, call.clone()).unwrap());
        let pending = executor.submit(double, 1).unwrap();
        gate.wait_for(2);
        let pids = executor.stats().pids;
        executor.kill_workers();
        for future in &running {
            assert!(matches!(error(future), Error::Killed(_)));
        }
        assert!(pending.cancelled());
        // Python's test_force_shutdown_workers_stops_pool.
        assert!(matches!(executor.submit(double, 1), Err(Error::ShutDown)));
        gate.open();
        executor.shutdown();
        assert!(!pids.into_iter().any(exists));
        assert!(!path.exists(), "no task came to its end");
    }

    /// Python's test_terminate_workers.
    fn terminate_workers_asks_by_another_signal() {
        let executor = pool(1);
        let running = executor.submit(linger, ()).unwrap();
        wait_until_running(&running);
        executor.terminate_workers();
        assert!(matches!(error(&running), Error::Killed(_)));
        assert!(matches!(executor.submit(double, 1), Err(Error::ShutDown)));
    }

    fn a_worker_that_ignores_the_request_goes_on_until_it_is_killed() {
        let executor = pool(2);
        let ignore = |port: u16| {
            // SAFETY: it changes what a signal does, in a process of ours alone.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            hold((port, 3))
        };
        let (mut first, mut second) = (Gate::new(), Gate::new());
        let kept = executor.submit(ignore, first.port()).unwrap();
        let lost = executor.submit(ignore, second.port()).unwrap();
        first.wait_for(1);
        second.wait_for(1);
        executor.terminate_workers();
        first.open();
        assert_eq!(*value(&kept), 3, "it ended by itself, so its value counts");
        assert!(lost.running());
        executor.kill_workers();
        assert!(matches!(error(&lost), Error::Killed(_)));
    }

    /// Only the pool's message `Exit` ends such a worker.
    fn an_idle_worker_that_ignores_the_request_ends_too() {
        for transport in [Transport::Socket, Transport::Shared] {
            let builder = ProcessPoolExecutor::builder().max_workers(1);
            let executor = builder.transport(transport).build().unwrap();
            let ignore = |()| {
                // SAFETY: it changes what a signal does, in a process of ours alone.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            };
            value(&executor.submit(ignore, ()).unwrap());
            let limit = ShutdownOptions::new().timeout(LIMIT);
            executor.terminate_workers();
            executor.shutdown_with(limit);
            assert_eq!(executor.stats().workers, 0, "{transport:?}");
        }
    }

    /// Python's test_force_shutdown_workers_dead_workers.
    fn workers_that_are_dead_already_do_not_matter() {
        let executor = pool(1);
        let own = *value(&executor.submit(pid, ()).unwrap());
        send(own, Signal::KILL);
        executor.kill_workers();
        executor.terminate_workers();
        executor.shutdown();
        assert!(!exists(own));
    }

    /// Python's test_force_shutdown_workers_not_started_yet.
    fn workers_that_are_not_started_yet_do_not_matter() {
        pool(2).kill_workers();
        pool(2).terminate_workers();
    }

    /// Python's test_force_shutdown_during_max_tasks_worker_exit.
    fn no_replacement_escapes_a_stop() {
        for n in 0..20 {
            let executor = ProcessPoolExecutor::builder()
                .max_workers(2)
                .max_tasks_per_child(1)
                .build()
                .unwrap();
            let futures: Vec<_> = (0..8).map(|n| executor.submit(double, n).unwrap()).collect();
            let until = Instant::now() + Duration::from_micros(300 * n);
            while Instant::now() < until {
                std::thread::yield_now();
            }
            if n % 2 == 0 {
                executor.kill_workers();
            } else {
                executor.terminate_workers();
            }
            for future in &futures {
                let _ = future.exception_timeout(LIMIT).unwrap();
            }
            executor.shutdown();
            assert_eq!(executor.stats().workers, 0);
        }
    }

    fn a_task_that_is_let_go_in_time_keeps_its_value() {
        let executor = pool(1);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 5)).unwrap();
        gate.wait_for(1);
        gate.release_one();
        assert_eq!(*value(&held), 5);
        executor.terminate_workers();
        assert!(!held.kill());
    }
}
