//! The serializer: writes a tag and bytes for each call that a `Serialize` makes.

use std::fmt::{Display, Write};

use serde::ser::{Serialize, Serializer};

use super::output::{Writer, put_length};
use super::refusal::Refusal;
use super::serialize_compound::{Fields, Parts};
use super::tag;

/// Methods that write a number as a tag and the bytes of the number.
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

    #[inline]
    fn serialize_seq(self, count: Option<usize>) -> Result<Parts<'e, 'a>, Refusal> {
        self.parts(tag::SEQ, count)
    }

    #[inline]
    fn serialize_tuple(self, count: usize) -> Result<Parts<'e, 'a>, Refusal> {
        self.parts(tag::SEQ, Some(count))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        count: usize,
    ) -> Result<Parts<'e, 'a>, Refusal> {
        self.parts(tag::SEQ, Some(count))
    }

    #[inline]
    fn serialize_map(self, count: Option<usize>) -> Result<Parts<'e, 'a>, Refusal> {
        let mut parts = self.parts(tag::MAP, count)?;
        // `left` counts keys and values, so a map of `n` entries has `2 * n` parts.
        parts.left = parts.left.saturating_mul(2);
        Ok(parts)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, count: usize) -> Result<Fields<'e, 'a>, Refusal> {
        Ok(self.fields(tag::STRUCT, name, count))
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Refusal> {
        self.variant(tag::UNIT_VARIANT, variant)
    }

    #[inline]
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

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Parts<'e, 'a>, Refusal> {
        self.variant(tag::TUPLE_VARIANT, variant)?;
        put_length(self.out, count);
        Ok(Parts::new(self, count))
    }

    #[inline]
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
        // `to_string` panics if the `Display` returns an error.
        let mut text = String::new();
        write!(text, "{value}").map_err(|_| Refusal::new("its `Display` returns an error"))?;
        self.serialize_str(&text)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
