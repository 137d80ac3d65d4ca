//! Functions that several kinds of executors use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::error::Error;
use crate::sync::{Condvar, Mutex};

/// Returns an error if a setting of a builder is 0. `numbers` contains the name and the
/// value of each setting.
pub(crate) fn refuse_zeros(numbers: &[(&str, Option<u64>)]) -> Result<(), Error> {
    match numbers.iter().find(|(_, number)| *number == Some(0)) {
        Some((name, _)) => Err(Error::invalid_argument(format!(
            "{name} must be at least 1"
        ))),
        None => Ok(()),
    }
}

/// Returns the name of the next pool of the kind `executor`, for example
/// `ThreadPoolExecutor-0`. `made` counts the pools of this kind.
pub(crate) fn next_name(executor: &str, made: &AtomicUsize) -> String {
    // ORDERING: `Relaxed` is enough, because the number only has to be unique, and no other
    // data is published with it.
    format!("{executor}-{}", made.fetch_add(1, Ordering::Relaxed))
}

/// Waits until a pool has ended, and joins its threads. With a deadline, the function waits
/// until the deadline at most, and joins no thread. A join could exceed the deadline,
/// because after the end of the pool its threads still run the `Drop` of thread locals.
pub(crate) fn join<S>(
    state: &Mutex<S>,
    ended: &Condvar,
    has_ended: impl Fn(&S) -> bool,
    threads: &Mutex<Vec<JoinHandle<()>>>,
    deadline: Option<Instant>,
) {
    let mut state = state.lock();
    while !has_ended(&state) {
        match deadline {
            None => ended.wait(&mut state),
            Some(at) => {
                if ended.wait_until(&mut state, at).timed_out() {
                    return;
                }
            }
        }
    }
    drop(state);
    if deadline.is_some() {
        return;
    }
    // If two threads call `join`, the second thread waits here for the lock until the
    // threads of the pool have ended.
    for thread in threads.lock().drain(..) {
        // `join` cannot fail, because the threads of a pool catch every panic.
        let _ = thread.join();
    }
}
