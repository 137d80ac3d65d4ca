//! Signals to the whole process group, workers included.

use concurrent_futures::ProcessPoolExecutor;

use crate::fixture::*;

/// Sends a signal to a group that holds this process and its workers, and gives what
/// comes of a task that runs meanwhile.
fn answer_after_a_signal_to_the_group(
    signal: i32,
    action: libc::sighandler_t,
) -> Result<i64, String> {
    // SAFETY: takes numbers; the test is alone in its process.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
    // SAFETY: ignores it, or runs a function that does nothing.
    unsafe { libc::signal(signal, action) };
    let executor: ProcessPoolExecutor = pool(1);
    let mut gate = Gate::new();
    let held = executor.submit(hold, (gate.port(), 1)).unwrap();
    gate.wait_for(1);
    // SAFETY: takes numbers; the group is this process and its worker.
    assert_eq!(unsafe { libc::kill(0, signal) }, 0);
    let dies = action != libc::SIG_IGN && signal != libc::SIGINT;
    let answer = if dies {
        Err(death(&held).signal().unwrap().to_owned())
    } else {
        gate.open();
        Ok(*value(&held))
    };
    assert_goes_on(&executor);
    answer
}

fn handler() -> libc::sighandler_t {
    extern "C" fn nothing(_signal: i32) {}
    nothing as extern "C" fn(i32) as libc::sighandler_t
}

alone! {
    /// As Ctrl-C sends it.
    fn sigint_to_the_whole_group_does_nothing_to_workers() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGINT, handler());
        assert_eq!(answer, Ok(1));
    }

    /// A worker has nothing that `main` set up: the handler is not there.
    fn sigterm_to_the_whole_group_ends_workers_though_the_program_handles_it() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGTERM, handler());
        assert_eq!(answer, Err("SIGTERM".to_owned()));
    }

    fn sighup_to_the_whole_group_ends_workers_though_the_program_handles_it() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGHUP, handler());
        assert_eq!(answer, Err("SIGHUP".to_owned()));
    }

    fn sigterm_that_the_program_ignores_is_ignored_by_workers() {
        let answer = answer_after_a_signal_to_the_group(libc::SIGTERM, libc::SIG_IGN);
        assert_eq!(answer, Ok(1));
    }
}
