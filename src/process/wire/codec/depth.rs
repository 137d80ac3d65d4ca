//! Deeply nested values: more stack for the code that writes or reads them, which
//! calls itself once for each level.

use super::refusal::Refusal;
use crate::sys::stack;

/// More stack than the writing of one value takes, its own code included.
pub(super) const LEAST: usize = 128 << 10;

/// More stack than is used between two parts that are read one inside the other. A
/// part's size is known only once its own code runs, and a debug build has laid some
/// copies of it on the stack by then: of a part of 64 KiB about ten.
const LEAST_TO_READ: usize = 1 << 20;

/// The number of copies of a value on the stack while it is read, by far: a debug build
/// moves it from hand to hand. A list of parts of 2 KiB took eight to eleven a part there,
/// by the lengths with which 32 MiB of stack were and were not enough.
const COPIES: usize = 24;

/// Returns the bytes of stack for the reading of a value of that size.
#[inline]
pub(super) const fn needs_for(size: usize) -> usize {
    size.saturating_mul(COPIES).saturating_add(LEAST_TO_READ)
}

/// Reads or writes a part, with so many bytes of stack at least.
///
/// # Errors
///
/// There is no memory for more stack; or those of the part.
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
