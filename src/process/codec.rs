//! Values as bytes: `postcard`, and the reason why a value would not.
//!
//! `postcard` drops the message of a value's own `Serialize` or `Deserialize`;
//! `reason.rs` catches it on the way. It knows nothing of frames and tasks.

use std::any::type_name;
use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reason::Reason;

/// Why a value could not be written down or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) type_name: String,
    /// What the value's own code said, or the format.
    pub(crate) reason: String,
}

impl Fault {
    fn new<T>(reason: String) -> Self {
        Self {
            type_name: type_name::<T>().to_owned(),
            reason,
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
    let reason = Reason::default();
    let mut serializer = postcard::Serializer {
        output: Append(out),
    };
    let written = value.serialize(reason.noting(&mut serializer));
    written.map_err(|error| {
        out.truncate(before);
        Fault::new::<T>(reason.of(error))
    })
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
    let reason = Reason::default();
    let mut deserializer = postcard::Deserializer::from_bytes(bytes);
    let value = T::deserialize(reason.noting(&mut deserializer))
        .map_err(|error| Fault::new::<T>(reason.of(error)))?;
    match deserializer.finalize() {
        Ok([]) => Ok(value),
        Ok(rest) => Err(Fault::new::<T>(format!(
            "{} bytes are left over; its `Deserialize` reads less than its `Serialize` wrote",
            rest.len()
        ))),
        Err(error) => Err(Fault::new::<T>(reason.of(error))),
    }
}

/// Where `postcard` writes to.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
