//! Workers that are dead, stopped, or say what they should not, and who is
//! not to suffer for it: every other task, and the pool.

use std::fs;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, ProcessPoolExecutor};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::fixture::*;

const HEADER: usize = 24;

/// The bytes of a frame.
fn frame(kind: u32, task: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(task.to_le_bytes());
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// A task: says something in the worker's place, and goes on as if nothing had
/// been.
fn forge((bytes, value): (Vec<u8>, u32)) -> u32 {
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("socket:") {
            // SAFETY: the bytes are there; the worker's own channel is what is
            // written to.
            unsafe { libc::send(number, bytes.as_ptr().cast(), bytes.len(), 0) };
        }
    }
    value
}

fn kill_all(executor: &ProcessPoolExecutor) {
    for pid in executor.stats().pids {
        send(pid, Signal::KILL);
    }
}

alone! {
    /// They were ended from outside, and the pool has not noticed yet.
    fn an_innocent_task_goes_on_however_many_idle_workers_were_killed() {
        let executor = pool(8);
        for n in 0..40 {
            let mut gate = Gate::new();
            let port = gate.port();
            let all: Vec<_> = (0..8).map(|n| executor.submit(hold, (port, n)).unwrap()).collect();
            gate.wait_for(8);
            gate.open();
            for future in &all {
                value(future);
            }
            kill_all(&executor);
            assert_eq!(*value(&executor.submit(double, n).unwrap()), 2 * n);
        }
        assert!(!executor.stats().broken);
    }

    /// They never had a task: nothing speaks against them, or the pool.
    fn workers_that_are_killed_while_they_rest_do_not_break_the_pool() {
        let executor = pool(1);
        for n in 0..12 {
            assert_eq!(*value(&executor.submit(double, n).unwrap()), 2 * n);
            kill_all(&executor);
        }
        assert_goes_on(&executor);
    }

    /// Whole frames of every kind, half ones, and rubbish. The task itself may
    /// fail or not; nothing else does.
    fn what_a_worker_says_out_of_turn_ends_it_alone() {
        let executor = pool(2);
        let kinds = [1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x21, 0x77];
        let mut forged: Vec<Vec<u8>> = Vec::new();
        for kind in kinds {
            for task in [0, 1, u64::MAX] {
                for payload in [&b""[..], b"\x02hi", &[0xff; 40]] {
                    forged.push(frame(kind, task, payload));
                }
            }
        }
        let mut lie = frame(0x16, 1, b"");
        lie[16] = 0xff;
        forged.extend([lie, vec![0xff; HEADER], b"half".to_vec(), vec![0; 1000]]);
        let innocent: Vec<_> = (0..40).map(|n| executor.submit(double, n).unwrap()).collect();
        for bytes in forged {
            let guilty = executor.submit(forge, (bytes.clone(), 7)).unwrap();
            match guilty.result_timeout(LIMIT) {
                Ok(value) => assert_eq!(*value, 7, "{bytes:?}"),
                Err(Error::WorkerDied(_)) => {}
                Err(other) => panic!("{bytes:?}: {other}"),
            }
            let next = executor.submit(double, 21).unwrap();
            assert_eq!(next.result_timeout(LIMIT).map_err(|e| e.to_string()), Ok(&42), "{bytes:?}");
        }
        for (n, future) in innocent.iter().enumerate() {
            assert_eq!(*value(future), 2 * n as i64);
        }
        assert!(!executor.stats().broken);
    }

    /// Its own future is told as well.
    fn a_busy_worker_that_says_it_is_refused_fails_its_own_task_alone() {
        let executor = pool_by_socket(2);
        for (kind, payload) in [(0x12, &b"\x02hi"[..]), (0x14, b"x"), (0x11, b"")] {
            let guilty = executor.submit(forge, (frame(kind, 0, payload), 7)).unwrap();
            let death = death(&guilty);
            assert!(death.to_string().contains("when it had said that it was ready"), "{death}");
            assert_goes_on(&executor);
        }
    }

    /// It takes 10 s to notice, and nothing else is held up meanwhile.
    fn a_task_that_was_sent_to_a_stopped_worker_goes_on_elsewhere() {
        let executor = pool(1);
        let stopped = *value(&executor.submit(pid, ()).unwrap());
        stop(stopped);
        let future = executor.submit(pid, ()).unwrap();
        assert_ne!(*value(&future), stopped);
        assert_goes_on(&executor);
    }

    /// As an operator does who looks for a process that uses too much.
    fn stopped_workers_end_when_they_are_asked_to() {
        let executor = pool(2);
        let busy = executor.submit(linger, ()).unwrap();
        wait_until_running(&busy);
        for pid in executor.stats().pids {
            // A worker that has not stopped yet may be ended by the other signal.
            stop(pid);
        }
        executor.terminate_workers();
        assert!(matches!(error(&busy), Error::Killed(_)));
    }

    fn no_process_is_left_when_a_pool_is_dropped_after_its_workers_were_ended() {
        for round in 0..50 {
            let executor = pool(4);
            let futures: Vec<_> = (0..4).map(|_| executor.submit(linger, ()).unwrap()).collect();
            futures.iter().for_each(wait_until_running);
            let pids = executor.stats().pids;
            if round % 2 == 0 {
                executor.kill_workers();
            } else {
                executor.terminate_workers();
            }
            drop(executor);
            let left: Vec<u32> = pids.into_iter().filter(|pid| exists(*pid)).collect();
            assert!(left.is_empty(), "round {round}: {left:?}");
        }
    }

    fn a_moment_without_descriptors_does_not_break_a_pool_without_workers() {
        let executor = pool(1);
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(12), maximum: before.maximum }).unwrap();
        let mut held = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            held.push(file);
        }
        let future = executor.submit(double, 21).unwrap();
        // The time of the shortage is what is tested.
        std::thread::sleep(Duration::from_millis(100));
        assert!(!future.done());
        drop(held);
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(*value(&future), 42);
        assert_goes_on(&executor);
    }

    /// It would be the end of this program.
    fn an_answer_that_does_not_fit_into_memory_fails_its_task_alone() {
        let executor = pool(1);
        assert_goes_on(&executor);
        let status = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
        let before = getrlimit(Resource::As);
        let limit = |more: u64| {
            let some = Some(pages * 4096 + more);
            setrlimit(Resource::As, Rlimit { current: some, maximum: before.maximum }).unwrap();
        };
        let fails = |error: Error| {
            assert!(error.to_string().contains("no memory"), "{error}");
            assert_goes_on(&executor);
        };
        // Neither for its bytes, or for these but not for the value as well.
        for (more, what) in [(40 << 20, "in this process"), (150 << 20, "free memory")] {
            limit(more);
            let text = executor.submit(|size: usize| "x".repeat(size), 100 << 20).unwrap();
            let error = error(&text);
            setrlimit(Resource::As, before).unwrap();
            assert!(error.to_string().contains(what), "{error}");
            assert!(!error.to_string().contains("must read what"), "{error}");
            fails(error);
        }
        // The bytes of a vector become the value.
        for (more, fits) in [(40 << 20, false), (150 << 20, true)] {
            limit(more);
            let vector = executor.submit(|size: usize| vec![7_u8; size], 100 << 20).unwrap();
            let ended = vector.exception_timeout(LIMIT).unwrap();
            setrlimit(Resource::As, before).unwrap();
            assert_eq!(ended.is_none(), fits, "{ended:?}");
            match ended {
                Some(error) => fails(error),
                None => assert_eq!(value(&vector).len(), 100 << 20),
            }
        }
    }

    /// A program that a task becomes keeps no end of the channel.
    fn a_worker_that_becomes_another_program_costs_no_time_here() {
        let executor = pool(1);
        let become_another = |()| -> () {
            use std::os::unix::process::CommandExt;
            let failed = std::process::Command::new("sleep").arg("60").exec();
            panic!("{failed}");
        };
        let used = || {
            let usage = fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<u64> = usage
                .rsplit_once(')')
                .unwrap()
                .1
                .split(' ')
                .filter_map(|field| field.parse().ok())
                .collect();
            // utime and stime, in hundredths of a second.
            fields[9] + fields[10]
        };
        let before = used();
        let start = Instant::now();
        let future = executor.submit(become_another, ()).unwrap();
        death(&future);
        let used = used() - before;
        assert!(start.elapsed() > Duration::from_millis(500), "it is given a second");
        assert!(used < 40, "{used} hundredths of a second");
    }
}
