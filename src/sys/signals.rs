//! The signals that a worker treats in its own way.

use std::mem::MaybeUninit;
use std::ptr;

/// Has SIGPIPE ignored, as std's runtime does before `main`.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: `SIG_IGN` installs no function.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Has SIGINT do nothing in this process.
///
/// Uses a handler that does nothing, because programs that a task starts would inherit an
/// ignored signal and survive Ctrl-C. If the signal is already ignored, it stays ignored.
pub(crate) fn ignore_interrupts() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only, and writes to a record that is ours.
    let failed = unsafe { libc::sigaction(libc::SIGINT, ptr::null(), now.as_mut_ptr()) };
    // SAFETY: all numbers and pointers that may be null; zeroed is a value.
    let mut action = unsafe { now.assume_init() };
    if failed != 0 || action.sa_sigaction == libc::SIG_IGN {
        return;
    }
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a whole record, and a function that touches nothing.
    unsafe { libc::sigaction(libc::SIGINT, &raw const action, ptr::null_mut()) };
}
