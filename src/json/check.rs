//! [`Check`]: a serializer that writes nothing, and refuses each value that JSON would
//! change into another value.
//!
//! serde_json writes `null` for an infinite number, for `Some(None)` and for `None`. A
//! reader of JSON may read an integer of more than 64 bits as a float, and an `f32` as an
//! `f64`.

use std::fmt::{self, Display, Write};

use serde::ser::{self, Serialize, Serializer};

use crate::report::text_of;

/// The largest depth of a value that serde_json reads. serde_json refuses values that
/// are nested deeper, so that its recursion does not overflow the stack.
const MOST_LEVELS: u16 = 127;

/// The largest number of nested calls of `serialize`. A `Some` or a newtype struct also
/// makes a nested call, but adds no list or object to the JSON. So `MOST_LEVELS` does not
/// limit the number of nested calls.
const MOST_CALLS: u16 = 512;

#[derive(Clone, Copy, Default)]
pub(super) struct Check {
    /// The number of JSON lists and objects around the value.
    levels: u16,
    /// The number of calls of `serialize` that are on the stack.
    calls: u16,
}

impl Check {
    /// Returns the `Check` for a value inside the current value. In JSON, `levels` more
    /// lists and objects surround the inner value. Refuses the inner value if it is nested
    /// too deep.
    fn inside(self, levels: u16) -> Result<Self, Refused> {
        let inner = Self {
            levels: self.levels + levels,
            calls: self.calls + 1,
        };
        if inner.levels > MOST_LEVELS {
            return Err(Refused(format!(
                "JSON is not read where it is nested more than {MOST_LEVELS} deep"
            )));
        }
        if inner.calls > MOST_CALLS {
            return Err(Refused(format!(
                "it is a value inside {MOST_CALLS} others, of which JSON shows only a part"
            )));
        }
        Ok(inner)
    }
}

/// The message that says why a value is refused.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self(text_of(message))
    }
}

/// The kind of JSON that a value becomes: `null`, or something else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Null,
    Something,
}

use Written::{Null, Something};

fn finite(is_finite: bool) -> Result<Written, Refused> {
    if is_finite {
        Ok(Something)
    } else {
        Err(Refused(
            "JSON has no infinite numbers, and no NaN".to_owned(),
        ))
    }
}

/// Refuses an integer of more than 64 bits, because serde_json passes such an integer to
/// an `untagged` type as an `f64`, and the conversion may change the number.
fn narrow(has_64_bits: bool) -> Result<Written, Refused> {
    if has_64_bits {
        Ok(Something)
    } else {
        Err(Refused(
            "an integer of more than 64 bits may be read from JSON as a float".to_owned(),
        ))
    }
}

/// Refuses an `f32` whose digits mean another `f32` if they are first read as an `f64`. In
/// a type with `flatten`, `tag` or `untagged`, serde_json first rounds the digits to an
/// `f64`, and serde then rounds this `f64` to an `f32`. Few numbers are refused, for
/// example 7.038531e-26.
fn single(value: f32) -> Result<Written, Refused> {
    let text = serde_json::to_string(&value).unwrap_or_default();
    if text.parse::<f64>().is_ok_and(|long| long as f32 == value) {
        Ok(Something)
    } else {
        Err(Refused(format!(
            "the f32 {text} may be read from JSON as another one"
        )))
    }
}

/// Defines the methods for the types whose values JSON can always express.
macro_rules! something {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, _: $type) -> Result<Written, Refused> {
            Ok(Something)
        }
    )*};
}

impl Serializer for Check {
    type Ok = Written;
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    something! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_char(char);
        serialize_str(&str);
    }

    fn serialize_bytes(self, _bytes: &[u8]) -> Result<Written, Refused> {
        // JSON has a list of numbers in place of bytes.
        self.inside(1).map(|_| Something)
    }

    fn serialize_i128(self, value: i128) -> Result<Written, Refused> {
        narrow(i64::try_from(value).is_ok() || u64::try_from(value).is_ok())
    }

    fn serialize_u128(self, value: u128) -> Result<Written, Refused> {
        narrow(u64::try_from(value).is_ok())
    }

    fn serialize_f32(self, value: f32) -> Result<Written, Refused> {
        finite(value.is_finite()).and_then(|_| single(value))
    }

    fn serialize_f64(self, value: f64) -> Result<Written, Refused> {
        finite(value.is_finite())
    }

    fn serialize_none(self) -> Result<Written, Refused> {
        Ok(Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, Refused> {
        match value.serialize(self.inside(0)?)? {
            Something => Ok(Something),
            Null => Err(Refused(
                "JSON has the same word for `None` and a `Some` of nothing".to_owned(),
            )),
        }
    }

    fn serialize_unit(self) -> Result<Written, Refused> {
        Ok(Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Written, Refused> {
        Ok(Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Result<Written, Refused> {
        Ok(Something)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Written, Refused> {
        value.serialize(self.inside(0)?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<Written, Refused> {
        value.serialize(self.inside(1)?)?;
        Ok(Something)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self, Refused> {
        self.inside(1)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self, Refused> {
        self.inside(1)
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Self, Refused> {
        self.inside(1)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, Refused> {
        self.inside(2)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self, Refused> {
        self.inside(1)
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, Refused> {
        self.inside(1)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, Refused> {
        self.inside(2)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Written, Refused> {
        // serde_json panics if the `Display` returns an error.
        match write!(Discarded, "{value}") {
            Ok(()) => Ok(Something),
            Err(fmt::Error) => Err(Refused("its `Display` returns an error".to_owned())),
        }
    }
}

/// Takes a text and does not keep it.
struct Discarded;

impl Write for Discarded {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}

macro_rules! parts {
    ($($trait:ident { $($method:ident($($key:ident: $type:ty)?);)* })*) => {$(
        impl ser::$trait for Check {
            type Ok = Written;
            type Error = Refused;

            $(fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: $type,)?
                value: &T,
            ) -> Result<(), Refused> {
                value.serialize(*self).map(drop)
            })*

            fn end(self) -> Result<Written, Refused> {
                Ok(Something)
            }
        }
    )*};
}

parts! {
    SerializeSeq { serialize_element(); }
    SerializeTuple { serialize_element(); }
    SerializeTupleStruct { serialize_field(); }
    SerializeTupleVariant { serialize_field(); }
    SerializeMap { serialize_key(); serialize_value(); }
    SerializeStruct { serialize_field(_key: &'static str); }
    SerializeStructVariant { serialize_field(_key: &'static str); }
}
