//! [`Reader`]: what `write.rs` wrote, if it is what the
//! value's own code asks for.
//!
//! The terms: an integer may be read as one of another width, which its visitor
//! checks; sequences, tuples and packed numbers may be read as each other if the
//! count is right; text and bytes as each other. The fields of a struct are those
//! that were written, by name and in order. All else is an error, and so is a
//! visitor that leaves something unread or wants more than there is.

use std::ptr;

use serde::Deserializer;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Visitor};

use super::block::{Number, ReadNumbers, numbers_of, read_vector};
use super::depth::{deeper, needs_for};
use super::refusal::{Refusal, USE_JSON};
use super::tag;

/// A shape as it was written.
struct Shape<'de> {
    name: &'de str,
    count: usize,
    /// Its fields' names, each behind its length.
    fields: &'de [u8],
    /// The reader's fields that are known to fit.
    fitting: Option<&'static [&'static str]>,
    /// The reader's variants that are known to have the name once.
    variants: Option<&'static [&'static str]>,
}

pub(super) struct Reader<'de> {
    rest: &'de [u8],
    shapes: Vec<Shape<'de>>,
    /// The tag of the next value, which does not stand in front of it.
    packed: Option<u8>,
    /// It is not known any more what the next bytes are.
    has_failed: bool,
    /// The size of the largest value that was begun so far. What is inside another on
    /// the heap has a size that is known only when it is begun.
    largest: usize,
}

/// Reads a message that takes up all of `bytes`.
pub(super) fn read<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = Reader::new(bytes)?;
    let value = reader.value(std::marker::PhantomData::<T>)?;
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

fn ends_early() -> Refusal {
    Refusal::new("the bytes end early; its `Deserialize` reads more than its `Serialize` wrote")
}

fn take<'de>(rest: &mut &'de [u8], count: usize) -> Result<&'de [u8], Refusal> {
    let (taken, left) = rest.split_at_checked(count).ok_or_else(ends_early)?;
    *rest = left;
    Ok(taken)
}

fn take_length(rest: &mut &[u8]) -> Result<usize, Refusal> {
    let mut length = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take(rest, 1)?[0];
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Refusal::new("a length that is none"))
}

fn take_text<'de>(rest: &mut &'de [u8]) -> Result<&'de str, Refusal> {
    let length = take_length(rest)?;
    let text = std::str::from_utf8(take(rest, length)?);
    text.map_err(|_| Refusal::new("text that is not UTF-8"))
}

/// The names of a shape, which were read once before.
fn names(mut fields: &[u8]) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || take_text(&mut fields).ok())
}

impl<'de> Reader<'de> {
    fn new(mut bytes: &'de [u8]) -> Result<Self, Refusal> {
        let mut shapes = Vec::new();
        if bytes.is_empty() {
            bytes = &[0, tag::UNIT];
        }
        if take(&mut bytes, 1)? == [1] {
            let (before, length) = bytes.split_last_chunk().ok_or_else(ends_early)?;
            let length = usize::try_from(u64::from_ne_bytes(*length)).ok();
            let start = length.and_then(|length| before.len().checked_sub(length));
            let (value, mut list) = before.split_at(start.ok_or_else(ends_early)?);
            bytes = value;
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
        }
        Ok(Self {
            rest: bytes,
            shapes,
            packed: None,
            has_failed: false,
            largest: 0,
        })
    }

    /// Returns the bytes of stack for the reading of a value of that type.
    #[inline]
    fn stack_for<T>(&mut self) -> usize {
        self.largest = self.largest.max(size_of::<T>());
        needs_for(self.largest)
    }

    /// Reads a value that is part of another, or the whole.
    #[inline]
    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let before = self.rest.len();
        if self.packed.is_none() && self.rest.first() == Some(&tag::PACKED) {
            if let Some(vector) = read_vector::<S, Self>(self) {
                return vector;
            }
        }
        let read = seed.deserialize(&mut *self);
        // Nothing is written as nothing.
        if read.is_err() || self.rest.len() == before {
            self.has_failed = true;
        }
        read
    }

    /// An error after which the next bytes may be anything.
    #[cold]
    fn fail(&mut self, reason: impl Into<String>) -> Refusal {
        self.has_failed = true;
        Refusal::new(reason)
    }

    #[cold]
    fn mismatch(&mut self, found: u8, wanted: &str) -> Refusal {
        let found = tag::name(found);
        self.fail(format!(
            "its `Serialize` wrote {found} where its `Deserialize` reads {wanted}; {USE_JSON}"
        ))
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'de [u8], Refusal> {
        let taken = take(&mut self.rest, count);
        self.has_failed |= taken.is_err();
        taken
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let Some((taken, left)) = self.rest.split_first_chunk() else {
            self.has_failed = true;
            return Err(ends_early());
        };
        self.rest = left;
        Ok(*taken)
    }

    #[inline]
    fn length(&mut self) -> Result<usize, Refusal> {
        let length = take_length(&mut self.rest);
        self.has_failed |= length.is_err();
        length
    }

    #[inline]
    fn tag(&mut self) -> Result<u8, Refusal> {
        match self.packed.take() {
            Some(tag) => Ok(tag),
            None => self.array().map(|[tag]| tag),
        }
    }

    /// The number of a shape that there is.
    fn shape(&mut self) -> Result<usize, Refusal> {
        let shape = usize::from(u16::from_ne_bytes(self.array()?));
        if shape < self.shapes.len() {
            Ok(shape)
        } else {
            Err(self.fail("a shape that is none"))
        }
    }

    fn bytes(&mut self) -> Result<&'de [u8], Refusal> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'de str, Refusal> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.fail("text that is not UTF-8"))
    }

    /// The bytes behind [`tag::PACKED`], if they are of such numbers.
    fn packed_bytes(&mut self, wanted: u8, width: usize) -> Result<Option<&'de [u8]>, Refusal> {
        let before = self.rest;
        let [of] = self.array()?;
        if of != wanted {
            self.rest = before;
            return Ok(None);
        }
        let count = self.length()?;
        self.take(count.saturating_mul(width)).map(Some)
    }

    /// Anything of elements: `count` of them, if that is known.
    fn elements<V: Visitor<'de>>(
        &mut self,
        tag: u8,
        count: Option<usize>,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let (packed, there) = match tag {
            tag::SEQ => (None, self.length()?),
            tag::PACKED => {
                let [of] = self.array()?;
                (Some(of), self.length()?)
            }
            tag::BYTES => (Some(tag::U8), self.length()?),
            found => return Err(self.mismatch(found, "a sequence")),
        };
        if count.is_some_and(|count| count != there) {
            return Err(self.fail(format!(
                "its `Serialize` wrote {there} elements or fields where its `Deserialize` reads \
                 {}; {USE_JSON}",
                count.unwrap_or_default()
            )));
        }
        self.visit(there, packed, false, |parts| visitor.visit_seq(parts))
    }

    #[inline]
    fn visit<T>(
        &mut self,
        count: usize,
        packed: Option<u8>,
        is_exact: bool,
        visit: impl FnOnce(&mut Parts<'_, 'de>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let bytes = self.stack_for::<T>();
        let mut parts = Parts {
            reader: self,
            left: count,
            packed,
            is_exact,
        };
        let read = deeper(bytes, || visit(&mut parts));
        let left = parts.left;
        if left == 0 && read.is_ok() {
            return read;
        }
        self.has_failed = true;
        read.and_then(|_| {
            Err(Refusal::new(format!(
                "its `Deserialize` leaves {left} elements or fields unread that its `Serialize` \
                 wrote; {USE_JSON}"
            )))
        })
    }

    /// The fields of a struct or variant whose tag was read.
    fn fields<V: Visitor<'de>>(
        &mut self,
        shape: usize,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let written = &self.shapes[shape];
        let count = written.count;
        if !written
            .fitting
            .is_some_and(|fitting| ptr::eq(fitting, fields))
        {
            self.fit(shape, fields)?;
        }
        if count == fields.len() {
            return self.visit(count, None, false, |parts| visitor.visit_seq(parts));
        }
        // Other names of one field may be among those of the reader. If not, then
        // it reads more fields than were written.
        let read = self.visit(count, None, true, |parts| visitor.visit_seq(parts));
        read.map_err(|wrong| {
            let missing = self.missing(shape, fields);
            Refusal::new(format!("{wrong}; {missing}"))
        })
    }

    /// Sees that all that was written is read, in that order.
    #[cold]
    fn fit(&mut self, shape: usize, fields: &'static [&'static str]) -> Result<(), Refusal> {
        let written = &self.shapes[shape];
        let mut expected = fields.iter();
        let unread = names(written.fields).find(|name| !expected.any(|field| field == name));
        let Some(unread) = unread else {
            self.shapes[shape].fitting = Some(fields);
            return Ok(());
        };
        let mut reason = format!(
            "the field `{unread}` of `{}` is written but not read, or not in its place \
             (`skip_deserializing`, `rename`)",
            written.name
        );
        if fields
            .iter()
            .any(|field| names(written.fields).all(|name| name != *field))
        {
            reason = format!("{reason}; {}", self.missing(shape, fields));
        } else {
            reason = format!("{reason}; {USE_JSON}");
        }
        Err(self.fail(reason))
    }

    /// Sees that the name stands for one of the reader's variants: `other` would
    /// take one that it does not know, and the first of a name all of that name.
    #[cold]
    fn find_variant(
        &mut self,
        shape: usize,
        type_name: &str,
        variants: &'static [&'static str],
    ) -> Result<(), Refusal> {
        let name = self.shapes[shape].name;
        let reason = match variants.iter().filter(|variant| **variant == name).count() {
            1 => {
                self.shapes[shape].variants = Some(variants);
                return Ok(());
            }
            0 => format!(
                "unknown variant `{name}` of `{type_name}`: it is written but not read \
                 (`skip_deserializing`, `rename`)"
            ),
            _ => format!(
                "several variants have the name `{name}` of `{type_name}` (`rename`, `alias`)"
            ),
        };
        Err(self.fail(reason))
    }

    /// Names a field that is read and was not written.
    #[cold]
    fn missing(&self, shape: usize, fields: &[&str]) -> String {
        let written = &self.shapes[shape];
        let mut fields = fields.iter();
        let missing = fields.find(|field| names(written.fields).all(|name| name != **field));
        format!(
            "the field `{}` of `{}` is read but was not written (`skip_serializing`); {USE_JSON}",
            missing.unwrap_or(&"?"),
            written.name
        )
    }
}

/// Plain numbers; an integer may have been written as another.
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

impl ReadNumbers for Reader<'_> {
    type Error = Refusal;

    /// `None` leaves them to be read one by one.
    fn read_numbers<N: Number>(&mut self) -> Option<Result<Vec<N>, Refusal>> {
        let before = self.rest;
        self.rest = self.rest.get(1..)?;
        let bytes = self.packed_bytes(N::TAG, size_of::<N>()).transpose();
        if bytes.is_none() {
            self.rest = before;
        }
        Some(bytes?.map(numbers_of))
    }
}

impl Reader<'_> {
    fn char(&mut self) -> Result<char, Refusal> {
        let number = u32::from_ne_bytes(self.array()?);
        char::from_u32(number).ok_or_else(|| self.fail("a char that is none"))
    }
}

/// Methods that only a format could serve which says what comes.
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
        // A `Deserialize` written by hand may list none.
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

/// Elements, or keys and values, of which so many were written.
struct Parts<'d, 'de> {
    reader: &'d mut Reader<'de>,
    left: usize,
    packed: Option<u8>,
    /// To ask for more is an error, rather than the end.
    is_exact: bool,
}

impl<'de> Parts<'_, 'de> {
    #[inline]
    fn part<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        let Some(left) = self.left.checked_sub(1) else {
            if self.is_exact {
                return Err(self.reader.fail("more fields are read than were written"));
            }
            return Ok(None);
        };
        self.left = left;
        self.reader.packed = self.packed;
        self.reader.value(seed).map(Some)
    }

    /// No more than there can be.
    fn hint(&self) -> Option<usize> {
        Some(self.left.min(self.reader.rest.len()))
    }
}

impl<'de> de::SeqAccess<'de> for &mut Parts<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        self.part(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for &mut Parts<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        self.part(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        self.reader.value(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// A variant, by name: what number it has may differ between the two sides.
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
