//! [`Reader`]: the deserializer that values are handed, around `postcard`'s.
//!
//! It reads what `write.rs` writes. The bytes come from another process: each
//! length is checked against what is there, and nothing is allocated for what a
//! length claims.

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, Visitor,
};

use super::block::{Form, MARK, Number, ReadNumbers, Width, numbers_of, read_vector};
use super::refusal::{Refusal, USE_JSON};
use super::shape::{BYTES, Kind, Shape, VariantName};

pub(super) struct Reader<'de> {
    rest: &'de [u8],
    shape: Shape,
}

impl<'de> Reader<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            shape: Shape::default(),
        }
    }

    /// Reads a value that may be a block.
    #[inline]
    pub(super) fn read<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        match read_vector::<S, Self>(self) {
            Some(vector) => vector,
            None => seed.deserialize(self),
        }
    }

    /// Compares the digests.
    ///
    /// # Errors
    ///
    /// Something else was written than was read.
    pub(super) fn finish(mut self) -> Result<(), Refusal> {
        let mut agrees = true;
        if !self.shape.is_empty() {
            let mut written = [0; BYTES];
            written.copy_from_slice(self.take(BYTES)?);
            agrees = self.shape.agrees_with(written);
        }
        match self.rest.len() {
            0 if agrees => Ok(()),
            0 => Err(Refusal::new(format!(
                "its `Deserialize` reads other fields than its `Serialize` wrote \
                 (`skip_serializing`, `skip_deserializing`, `rename`); {USE_JSON}"
            ))),
            left => Err(Refusal::new(format!(
                "{left} bytes are left over: its `Deserialize` reads less than its `Serialize` \
                 wrote (`skip_deserializing`); {USE_JSON}"
            ))),
        }
    }

    /// Reads what `postcard` has a form for.
    #[inline]
    fn get<T: Deserialize<'de>>(&mut self) -> Result<T, Refusal> {
        let (value, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], Refusal> {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            return Err(postcard::Error::DeserializeUnexpectedEnd.into());
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'de [u8], Refusal> {
        self.shape.fold(Kind::List);
        let count = self.get()?;
        self.take(count)
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, Refusal> {
        std::str::from_utf8(self.bytes()?).map_err(Refusal::custom)
    }

    /// What follows a [`MARK`]: the width of the numbers, and their bytes.
    fn marked(&mut self) -> Result<(Width, &'de [u8]), Refusal> {
        let width = Width::from_byte(self.get()?);
        let width = width.ok_or_else(|| Refusal::new("a block has no known width"))?;
        let count: usize = self.get()?;
        let bytes = count.checked_mul(width.size());
        Ok((width, self.take(bytes.unwrap_or(usize::MAX))?))
    }

    /// Hands `visitor` so many elements.
    #[inline]
    fn parts<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Refusal> {
        let mut parts = Parts { reader: self, left };
        let value = visitor.visit_seq(&mut parts)?;
        match parts.left {
            0 => Ok(value),
            left => Err(too_many(left)),
        }
    }

    /// Hands `visitor` the fields that it may ask for.
    #[inline]
    fn fields<V: Visitor<'de>>(&mut self, names: &[&str], visitor: V) -> Result<V::Value, Refusal> {
        let left = names.len();
        let mut parts = Parts { reader: self, left };
        let value = visitor.visit_seq(&mut parts)?;
        let read = left - parts.left;
        self.shape.add_read(read, names);
        Ok(value)
    }
}

#[cold]
fn too_many(left: usize) -> Refusal {
    Refusal::new(format!(
        "its `Deserialize` leaves {left} of the elements that its `Serialize` wrote"
    ))
}

impl ReadNumbers for Reader<'_> {
    type Error = Refusal;

    fn read_numbers<N: Number>(&mut self) -> Result<Vec<N>, Refusal> {
        self.shape.fold(Kind::List);
        let count: usize = self.get()?;
        let bytes = match N::FORM {
            Form::Plain => {
                let bytes = count.checked_mul(size_of::<N>());
                self.take(bytes.unwrap_or(usize::MAX))?
            }
            Form::Marked(width) if count == MARK => {
                let (written, bytes) = self.marked()?;
                if written != width {
                    return Err(Refusal::new("a block holds other numbers"));
                }
                bytes
            }
            // Too few for a block, or written by a type that hid what it is.
            Form::Marked(_) => {
                let mut parts = Parts {
                    reader: self,
                    left: count,
                };
                let mut numbers = Vec::new();
                while let Some(number) = de::SeqAccess::next_element(&mut parts)? {
                    numbers.push(number);
                }
                return Ok(numbers);
            }
        };
        Ok(numbers_of(bytes))
    }
}

/// Methods of [`Deserializer`] for what `postcard` reads as it is.
macro_rules! plain {
    ($($method:ident($visit:ident);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            visitor.$visit(self.get()?)
        }
    )*};
}

/// Those that ask what comes.
macro_rules! unknown {
    ($($method:ident;)*) => {$(
        #[cold]
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Refusal> {
            Err(Refusal::asks_what_comes())
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Refusal;

    plain! {
        deserialize_bool(visit_bool);
        deserialize_i8(visit_i8);
        deserialize_i16(visit_i16);
        deserialize_i32(visit_i32);
        deserialize_i64(visit_i64);
        deserialize_i128(visit_i128);
        deserialize_u8(visit_u8);
        deserialize_u16(visit_u16);
        deserialize_u32(visit_u32);
        deserialize_u64(visit_u64);
        deserialize_u128(visit_u128);
        deserialize_f32(visit_f32);
        deserialize_f64(visit_f64);
    }

    unknown! {
        deserialize_any;
        deserialize_identifier;
        deserialize_ignored_any;
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let mut chars = self.text()?.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) => visitor.visit_char(one),
            _ => Err(Refusal::new("a character is not one character")),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.shape.fold(Kind::Option);
        match self.get()? {
            0_u8 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(Refusal::new("an option is neither there nor not")),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.shape.fold(Kind::List);
        let count = self.get()?;
        if count != MARK {
            return self.parts(count, visitor);
        }
        let (width, bytes) = self.marked()?;
        let mut numbers = MarkedNumbers { width, bytes };
        let value = visitor.visit_seq(&mut numbers)?;
        match numbers.left() {
            0 => Ok(value),
            left => Err(too_many(left)),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.shape.fold_parts(Kind::Tuple, len);
        self.parts(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.shape.fold(Kind::List);
        let left = self.get()?;
        let mut parts = Parts { reader: self, left };
        let value = visitor.visit_map(&mut parts)?;
        match parts.left {
            0 => Ok(value),
            left => Err(too_many(left)),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.shape.fold(Kind::Struct);
        self.fields(fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_enum(Variant {
            reader: self,
            variants,
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// So many elements, keys or fields.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.reader.read(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        self.reader.read(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A block for a visitor that takes numbers one by one.
struct MarkedNumbers<'de> {
    width: Width,
    bytes: &'de [u8],
}

impl MarkedNumbers<'_> {
    fn left(&self) -> usize {
        self.bytes.len() / self.width.size()
    }
}

impl<'de> de::SeqAccess<'de> for MarkedNumbers<'de> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        let Some((number, rest)) = self.bytes.split_at_checked(self.width.size()) else {
            return Ok(None);
        };
        self.bytes = rest;
        let is_negative = self.width.is_signed() && number.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = [if is_negative { 0xff } else { 0 }; 16];
        wide[..number.len()].copy_from_slice(number);
        let wide = i128::from_le_bytes(wide);
        let number = match (self.width.is_signed(), self.width.size()) {
            (true, 16) => seed.deserialize(wide.into_deserializer()),
            (false, 16) => seed.deserialize((wide as u128).into_deserializer()),
            (true, _) => seed.deserialize((wide as i64).into_deserializer()),
            (false, _) => seed.deserialize((wide as u64).into_deserializer()),
        };
        number.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left())
    }
}

/// The variant of an enum, and what it holds.
struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
    variants: &'static [&'static str],
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Refusal;
    type Variant = Self;

    /// Names the variant to a type that counts its variants otherwise than the
    /// writer did, as one with `#[serde(skip)]` or an alias does.
    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refusal> {
        let written: u64 = self.reader.get()?;
        let (index, [hint, ..]) = (written >> 8, written.to_le_bytes());
        let index =
            u32::try_from(index).map_err(|_| Refusal::new("a variant has no such number"))?;
        let has_hint = |name: VariantName| name.hint() == hint;
        let at_index = self.variants.get(index as usize).copied();
        let value = if let Some(name) = at_index.map(VariantName::new).filter(|n| has_hint(*n)) {
            self.reader.shape.add_variant(name);
            let index: U32Deserializer<Refusal> = index.into_deserializer();
            seed.deserialize(index)?
        } else if let Some(name) = self.variants.iter().find(|n| has_hint(VariantName::new(n))) {
            self.reader.shape.add_variant(VariantName::new(name));
            let name: StrDeserializer<'_, Refusal> = (*name).into_deserializer();
            seed.deserialize(name)?
        } else {
            return Err(Refusal::new(format!(
                "its `Deserialize` does not know the variant number {index} that its \
                 `Serialize` wrote (`skip`, `rename`)"
            )));
        };
        Ok((value, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn unit_variant(self) -> Result<(), Refusal> {
        self.reader.shape.fold(Kind::UnitVariant);
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refusal> {
        self.reader.shape.fold(Kind::NewtypeVariant);
        self.reader.read(seed)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.reader.shape.fold_parts(Kind::TupleVariant, len);
        self.reader.parts(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.reader.shape.fold(Kind::StructVariant);
        self.reader.fields(fields, visitor)
    }
}
