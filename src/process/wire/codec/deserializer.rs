//! The deserializer: reads a value from the bytes that the serializer (`serializer.rs`)
//! wrote.
//!
//! Only in these cases can a value be read as another type than the type that was written:
//!
//! | written | may be read as |
//! |---|---|
//! | an integer | an integer of another type, if serde's visitor finds that it fits |
//! | a sequence, tuple, or bytes | a sequence, or a tuple with as many elements |
//! | text, a char, bytes, or a sequence | text or bytes, if serde's visitor accepts it |
//! | text | a char, if serde's visitor accepts the text |
//! | an `f32` | an `f64` |
//! | a newtype struct or a unit struct | its value or a unit, and the other way round |
//! | a struct or variant | one of the same kind, with the same names in the same order |
//!
//! In the last row, the names are those of the variant and of the fields. If the reading
//! type has aliases for a name, the written name may be one of these aliases. If a vector
//! of `u8` is read as text or bytes, the visitor gets bytes. Every other difference is an
//! error. The reader also returns an error if a visitor does not read all parts. A visitor
//! that asks for more parts than were written gets the end of the list. An exception is an
//! *ambiguous* struct ([`Reader::is_ambiguous`]): the reading type lists more names than
//! were written, and the additional names may be aliases or further fields. A visitor that
//! asks by position for more fields of an ambiguous struct than were written gets an error.

use std::ptr;

use serde::Deserializer;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Visitor};

use super::depth::deeper;
use super::input::Reader;
use super::refusal::{Refusal, USE_JSON};
use super::tag;

/// Reads a value from `bytes`. Returns an error if bytes remain after the value.
pub(super) fn read<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = Reader::new(bytes)?;
    let mut value = reader.value(std::marker::PhantomData::<T>)?;
    if reader.is_ambiguous && !reader.has_failed {
        // The first pass has read the fields by position, and has shown that the reading
        // type has as many fields as were written. The second pass reads the fields by
        // name, and fails if two of the written names belong to one field.
        drop(value);
        reader = Reader::new(bytes)?;
        reader.by_name = true;
        value = reader.value(std::marker::PhantomData::<T>)?;
    }
    if reader.has_failed {
        return Err(Refusal::new(
            "its `Deserialize` goes on after a part of it could not be read",
        ));
    }
    match reader.rest.len() {
        0 => Ok(value),
        left => Err(Refusal::new(format!(
            "{left} bytes are left over; its `Deserialize` reads less than its `Serialize` wrote"
        ))),
    }
}

/// Methods that read plain numbers. An integer may have been written with another integer
/// type.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $tag:ident;)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
                match self.tag()? {
                    tag::$tag => visitor.$visit(<$type>::from_ne_bytes(self.array()?)),
                    found => self.other_integer(found, tag::name(tag::$tag), visitor),
                }
            }
        )*
    };
}

macro_rules! other_integer {
    ($($visit:ident $type:ty, $tag:ident;)*) => {
        impl<'de> Reader<'de> {
            #[cold]
            fn other_integer<V: Visitor<'de>>(
                &mut self,
                found: u8,
                wanted: &str,
                visitor: V,
            ) -> Result<V::Value, Refusal> {
                match found {
                    $(tag::$tag => visitor.$visit(<$type>::from_ne_bytes(self.array()?)),)*
                    found => Err(self.mismatch(found, wanted)),
                }
            }
        }
    };
}

other_integer! {
    visit_i8 i8, I8;
    visit_i16 i16, I16;
    visit_i32 i32, I32;
    visit_i64 i64, I64;
    visit_i128 i128, I128;
    visit_u8 u8, U8;
    visit_u16 u16, U16;
    visit_u32 u32, U32;
    visit_u64 u64, U64;
    visit_u128 u128, U128;
}

/// Methods that read text or bytes.
macro_rules! texts {
    ($($method:ident $wanted:literal;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            match self.tag()? {
                tag::STR => visitor.visit_borrowed_str(self.text()?),
                tag::BYTES => visitor.visit_borrowed_bytes(self.bytes()?),
                tag::CHAR => visitor.visit_char(self.char()?),
                tag::PACKED => match self.packed_bytes(tag::U8, 1)? {
                    Some(bytes) => visitor.visit_borrowed_bytes(bytes),
                    None => Err(self.mismatch(tag::PACKED, $wanted)),
                },
                tag::SEQ => self.elements(tag::SEQ, None, visitor),
                found => Err(self.mismatch(found, $wanted)),
            }
        }
    )*};
}

/// Methods for a `Deserialize` that lets the format choose the type of the next value, or
/// skips a value of any type. They return an error, because the codec supports neither.
macro_rules! unserved {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refusal> {
            Err(self.fail(format!(
                "it must be told what comes (`untagged`, `flatten` and tagged enums, \
                 `serde_json::Value`), which the bytes do not say; {USE_JSON}"
            )))
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Refusal;

    numbers! {
        deserialize_i8 visit_i8 i8, I8;
        deserialize_i16 visit_i16 i16, I16;
        deserialize_i32 visit_i32 i32, I32;
        deserialize_i64 visit_i64 i64, I64;
        deserialize_i128 visit_i128 i128, I128;
        deserialize_u8 visit_u8 u8, U8;
        deserialize_u16 visit_u16 u16, U16;
        deserialize_u32 visit_u32 u32, U32;
        deserialize_u64 visit_u64 u64, U64;
        deserialize_u128 visit_u128 u128, U128;
    }

    texts! {
        deserialize_str "text";
        deserialize_string "text";
        deserialize_bytes "bytes";
        deserialize_byte_buf "bytes";
        deserialize_identifier "a name";
    }

    unserved! { deserialize_any deserialize_ignored_any }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::F32 => visitor.visit_f32(f32::from_ne_bytes(self.array()?)),
            found => Err(self.mismatch(found, "an f32")),
        }
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::F64 => visitor.visit_f64(f64::from_ne_bytes(self.array()?)),
            tag::F32 => visitor.visit_f32(f32::from_ne_bytes(self.array()?)),
            found => Err(self.mismatch(found, "an f64")),
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            found => Err(self.mismatch(found, "a bool")),
        }
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::CHAR => visitor.visit_char(self.char()?),
            tag::STR => visitor.visit_borrowed_str(self.text()?),
            found => Err(self.mismatch(found, "a char")),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::NONE => visitor.visit_none(),
            tag::SOME => deeper(self.stack_for::<V::Value>(), || visitor.visit_some(self)),
            found => Err(self.mismatch(found, "an `Option`")),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::UNIT => visitor.visit_unit(),
            found => Err(self.mismatch(found, "a unit")),
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        deeper(self.stack_for::<V::Value>(), || {
            visitor.visit_newtype_struct(self)
        })
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let tag = self.tag()?;
        self.elements(tag, None, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let tag = self.tag()?;
        self.elements(tag, Some(count), visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::MAP => {
                let count = self.length()?;
                self.visit(count, None, false, |parts| visitor.visit_map(parts))
            }
            found => Err(self.mismatch(found, "a map")),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.tag()? {
            tag::STRUCT => {
                let shape = self.shape()?;
                self.fields(shape, fields, visitor)
            }
            found => Err(self.mismatch(found, "a struct")),
        }
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let tag = self.tag()?;
        if !(tag::UNIT_VARIANT..=tag::STRUCT_VARIANT).contains(&tag) {
            return Err(self.mismatch(tag, "an enum"));
        }
        let shape = self.shape()?;
        let known = self.shapes[shape].variants;
        // A `Deserialize` that was written by hand may list no variants. Then there are no
        // names with which to compare the variant.
        if !variants.is_empty() && !known.is_some_and(|known| ptr::eq(known, variants)) {
            self.find_variant(shape, name, variants)?;
        }
        let bytes = self.stack_for::<V::Value>();
        let variant = Variant {
            reader: &mut *self,
            tag,
            shape,
        };
        let read = deeper(bytes, || visitor.visit_enum(variant));
        self.has_failed |= read.is_err();
        read
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A variant of an enum. The reader identifies the variant by its name, because serde's
/// writer and reader may number the variants differently.
struct Variant<'d, 'de> {
    reader: &'d mut Reader<'de>,
    tag: u8,
    shape: usize,
}

impl Variant<'_, '_> {
    fn expect(&mut self, tag: u8) -> Result<(), Refusal> {
        if self.tag == tag {
            return Ok(());
        }
        Err(self.reader.mismatch(self.tag, tag::name(tag)))
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Refusal;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refusal> {
        let name = self.reader.shapes[self.shape].name;
        let name = seed.deserialize(BorrowedStrDeserializer::<Refusal>::new(name))?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn unit_variant(mut self) -> Result<(), Refusal> {
        self.expect(tag::UNIT_VARIANT)
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<S::Value, Refusal> {
        self.expect(tag::NEWTYPE_VARIANT)?;
        self.reader.value(seed)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.expect(tag::TUPLE_VARIANT)?;
        self.reader.elements(tag::SEQ, Some(count), visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.expect(tag::STRUCT_VARIANT)?;
        self.reader.fields(self.shape, fields, visitor)
    }
}
