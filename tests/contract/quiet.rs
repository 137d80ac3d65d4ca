//! Panics that a test means to happen in a worker process: such a panic is not
//! printed.
//!
//! The harness captures what the test's own process prints, and shows it if the test
//! fails. A worker process prints to the same standard error
//! past the harness. So a task says it before it panics on purpose; the message
//! reaches the test all the same, as the task's error. A panic that is not meant
//! is printed as ever.

/// Has the next panic of this thread, if it is that of a worker process, not be
/// printed.
#[cfg(not(target_os = "linux"))]
pub(crate) fn mean_to_panic() {}

#[cfg(target_os = "linux")]
pub(crate) use in_workers::mean_to_panic;

#[cfg(target_os = "linux")]
mod in_workers {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::stderr;
    use std::panic::{set_hook, take_hook};
    use std::sync::Once;

    use concurrent_futures::{PoolKind, current_worker};
    use rustix::io::dup;
    use rustix::stdio::dup2_stderr;

    thread_local!(static IS_MEANT: Cell<bool> = const { Cell::new(false) });

    /// Has the next panic of this thread, if it is that of a worker process, not
    /// be printed.
    pub(crate) fn mean_to_panic() {
        static CHAINED: Once = Once::new();
        if current_worker().is_none_or(|worker| worker.kind() != PoolKind::Processes) {
            return;
        }
        CHAINED.call_once(|| {
            // The crate's, which notes the place, and hands on to the one that prints.
            let chained = take_hook();
            set_hook(Box::new(move |panic| {
                if IS_MEANT.take() {
                    without_stderr(|| chained(panic));
                } else {
                    chained(panic);
                }
            }));
        });
        IS_MEANT.set(true);
    }

    /// A worker process has one thread that prints: nothing else is lost.
    fn without_stderr(f: impl FnOnce()) {
        let kept = dup(stderr()).expect("there are descriptors");
        let nowhere = File::options().write(true).open("/dev/null");
        dup2_stderr(nowhere.expect("every system has it")).expect("both are open");
        f();
        dup2_stderr(kept).expect("both are open");
    }
}
