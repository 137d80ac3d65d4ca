//! Deeply nested values: more stack for the code that writes or reads them, because this
//! code calls itself once for each level.

use super::refusal::Refusal;
use crate::sys::stack;

/// A stack size, in bytes, that is larger than the writing of one value takes, including
/// the value's own code.
pub(super) const LEAST: usize = 128 << 10;

/// A stack size, in bytes, that is larger than the stack used between two nested parts
/// while they are read. The size of a part is known only once its own code runs. By then a
/// debug build has placed some copies of the part on the stack: about ten copies of a part
/// of 64 KiB.
const LEAST_TO_READ: usize = 1 << 20;

/// The number of copies of a value for which the stack has room while the value is read.
/// The number is generous, because a debug build copies the value from function to
/// function. A list of parts of 2 KiB took eight to eleven copies for each part. These
/// counts come from the longest list for which 32 MiB of stack were enough.
const COPIES: usize = 24;

/// Returns the bytes of stack that the reading of a value of `size` bytes needs.
#[inline]
pub(super) const fn needs_for(size: usize) -> usize {
    size.saturating_mul(COPIES).saturating_add(LEAST_TO_READ)
}

/// Reads or writes a part, with at least `bytes` bytes of free stack.
///
/// # Errors
///
/// Returns an error if there is no memory for more stack, or if `part` returns an error.
#[inline]
pub(super) fn deeper<T>(
    bytes: usize,
    part: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let done = stack::with_at_least(bytes, part);
    done.unwrap_or_else(|_| {
        Err(Refusal::new(
            "it goes deeper than there is stack, and memory for more",
        ))
    })
}
