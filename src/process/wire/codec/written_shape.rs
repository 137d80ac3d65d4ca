//! [`Shape`]: the name of a struct or variant and the names of its fields, as the writer has
//! listed them behind the value.

use super::refusal::Refusal;
use super::scan::{ends_early, take_length, take_text};

/// A shape that the writer has written: the name and the fields of a struct or variant.
pub(super) struct Shape<'de> {
    pub(super) name: &'de str,
    pub(super) count: usize,
    /// The names of the fields, each with its length in front.
    pub(super) fields: &'de [u8],
    /// The field names of the reading type, once the reader has found that they contain the
    /// written names in the same order.
    pub(super) fitting: Option<&'static [&'static str]>,
    /// The variants of the reading type, once the reader has found that exactly one variant
    /// has the written name.
    pub(super) variants: Option<&'static [&'static str]>,
}

/// Splits the bytes behind a first byte of 1 into the encoded value and the shapes that
/// the writer has listed behind it.
pub(super) fn split_shapes(bytes: &[u8]) -> Result<(&[u8], Vec<Shape<'_>>), Refusal> {
    let (before, length) = bytes.split_last_chunk().ok_or_else(ends_early)?;
    let length = usize::try_from(u64::from_ne_bytes(*length)).ok();
    let start = length.and_then(|length| before.len().checked_sub(length));
    let (value, mut list) = before.split_at(start.ok_or_else(ends_early)?);
    let mut shapes = Vec::new();
    while !list.is_empty() {
        let name = take_text(&mut list)?;
        let count = take_length(&mut list)?;
        let mut fields = list;
        for _ in 0..count {
            take_text(&mut list)?;
        }
        fields = &fields[..fields.len() - list.len()];
        shapes.push(Shape {
            name,
            count,
            fields,
            fitting: None,
            variants: None,
        });
    }
    Ok((value, shapes))
}
