//! Values as bytes. It knows nothing of frames and tasks.
//!
//! A format of our own: both ends are one program on one machine, and what arrives
//! is to be what was sent. So each part says what wrote it, and fields and variants
//! are known by name. A reader that asks for something else gets an error, where a
//! format without such marks makes another value of the bytes.
//!
//! | file | holds |
//! |---|---|
//! | `tag` | the format |
//! | `serializer`, `serialize_compound`, `output` | serde's calls as tagged bytes; structs and sequences while they are written; the bytes |
//! | `deserializer`, `input`, `scan` | serde's calls answered from the bytes; their state and checks; counts and texts |
//! | `block` | vectors of numbers, copied as they are |
//! | `depth` | more stack for deep values |
//! | `refusal` | the texts of what cannot be written or read |

mod block;
mod depth;
mod deserializer;
mod input;
mod output;
mod refusal;
mod scan;
mod serialize_compound;
mod serializer;
pub(crate) mod tag;

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::refusal::Refusal;

/// The size, in bytes, from which a value may find no memory.
const LARGE: usize = 1 << 20;

/// The reason why a value could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodecFault {
    pub(crate) type_name: String,
    /// The words of the value's own code, or of the format.
    pub(crate) reason: String,
}

impl CodecFault {
    fn new<T>(refusal: Refusal) -> Self {
        Self {
            type_name: type_name::<T>().to_owned(),
            reason: refusal.into_reason(),
        }
    }
}

impl fmt::Display for CodecFault {
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
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    let before = out.len();
    output::write(value, out).map_err(|refusal| {
        out.truncate(before);
        CodecFault::new::<T>(refusal)
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
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecFault> {
    // A `Deserialize` that gets no memory ends the program. The value takes about
    // as much as its bytes, so it is seen before whether that is there.
    if bytes.len() > LARGE && !is_memory_for(bytes.len()) {
        let size = bytes.len();
        let why = format!("there is no memory for its {size} bytes");
        return Err(CodecFault::new::<T>(Refusal::new(why)));
    }
    deserializer::read(bytes).map_err(CodecFault::new::<T>)
}

fn is_memory_for(bytes: usize) -> bool {
    let mut buffer = Vec::<u8>::new();
    let reserved = buffer.try_reserve_exact(bytes);
    // The compiler may leave out an allocation that is not used.
    std::hint::black_box(&buffer);
    reserved.is_ok()
}
