//! Values as bytes: `postcard`'s, and what it takes so that a value arrives as it
//! was or not at all. It knows nothing of frames and tasks.
//!
//! | file | holds |
//! |---|---|
//! | `write`, `read` | the serializer and the deserializer that values are handed |
//! | `shape` | the digest by which a reader notices that it read something else |
//! | `block` | vectors of numbers, copied as they are |
//! | `refusal` | why not, in words |

mod block;
mod read;
mod refusal;
mod shape;
mod write;

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::read::Reader;
use self::refusal::Refusal;
use self::write::Writer;

/// Why a value could not be written down or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) type_name: String,
    /// What the value's own code said, or the format.
    pub(crate) reason: String,
}

impl Fault {
    fn new<T>(refusal: Refusal) -> Self {
        Self {
            type_name: type_name::<T>().to_owned(),
            reason: refusal.into_reason(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.type_name, self.reason)
    }
}

/// Appends the value to `out`. A value that cannot be written leaves `out` as
/// it was.
///
/// # Errors
///
/// The value's `Serialize` failed, or does something that the format cannot.
///
/// # Panics
///
/// If the value's `Serialize` does; `out` then has part of it.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    let before = out.len();
    let mut writer = Writer::new(out);
    match writer.write(value) {
        Ok(()) => {
            writer.finish();
            Ok(())
        }
        Err(refusal) => {
            out.truncate(before);
            Err(Fault::new::<T>(refusal))
        }
    }
}

/// Reads a value that takes up all of `bytes`.
///
/// # Errors
///
/// The bytes are no such value, or its `Deserialize` says so.
///
/// # Panics
///
/// If the value's `Deserialize` does.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut reader = Reader::new(bytes);
    let read = reader.read(PhantomData::<T>);
    let checked = read.and_then(|value| reader.finish().map(|()| value));
    checked.map_err(Fault::new::<T>)
}

#[cfg(test)]
mod tests;
