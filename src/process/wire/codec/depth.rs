//! More stack for deeply nested values. The code that writes or reads a value calls itself
//! once for each level of nesting, so it needs stack for each level.

use super::refusal::Refusal;
use crate::sys::stack;

/// The least number of bytes of stack that must be free before the codec writes one level
/// of a value. To write one level, including the value's `Serialize`, should take less
/// stack than `LEAST`.
pub(super) const LEAST: usize = 128 << 10;

/// Returns `true` if the calling thread may have less stack left than the writing of one
/// level of a value may take.
#[inline]
pub(super) fn is_stack_low() -> bool {
    !stack::has_left(LEAST)
}

/// The least number of bytes of stack that must be free before the codec reads one level of
/// a small value. To read one level should take less stack than `LEAST_TO_READ`. The reader
/// can ask for room for a part only when the part's `Deserialize` runs. In a debug build,
/// copies of the part are already on the stack by then, for example ten copies of a part of
/// 64 KiB.
const LEAST_TO_READ: usize = 1 << 20;

/// Returns the number of bytes of stack that the decoder needs to read a value of `size`
/// bytes.
#[inline]
pub(super) const fn needs_for(size: usize) -> usize {
    size.saturating_mul(stack::COPIES)
        .saturating_add(LEAST_TO_READ)
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
    // `with_at_least` would also call `part` here, but wraps the result, which copies it.
    if stack::has_left(bytes) {
        return part();
    }
    let done = stack::with_at_least(bytes, part);
    done.unwrap_or_else(|_| {
        Err(Refusal::new(
            "it goes deeper than there is stack, and memory for more",
        ))
    })
}
