//! The signals that a worker treats in its own way.

use std::mem::MaybeUninit;
use std::ptr;

/// Makes this process ignore SIGPIPE, as std's runtime does before `main`.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: `SIG_IGN` installs no function.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Makes SIGINT do nothing in this process.
///
/// Uses a handler that does nothing, because programs that a task starts would inherit an
/// ignored signal and survive Ctrl-C. If the signal is already ignored, it stays ignored.
pub(crate) fn ignore_interrupts() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `sigaction` only reads the disposition, and writes it to `now`.
    let failed = unsafe { libc::sigaction(libc::SIGINT, ptr::null(), now.as_mut_ptr()) };
    // SAFETY: all fields are numbers and pointers that may be null, so a zeroed record is
    // valid.
    let mut action = unsafe { now.assume_init() };
    if failed != 0 || action.sa_sigaction == libc::SIG_IGN {
        return;
    }
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the record is complete, and its handler does nothing.
    unsafe { libc::sigaction(libc::SIGINT, &raw const action, ptr::null_mut()) };
}
