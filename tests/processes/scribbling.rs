//! Tasks that write to the memory that their worker shares with the pool.

use std::fs;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use concurrent_futures::Error;
use rustix::process::Signal;

use crate::fixture::*;

/// Returns the words of each memory with this access that this worker shares with the pool,
/// the smallest memory first.
fn shared_memories(access: &str) -> Vec<&'static mut [u64]> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let is_it = |line: &&str| line.contains("memfd:concurrent-futures") && line.contains(access);
    let address = |hex| usize::from_str_radix(hex, 16).unwrap();
    let memories = maps.lines().filter(is_it).map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (start, end) = (address(start), address(end));
        let words: *mut u64 = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the memory is mapped as long as the worker lives. That other threads and
        // other processes use the words is the point of these tests.
        unsafe { std::slice::from_raw_parts_mut(words, (end - start) / 8) }
    });
    let mut memories: Vec<_> = memories.collect();
    memories.sort_by_key(|words| words.len());
    memories
}

/// Returns the words of the memory with the rings of this worker.
fn rings() -> &'static mut [u64] {
    shared_memories("rw-s").pop().expect("it is mapped")
}

/// Returns the words of the memory with the statuses of the offers, which all workers share.
fn statuses() -> &'static mut [u64] {
    shared_memories("rw-s").swap_remove(0)
}

/// A generator of numbers that look random, the same for each seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

/// A task: writes some words where it likes, and returns its number.
fn scribble((n, words): (u64, u64)) -> u64 {
    let (rings, statuses) = (rings(), statuses());
    let mut numbers = Numbers(n);
    for _ in 0..words {
        let memory = if numbers.next() % 4 == 0 {
            &mut *statuses
        } else {
            &mut *rings
        };
        // Half of the writes hit the first lines of the memory or of a ring, which matter.
        let at = match numbers.next() % 4 {
            0 => numbers.next() % 64,
            1 => memory.len() as u64 / 2 + numbers.next() % 512,
            _ => numbers.next(),
        };
        memory[at as usize % memory.len()] = match numbers.next() % 4 {
            0 => 0,
            1 => numbers.next() % 9000,
            _ => numbers.next(),
        };
    }
    n
}

/// A task: counts itself, writes zeros over everything, so that all messages look unsent,
/// and ends its worker.
fn wipe_and_end(runs: String) {
    note(runs);
    shared_memories("rw-s")
        .into_iter()
        .for_each(|words| words.fill(0));
    std::process::abort();
}

/// The first word of a worker's third message, which is the answer for its first task. In
/// front of it are 8 words, the ring to the worker, and of the ring to the parent 16 words
/// and two messages of 8 words each.
const FIRST_ANSWER: usize = 8 + (16 + 32768) + 16 + 2 * 8;

/// The word that is 1 while the pool sleeps until a message arrives.
const POOL_SLEEPS: usize = 8 + (16 + 32768) + 8;

/// A task: leaves a thread behind that destroys the answer, which the pool is not woken
/// for.
fn destroy_own_answer((): ()) {
    let words = rings().as_mut_ptr_range();
    let pool_sleeps = words.start.wrapping_add(POOL_SLEEPS);
    // SAFETY: the word is mapped as long as the worker lives.
    while unsafe { pool_sleeps.read_volatile() } != 1 {
        thread::yield_now();
    }
    // SAFETY: as above.
    unsafe { pool_sleeps.write_volatile(0) };
    assert!(FIRST_ANSWER < rings().len());
    let answer = words.start.wrapping_add(FIRST_ANSWER).expose_provenance();
    let has_begun = Arc::new(Barrier::new(2));
    let begins = Arc::clone(&has_begun);
    thread::spawn(move || {
        let answer: *mut u64 = std::ptr::with_exposed_provenance_mut(answer);
        begins.wait();
        loop {
            // SAFETY: the word is mapped as long as the worker lives.
            unsafe { answer.write_volatile(0) };
        }
    });
    has_begun.wait();
}

/// A task: writes bytes that are no message to each socket.
fn write_to_sockets(n: u8) {
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("socket:") {
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: the bytes are there to be read.
            unsafe { libc::write(number, [n; 100].as_ptr().cast(), 100) };
        }
    }
}

/// A task: closes all descriptors but the standard ones.
fn close_all(n: u32) -> u32 {
    for number in 3..4096 {
        // SAFETY: the worker's own code is the last one that minds.
        unsafe { libc::close(number) };
    }
    n
}

/// A task: overwrites the statuses of all offers some times.
fn overwrite_statuses(n: u64) {
    let mut numbers = Numbers(n);
    for _ in 0..20 {
        for word in &mut *statuses() {
            *word = numbers.next();
        }
    }
}

/// A task: writes to the calls that the pool offers.
fn overwrite_calls((): ()) {
    let calls = shared_memories("r--s").swap_remove(0);
    calls.fill(7);
}

alone! {
    /// All workers share the statuses, and another worker takes tasks meanwhile.
    fn a_task_that_overwrites_the_statuses_ends_no_other_task() {
        let executor = pool_by_shared_memory(2);
        for n in 0..50 {
            let guilty = executor.submit(overwrite_statuses, n).unwrap();
            let innocent: Vec<_> =
                (0..100).map(|n| executor.submit(double, n).unwrap()).collect();
            for (n, future) in innocent.iter().enumerate() {
                assert_eq!(*value(future), 2 * n as i64);
            }
            value(&guilty);
        }
        assert_eq!(executor.stats().replaced, 0);
    }

    fn a_task_that_writes_to_the_offered_calls_ends_its_worker_alone() {
        let executor = pool_by_shared_memory(2);
        let guilty = executor.submit(overwrite_calls, ()).unwrap();
        let innocent: Vec<_> = (0..100).map(|n| executor.submit(double, n).unwrap()).collect();
        assert_eq!(death(&guilty).signal(), Some("SIGSEGV"));
        for (n, future) in innocent.iter().enumerate() {
            assert_eq!(*value(future), 2 * n as i64);
        }
    }

    /// Each task has its own value, or its worker's death, and none of another.
    fn no_task_that_scribbles_changes_a_value_or_holds_anything_up() {
        let executor = pool_by_shared_memory(2);
        let rounds = std::env::var("SCRIBBLES").map_or(100, |n| n.parse().unwrap());
        let (mut deaths, mut touched) = (0, 0);
        for n in 0..rounds {
            let before = executor.submit(double, n).unwrap();
            assert_eq!(*value(&before), 2 * n, "round {n}");
            let beside = executor.submit(double, n).unwrap();
            let words = [1, 3, 100, 30_000][n as usize % 4];
            let guilty = executor.submit(scribble, (n as u64, words)).unwrap();
            // The same worker may have run it just before, so that its answer still lay in
            // the memory that was overwritten.
            match beside.exception_timeout(LIMIT).expect("it ends") {
                None => assert_eq!(*value(&beside), 2 * n, "round {n}"),
                Some(Error::WorkerDied(_)) => touched += 1,
                Some(other) => panic!("round {n}: {other}"),
            }
            match guilty.exception_timeout(LIMIT).expect("it ends") {
                None => assert_eq!(*value(&guilty), n as u64),
                Some(Error::WorkerDied(_)) => deaths += 1,
                Some(other) => panic!("round {n}: {other}"),
            }
        }
        assert_goes_on(&executor);
        eprintln!("{deaths} workers of {rounds} died, {touched} answers were lost");
    }

    /// The message that says that the task has begun is gone as well.
    fn a_task_that_wipes_the_shared_memory_is_not_run_again() {
        for _ in 0..10 {
            let executor = pool_by_shared_memory(1);
            let runs = scratch_file("wipes");
            let _ = fs::remove_file(&runs);
            let wipes = executor.submit(wipe_and_end, runs.display().to_string()).unwrap();
            // The pool may notice it before the task ends its worker.
            assert!(matches!(death(&wipes).signal(), Some("SIGABRT" | "SIGKILL")));
            assert_eq!(fs::read(&runs).unwrap(), b".");
            assert_goes_on(&executor);
        }
    }

    /// It hung: the pool waited for an answer that it could not see.
    fn a_task_whose_answer_was_destroyed_fails_alone() {
        // The pool may read the answer before it is destroyed.
        for _ in 0..20 {
            let executor = pool_by_shared_memory(1);
            let guilty = executor.submit(destroy_own_answer, ()).unwrap();
            if let Some(error) = guilty.exception_timeout(LIMIT).expect("it ends") {
                assert!(error.to_string().contains("shares with its parent"), "{error}");
                return assert_goes_on(&executor);
            }
        }
        panic!("each answer was read");
    }

    /// It was ended, because it waited for the rest of the argument when the pool asked.
    fn a_worker_that_is_slow_to_read_a_long_argument_is_not_ended() {
        let executor = pool_by_shared_memory(1);
        let worker = *value(&executor.submit(pid, ()).unwrap());
        stop(worker);
        let future = executor.submit(|bytes: Vec<u8>| bytes.len(), vec![1; 32 << 20]).unwrap();
        // The pool asks half a second after it has sent a task.
        thread::sleep(Duration::from_millis(700));
        send(worker, Signal::CONT);
        assert_eq!(*value(&future), 32 << 20);
        assert_eq!(executor.stats().replaced, 0);
    }

    /// The pool may read them only while a later task runs, which has not sent them.
    fn bytes_that_a_task_writes_to_the_socket_harm_no_task() {
        let executor = pool_by_shared_memory(1);
        for n in 0..100 {
            value(&executor.submit(write_to_sockets, n).unwrap());
            assert_goes_on(&executor);
        }
        assert_eq!(executor.stats().replaced, 0);
    }

    /// The worker cannot wait for room without its socket, so it begins no task any more.
    fn a_long_answer_behind_a_task_that_closes_descriptors_arrives() {
        let executor = pool_by_shared_memory(1);
        for n in 0..20 {
            let closing = executor.submit(close_all, n).unwrap();
            let behind = |size: usize| executor.submit(|size| vec![7_u8; size], size).unwrap();
            let long: Vec<_> = [2 << 20, 3 << 20].map(behind).into();
            assert_eq!(*value(&closing), n);
            for (future, size) in long.iter().zip([2 << 20, 3 << 20]) {
                assert_eq!(value(future).len(), size);
            }
        }
        assert_eq!(executor.stats().failed, 0);
    }

    /// The answer needs no descriptor. The worker ends behind the task, and the next task
    /// goes on elsewhere.
    fn a_task_that_closes_descriptors_has_its_value_and_harms_no_other() {
        let executor = pool_by_shared_memory(1);
        for n in 0..20 {
            assert_eq!(*value(&executor.submit(close_all, n).unwrap()), n);
            assert_goes_on(&executor);
        }
    }
}
