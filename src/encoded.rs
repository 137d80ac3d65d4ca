//! [`Encoded`]: the bytes of an encoded value, or of a frame with such a value.
//! [`EncodedCall`] is a frame with a call. (A *frame* is a message between processes.)

use crate::sys::numbers::Numbers;

/// The bytes of an encoded value, or of a frame (a message between a parent process and a
/// worker process). If the value is a long vector of primitive numbers, the numbers may
/// stay in the memory of that vector, so that they need not be copied. They are then the
/// last bytes.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// The bytes before the bytes of `numbers`, or all bytes if `numbers` is `None`.
    pub(crate) bytes: Vec<u8>,
    /// The numbers of a long vector. They are in a box, because few values have such
    /// numbers, and a small `Encoded` is cheaper to move.
    pub(crate) numbers: Option<Box<Numbers>>,
}

impl Encoded {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.count_numbers()
    }

    /// Returns the length of the numbers in bytes.
    pub(crate) fn count_numbers(&self) -> usize {
        let numbers = self.numbers.as_ref();
        numbers.map_or(0, |numbers| numbers.bytes().len())
    }

    /// Returns the bytes from the index `from` on, up to the end of the field (`bytes` or
    /// `numbers`) in which this index lies.
    pub(crate) fn slice_from(&self, from: usize) -> &[u8] {
        match (from.checked_sub(self.bytes.len()), &self.numbers) {
            (Some(from), Some(numbers)) => &numbers.bytes()[from..],
            _ => &self.bytes[from..],
        }
    }

    /// Returns all bytes as one slice, or `None` if some of the bytes are in `numbers`.
    #[inline]
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        self.numbers.is_none().then_some(&self.bytes)
    }
}

/// The length in bytes of the longest frame that an [`EncodedCall`] stores without an
/// allocation. For example, the call of a function with three `u64` has 70 bytes.
const IN_PLACE: usize = 71;

/// The frame of a call for another process. The parent encodes the frame once, and sends it
/// unchanged.
pub(crate) enum EncodedCall {
    /// A short frame, which is stored without an allocation.
    InPlace {
        bytes: [u8; IN_PLACE],
        length: u8,
    },
    Encoded(Encoded),
}

impl EncodedCall {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::InPlace { length, .. } => usize::from(*length),
            Self::Encoded(encoded) => encoded.len(),
        }
    }

    pub(crate) fn slice_from(&self, from: usize) -> &[u8] {
        match self {
            Self::InPlace { bytes, length } => &bytes[from..usize::from(*length)],
            Self::Encoded(encoded) => encoded.slice_from(from),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Self::InPlace { bytes, length } => Some(&bytes[..usize::from(*length)]),
            Self::Encoded(encoded) => encoded.as_slice(),
        }
    }
}

impl From<Encoded> for EncodedCall {
    #[inline]
    fn from(encoded: Encoded) -> Self {
        let mut bytes = [0; IN_PLACE];
        let length = encoded.as_slice().map_or(usize::MAX, <[u8]>::len);
        match (bytes.get_mut(..length), u8::try_from(length)) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(&encoded.bytes);
                Self::InPlace { bytes, length }
            }
            _ => Self::Encoded(encoded),
        }
    }
}

impl From<Vec<u8>> for Encoded {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            numbers: None,
        }
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        let all = |this: &Self| {
            let numbers = this.numbers.iter().map(|numbers| numbers.bytes());
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
            numbers: Some(Box::new(Numbers::from_vec(b"def".to_vec()))),
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

    #[test]
    fn a_short_call_is_kept_in_place() {
        assert_eq!(size_of::<EncodedCall>(), 80);
        for length in [0, 1, IN_PLACE - 1, IN_PLACE, IN_PLACE + 1, 300] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let call = EncodedCall::from(Encoded::from(bytes.clone()));
            assert_eq!(
                matches!(call, EncodedCall::InPlace { .. }),
                length <= IN_PLACE
            );
            assert_eq!(call.len(), length);
            assert_eq!(call.slice_from(length / 2), &bytes[length / 2..]);
            assert_eq!(call.as_slice(), Some(&bytes[..]));
        }
        let parts = EncodedCall::from(Encoded {
            bytes: b"abc".to_vec(),
            numbers: Some(Box::new(Numbers::from_vec(b"def".to_vec()))),
        });
        assert_eq!((parts.len(), parts.slice_from(4)), (6, &b"ef"[..]));
        assert_eq!(parts.as_slice(), None);
    }
}
