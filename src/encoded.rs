//! [`Encoded`]: the bytes of an encoded value, or of a frame with such a value.

use crate::sys::numbers::Numbers;

/// The bytes of an encoded value or frame. The bytes at the end are not copied from the
/// memory of the value if the value is a long vector of primitive numbers.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// All bytes except those of `numbers`, which come last.
    pub(crate) bytes: Vec<u8>,
    pub(crate) numbers: Option<Numbers>,
}

impl Encoded {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.count_numbers()
    }

    /// Returns the number of bytes that the numbers have.
    pub(crate) fn count_numbers(&self) -> usize {
        let numbers = self.numbers.as_ref();
        numbers.map_or(0, |numbers| numbers.bytes().len())
    }

    /// Returns the longest slice of the bytes that begins at the index `from`.
    pub(crate) fn slice_from(&self, from: usize) -> &[u8] {
        match (from.checked_sub(self.bytes.len()), &self.numbers) {
            (Some(from), Some(numbers)) => &numbers.bytes()[from..],
            _ => &self.bytes[from..],
        }
    }

    /// Returns all bytes as one slice, or `None` if the numbers have a memory of their own.
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        self.numbers.is_none().then_some(&self.bytes)
    }
}

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            numbers: None,
        }
    }
}

/// Two encodings are equal if their bytes are equal.
impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        let all = |this: &Self| {
            let numbers = this.numbers.iter().map(Numbers::bytes);
            numbers.fold(this.bytes.clone(), |bytes, numbers| {
                [&bytes, numbers].concat()
            })
        };
        all(self) == all(other)
    }
}

impl Eq for Encoded {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_make_up_all_bytes() {
        let plain = Encoded::from(b"abcdef".to_vec());
        let parts = Encoded {
            bytes: b"abc".to_vec(),
            numbers: Some(Numbers::from_vec(b"def".to_vec())),
        };
        assert_eq!(plain, parts);
        assert_eq!((plain.len(), parts.len()), (6, 6));
        assert_eq!(plain.slice_from(1), b"bcdef");
        assert_eq!(parts.slice_from(1), b"bc");
        assert_eq!(parts.slice_from(3), b"def");
        assert_eq!(parts.slice_from(6), b"");
        assert_eq!(plain.as_slice(), Some(&b"abcdef"[..]));
        assert_eq!(parts.as_slice(), None);
    }
}
