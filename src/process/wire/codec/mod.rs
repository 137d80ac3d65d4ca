//! The codec: encodes values as bytes, and decodes these bytes. The codec does not know
//! frames and tasks.
//!
//! The codec has its own format, so that a value is either decoded as it was, or not at
//! all. Each part of the encoding, except a number in a block, begins with a tag, which
//! names the serde call that wrote the part. The format identifies fields and variants by
//! name. A `Deserialize` that asks for another type than was written gets an error, except
//! in the cases that `deserializer.rs` lists. In a format without tags, this `Deserialize`
//! could get a wrong value.
//!
//! | file | holds |
//! |---|---|
//! | `tag` | the format |
//! | `serializer`, `output` | the calls of a `Serialize`, written as tagged bytes |
//! | `serialize_compound` | the structs and sequences that are being written |
//! | `deserializer`, `input` | the calls of a `Deserialize`, answered from the bytes, which are checked |
//! | `scan` | the reading of counts and texts |
//! | `block` | vectors of numbers, copied as they are |
//! | `depth` | more stack for deep values |
//! | `plain` | the types that need no user code |
//! | `written_shape` | the names of fields and variants, as they are read |
//! | `refusal` | the error texts of values that cannot be written or read |

mod block;
mod depth;
mod deserializer;
mod input;
mod output;
pub(crate) mod plain;
mod refusal;
mod scan;
mod serialize_compound;
mod serializer;
pub(crate) mod tag;
mod written_shape;

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::block::{block_of, from_numbers, into_numbers};
use self::output::put_length;
use self::plain::has_hidden_parts;
use self::refusal::Refusal;
use crate::encoded::Encoded;
use crate::sys::numbers::Numbers;
use crate::sys::stack;

/// The size of an encoding, in bytes. If an encoding is larger, the decoder first checks
/// that there is memory for the value.
const LARGE: usize = 1 << 20;

/// The number of bytes of stack that must be free before a value with hidden parts
/// ([`has_hidden_parts`]) is decoded. The size of such a part is unknown until the part's
/// `Deserialize` runs, and copies of the part are on the stack by then: up to 16 in a debug
/// build, up to 8 in an optimized build. In measurements there was room for a part of one
/// MiB.
const NEEDED_FOR_HIDDEN_PARTS: usize = if cfg!(debug_assertions) {
    32 << 20
} else {
    4 << 20
};

/// The reason why a value could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodecFault {
    pub(crate) type_name: String,
    /// The text of the error that the value's `Serialize` or `Deserialize`, or the codec,
    /// has returned.
    pub(crate) reason: String,
    /// `true` if the bytes may be fine, but there was no memory for the value.
    pub(crate) is_shortage: bool,
}

impl CodecFault {
    fn new<T>(refusal: Refusal) -> Self {
        Self {
            type_name: type_name::<T>().to_owned(),
            reason: refusal.into_reason(),
            is_shortage: false,
        }
    }
}

impl fmt::Display for CodecFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.type_name, self.reason)
    }
}

/// Appends the encoded value to `out`. A value that cannot be encoded leaves `out`
/// unchanged.
///
/// # Errors
///
/// Returns an error if the value's `Serialize` fails, or makes a call that the format does
/// not support.
///
/// # Panics
///
/// Panics if the value's `Serialize` panics. After a panic `out` holds a part of the
/// encoding.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    let before = out.len();
    output::write(value, out).map_err(|refusal| {
        out.truncate(before);
        CodecFault::new::<T>(refusal)
    })
}

/// The size in bytes of the shortest vector that [`keep`] moves. With shared memory, a call
/// with a moved vector needs additional messages (`LongTask` and `Fetch` in `message.rs`),
/// and copying a shorter vector takes less time than these messages.
const LONG: usize = 64 << 10;

/// Moves a long vector of primitive numbers into the encoding, and returns `None`. The
/// numbers are not copied, unless more than half of the vector's capacity is unused: then
/// the vector is shrunk first. Returns any other value unchanged. The caller then encodes
/// this value by [`encode`].
pub(crate) fn keep<T>(value: T, out: &mut Encoded) -> Option<T> {
    if block_of(&value).is_none_or(|block| block.bytes.len() < LONG) {
        return Some(value);
    }
    match into_numbers(value) {
        Ok((tag, count, numbers)) => {
            put_head(tag, count, &mut out.bytes);
            out.numbers = Some(Box::new(numbers));
            None
        }
        Err(value) => Some(value),
    }
}

/// Appends the bytes that stand in front of the numbers in the encoding of a vector.
fn put_head(tag: u8, count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, tag::PACKED, tag]);
    put_length(out, count);
}

/// Returns the vector that [`keep`] has moved, without a copy. Returns the numbers as an
/// error if `head`, the bytes in front of the numbers, does not say that they are the
/// numbers of a `T`. [`decode`] may still be able to read head and numbers together as a
/// `T`.
fn kept<T>(head: &[u8], numbers: Numbers) -> Result<T, Numbers> {
    let tag = head.get(2).copied().unwrap_or_default();
    let mut expected = Vec::with_capacity(head.len());
    put_head(
        tag,
        numbers.bytes().len() / usize::from(numbers.size()),
        &mut expected,
    );
    match head == expected {
        true => from_numbers(tag, numbers),
        false => Err(numbers),
    }
}

/// Decodes a value like [`decode`], from an encoding that may end with a vector that
/// [`keep`] has moved. Fails and panics like `decode`.
pub(crate) fn decode_moved<T: DeserializeOwned>(
    bytes: &[u8],
    numbers: Option<Box<Numbers>>,
) -> Result<T, CodecFault> {
    match numbers.map(|numbers| kept(bytes, *numbers)) {
        None => decode(bytes),
        Some(Ok(value)) => Ok(value),
        Some(Err(numbers)) => {
            let length = bytes.len() + numbers.bytes().len();
            if !is_memory_for(length) {
                return Err(no_memory::<T>(length));
            }
            decode(&[bytes, numbers.bytes()].concat())
        }
    }
}

/// Calls `decode`, which decodes a `T`, with enough stack for the hidden parts of a `T`
/// ([`has_hidden_parts`]).
#[inline]
pub(crate) fn with_room_for_parts_of<T: 'static, R>(decode: impl FnOnce() -> R) -> R {
    if has_hidden_parts::<T>() {
        stack::with_at_least_if_possible(NEEDED_FOR_HIDDEN_PARTS, decode)
    } else {
        decode()
    }
}

/// Decodes a value from `bytes`. The encoding of the value must take up all bytes.
///
/// # Errors
///
/// Returns an error if the bytes are not the encoding of a `T`, or the value's
/// `Deserialize` fails.
///
/// # Panics
///
/// Panics if the value's `Deserialize` panics.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecFault> {
    // The decoder first tries to allocate as much memory as the encoding takes, because a
    // value takes about as much memory as its encoding. A `Deserialize` that cannot
    // allocate memory would end the program.
    if bytes.len() > LARGE && !is_memory_for(bytes.len()) {
        return Err(no_memory::<T>(bytes.len()));
    }
    deserializer::read(bytes).map_err(CodecFault::new::<T>)
}

fn no_memory<T>(bytes: usize) -> CodecFault {
    CodecFault {
        type_name: type_name::<T>().to_owned(),
        reason: format!("there is no memory for its {bytes} bytes"),
        is_shortage: true,
    }
}

fn is_memory_for(bytes: usize) -> bool {
    let mut buffer = Vec::<u8>::new();
    let reserved = buffer.try_reserve_exact(bytes);
    // Without `black_box` the compiler could remove the allocation, because no code uses
    // the buffer.
    std::hint::black_box(&buffer);
    reserved.is_ok()
}
