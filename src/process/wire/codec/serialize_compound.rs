//! [`Parts`] and [`Fields`]: the serializers of the parts of sequences, maps, structs and
//! variants.

use std::ptr;

use serde::ser::{self, Serialize};

use super::depth::is_stack_low;
use super::output::{Shape, Writer, number, put_length};
use super::refusal::{Refusal, USE_JSON};

/// The largest number of field names for which memory is allocated before the first field
/// is written.
const MOST_EXPECTED: usize = 32;

impl<'a> Writer<'a> {
    #[inline]
    pub(super) fn parts(
        &mut self,
        tag: u8,
        count: Option<usize>,
    ) -> Result<Parts<'_, 'a>, Refusal> {
        let count = count.ok_or_else(|| {
            Refusal::new(format!(
                "it does not say how many elements or fields come (`flatten`); collect them first, or {USE_JSON}"
            ))
        })?;
        self.out.push(tag);
        put_length(self.out, count);
        Ok(Parts::new(self, count))
    }

    #[inline]
    pub(super) fn fields(&mut self, tag: u8, name: &'static str, count: usize) -> Fields<'_, 'a> {
        let is_likely = |shape: &Shape| ptr::eq(shape.name, name) && shape.fields.len() == count;
        let likely = self.shapes.iter().position(is_likely);
        let at = self.out.len() + 1;
        self.put(tag, [0; 2]);
        Fields {
            writer: self,
            name,
            is_stack_low: is_stack_low(),
            at,
            likely: likely.unwrap_or(usize::MAX),
            count: 0,
            own_names: Vec::with_capacity(match likely {
                // The user's `Serialize` may announce more fields than memory has room for.
                None => count.min(MOST_EXPECTED),
                Some(_) => 0,
            }),
        }
    }
}

/// A list or map that is being written. `left` is the number of announced parts that are
/// not written yet.
pub(super) struct Parts<'e, 'a> {
    writer: &'e mut Writer<'a>,
    pub(super) left: usize,
    /// `true` if the stack was low when the writing of the list or map began.
    is_stack_low: bool,
}

impl<'e, 'a> Parts<'e, 'a> {
    #[inline]
    pub(super) fn new(writer: &'e mut Writer<'a>, left: usize) -> Self {
        Self {
            writer,
            left,
            is_stack_low: is_stack_low(),
        }
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let Some(left) = self.left.checked_sub(1) else {
            self.writer.has_failed = true;
            return Err(Refusal::new("it has more elements than it says"));
        };
        self.left = left;
        self.writer.part(value, self.is_stack_low)
    }

    #[inline]
    fn finish(self) -> Result<(), Refusal> {
        match self.left {
            0 => Ok(()),
            left => Err(self.lacks(left)),
        }
    }

    #[cold]
    fn lacks(self, left: usize) -> Refusal {
        self.writer.has_failed = true;
        Refusal::new(format!("it has {left} elements fewer than it says"))
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

            #[inline]
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

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.element(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Refusal> {
        self.finish()
    }
}

/// The fields of a struct or a variant that is being written.
pub(super) struct Fields<'e, 'a> {
    writer: &'e mut Writer<'a>,
    name: &'static str,
    /// `true` if the stack was low when the writing of the struct or variant began.
    is_stack_low: bool,
    /// The position in the output at which `finish` writes the index of the [`Shape`],
    /// which holds the name and the field names of this struct or variant.
    at: usize,
    /// The index of a shape that is already in the writer's list and begins with the
    /// fields that were written so far, or `usize::MAX` if there is no such shape.
    likely: usize,
    count: usize,
    /// The names of the fields that were written so far, if `likely` is `usize::MAX`.
    own_names: Vec<&'static str>,
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
            self.own_names.push(key);
        }
        self.count += 1;
        self.writer.part(value, self.is_stack_low)
    }

    /// Stops the comparison with the shape `likely`. Copies the names of the fields that
    /// were written so far from this shape into `own_names`.
    #[cold]
    fn leave_likely(&mut self) {
        if let Some(likely) = self.writer.shapes.get(self.likely) {
            self.own_names
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
            self.writer.add(self.name, self.own_names)?
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
