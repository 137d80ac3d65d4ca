//! Adds stack segments to a thread that recurses deeply, with the crate `stacker`.

use std::cell::Cell;
use std::sync::OnceLock;

/// The smallest size of an additional stack segment, in bytes. Only the used pages of a
/// segment take memory.
const PIECE: usize = 4 << 20;

/// Returns the stack size, in bytes, that `std` gives to a thread by default: 2 MiB, or the
/// value that the variable `RUST_MIN_STACK` had at the first call, if it is at most
/// [`LARGEST`].
pub(crate) fn default_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let asked = asked_size().filter(|bytes| *bytes <= LARGEST);
        asked.unwrap_or(2 << 20)
    })
}

/// Returns the value of the variable `RUST_MIN_STACK`, if it is set to a number.
pub(crate) fn asked_size() -> Option<usize> {
    std::env::var("RUST_MIN_STACK").ok()?.parse().ok()
}

/// The largest stack size of a task, in bytes. The stack of a pool's thread is twice as
/// large as the stack size of its tasks, and must have at most `isize::MAX` bytes.
pub(crate) const LARGEST: usize = isize::MAX as usize / 2;

/// The number of copies of a value that must fit on the stack while the value is decoded.
/// The number is large, because in a debug build each function that takes or returns a
/// value copies the value. In a measurement with a list of parts of 2 KiB, the reading of
/// each part took as much stack as eight to eleven copies of the part.
pub(crate) const COPIES: usize = 24;

/// The number of copies of a value that must fit on the stack while the value is decoded,
/// passed to a function, returned, stored and encoded. An optimized build makes few copies,
/// and with a larger number values of 64 KiB would need an additional segment for each
/// call, which takes 20 us.
const COPIES_OF_CALL: usize = if cfg!(debug_assertions) {
    4 * COPIES
} else {
    8
};

/// The number of bytes of stack that must be free besides the [`COPIES_OF_CALL`].
const BESIDES: usize = 1 << 20;

/// The largest total size of values, in bytes, that are passed on without a check of the
/// free stack.
const SMALL: usize = 16 << 10;

/// The error of a call for which there is no memory for an additional stack segment. The
/// function that needed the segment did not run.
#[derive(Debug)]
pub(crate) struct NoStack;

/// Returns `true` if the calling thread certainly has at least `bytes` bytes of stack left.
/// The size of its stack is unknown, for example, if a seccomp filter forbids
/// `sched_getaffinity`.
#[inline]
pub(crate) fn has_left(bytes: usize) -> bool {
    stacker::remaining_stack().is_some_and(|left| left >= bytes)
}

/// Runs `f` with at least `bytes` bytes of stack, on the current stack or on an additional
/// segment.
///
/// # Errors
///
/// Returns [`NoStack`] if there is no memory for an additional segment. In this case `f`
/// did not run.
#[inline]
pub(crate) fn with_at_least<R>(bytes: usize, f: impl FnOnce() -> R) -> Result<R, NoStack> {
    if has_left(bytes) {
        return Ok(f());
    }
    on_another_piece(bytes, f)
}

/// Runs `f`, which passes on values of `size` bytes in total, with enough stack for their
/// copies. If there is no memory for an additional segment, runs `f` on the current stack,
/// which may be large enough all the same.
#[inline]
pub(crate) fn with_room_for<R>(size: usize, f: impl FnOnce() -> R) -> R {
    if size <= SMALL {
        return f();
    }
    with_at_least_if_possible(
        BESIDES.saturating_add(size.saturating_mul(COPIES_OF_CALL)),
        f,
    )
}

/// Runs `f` like [`with_at_least`]. If there is no memory for an additional segment, runs
/// `f` on the current stack, which may be large enough all the same.
#[inline]
pub(crate) fn with_at_least_if_possible<R>(bytes: usize, f: impl FnOnce() -> R) -> R {
    if has_left(bytes) {
        return f();
    }
    let mut f = Some(f);
    let mut run = || f.take().map(apart);
    let ran = on_another_piece(bytes, &mut run).ok().flatten();
    ran.or_else(run).expect("`f` runs once")
}

/// Calls `f` in a stack frame of its own, so that the values of `f` take no space in the
/// frame of the calling function.
#[inline(never)]
fn apart<R>(f: impl FnOnce() -> R) -> R {
    f()
}

thread_local! {
    /// `true` while the thread allocates a segment.
    static IS_GROWING: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` if a panic of the calling thread only says that there is no memory for a
/// segment. The panic hook does not report such a panic, because the call goes on without
/// the segment, or returns [`NoStack`].
pub(crate) fn is_growing() -> bool {
    IS_GROWING.get()
}

#[cold]
fn on_another_piece<R>(bytes: usize, f: impl FnOnce() -> R) -> Result<R, NoStack> {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    let mut has_begun = false;
    // `stacker::grow` itself panics only if it gets no memory for the segment.
    IS_GROWING.set(true);
    let grown = catch_unwind(AssertUnwindSafe(|| {
        stacker::grow(PIECE.max(bytes.saturating_mul(2)), || {
            IS_GROWING.set(false);
            has_begun = true;
            f()
        })
    }));
    IS_GROWING.set(false);
    match grown {
        Ok(value) => Ok(value),
        Err(_) if !has_begun => Err(NoStack),
        Err(panic) => resume_unwind(panic),
    }
}
