//! Parents that do with their children what the pool does not expect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use concurrent_futures::{Error, ProcessPoolExecutor};
use rustix::process::Signal;

use crate::fixture::*;

/// A task.
fn abort((): ()) {
    std::process::abort();
}

/// Deaths, kills and the end, whatever became of the processes.
fn all_is_seen() {
    let executor = pool(2);
    for _ in 0..10 {
        let future = executor.submit(abort, ()).unwrap();
        assert!(matches!(error(&future), Error::WorkerDied(_)));
        let future = executor.submit(linger, ()).unwrap();
        wait_until_running(&future);
        assert!(future.kill());
        assert!(format!("{:?}", error(&future)).starts_with("Killed"));
        assert_goes_on(&executor);
    }
    let idle = executor.stats().pids;
    send(idle[0], Signal::KILL);
    executor.shutdown();
}

alone! {
    /// The system keeps no word of how a child ended then.
    fn a_parent_that_ignores_the_ends_of_its_children_has_a_pool() {
        // SAFETY: a disposition without a function.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        all_is_seen();
        let executor = ProcessPoolExecutor::builder().current_dir("/nowhere").build().unwrap();
        let nowhere = error(&executor.submit(double, 1).unwrap());
        assert!(matches!(nowhere, Error::Broken(_)), "{nowhere}");
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }

    /// As the first process of a container does, and many a handler of SIGCHLD.
    fn a_parent_that_waits_for_any_child_has_a_pool() {
        static ENDS: AtomicBool = AtomicBool::new(false);
        let reaper = thread::spawn(|| {
            while !ENDS.load(Ordering::Relaxed) {
                // SAFETY: null stands for nowhere.
                unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
                thread::yield_now();
            }
        });
        all_is_seen();
        ENDS.store(true, Ordering::Relaxed);
        reaper.join().unwrap();
    }
}
