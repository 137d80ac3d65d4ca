//! [`Writer`]: writes the tagged bytes of a value, and then the shapes that the value uses.
//!
//! In the bytes of a struct or variant, the index of its *shape* follows the tag. A shape
//! holds the name of a struct or variant and the names of its fields. The writer writes
//! each shape once, after the value. The reader compares the names in the shapes with the
//! names in the type that it reads, so that each written field is read as the field of the
//! same name.

use std::ptr;

use serde::ser::Serialize;

use super::block::block_of;
use super::depth::{LEAST, deeper, is_stack_low};
use super::refusal::Refusal;
use super::tag;

/// The name of a struct or a variant, and the names of the fields that were written.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) fields: Vec<&'static str>,
}

pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) shapes: Vec<Shape>,
    /// `true` once a part of the value could not be written. The flag is needed because a
    /// `Serialize` may ignore the error of a part, and go on.
    pub(super) has_failed: bool,
}

/// Appends the encoding of a whole value.
pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    // The first byte says whether shapes follow the value.
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
        // The encoding of `()` has no bytes at all, because `()` is the most frequent
        // value.
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

#[inline]
pub(super) fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

#[inline]
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

impl<'a> Writer<'a> {
    /// Writes the outermost value, or a value that is the only part of another value.
    #[inline]
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.part(value, is_stack_low())
    }

    /// Writes a value that is a part of another value. `is_stack_low` is `true` if the
    /// stack was low when the writing of the other value began.
    #[inline]
    pub(super) fn part<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        is_stack_low: bool,
    ) -> Result<(), Refusal> {
        if let Some(block) = block_of(value) {
            self.out.push(tag::PACKED);
            self.out.push(block.tag);
            put_length(self.out, block.count);
            self.out.extend_from_slice(block.bytes);
            return Ok(());
        }
        // The type does not tell how deep a value is nested: the `Serialize` of a small
        // index may write all that a table has below this index.
        let written = if is_stack_low {
            deeper(LEAST, || value.serialize(&mut *self))
        } else {
            value.serialize(&mut *self)
        };
        self.has_failed |= written.is_err();
        written
    }

    #[inline]
    pub(super) fn put<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.out.push(tag);
        self.out.extend_from_slice(&bytes);
    }

    #[inline]
    pub(super) fn put_bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        put_length(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Writes the tag of a variant that has no named fields, and the index of the
    /// variant's shape.
    #[inline]
    pub(super) fn variant(&mut self, tag: u8, name: &'static str) -> Result<(), Refusal> {
        let is_known = |shape: &Shape| ptr::eq(shape.name, name) && shape.fields.is_empty();
        let known = self.shapes.iter().position(is_known);
        let shape = known.map_or_else(|| self.add(name, Vec::new()), number)?;
        self.put(tag, shape.to_ne_bytes());
        Ok(())
    }

    /// Returns the index of the shape with this name and these fields. Adds the shape if
    /// no equal shape was added before.
    #[cold]
    pub(super) fn add(
        &mut self,
        name: &'static str,
        fields: Vec<&'static str>,
    ) -> Result<u16, Refusal> {
        let is_same = |shape: &Shape| shape.name == name && shape.fields == fields;
        let place = self.shapes.iter().position(is_same).unwrap_or_else(|| {
            self.shapes.push(Shape { name, fields });
            self.shapes.len() - 1
        });
        number(place)
    }
}

#[inline]
pub(super) fn number(place: usize) -> Result<u16, Refusal> {
    u16::try_from(place).map_err(|_| Refusal::new("it has too many kinds of structs and variants"))
}
