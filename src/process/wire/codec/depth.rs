//! More stack for deeply nested values. The code that writes or reads a value calls itself
//! once for each level of nesting.

use super::refusal::Refusal;
use crate::sys::stack;

/// The number of bytes of stack that are free before one level of a value is written. To
/// write one level, including the value's `Serialize`, takes less stack than this.
pub(super) const LEAST: usize = 128 << 10;

/// The number of bytes of stack that are free before one level of a small value is read.
/// To read one level takes less stack than this. The reader knows the size of a part only
/// when the part's `Deserialize` runs. In a debug build, copies of the part are already on
/// the stack at that time, for example ten copies of a part of 64 KiB.
const LEAST_TO_READ: usize = 1 << 20;

/// The number of copies of a value for which the stack has room while the value is read.
/// The number is large, because in a debug build each function that returns a value copies
/// the value. In a measurement, the reading of a list whose parts have 2 KiB took the stack
/// of eight to eleven copies for each part.
const COPIES: usize = 24;

/// Returns the number of bytes of stack that the decoder needs to read a value of `size`
/// bytes.
#[inline]
pub(super) const fn needs_for(size: usize) -> usize {
    size.saturating_mul(COPIES).saturating_add(LEAST_TO_READ)
}

/// Calls `part`, which reads or writes a part of a value, with at least `bytes` bytes of
/// free stack.
///
/// # Errors
///
/// Returns an error if there is not enough memory for more stack, or if `part` returns an
/// error.
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
