//! [`Items`]: the parts of the payload of a chunk's task, one for each item of the chunk.
//!
//! A chunk is a group of items of a map, and is one task. The arguments of the chunk's call
//! are the encoded items. The payload of the chunk's answer consists of the answers for the
//! items in the same order, and of the chunk's run time. Each item and each answer is a
//! *part*, which begins with a word of 64 bits: the lowest byte is the part's [`Kind`], and
//! the other bytes are the number of bytes that follow. The header of a frame is three
//! times as long as this word, and writing such a header would take longer than writing a
//! short item.

use super::frame::{Kind, ProtocolError};

/// The size in bytes of the word with which a part begins.
pub(super) const HEAD: usize = 8;

/// A part that is being written at the end of a buffer.
#[must_use = "a part that is not closed has no length"]
pub(super) struct ItemWriter {
    at: usize,
}

impl ItemWriter {
    /// Begins a part, and reserves its first word. The bytes that the caller appends
    /// before it calls [`close`](Self::close) belong to the part.
    #[inline]
    pub(super) fn begin(out: &mut Vec<u8>) -> Self {
        let at = out.len();
        out.extend_from_slice(&[0; HEAD]);
        Self { at }
    }

    /// Writes the kind and the length of the part into the part's first word.
    #[inline]
    pub(super) fn close(self, out: &mut [u8], kind: Kind) {
        let length = (out.len() - self.at - HEAD) as u64;
        let head = length << 8 | kind as u64;
        out[self.at..self.at + HEAD].copy_from_slice(&head.to_le_bytes());
    }

    pub(super) fn rollback(self, out: &mut Vec<u8>) {
        out.truncate(self.at);
    }
}

/// An iterator over the parts of a payload, which yields each part with its kind.
///
/// The iterator yields an error for the first malformed part, and then ends.
#[derive(Debug)]
pub(crate) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    #[inline]
    pub(crate) fn within(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    #[inline]
    fn read(&mut self) -> Result<(Kind, &'a [u8]), ProtocolError> {
        let cut_off = || ProtocolError::new("an item that is cut off");
        let (head, rest) = self.0.split_first_chunk::<HEAD>().ok_or_else(cut_off)?;
        let head = u64::from_le_bytes(*head);
        let number = (head & 0xff) as u16;
        let kind = Kind::of(number).ok_or_else(|| {
            ProtocolError::new(format!("an item of the unknown kind {number:#x}"))
        })?;
        let length = usize::try_from(head >> 8).ok();
        let parts = length.and_then(|length| rest.split_at_checked(length));
        let (item, rest) = parts.ok_or_else(cut_off)?;
        self.0 = rest;
        Ok((kind, item))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(Kind, &'a [u8]), ProtocolError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<u8> {
        let mut out = b"before".to_vec();
        for (kind, bytes) in [
            (Kind::Item, &b"one"[..]),
            (Kind::Returned, b""),
            (Kind::Panicked, &[7; 300]),
        ] {
            let open = ItemWriter::begin(&mut out);
            out.extend_from_slice(bytes);
            open.close(&mut out, kind);
        }
        let open = ItemWriter::begin(&mut out);
        out.push(1);
        open.rollback(&mut out);
        out.split_off(b"before".len())
    }

    #[test]
    fn parts_come_out_as_they_went_in() {
        let parts = parts();
        let read: Result<Vec<_>, _> = Items::within(&parts).collect();
        let expected = [
            (Kind::Item, &b"one"[..]),
            (Kind::Returned, b""),
            (Kind::Panicked, &[7; 300]),
        ];
        assert_eq!(read, Ok(expected.to_vec()));
    }

    #[test]
    fn a_malformed_part_ends_the_parts() {
        let parts = parts();
        for end in 0..parts.len() {
            let read: Vec<_> = Items::within(&parts[..end]).collect();
            let whole = [0, 11, 19].contains(&end);
            assert_eq!(read.iter().all(Result::is_ok), whole, "{end}");
            assert!(read.iter().rev().skip(1).all(Result::is_ok), "{end}");
        }
        for (place, byte, what) in [(0, 0xff, "unknown kind"), (7, 0xff, "cut off")] {
            let mut parts = parts.clone();
            parts[place] = byte;
            let read: Vec<_> = Items::within(&parts).collect();
            assert_eq!(read.len(), 1);
            assert!(read[0].as_ref().unwrap_err().to_string().contains(what));
        }
    }
}
