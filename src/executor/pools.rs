//! The parts that the thread pool and the process pool share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::error::Error;
use crate::sync::{Condvar, Mutex};

/// Returns an error if a number given to a builder is 0. `numbers` has the name and the
/// value of each setting.
///
/// # Errors
///
/// [`Error::InvalidArgument`] that names the first.
pub(crate) fn refuse_zeros(numbers: &[(&str, Option<u64>)]) -> Result<(), Error> {
    match numbers.iter().find(|(_, number)| *number == Some(0)) {
        Some((name, _)) => Err(Error::invalid_argument(format!(
            "{name} must be at least 1"
        ))),
        None => Ok(()),
    }
}

/// Returns the name of the next pool of that kind, as `ThreadPoolExecutor-0`.
pub(crate) fn next_name(executor: &str, made: &AtomicUsize) -> String {
    // ORDERING: only the number has to be unique; it publishes nothing.
    format!("{executor}-{}", made.fetch_add(1, Ordering::Relaxed))
}

/// Waits until a pool has ended, and joins its threads; with a deadline, waits
/// until then at most, and joins none: their thread locals are dropped after that,
/// and those know no limit.
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
    // A second caller waits here for the lock, until the threads have ended.
    for thread in threads.lock().drain(..) {
        // The threads contain every panic, so there is nothing to report.
        let _ = thread.join();
    }
}
