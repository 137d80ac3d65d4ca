//! Workers that die: in every place where the user's code runs, and outside.

use std::process::{abort, exit};
use std::time::Duration;

use concurrent_futures::{
    Error, MapOptions, OnWorkerDeath, ProcessPoolExecutor, TaskOptions, WorkerDeath,
};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::fixture::*;

/// A value that does something to the worker which encodes or decodes it: that
/// is, to every process but the one that is named.
struct Deadly {
    parent: u32,
    on_encode: bool,
    code: i32,
}

impl Deadly {
    fn argument(code: i32) -> Self {
        Self {
            parent: std::process::id(),
            on_encode: false,
            code,
        }
    }

    fn strike(&self) {
        if self.parent != std::process::id() {
            match self.code {
                -1 => abort(),
                code => exit(code),
            }
        }
    }
}

impl Serialize for Deadly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.on_encode {
            self.strike();
        }
        (self.parent, self.on_encode, self.code).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Deadly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (parent, on_encode, code) = Deserialize::deserialize(deserializer)?;
        let this = Self {
            parent,
            on_encode,
            code,
        };
        if !on_encode {
            this.strike();
        }
        Ok(this)
    }
}

/// A task whose value ends the worker that encodes it.
fn deadly_value((parent, code): (u32, i32)) -> Deadly {
    Deadly {
        parent,
        on_encode: true,
        code,
    }
}

/// A task that ends its worker.
fn die(how: String) -> i64 {
    fn deep(n: u64) -> u64 {
        let here = std::hint::black_box([n; 256]);
        if n == 0 { 0 } else { deep(n - 1) + here[7] }
    }
    match &*how {
        "abort" => abort(),
        "exit" => exit(3),
        "exit well" => exit(0),
        "overflow" => i64::try_from(deep(u64::MAX)).unwrap(),
        "fault" => {
            let nowhere = std::ptr::without_provenance::<u8>(8);
            // SAFETY: none; this is the fault that the test is about.
            i64::from(unsafe { nowhere.read_volatile() })
        }
        _ => unreachable!("{how}"),
    }
}

/// The open descriptors of this process, and what they are.
fn descriptors() -> Vec<(i32, String)> {
    let folder = std::fs::read_dir("/proc/self/fd").unwrap();
    let own = folder.filter_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        Some((number, target.display().to_string()))
    });
    own.collect()
}

/// Runs a task that ends its worker in that way, and returns the death.
fn death_by(how: &str) -> WorkerDeath {
    let executor = pool(1);
    let view = executor.with(TaskOptions::new().name(how));
    let death = death(&view.submit(die, how.to_owned()).unwrap());
    assert_eq!(death.task(), Some(how));
    assert!(death.ran_for().is_some());
    assert_goes_on(&executor);
    assert_eq!(executor.stats().replaced, 1);
    death
}

/// Lets this worker have 32 MiB more, or 160: another thread of it may map an arena just
/// while its size is read, 128 MiB for a moment.
fn little_memory((): ()) {
    let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = sizes.split(' ').next().unwrap().parse().unwrap();
    let mut limit = getrlimit(Resource::As);
    limit.current = Some(4096 * pages + (32 << 20));
    setrlimit(Resource::As, limit).unwrap();
}

alone! {
    /// Python's test_crash_during_func_exec_on_worker.
    fn a_task_that_aborts_fails_alone() {
        let executor = pool(2);
        let good = executor.submit(double, 1).unwrap();
        let bad = executor.submit(die, "abort".to_owned()).unwrap();
        let also = executor.submit(double, 2).unwrap();
        assert_eq!(death(&bad).signal(), Some("SIGABRT"));
        assert_eq!((*value(&good), *value(&also)), (2, 4));
        assert_goes_on(&executor);
        let stats = executor.stats();
        assert_eq!((stats.finished, stats.failed, stats.running), (3, 1, 0));
    }

    /// Python's test_exit_during_func_exec_on_worker, and
    /// test_traceback_when_child_process_terminates_abruptly.
    fn a_death_says_its_code_or_signal() {
        let exited = death_by("exit");
        assert_eq!((exited.exit_code(), exited.signal()), (Some(3), None));
        assert!(exited.to_string().contains("exited with code 3"), "{exited}");
        assert_eq!(death_by("exit well").exit_code(), Some(0));
        let fault = death_by("fault");
        assert_eq!((fault.signal(), fault.exit_code()), (Some("SIGSEGV"), None));
        assert!(fault.to_string().contains("was ended by SIGSEGV"), "{fault}");
    }

    fn a_stack_that_overflows_is_a_death() {
        let signal = death_by("overflow");
        assert!(matches!(signal.signal(), Some("SIGSEGV" | "SIGABRT")), "{signal}");
    }

    /// Python's test_crash_at_task_unpickle.
    fn an_argument_that_aborts_in_the_worker_is_its_tasks_death() {
        let executor = pool(1);
        let bad = executor.submit(|_: Deadly| (), Deadly::argument(-1)).unwrap();
        assert_eq!(death(&bad).signal(), Some("SIGABRT"));
        assert_goes_on(&executor);
    }

    /// Python's test_exit_at_task_unpickle.
    fn an_argument_that_exits_in_the_worker_is_its_tasks_death() {
        let executor = pool(1);
        let bad = executor.submit(|_: Deadly| (), Deadly::argument(4)).unwrap();
        assert_eq!(death(&bad).exit_code(), Some(4));
        assert_goes_on(&executor);
    }

    /// Python's test_crash_during_result_pickle_on_worker.
    fn a_value_that_aborts_while_it_is_encoded_is_a_death() {
        let executor = pool(1);
        let bad = executor.submit(deadly_value, (std::process::id(), -1)).unwrap();
        assert_eq!(death(&bad).signal(), Some("SIGABRT"));
        assert_goes_on(&executor);
    }

    /// Python's test_exit_during_result_pickle_on_worker.
    fn a_value_that_exits_while_it_is_encoded_is_a_death() {
        let executor = pool(1);
        let bad = executor.submit(deadly_value, (std::process::id(), 5)).unwrap();
        assert_eq!(death(&bad).exit_code(), Some(5));
        assert_goes_on(&executor);
    }

    fn an_idle_worker_that_is_killed_is_replaced_and_no_task_fails() {
        let executor = pool(1);
        for _ in 0..3 {
            let own = *value(&executor.submit(pid, ()).unwrap());
            send(own, Signal::KILL);
            while executor.stats().pids == [own] {
                std::thread::yield_now();
            }
        }
        assert_goes_on(&executor);
        assert_eq!(executor.stats().failed, 0);
    }

    /// However soon after: the task goes to the next worker, since it had not
    /// begun, or it is told to have died.
    fn a_task_that_is_sent_to_a_dying_worker_is_not_lost() {
        let executor = pool(1);
        let mut ran = 0;
        for _ in 0..50 {
            let own = *value(&executor.submit(pid, ()).unwrap());
            send(own, Signal::KILL);
            let next = executor.submit(double, 4).unwrap();
            match next.result_timeout(LIMIT) {
                Ok(value) => {
                    assert_eq!(*value, 8);
                    ran += 1;
                }
                Err(error) => assert!(matches!(error, Error::WorkerDied(_)), "{error}"),
            }
        }
        assert!(ran > 0);
        assert_goes_on(&executor);
    }

    /// Python's test_crash_big_data.
    fn a_worker_that_dies_while_much_is_being_sent_hangs_nothing() {
        let executor = pool_by_socket(1);
        let own = *value(&executor.submit(pid, ()).unwrap());
        stop(own);
        let big = vec![7_u8; 16 << 20];
        let length = executor.submit(|bytes: Vec<u8>| bytes.len(), big).unwrap();
        assert!(!length.running() && !length.cancel(), "it is being sent");
        send(own, Signal::KILL);
        assert_eq!(*value(&length), 16 << 20, "it had not begun, so it is sent again");
        assert_ne!(only_worker(&executor), own);
    }

    fn many_workers_that_die_together_are_all_told() {
        let executor = pool(4);
        let futures: Vec<_> = (0..12)
            .map(|n| executor.submit(die, ["abort", "exit"][n % 2].to_owned()).unwrap())
            .collect();
        for future in &futures {
            death(future);
        }
        assert_goes_on(&executor);
    }

    /// Ten bad tasks in a row are ten failures, and no broken pool.
    fn tasks_that_die_in_a_row_do_not_break_the_pool() {
        let executor = pool(1);
        for _ in 0..10 {
            death(&executor.submit(die, "exit".to_owned()).unwrap());
        }
        assert_goes_on(&executor);
    }

    fn five_workers_in_a_row_that_die_before_they_begin_break_the_pool() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(|code| -> () { exit(code) }, 9)
            .build()
            .unwrap();
        let future = executor.submit(double, 1).unwrap();
        let Error::Broken(cause) = error(&future) else {
            panic!("{future:?}");
        };
        let Error::WorkerDied(death) = &*cause else {
            panic!("{cause:?}");
        };
        assert_eq!(death.exit_code(), Some(9));
        let text = error(&future).to_string();
        assert!(text.contains("look at the initializer") && !text.contains("retries"), "{text}");
        assert!(matches!(executor.submit(double, 1), Err(Error::Broken(_))));
        assert_eq!(executor.stats().replaced, 4);
    }

    fn a_task_whose_retries_are_used_up_says_how_often_it_was_begun() {
        let executor = pool(1);
        let again = executor.with(TaskOptions::new().name("page 19").retries(2));
        let future = again.submit(die, "abort".to_owned()).unwrap();
        let died = error(&future).to_string();
        assert_eq!(death(&future).times_begun(), 3);
        assert!(died.contains("page 19") && died.contains("begun 3 times"), "{died}");
        assert!(!died.contains("set `retries`"), "{died}");
    }

    /// Python's FailingInitializerResourcesTest.
    fn an_initializer_that_fails_leaves_nothing_behind() {
        for max_workers in [1, 3] {
            let executor = ProcessPoolExecutor::builder()
                .max_workers(max_workers)
                .initializer(|()| Err("no licence"), ())
                .build()
                .unwrap();
            let futures = [1, 2, 3].map(|n| executor.submit(double, n));
            for future in futures.iter().flatten() {
                let Error::Broken(cause) = error(future) else {
                    panic!("{future:?}");
                };
                assert_eq!(cause.to_string(), "no licence");
                let text = error(future).to_string();
                assert!(text.contains("its initializer failed: no licence"), "{text}");
            }
            assert!(matches!(executor.submit(double, 1), Err(Error::Broken(_))));
        }
    }

    /// Python's test_failed_worker_replacement_breaks_pool.
    fn a_worker_that_cannot_be_replaced_breaks_the_pool_if_it_was_the_last() {
        let folder = scratch_file("gone");
        std::fs::create_dir(&folder).unwrap();
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .max_tasks_per_child(1)
            .current_dir(&folder)
            .build()
            .unwrap();
        let mut gate = Gate::new();
        let first = executor.submit(hold, (gate.port(), 1)).unwrap();
        let pending = [1, 2, 3].map(|n| executor.submit(double, n).unwrap());
        gate.wait_for(1);
        std::fs::remove_dir(&folder).unwrap();
        gate.open();
        assert_eq!(*value(&first), 1);
        for future in &pending {
            let Error::Broken(cause) = error(future) else {
                panic!("{future:?}");
            };
            assert!(matches!(&*cause, Error::Spawn(_)), "{cause:?}");
        }
        assert!(matches!(executor.submit(double, 1), Err(Error::Broken(_))));
    }

    /// The others were never heard again.
    fn a_worker_that_cannot_be_started_holds_no_other_up() {
        let folder = scratch_file("away");
        std::fs::create_dir(&folder).unwrap();
        let executor = ProcessPoolExecutor::builder()
            .max_workers(2)
            .current_dir(&folder)
            .build()
            .unwrap();
        let first = *value(&executor.submit(pid, ()).unwrap());
        std::fs::remove_dir(&folder).unwrap();
        let futures: Vec<_> = (0..9).map(|_| executor.submit(pid, ()).unwrap()).collect();
        for future in &futures {
            assert_eq!(*value(future), first);
        }
        // Once the shortage is over there are as many as were asked for.
        std::fs::create_dir(&folder).unwrap();
        let mut gate = Gate::new();
        let both = [1, 2].map(|n| executor.submit(hold, (gate.port(), n)).unwrap());
        gate.wait_for(2);
        gate.open();
        assert_eq!(both.each_ref().map(value), [&1, &2]);
        std::fs::remove_dir(&folder).unwrap();
    }

    /// Python's test_killed_child.
    fn under_the_policy_of_python_a_death_breaks_the_pool() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(2)
            .on_worker_death(OnWorkerDeath::BreakPool)
            .build()
            .unwrap();
        let mut gate = Gate::new();
        let running = [1, 2].map(|n| executor.submit(hold, (gate.port(), n)).unwrap());
        let pending = [1, 2].map(|n| executor.submit(double, n).unwrap());
        gate.wait_for(2);
        let pids = executor.stats().pids;
        send(pids[0], Signal::KILL);
        let errors = running.each_ref().map(error);
        let died = errors.iter().filter(|e| matches!(e, Error::WorkerDied(d) if d.pid() == pids[0]));
        let broken = errors.iter().filter(|e| matches!(e, Error::Broken(_)));
        assert_eq!((died.count(), broken.count()), (1, 1), "{errors:?}");
        // Python's test_broken_process_pool_traceback: each says why.
        for future in &pending {
            let text = error(future).to_string();
            assert!(text.contains("SIGKILL") && text.contains(&pids[0].to_string()), "{text}");
        }
        assert!(matches!(executor.submit(double, 1), Err(Error::Broken(_))));
        assert!(executor.stats().broken);
    }

    fn a_task_with_retries_is_begun_again() {
        let marker = scratch_file("begun");
        let executor = pool(1);
        let view = executor.with(TaskOptions::new().retries(2));
        let fragile = |path: String| {
            let times = std::fs::read(&path).map_or(0, |bytes| bytes.len());
            std::fs::write(&path, vec![0; times + 1]).unwrap();
            if times < 2 {
                abort();
            }
            times
        };
        let path = marker.display().to_string();
        let future = view.submit(fragile, path.clone()).unwrap();
        assert_eq!(*value(&future), 2);
        std::fs::remove_file(&marker).unwrap();
        let once = executor.with(TaskOptions::new().retries(1));
        let future = once.submit(fragile, path).unwrap();
        assert_eq!(death(&future).signal(), Some("SIGABRT"));
        assert_eq!(std::fs::read(&marker).unwrap().len(), 2, "begun twice");
        std::fs::remove_file(&marker).unwrap();
        let stats = executor.stats();
        assert_eq!((stats.finished, stats.failed, stats.running), (1, 1, 0));
    }

    fn a_task_with_a_long_vector_is_begun_again_with_the_vector() {
        let marker = scratch_file("vector");
        let fragile = |numbers: Vec<f64>| {
            let path = std::env::var("CF_VECTOR_MARKER").unwrap();
            if !std::fs::exists(&path).unwrap() {
                std::fs::write(&path, "once").unwrap();
                abort();
            }
            (numbers.len(), numbers.iter().sum::<f64>())
        };
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let executor = builder.env("CF_VECTOR_MARKER", &marker).build().unwrap();
        let view = executor.with(TaskOptions::new().retries(1));
        let future = view.submit(fragile, vec![0.5; 300_000]).unwrap();
        assert_eq!(*value(&future), (300_000, 150_000.0));
        std::fs::remove_file(&marker).unwrap();
    }

    fn a_task_that_is_begun_again_overtakes_those_that_wait() {
        let marker = scratch_file("overtakes").display().to_string();
        let executor = pool(1);
        let mut gate = Gate::new();
        let fragile = |(port, path): (u16, String)| {
            if !std::fs::exists(&path).unwrap() {
                hold((port, 0));
                std::fs::write(&path, "once").unwrap();
                abort();
            }
            std::fs::write(&path, "twice").unwrap();
        };
        let view = executor.with(TaskOptions::new().retries(1));
        let first = view.submit(fragile, (gate.port(), marker.clone())).unwrap();
        let read = |path: String| std::fs::read_to_string(path).unwrap();
        let second = executor.submit(read, marker.clone()).unwrap();
        gate.wait_for(1);
        gate.open();
        assert_eq!(value(&second), "twice");
        value(&first);
        std::fs::remove_file(&marker).unwrap();
    }

    /// It has begun, so it cannot be cancelled, and no worker has it.
    fn a_task_that_waits_to_be_begun_again_can_be_killed() {
        let marker = scratch_file("waits").display().to_string();
        for all_workers in [false, true] {
            let mut gate = Gate::new();
            let replacements_wait = |(port, path): (u16, String)| {
                if std::fs::exists(path).unwrap() {
                    hold((port, 0));
                }
            };
            let executor = ProcessPoolExecutor::builder()
                .max_workers(1)
                .initializer(replacements_wait, (gate.port(), marker.clone()))
                .retries(1)
                .build()
                .unwrap();
            let die = |path: String| -> () {
                std::fs::write(path, "").unwrap();
                abort()
            };
            let future = executor.submit(die, marker.clone()).unwrap();
            gate.wait_for(1);
            assert!(future.running() && !future.cancel());
            if all_workers {
                executor.kill_workers();
            } else {
                assert!(future.kill());
            }
            assert!(matches!(error(&future), Error::Killed(_)));
            let stats = executor.stats();
            assert_eq!((stats.failed, stats.running, stats.queued), (1, 0, 0));
            gate.open();
            if !all_workers {
                assert_goes_on(&executor);
            }
            std::fs::remove_file(&marker).unwrap();
        }
    }

    /// Every second start fails: more than five, and never two in a row.
    fn starts_that_fail_break_the_pool_only_in_a_row() {
        let marker = scratch_file("every-second").display().to_string();
        let every_second = |path: String| {
            if std::fs::remove_file(&path).is_err() {
                std::fs::write(&path, "").unwrap();
                exit(7);
            }
        };
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .max_tasks_per_child(1)
            .initializer(every_second, marker.clone())
            .build()
            .unwrap();
        for n in 0..8 {
            assert_eq!(*value(&executor.submit(double, n).unwrap()), 2 * n);
        }
    }

    /// Its call is too big for all workers, so that none comes to begin it.
    fn a_task_that_no_worker_survives_reading_fails_alone() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(little_memory, ())
            .build()
            .unwrap();
        let big = "x".repeat(256 << 20);
        let future = executor.submit(|text: String| text.len(), big).unwrap();
        assert_eq!(death(&future).ran_for(), None);
        assert_goes_on(&executor);
        assert_eq!(executor.stats().replaced, 3);
        // A vector's memory is taken when nothing but the header has arrived.
        let big = vec![1.0; 32 << 20];
        let future = executor.submit(|numbers: Vec<f64>| numbers.len(), big).unwrap();
        assert_eq!(death(&future).ran_for(), None);
        assert_goes_on(&executor);
        assert_eq!(executor.stats().replaced, 6);
    }

    /// Each of them ends more than one worker, and all of them more than may fail to start.
    fn tasks_that_no_worker_survives_reading_do_not_break_the_pool() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(3)
            .initializer(little_memory, ())
            .build()
            .unwrap();
        let big = |()| executor.submit(|numbers: Vec<f64>| numbers.len(), vec![1.0; 24 << 20]);
        for future in [(); 3].map(big).map(Result::unwrap) {
            assert_eq!(death(&future).ran_for(), None);
        }
        assert!(!executor.stats().broken);
    }

    fn a_chunk_dies_with_its_worker_and_no_other_does() {
        let executor = pool(1);
        let options = MapOptions::new().chunk_size(2);
        let results = executor
            .map_with(options, |n: i64| if n == 2 { abort() } else { n }, 0..6)
            .unwrap();
        let results: Vec<Option<i64>> = results.map(Result::ok).collect();
        assert_eq!(results, [Some(0), Some(1), None, None, Some(4), Some(5)]);
    }

    /// It can never answer, so it ends, or is ended.
    fn a_worker_that_closes_its_connection_is_a_dead_one() {
        let executor = pool_by_socket(1);
        let close = |()| {
            for (number, target) in descriptors() {
                if target.starts_with("socket:") {
                    // SAFETY: the worker's own code is the last one that minds.
                    unsafe { libc::close(number) };
                }
            }
        };
        let future = executor.submit(close, ()).unwrap();
        death(&future);
        assert_goes_on(&executor);
    }

    fn a_worker_that_sends_nonsense_is_ended() {
        let executor = pool_by_socket(1);
        let babble = |()| {
            for (number, target) in descriptors() {
                if target.starts_with("socket:") {
                    let nonsense = [0xff_u8; 100];
                    // SAFETY: the bytes are there to be read.
                    unsafe { libc::write(number, nonsense.as_ptr().cast(), nonsense.len()) };
                }
            }
            linger(());
        };
        let future = executor.submit(babble, ()).unwrap();
        let text = death(&future).to_string();
        assert!(text.contains("SIGKILL") && text.contains("nonsense"), "{text}");
        assert_goes_on(&executor);
    }

    /// A grandchild that holds the worker's descriptors delays nothing.
    fn a_death_is_seen_though_a_grandchild_lives_on() {
        let executor = pool(1);
        let leave_one = |()| -> u32 {
            let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            std::fs::write("/proc/self/comm", "leaving").unwrap();
            std::process::exit(i32::try_from(child.id() % 200).unwrap())
        };
        let future = executor.submit(leave_one, ()).unwrap();
        let before = std::time::Instant::now();
        assert!(death(&future).exit_code().is_some());
        assert!(before.elapsed() < Duration::from_secs(30));
        assert_goes_on(&executor);
    }
}
