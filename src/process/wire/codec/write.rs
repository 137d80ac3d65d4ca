//! [`Writer`]: serde's calls as tagged bytes.
//!
//! A struct or variant is written with the number of its *shape*: its name and
//! those of its fields. The shapes stand behind the value, each once, so that the
//! reader can see whether it reads the very fields that were written.

use std::fmt::Display;
use std::mem::needs_drop;
use std::ptr;

use serde::ser::{self, Serialize, Serializer};

use super::block::block_of;
use super::depth::{LEAST, deeper};
use super::refusal::{Refusal, USE_JSON};
use super::tag;

/// The name of a struct or a variant, and of the fields that were written.
struct Shape {
    name: &'static str,
    fields: Vec<&'static str>,
}

pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    shapes: Vec<Shape>,
    /// A part failed, and what holds it may have gone on.
    has_failed: bool,
}

/// Appends a whole message.
pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    // Whether shapes follow.
    out.push(0);
    let mut writer = Writer {
        out,
        shapes: Vec::new(),
        has_failed: false,
    };
    writer.value(value)?;
    if writer.has_failed {
        return Err(Refusal::new(
            "its `Serialize` goes on after a part of it could not be written",
        ));
    }
    let shapes = writer.shapes;
    if shapes.is_empty() {
        // The most frequent value is nothing at all.
        if out[start + 1..] == [tag::UNIT] {
            out.truncate(start);
        }
        return Ok(());
    }
    out[start] = 1;
    let end = out.len();
    for shape in &shapes {
        put_text(out, shape.name);
        put_length(out, shape.fields.len());
        for field in &shape.fields {
            put_text(out, field);
        }
    }
    let length = (out.len() - end) as u64;
    out.extend_from_slice(&length.to_ne_bytes());
    Ok(())
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

impl<'a> Writer<'a> {
    /// Writes a value that is part of another, or the whole.
    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        if let Some(block) = block_of(value) {
            self.out.push(tag::PACKED);
            self.out.push(block.tag);
            put_length(self.out, block.count);
            self.out.extend_from_slice(block.bytes);
            return Ok(());
        }
        // What goes deep holds something on the heap, or is a reference to that.
        let may_go_deep = needs_drop::<T>() || size_of_val(value) == size_of::<usize>();
        let written = if may_go_deep {
            deeper(LEAST, || value.serialize(&mut *self))
        } else {
            value.serialize(&mut *self)
        };
        self.has_failed |= written.is_err();
        written
    }

    #[inline]
    fn put<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.out.push(tag);
        self.out.extend_from_slice(&bytes);
    }

    fn put_bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        put_length(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn parts(&mut self, tag: u8, count: Option<usize>) -> Result<Parts<'_, 'a>, Refusal> {
        let count = count.ok_or_else(|| {
            Refusal::new(format!(
                "it does not say how many elements or fields come (`flatten`); collect them first, or {USE_JSON}"
            ))
        })?;
        self.out.push(tag);
        put_length(self.out, count);
        Ok(Parts {
            writer: self,
            left: count,
        })
    }

    /// The head of a variant that has no names in it.
    fn variant(&mut self, tag: u8, name: &'static str) -> Result<(), Refusal> {
        let is_known = |shape: &Shape| ptr::eq(shape.name, name) && shape.fields.is_empty();
        let known = self.shapes.iter().position(is_known);
        let shape = known.map_or_else(|| self.add(name, Vec::new()), number)?;
        self.put(tag, shape.to_ne_bytes());
        Ok(())
    }

    fn fields(&mut self, tag: u8, name: &'static str, count: usize) -> Fields<'_, 'a> {
        let is_likely = |shape: &Shape| ptr::eq(shape.name, name) && shape.fields.len() == count;
        let likely = self.shapes.iter().position(is_likely);
        let at = self.out.len() + 1;
        self.put(tag, [0; 2]);
        Fields {
            writer: self,
            name,
            at,
            likely: likely.unwrap_or(usize::MAX),
            count: 0,
            current_process: Vec::with_capacity(if likely.is_none() { count } else { 0 }),
        }
    }

    /// Has a shape, and gives its number.
    #[cold]
    fn add(&mut self, name: &'static str, fields: Vec<&'static str>) -> Result<u16, Refusal> {
        let is_same = |shape: &Shape| shape.name == name && shape.fields == fields;
        let place = self.shapes.iter().position(is_same).unwrap_or_else(|| {
            self.shapes.push(Shape { name, fields });
            self.shapes.len() - 1
        });
        number(place)
    }
}

fn number(place: usize) -> Result<u16, Refusal> {
    u16::try_from(place).map_err(|_| Refusal::new("it has too many kinds of structs and variants"))
}

/// Plain values: a tag, and their bytes.
macro_rules! numbers {
    ($($method:ident $type:ty, $tag:ident;)*) => {$(
        #[inline]
        fn $method(self, v: $type) -> Result<(), Refusal> {
            self.put(tag::$tag, v.to_ne_bytes());
            Ok(())
        }
    )*};
}

impl<'e, 'a> Serializer for &'e mut Writer<'a> {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Parts<'e, 'a>;
    type SerializeTuple = Parts<'e, 'a>;
    type SerializeTupleStruct = Parts<'e, 'a>;
    type SerializeTupleVariant = Parts<'e, 'a>;
    type SerializeMap = Parts<'e, 'a>;
    type SerializeStruct = Fields<'e, 'a>;
    type SerializeStructVariant = Fields<'e, 'a>;

    numbers! {
        serialize_i8 i8, I8;
        serialize_i16 i16, I16;
        serialize_i32 i32, I32;
        serialize_i64 i64, I64;
        serialize_i128 i128, I128;
        serialize_u8 u8, U8;
        serialize_u16 u16, U16;
        serialize_u32 u32, U32;
        serialize_u64 u64, U64;
        serialize_u128 u128, U128;
        serialize_f32 f32, F32;
        serialize_f64 f64, F64;
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), Refusal> {
        self.out.push(if v { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_char(self, v: char) -> Result<(), Refusal> {
        self.put(tag::CHAR, u32::from(v).to_ne_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Refusal> {
        self.put_bytes(tag::STR, v.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Refusal> {
        self.put_bytes(tag::BYTES, v);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Refusal> {
        self.out.push(tag::NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refusal> {
        self.out.push(tag::SOME);
        self.value(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Refusal> {
        self.out.push(tag::UNIT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refusal> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        self.value(value)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Parts<'e, 'a>, Refusal> {
        self.parts(tag::SEQ, count)
    }

    fn serialize_tuple(self, count: usize) -> Result<Parts<'e, 'a>, Refusal> {
        self.parts(tag::SEQ, Some(count))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        count: usize,
    ) -> Result<Parts<'e, 'a>, Refusal> {
        self.parts(tag::SEQ, Some(count))
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Parts<'e, 'a>, Refusal> {
        let mut parts = self.parts(tag::MAP, count)?;
        // Keys and values are counted alike.
        parts.left = parts.left.saturating_mul(2);
        Ok(parts)
    }

    fn serialize_struct(self, name: &'static str, count: usize) -> Result<Fields<'e, 'a>, Refusal> {
        Ok(self.fields(tag::STRUCT, name, count))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Refusal> {
        self.variant(tag::UNIT_VARIANT, variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        self.variant(tag::NEWTYPE_VARIANT, variant)?;
        self.value(value)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Parts<'e, 'a>, Refusal> {
        self.variant(tag::TUPLE_VARIANT, variant)?;
        put_length(self.out, count);
        Ok(Parts {
            writer: self,
            left: count,
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Fields<'e, 'a>, Refusal> {
        Ok(self.fields(tag::STRUCT_VARIANT, variant, count))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Refusal> {
        self.serialize_str(&value.to_string())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements, or keys and values, of which so many were announced.
pub(super) struct Parts<'e, 'a> {
    writer: &'e mut Writer<'a>,
    left: usize,
}

impl Parts<'_, '_> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let Some(left) = self.left.checked_sub(1) else {
            self.writer.has_failed = true;
            return Err(Refusal::new("it has more elements than it says"));
        };
        self.left = left;
        self.writer.value(value)
    }

    fn finish(self) -> Result<(), Refusal> {
        if self.left == 0 {
            return Ok(());
        }
        self.writer.has_failed = true;
        Err(Refusal::new(format!(
            "it has {} elements fewer than it says",
            self.left
        )))
    }
}

macro_rules! parts {
    ($($trait:ident $method:ident;)*) => {$(
        impl ser::$trait for Parts<'_, '_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refusal> {
                self.finish()
            }
        }
    )*};
}

parts! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.element(value)
    }

    fn end(self) -> Result<(), Refusal> {
        self.finish()
    }
}

/// The fields of a struct or a variant, while they are written.
pub(super) struct Fields<'e, 'a> {
    writer: &'e mut Writer<'a>,
    name: &'static str,
    /// The place of the number of the shape.
    at: usize,
    /// The place of the shape that fits so far.
    likely: usize,
    count: usize,
    /// The names so far, if no shape fits.
    current_process: Vec<&'static str>,
}

impl Fields<'_, '_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        let likely = self.writer.shapes.get(self.likely);
        let expected = likely.and_then(|shape| shape.fields.get(self.count));
        if !expected.is_some_and(|expected| ptr::eq(*expected, key)) {
            self.leave_likely();
            self.current_process.push(key);
        }
        self.count += 1;
        self.writer.value(value)
    }

    /// Goes on with names of its own.
    #[cold]
    fn leave_likely(&mut self) {
        if let Some(likely) = self.writer.shapes.get(self.likely) {
            self.current_process
                .extend_from_slice(&likely.fields[..self.count]);
            self.likely = usize::MAX;
        }
    }

    #[cold]
    fn skip(&mut self, key: &'static str) -> Refusal {
        self.writer.has_failed = true;
        Refusal::new(format!(
            "the field `{key}` of `{}` is left out (`skip_serializing_if`), which its reader could \
             not see; {USE_JSON}",
            self.name
        ))
    }

    #[inline]
    fn finish(mut self) -> Result<(), Refusal> {
        let likely = self.writer.shapes.get(self.likely);
        let shape = if likely.is_some_and(|shape| shape.fields.len() == self.count) {
            number(self.likely)?
        } else {
            self.leave_likely();
            self.writer.add(self.name, self.current_process)?
        };
        self.writer.out[self.at..self.at + 2].copy_from_slice(&shape.to_ne_bytes());
        Ok(())
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Refusal> {
                self.field(key, value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), Refusal> {
                Err(self.skip(key))
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.finish()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }
