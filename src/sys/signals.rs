//! Functions that change the reaction of a worker process to signals.

use std::mem::MaybeUninit;
use std::ptr;

/// Makes this process ignore SIGPIPE, as std's runtime does before `main`.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: with `SIG_IGN`, the call installs no function as a handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Unblocks all signals for this thread, and for the threads and programs that it starts
/// from now on. A new process inherits the set of blocked signals from the thread that
/// starts it.
pub(crate) fn unblock_all() {
    let mut none = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the function only writes to `none`, and cannot fail.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: `none` was written above. The null pointer says that this call needs no copy
    // of the old set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
}

/// Makes SIGINT do nothing in this process.
///
/// This function installs a handler that does nothing, instead of ignoring SIGINT. If this
/// process ignored SIGINT, the programs that a task starts would ignore SIGINT too, and
/// would survive Ctrl-C. If this process already ignores SIGINT, this function changes
/// nothing.
pub(crate) fn ignore_interrupts() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `sigaction` gets a null pointer for the new action, so it only writes the
    // current action to `now`.
    let failed = unsafe { libc::sigaction(libc::SIGINT, ptr::null(), now.as_mut_ptr()) };
    // SAFETY: all fields of `now` are numbers or pointers that may be null, so `now` is
    // valid even if all bytes are zero.
    let mut action = unsafe { now.assume_init() };
    if failed != 0 || action.sa_sigaction == libc::SIG_IGN {
        return;
    }
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: all fields of `action` are set, and the handler `nothing` does nothing.
    unsafe { libc::sigaction(libc::SIGINT, &raw const action, ptr::null_mut()) };
}
