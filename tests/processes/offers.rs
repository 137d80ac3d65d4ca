//! Tasks that the pool offers to all its workers, before one of them takes it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, ProcessPoolExecutor, ShutdownOptions, TaskOptions, Transport};
use rustix::process::Signal;

use crate::fixture::*;
use crate::gate::{Gate, hold};

fn runs(file: &str) -> usize {
    fs::read(file).map_or(0, |bytes| bytes.len())
}

alone! {
    /// The worker takes the next task without asking the pool.
    fn a_task_behind_a_running_one_can_be_cancelled_and_never_runs() {
        let executor = pool_by_shared_memory(1);
        let file = scratch_file("offers").display().to_string();
        for _ in 0..20 {
            let mut gate = Gate::new();
            let held = executor.submit(hold, (gate.port(), 1)).unwrap();
            gate.wait_for(1);
            let next: Vec<_> = (0..3).map(|_| executor.submit(note, file.clone()).unwrap()).collect();
            assert_eq!(executor.stats().queued, 3);
            assert!(next.iter().all(|future| !future.running() && future.cancel()));
            assert_eq!(executor.stats().queued, 0);
            gate.open();
            assert_eq!(*value(&held), 1);
            assert_goes_on(&executor);
        }
        assert_eq!(runs(&file), 0);
        assert_eq!(executor.stats().cancelled, 60);
    }

    /// No thread waits for them, and the workers do not wake the supervisor in a burst.
    fn the_last_results_of_a_burst_arrive_without_a_waiter() {
        let executor = pool_by_shared_memory(2);
        for _ in 0..20 {
            let burst: Vec<_> = (0..1000).map(|n| executor.submit(double, n).unwrap()).collect();
            let since = Instant::now();
            while !burst.iter().all(|future| future.done()) {
                assert!(since.elapsed() < LIMIT, "they end");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(executor.stats().finished, 20_000);
    }

    /// A worker that is busy with a long task is no reason to wake no other one.
    fn a_task_behind_a_burst_does_not_wait_for_a_long_one() {
        let executor = pool_by_shared_memory(2);
        for _ in 0..20 {
            let burst: Vec<_> = (0..200).map(|n| executor.submit(double, n).unwrap()).collect();
            let mut gate = Gate::new();
            let held = executor.submit(hold, (gate.port(), 1)).unwrap();
            let next = executor.submit(double, 4).unwrap();
            assert_eq!(*next.result_timeout(LIMIT).unwrap(), 8);
            gate.wait_for(1);
            gate.open();
            assert_eq!(*value(&held), 1);
            assert!(burst.iter().all(|future| future.result().is_ok()));
        }
    }

    /// The result of `cancel` is true whenever the worker takes the task.
    fn a_cancel_beside_a_start_says_what_happens() {
        let executor = pool_by_shared_memory(1);
        let file = scratch_file("cancelled").display().to_string();
        let _ = fs::remove_file(&file);
        let rounds = std::env::var("CANCELS").map_or(2000, |n| n.parse().unwrap());
        let mut ran = 0;
        for round in 0..rounds {
            let before = executor.submit(double, 1).unwrap();
            let next = executor.submit(note, file.clone()).unwrap();
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            if round % 2 == 0 {
                value(&before);
            }
            if !next.cancel() {
                value(&next);
                ran += 1;
            }
            value(&before);
        }
        assert_goes_on(&executor);
        assert_eq!(runs(&file), ran);
    }

    fn no_task_waits_behind_a_long_one_while_a_worker_is_idle() {
        let executor = pool_by_shared_memory(2);
        let mut gate = Gate::new();
        let long = executor.submit(hold, (gate.port(), 1)).unwrap();
        let short = executor.submit(hold, (gate.port(), 2)).unwrap();
        gate.wait_for(2);
        let tiny: Vec<_> = (0..20).map(|n| executor.submit(double, n).unwrap()).collect();
        assert_eq!(executor.stats().queued, 20);
        let worker = short;
        gate.release_one();
        for (n, future) in tiny.iter().enumerate() {
            assert_eq!(*value(future), 2 * n as i64);
        }
        gate.open();
        assert_eq!((*value(&long), *value(&worker)), (1, 2));
    }

    /// It would hang if a worker had several tasks of its own: a task that waits for
    /// another one would keep behind it the task that the other worker waits for.
    fn tasks_that_meet_each_other_go_on() {
        let executor = pool_by_shared_memory(2);
        let marks = scratch_file("meets");
        fs::write(&marks, [0; 400]).unwrap();
        let meet = |(path, own, other): (String, u64, u64)| {
            let marks = File::options().read(true).write(true).open(path).unwrap();
            marks.write_all_at(&[1], own).unwrap();
            let (mut mark, since) = ([0], Instant::now());
            while mark == [0] && since.elapsed() < LIMIT {
                marks.read_exact_at(&mut mark, other).unwrap();
            }
            mark == [1]
        };
        let path = marks.display().to_string();
        let mut meetings = Vec::new();
        for n in (0..400).step_by(2) {
            // A short task of its own comes between some of the two that meet.
            let one = executor.submit(meet, (path.clone(), n, n + 1)).unwrap();
            let between = (n % 3 == 0).then(|| executor.submit(double, 1).unwrap());
            meetings.push((one, executor.submit(meet, (path.clone(), n + 1, n)).unwrap()));
            drop(between);
        }
        for (n, (one, other)) in meetings.iter().enumerate() {
            assert!(*value(one) && *value(other), "meeting {n}");
        }
    }

    /// A worker asks for the call of such a task when it has taken it.
    fn long_calls_keep_their_place_and_can_be_cancelled() {
        let executor = pool_by_shared_memory(1);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let order = scratch_file("order").display().to_string();
        let _ = fs::remove_file(&order);
        let append = |(path, text, rest): (String, String, Vec<u8>)| {
            let mut file = File::options().append(true).create(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            rest.len()
        };
        let lengths = [0, 1000, 0, 100_000, 3 << 20, 0, 300, 150];
        let tasks: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(n, length)| {
                let args = (order.clone(), n.to_string(), vec![7; *length]);
                executor.submit(append, args).unwrap()
            })
            .collect();
        assert!(tasks[4].cancel() && tasks[5].cancel());
        gate.open();
        assert_eq!(*value(&held), 1);
        for (n, task) in tasks.iter().enumerate().filter(|(n, _)| ![4, 5].contains(n)) {
            assert_eq!(*value(task), lengths[n]);
        }
        assert_eq!(fs::read_to_string(&order).unwrap(), "012367");
    }

    /// It had not begun, and the call was perhaps being sent.
    fn a_long_call_whose_worker_dies_is_not_lost() {
        let executor = pool_by_shared_memory(1);
        for n in 0..30 {
            let worker = *value(&executor.submit(pid, ()).unwrap());
            let bytes = vec![1_u8; 4 << 20];
            let long = executor.submit(|bytes: Vec<u8>| bytes.len(), bytes).unwrap();
            for _ in 0..n * 1000 {
                std::hint::spin_loop();
            }
            send(worker, Signal::KILL);
            match long.result_timeout(LIMIT) {
                Ok(length) => assert_eq!(*length, 4 << 20),
                Err(Error::WorkerDied(death)) => {
                    assert!(death.to_string().contains("into the task"), "{death}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// More tasks than there are offers at the same time.
    fn each_of_many_tasks_runs_once() {
        let executor = pool_by_shared_memory(2);
        let file = scratch_file("many").display().to_string();
        let _ = fs::remove_file(&file);
        for _ in 0..5 {
            let tasks: Vec<_> =
                (0..2000).map(|_| executor.submit(note, file.clone()).unwrap()).collect();
            tasks.iter().for_each(|task| {
                value(task);
            });
        }
        assert_eq!(runs(&file), 10_000);
        let empty: Vec<_> = (0..40_000).map(|n| executor.submit(double, n).unwrap()).collect();
        for (n, task) in empty.iter().enumerate() {
            assert_eq!(*value(task), 2 * n as i64);
        }
        assert_eq!(executor.stats().replaced, 0);
    }

    /// The worker had taken the next task before the kill or the limit reached it.
    fn a_kill_and_a_limit_end_no_task_behind_theirs() {
        let executor = pool_by_shared_memory(1);
        let limited = executor.with(TaskOptions::new().time_limit(Duration::from_micros(300)));
        for round in 0..200_u64 {
            let by_limit = round % 2 == 0;
            let time = if by_limit { 300 } else { 50 };
            let victim = match by_limit {
                true => limited.submit(spin_for, time).unwrap(),
                false => executor.submit(spin_for, time).unwrap(),
            };
            let behind: Vec<_> =
                (0..4).map(|_| executor.submit(spin_for, time).unwrap()).collect();
            while !by_limit && !victim.running() && !victim.done() {
                std::hint::spin_loop();
            }
            let killed = !by_limit && victim.kill();
            match victim.exception_timeout(LIMIT).expect("it ends") {
                None => assert!(!killed),
                Some(Error::TimeLimit(_)) => assert!(by_limit),
                Some(Error::Killed(_) | Error::Cancelled) => assert!(killed),
                Some(other) => panic!("round {round}: {other}"),
            }
            for next in &behind {
                assert_eq!(*value(next), time, "round {round}");
            }
        }
    }

    /// They failed as if they had not run: the pool had not read their answers yet.
    fn tasks_that_have_ended_have_their_values_when_all_workers_are_ended() {
        for by_force in [false, true] {
            let executor = pool_by_shared_memory(2);
            let file = scratch_file("ended").display().to_string();
            let _ = fs::remove_file(&file);
            let tasks: Vec<_> =
                (0..3000).map(|_| executor.submit(note, file.clone()).unwrap()).collect();
            if by_force {
                executor.kill_workers();
            } else {
                executor.terminate_workers();
            }
            let mut values = 0;
            for task in &tasks {
                match task.exception_timeout(LIMIT).expect("it ends") {
                    None => values += 1,
                    Some(Error::Cancelled | Error::Killed(_)) => {}
                    Some(other) => panic!("{other}"),
                }
            }
            drop(executor);
            // Each worker may have ended one more task whose answer it could not send.
            assert!(runs(&file).abs_diff(values) <= 2, "{} {values}", runs(&file));
        }
    }

    /// It hung: the pool waited for a task that it had failed.
    fn a_pool_that_breaks_while_a_retry_is_offered_ends() {
        let starts = scratch_file("starts").display().to_string();
        let _ = fs::remove_file(&starts);
        let builder = ProcessPoolExecutor::builder().max_workers(2).transport(Transport::Shared);
        let executor = builder.initializer(start_twice, starts).build().unwrap();
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let view = executor.with(TaskOptions::new().retries(1));
        let dies = view.submit(end_worker, ()).unwrap();
        assert!(matches!(error(&dies), Error::Broken(_)));
        gate.open();
        assert_eq!(*value(&held), 1);
        let report = executor.shutdown_with(ShutdownOptions::new().timeout(LIMIT));
        assert_eq!((report.finished, report.failed, report.running), (1, 1, 0));
        assert_eq!(executor.stats().workers, 0);
    }

    /// The pool wakes the stopped worker first, and the other one when that takes long.
    fn a_stopped_worker_holds_up_no_task_while_another_one_is_idle() {
        let executor = pool_by_shared_memory(2);
        let mut gate = Gate::new();
        let held: Vec<_> =
            (0..2).map(|n| executor.submit(hold, (gate.port(), n)).unwrap()).collect();
        gate.wait_for(2);
        gate.open();
        held.iter().for_each(|future| {
            value(future);
        });
        let stopped = *value(&executor.submit(pid, ()).unwrap());
        stop(stopped);
        for n in 0..10 {
            assert_eq!(*value(&executor.submit(double, n).unwrap()), 2 * n);
        }
        assert_eq!(executor.stats().replaced, 0, "the stopped worker was not killed yet");
        send(stopped, Signal::CONT);
        assert_goes_on(&executor);
    }

    /// It failed with the limit or the kill of the other.
    fn a_task_behind_one_that_is_ended_runs_elsewhere() {
        let executor = pool_by_shared_memory(1);
        let hasty = executor.with(TaskOptions::new().time_limit(Duration::from_millis(50)));
        let limited = hasty.submit(linger, ()).unwrap();
        let behind = executor.submit(double, 4).unwrap();
        assert!(matches!(error(&limited), Error::TimeLimit(_)));
        assert_eq!(*value(&behind), 8);

        let killed = executor.submit(linger, ()).unwrap();
        wait_until_running(&killed);
        let behind = executor.submit(double, 5).unwrap();
        assert!(killed.kill());
        assert!(matches!(error(&killed), Error::Killed(_)));
        assert_eq!(*value(&behind), 10);

        let mut gate = Gate::new();
        let dies = executor.submit(hold_and_abort, gate.port()).unwrap();
        gate.wait_for(1);
        let behind: Vec<_> = (0..3).map(|n| executor.submit(double, n).unwrap()).collect();
        gate.open();
        death(&dies);
        for (n, future) in behind.iter().enumerate() {
            assert_eq!(*value(future), 2 * n as i64);
        }
    }

    fn a_task_behind_a_running_one_can_be_killed_and_only_it() {
        let executor = pool_by_shared_memory(1);
        let mut gate = Gate::new();
        let held = executor.submit(hold, (gate.port(), 1)).unwrap();
        gate.wait_for(1);
        let next = executor.submit(double, 2).unwrap();
        assert!(next.kill() && next.cancelled());
        gate.open();
        assert_eq!(*value(&held), 1);
        assert_eq!(executor.stats().replaced, 0);
    }
}

/// A task: ends its worker.
fn end_worker((): ()) {
    std::process::abort();
}

/// A task: uses the CPU for so many microseconds.
fn spin_for(time: u64) -> u64 {
    let since = Instant::now();
    while since.elapsed() < Duration::from_micros(time) {
        std::hint::spin_loop();
    }
    time
}

/// An initializer: succeeds in two workers.
fn start_twice(starts: String) -> Result<(), String> {
    note(starts.clone());
    match runs(&starts) {
        ..=2 => Ok(()),
        _ => Err("no third worker".to_owned()),
    }
}

/// A task: ends its worker when the gate opens.
fn hold_and_abort(port: u16) {
    hold((port, 0));
    std::process::abort();
}
