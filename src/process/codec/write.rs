//! [`Writer`]: the serializer that values are handed, around `postcard`'s.
//!
//! It adds to `postcard`'s bytes what [`Shape`] and the blocks need, and is what
//! a value's own error comes through with its words.

use std::fmt::Display;

use postcard::ser_flavors::Flavor;
use serde::ser::{self, Error as _, Serialize, Serializer};

use super::block::{Block, Form, MARK, block_of};
use super::refusal::{Refusal, USE_JSON};
use super::shape::{Fields, Kind, Shape, VariantName};

pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    shape: Shape,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            shape: Shape::default(),
        }
    }

    /// Writes a value that may be a block.
    #[inline]
    pub(super) fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        match block_of(value) {
            Some(block) => self.write_block(&block),
            None => value.serialize(self),
        }
    }

    /// Appends the digest, if there is one.
    pub(super) fn finish(self) {
        if !self.shape.is_empty() {
            self.out.extend_from_slice(&self.shape.to_bytes());
        }
    }

    /// Writes what `postcard` has a form for.
    #[inline]
    fn put<T: Serialize + ?Sized>(&mut self, plain: &T) -> Result<(), Refusal> {
        let mut serializer = postcard::Serializer {
            output: Append(self.out),
        };
        Ok(plain.serialize(&mut serializer)?)
    }

    fn write_block(&mut self, block: &Block<'_>) -> Result<(), Refusal> {
        self.shape.fold(Kind::List);
        if let Form::Marked(width) = block.form {
            self.put(&MARK)?;
            self.put(&width.to_byte())?;
        }
        self.put(&block.count)?;
        self.out.extend_from_slice(block.bytes);
        Ok(())
    }

    /// Begins a list of so many elements.
    fn list(&mut self, len: Option<usize>) -> Result<usize, Refusal> {
        let len = len.ok_or(postcard::Error::SerializeSeqLengthUnknown)?;
        if len == MARK {
            return Err(Refusal::new("it is too long"));
        }
        self.shape.fold(Kind::List);
        self.put(&len)?;
        Ok(len)
    }

    /// Begins the value of a variant: its index, with a hint at its name below.
    #[inline]
    fn variant(&mut self, index: u32, name: &str) -> Result<(), Refusal> {
        let name = VariantName::new(name);
        self.shape.add_variant(name);
        self.put(&(u64::from(index) << 8 | u64::from(name.hint())))
    }
}

/// Methods of [`Serializer`] for what `postcard` writes as it is.
macro_rules! plain {
    ($($method:ident($type:ty);)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<(), Refusal> {
            self.put(&value)
        }
    )*};
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Parts<'w, 'a>;
    type SerializeTuple = Parts<'w, 'a>;
    type SerializeTupleStruct = Parts<'w, 'a>;
    type SerializeTupleVariant = Parts<'w, 'a>;
    type SerializeMap = Parts<'w, 'a>;
    type SerializeStruct = Named<'w, 'a>;
    type SerializeStructVariant = Named<'w, 'a>;

    plain! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Refusal> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Refusal> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refusal> {
        self.list(Some(value.len()))?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Refusal> {
        self.shape.fold(Kind::Option);
        self.put(&0_u8)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refusal> {
        self.shape.fold(Kind::Option);
        self.put(&1_u8)?;
        self.write(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Refusal> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refusal> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Refusal> {
        self.variant(index, variant)?;
        self.shape.fold(Kind::UnitVariant);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        self.write(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        self.variant(index, variant)?;
        self.shape.fold(Kind::NewtypeVariant);
        self.write(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'w, 'a>, Refusal> {
        let len = self.list(len)?;
        Ok(Parts::new(self, len))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Parts<'w, 'a>, Refusal> {
        self.shape.fold_parts(Kind::Tuple, len);
        Ok(Parts::new(self, len))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Parts<'w, 'a>, Refusal> {
        self.serialize_tuple(len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'w, 'a>, Refusal> {
        self.variant(index, variant)?;
        self.shape.fold_parts(Kind::TupleVariant, len);
        Ok(Parts::new(self, len))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'w, 'a>, Refusal> {
        self.serialize_seq(len)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Named<'w, 'a>, Refusal> {
        self.shape.fold(Kind::Struct);
        Ok(Named::new(self, name))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Named<'w, 'a>, Refusal> {
        self.variant(index, variant)?;
        self.shape.fold(Kind::StructVariant);
        Ok(Named::new(self, variant))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Refusal> {
        self.serialize_str(&value.to_string())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Parts without names, of which a certain number was announced.
pub(super) struct Parts<'w, 'a> {
    writer: &'w mut Writer<'a>,
    announced: usize,
    written: usize,
}

impl<'w, 'a> Parts<'w, 'a> {
    fn new(writer: &'w mut Writer<'a>, announced: usize) -> Self {
        Self {
            writer,
            announced,
            written: 0,
        }
    }

    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.written += 1;
        self.writer.write(value)
    }

    #[inline]
    fn finish(self) -> Result<(), Refusal> {
        if self.written == self.announced {
            return Ok(());
        }
        let (written, announced) = (self.written, self.announced);
        Err(Refusal::custom(format_args!(
            "its `Serialize` announced {announced} elements and wrote {written}"
        )))
    }
}

macro_rules! parts {
    ($($trait:ident($method:ident);)*) => {$(
        impl ser::$trait for Parts<'_, '_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.finish()
            }
        }
    )*};
}

parts! {
    SerializeSeq(serialize_element);
    SerializeTuple(serialize_element);
    SerializeTupleStruct(serialize_field);
    SerializeTupleVariant(serialize_field);
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Refusal;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.writer.write(value)
    }

    #[inline]
    fn end(self) -> Result<(), Refusal> {
        self.finish()
    }
}

/// Fields with names, of the struct or variant `of`.
pub(super) struct Named<'w, 'a> {
    writer: &'w mut Writer<'a>,
    of: &'static str,
    fields: Fields,
}

impl<'w, 'a> Named<'w, 'a> {
    fn new(writer: &'w mut Writer<'a>, of: &'static str) -> Self {
        Self {
            writer,
            of,
            fields: Fields::default(),
        }
    }
}

macro_rules! named {
    ($($trait:ident;)*) => {$(
        impl ser::$trait for Named<'_, '_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Refusal> {
                self.fields.add(key);
                self.writer.write(value)
            }

            #[cold]
            fn skip_field(&mut self, key: &'static str) -> Result<(), Refusal> {
                Err(Refusal::custom(format_args!(
                    "it leaves out the field `{key}` of `{}` (`skip_serializing_if`), and the \
                     bytes do not say so; {USE_JSON}",
                    self.of
                )))
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.writer.shape.add_fields(self.fields);
                Ok(())
            }
        }
    )*};
}

named! {
    SerializeStruct;
    SerializeStructVariant;
}

/// Where `postcard` writes to.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
