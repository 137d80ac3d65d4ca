//! The thread pool alone: closures, names, stacks, its ends. This file has the
//! parts that the tests share.

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, PoolKind, ThreadFuture, ThreadPoolExecutor, current_worker};

use crate::LIMIT;

mod bounded;
mod building;
mod ending;
#[cfg(target_os = "linux")]
mod forks;
mod scope;
mod tasks;
mod workers;

/// The threads of this process whose name begins with `prefix`.
#[cfg(target_os = "linux")]
fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the listing and the look.
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// A joined thread leaves the list a moment later; waits for that moment.
#[cfg(target_os = "linux")]
fn assert_no_threads_named(prefix: &str) {
    let deadline = Instant::now() + LIMIT;
    while threads_named(prefix) > 0 {
        assert!(Instant::now() < deadline, "threads {prefix}* are left");
        thread::yield_now();
    }
}

/// A pool of `max_workers` threads named after the test.
fn pool(prefix: &str, max_workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder()
        .max_workers(max_workers)
        .thread_name_prefix(prefix)
        .build()
        .unwrap()
}

/// Opens a gate by its drop. Tasks give up waiting for that in the end, which
/// may free a test that hangs: so it looks at the clock.
struct Opener(Option<Sender<()>>, Instant);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0 = None;
        assert!(thread::panicking() || self.1.elapsed() < LIMIT, "it hung");
    }
}

/// Holds tasks until the opener is dropped.
fn gate() -> (Opener, impl Fn() + Clone + Send + 'static) {
    let (opener, closed) = mpsc::channel::<()>();
    let opener = Opener(Some(opener), Instant::now());
    let closed = Arc::new(Mutex::new(closed));
    let pass = move || {
        let opened = closed.lock().unwrap().recv_timeout(LIMIT);
        assert_eq!(opened, Err(mpsc::RecvTimeoutError::Disconnected));
    };
    (opener, pass)
}

/// A task that holds a worker, as long as the opener lives.
fn hold_a_worker(executor: &ThreadPoolExecutor) -> (ThreadFuture<()>, Opener) {
    let (opener, pass) = gate();
    let (sender, begun) = mpsc::channel();
    let task = move || {
        sender.send(()).unwrap();
        pass();
    };
    let future = executor.spawn(task).unwrap();
    begun.recv_timeout(LIMIT).unwrap();
    (future, opener)
}

/// A pool of one worker that is held until the opener is dropped.
fn held_pool() -> (ThreadPoolExecutor, Opener) {
    let executor = ThreadPoolExecutor::with_max_workers(1).unwrap();
    let (task, opener) = hold_a_worker(&executor);
    task.detach();
    (executor, opener)
}

/// A barrier that does not wait for ever.
struct Meeting {
    missing: Mutex<usize>,
    complete: Condvar,
}

impl Meeting {
    fn of(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            missing: Mutex::new(threads),
            complete: Condvar::new(),
        })
    }

    fn wait(&self) {
        let mut missing = self.missing.lock().unwrap();
        *missing -= 1;
        self.complete.notify_all();
        let is_incomplete = |missing: &mut usize| *missing > 0;
        let waited = self
            .complete
            .wait_timeout_while(missing, LIMIT, is_incomplete);
        let missing = *waited.unwrap().0;
        assert_eq!(missing, 0, "so many did not come");
    }
}

fn wait<T: 'static>(future: &ThreadFuture<T>) -> &T {
    future.result_timeout(LIMIT).unwrap()
}

/// The same, and gives the value away.
fn take<T: 'static>(future: ThreadFuture<T>) -> T {
    wait(&future);
    future.into_result().unwrap()
}

/// Says by a weak reference whether the strong one is gone.
fn tracked() -> (Arc<()>, Weak<()>) {
    let value = Arc::new(());
    let weak = Arc::downgrade(&value);
    (value, weak)
}

/// Counts its drops, each of which panics.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a bomb in drop");
    }
}
