//! [`Reader`]: reads the bytes of an encoded value, and checks each part that is read.

use std::ptr;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Visitor};

use super::block::{Number, ReadNumbers, numbers_of, read_vector};
use super::depth::{deeper, needs_for};
use super::refusal::{Refusal, USE_JSON};
use super::scan::{ends_early, names, take, take_length, take_text};
use super::tag;
use super::written_shape::{Shape, split_shapes};

pub(super) struct Reader<'de> {
    pub(super) rest: &'de [u8],
    pub(super) shapes: Vec<Shape<'de>>,
    /// The tag of the next value, if this value is an element of a packed list
    /// ([`tag::PACKED`]). The elements of a packed list have no tags of their own.
    pub(super) packed: Option<u8>,
    /// `true` once a read has failed. After a failed read the meaning of the next bytes is
    /// unknown.
    pub(super) has_failed: bool,
    /// `true` once the reader has met a struct or variant for which the reading type lists
    /// more field names than were written. The list also contains the aliases of the
    /// fields, and does not say which names belong to the same field. If two written names
    /// belong to the same field, a read by position puts values into wrong fields.
    pub(super) is_ambiguous: bool,
    /// `true` if the reader reads the fields of an ambiguous struct
    /// ([`is_ambiguous`](Self::is_ambiguous)) by their names, and not by position.
    pub(super) by_name: bool,
    /// The size in bytes of the largest type whose reading has begun so far. The size of a
    /// type includes no value behind a `Box` or in a `Vec`. The type of a value behind a
    /// `Box` or in a `Vec` counts when the reading of that value begins.
    pub(super) largest: usize,
}

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn new(bytes: &'de [u8]) -> Result<Self, Refusal> {
        let (rest, shapes) = match bytes {
            [] => (&[tag::UNIT][..], Vec::new()),
            [1, rest @ ..] => split_shapes(rest)?,
            [_, rest @ ..] => (rest, Vec::new()),
        };
        Ok(Self {
            rest,
            shapes,
            packed: None,
            has_failed: false,
            is_ambiguous: false,
            by_name: false,
            largest: 0,
        })
    }

    /// Records that the reader begins to read a value of type `T`. Returns the number of
    /// bytes of stack that the reader needs for this value.
    #[inline]
    pub(super) fn stack_for<T>(&mut self) -> usize {
        self.largest = self.largest.max(size_of::<T>());
        needs_for(self.largest)
    }

    /// Reads the outermost value, or a value that is a part of another value.
    #[inline]
    pub(super) fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let before = self.rest.len();
        if self.packed.is_none() && self.rest.first() == Some(&tag::PACKED) {
            if let Some(vector) = read_vector::<S, Self>(self) {
                return vector;
            }
        }
        let read = seed.deserialize(&mut *self);
        if read.is_err() {
            self.has_failed = true;
        } else if self.rest.len() == before {
            // The writer writes at least one byte for each value. Without this check, a
            // list whose elements read no bytes could claim any length.
            return Err(self.fail("its `Deserialize` reads nothing of a part that was written"));
        }
        read
    }

    /// Returns an error, and records that the read has failed.
    #[cold]
    pub(super) fn fail(&mut self, reason: impl Into<String>) -> Refusal {
        self.has_failed = true;
        Refusal::new(reason)
    }

    #[cold]
    pub(super) fn mismatch(&mut self, found: u8, wanted: &str) -> Refusal {
        let found = tag::name(found);
        self.fail(format!(
            "its `Serialize` wrote {found} where its `Deserialize` reads {wanted}; {USE_JSON}"
        ))
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'de [u8], Refusal> {
        let taken = take(&mut self.rest, count);
        self.has_failed |= taken.is_err();
        taken
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let Some((taken, left)) = self.rest.split_first_chunk() else {
            self.has_failed = true;
            return Err(ends_early());
        };
        self.rest = left;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, Refusal> {
        let length = take_length(&mut self.rest);
        self.has_failed |= length.is_err();
        length
    }

    #[inline]
    pub(super) fn tag(&mut self) -> Result<u8, Refusal> {
        match self.packed.take() {
            Some(tag) => Ok(tag),
            None => self.array().map(|[tag]| tag),
        }
    }

    /// Reads the index of a shape, and checks that a shape with this index exists.
    #[inline]
    pub(super) fn shape(&mut self) -> Result<usize, Refusal> {
        let shape = usize::from(u16::from_ne_bytes(self.array()?));
        if shape < self.shapes.len() {
            Ok(shape)
        } else {
            Err(self.fail("a shape that is none"))
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'de [u8], Refusal> {
        let length = self.length()?;
        self.take(length)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, Refusal> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.fail("text that is not UTF-8"))
    }

    /// Reads the bytes of the numbers behind a [`tag::PACKED`]. Reads nothing, and returns
    /// `None`, if the tag of the numbers is not `wanted`.
    #[inline]
    pub(super) fn packed_bytes(
        &mut self,
        wanted: u8,
        width: usize,
    ) -> Result<Option<&'de [u8]>, Refusal> {
        let before = self.rest;
        let [of] = self.array()?;
        if of != wanted {
            self.rest = before;
            return Ok(None);
        }
        let count = self.length()?;
        self.take(count.saturating_mul(width)).map(Some)
    }

    /// Reads the elements of a sequence that begins with `tag`, which may be any of the
    /// tags for sequences. `count` is the number of elements that the reading type
    /// requires, or `None` if it accepts any number.
    #[inline]
    pub(super) fn elements<V: Visitor<'de>>(
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
    pub(super) fn visit<T>(
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

    /// Reads the fields of a struct or variant, after the caller has read the tag.
    #[inline]
    pub(super) fn fields<V: Visitor<'de>>(
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
        self.is_ambiguous = true;
        if self.by_name {
            let names = self.shapes[shape].fields;
            return self.visit(count, None, true, |parts| {
                let mut named = Named { names, parts };
                visitor.visit_map(&mut named)
            });
        }
        // The additional names of the reading type may be aliases of written fields. If an
        // additional name is a field of its own, the type asks for more fields than were
        // written, which is an error.
        let read = self.visit(count, None, true, |parts| visitor.visit_seq(parts));
        read.map_err(|wrong| {
            let missing = self.missing(shape, fields);
            Refusal::new(format!("{wrong}; {missing}"))
        })
    }

    /// Checks that the reading type has all fields that were written, in the same order.
    #[cold]
    pub(super) fn fit(
        &mut self,
        shape: usize,
        fields: &'static [&'static str],
    ) -> Result<(), Refusal> {
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

    /// Checks that exactly one variant of the reading type has the written name. Without
    /// this check, a variant with the attribute `other` would accept an unknown name. If
    /// several variants had the same name, serde would always choose the first.
    #[cold]
    pub(super) fn find_variant(
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

    /// Returns the error text for a field that the reading type has and that was not
    /// written.
    #[cold]
    pub(super) fn missing(&self, shape: usize, fields: &[&str]) -> String {
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
impl ReadNumbers for Reader<'_> {
    type Error = Refusal;

    /// Returns `None` if the reader has to read the numbers one by one.
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
    pub(super) fn char(&mut self) -> Result<char, Refusal> {
        let number = u32::from_ne_bytes(self.array()?);
        char::from_u32(number).ok_or_else(|| self.fail("a char that is none"))
    }
}

/// The parts of a value that the reader has not read yet: the elements of a list, the
/// entries of a map, or the fields of a struct or variant.
pub(super) struct Parts<'d, 'de> {
    reader: &'d mut Reader<'de>,
    left: usize,
    packed: Option<u8>,
    /// `true` if a type that asks for more parts than were written gets an error. Otherwise
    /// the type is told that the list has ended.
    is_exact: bool,
}

impl<'de> Parts<'_, 'de> {
    #[inline]
    pub(super) fn part<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
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

    /// Returns the number of parts that are not read yet, but at most the number of
    /// remaining bytes. A collection may reserve memory for as many elements as this number
    /// says, and the count in the bytes may be wrong.
    #[inline]
    pub(super) fn hint(&self) -> Option<usize> {
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

/// The fields of a struct that is read by the written field names, and not by position.
struct Named<'p, 'd, 'de> {
    /// The field names that are not read yet, each with its length in front.
    names: &'de [u8],
    parts: &'p mut Parts<'d, 'de>,
}

impl<'de> de::MapAccess<'de> for &mut Named<'_, '_, 'de> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        if self.names.is_empty() {
            return Ok(None);
        }
        let name = take_text(&mut self.names)?;
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let read = self.parts.part(seed)?;
        read.ok_or_else(|| {
            self.parts
                .reader
                .fail("more fields are read than were written")
        })
    }
}
