//! Tasks that are sent ahead to a worker that still runs another task.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use concurrent_futures::{Error, TaskOptions};

use crate::fixture::*;
use crate::gate::{Gate, hold};

/// A task: counts itself in the file, a byte for each run.
fn note(file: String) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(file)
        .unwrap();
    file.write_all(b".").unwrap();
}

fn runs(file: &str) -> usize {
    fs::read(file).map_or(0, |bytes| bytes.len())
}

alone! {
    /// The next task already lies with the worker.
    fn a_task_behind_a_running_one_can_be_cancelled_and_never_runs() {
        let executor = pool_by_shared_memory(1);
        let file = scratch_file("ahead").display().to_string();
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
        // Each worker has one of these, and the others are queued.
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

/// A task: ends its worker when the gate opens.
fn hold_and_abort(port: u16) {
    hold((port, 0));
    std::process::abort();
}
