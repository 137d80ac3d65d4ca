//! A system that refuses a call of the pool, as a seccomp filter of a container does.

use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, ProcessPoolExecutor};

use crate::fixture::*;

#[repr(C)]
struct Filter {
    code: u16,
    jump_if: u8,
    jump_if_not: u8,
    value: u32,
}

const fn filter(code: u16, jump_if_not: u8, value: u32) -> Filter {
    Filter {
        code,
        jump_if: 0,
        jump_if_not,
        value,
    }
}

/// Has the kernel do `instead` at a system call of this thread, and of the threads and
/// processes that it starts from now on.
pub(crate) fn do_instead(call: libc::c_long, instead: u32) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 6;
    let filters = [
        filter(LOAD, 0, 0),
        filter(JUMP_IF_EQUAL, 1, u32::try_from(call).unwrap()),
        filter(RETURN, 0, instead),
        filter(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filters.as_ptr().cast_mut().cast(),
    };
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program is as long as it says, and lives.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn refuse(call: libc::c_long, error: libc::c_int) {
    do_instead(call, libc::SECCOMP_RET_ERRNO | error.unsigned_abs());
}

alone! {
    /// Each worker took itself for the program, and made a pool of its own.
    fn a_worker_that_cannot_see_its_socket_is_no_second_main() {
        refuse(libc::SYS_getsockopt, libc::EPERM);
        let executor = pool(1);
        let refused = error(&executor.submit(double, 1).unwrap());
        assert!(refused.to_string().contains("allow `getsockopt`"), "{refused}");
    }

    /// It panicked.
    fn a_pool_that_may_not_read_its_limits_works() {
        refuse(libc::SYS_prlimit64, libc::EPERM);
        assert_goes_on(&pool(1));
    }

    /// The task ran on, and so did the shutdown.
    fn a_worker_is_killed_by_its_number_if_it_cannot_be_by_its_descriptor() {
        for refusal in [libc::EPERM, libc::ENOSYS] {
            refuse(libc::SYS_pidfd_send_signal, refusal);
            let executor = ProcessPoolExecutor::builder()
                .max_workers(1)
                .time_limit(Duration::from_millis(50))
                .build()
                .unwrap();
            let late = error(&executor.submit(linger, ()).unwrap());
            assert!(matches!(late, Error::TimeLimit(_)), "{late}");
            assert_goes_on(&executor);
        }
    }

    /// The first broke the pool at once. For the others, five workers were waited for, ten
    /// seconds each, and the cause was never told.
    fn a_shortage_is_waited_for_and_told() {
        let cases = [
            (libc::SYS_fallocate, libc::ENOSPC, "Cannot allocate memory", "free memory"),
            (libc::SYS_sendmsg, libc::ETOOMANYREFS, "Too many references", "ulimit -n"),
            (libc::SYS_sendmsg, libc::ENOBUFS, "No buffer space", "free memory"),
        ];
        let threads = cases.map(|(call, refusal, cause, advice)| {
            thread::spawn(move || {
                let executor = pool_by_shared_memory(1);
                refuse(call, refusal);
                let begun = Instant::now();
                let text = error(&executor.submit(double, 1).unwrap()).to_string();
                assert!(begun.elapsed() > Duration::from_secs(5), "{text}");
                assert!(text.contains(cause) && text.contains(advice), "{text}");
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
