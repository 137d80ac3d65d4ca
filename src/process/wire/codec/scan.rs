//! Functions that take counts and texts from the front of the encoded bytes.

use super::refusal::Refusal;

pub(super) fn ends_early() -> Refusal {
    Refusal::new("the bytes end early; its `Deserialize` reads more than its `Serialize` wrote")
}

pub(super) fn take<'de>(rest: &mut &'de [u8], count: usize) -> Result<&'de [u8], Refusal> {
    let (taken, left) = rest.split_at_checked(count).ok_or_else(ends_early)?;
    *rest = left;
    Ok(taken)
}

#[inline]
pub(super) fn take_length(rest: &mut &[u8]) -> Result<usize, Refusal> {
    match rest.split_first() {
        Some((byte, left)) if byte & 0x80 == 0 => {
            *rest = left;
            Ok(usize::from(*byte))
        }
        _ => take_long_length(rest),
    }
}

/// Takes a length that has more than one byte, or is cut off.
fn take_long_length(rest: &mut &[u8]) -> Result<usize, Refusal> {
    let mut length = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take(rest, 1)?[0];
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Refusal::new("a length that is none"))
}

pub(super) fn take_text<'de>(rest: &mut &'de [u8]) -> Result<&'de str, Refusal> {
    let length = take_length(rest)?;
    let text = std::str::from_utf8(take(rest, length)?);
    text.map_err(|_| Refusal::new("text that is not UTF-8"))
}

/// Returns the names of a shape's fields. The reader has already checked the bytes of
/// these names.
pub(super) fn names(mut fields: &[u8]) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || take_text(&mut fields).ok())
}
