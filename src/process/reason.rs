//! What a value's own serde code says when it fails.
//!
//! `Serialize` and `Deserialize` make their errors by `Error::custom(message)`,
//! and `postcard`'s drops the message. So values are not handed `postcard`'s
//! serializer but [`Noting`] around it, whose errors are [`Said`]: the same ones,
//! which leave their message in a cell of the thread on the way. What the format
//! lets the value's code write and read (elements, fields, variants) is wrapped
//! once more by [`Inner`], so that the code inside meets [`Noting`] again.
//!
//! Nothing is added to a value that does not fail: the wrappers are as large as
//! what they wrap, and calls through them are inlined.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde::de::{self, DeserializeSeed, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};

thread_local! {
    /// The latest message on this thread.
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The reason behind what `postcard` returned for a value behind [`Noting`].
pub(super) fn reason_of(error: &postcard::Error) -> String {
    use postcard::Error::{
        DeserializeUnexpectedEnd, SerdeDeCustom, SerdeSerCustom, SerializeSeqLengthUnknown,
        WontImplement,
    };
    let text = match error {
        SerdeSerCustom | SerdeDeCustom => {
            let message = MESSAGE.try_with(RefCell::take).unwrap_or(None);
            return message.unwrap_or_else(|| error.to_string());
        }
        WontImplement => {
            "it must be told what comes (`untagged`, `flatten` and tagged enums, \
             `serde_json::Value`), which the bytes do not say; send it as text, or as a type that \
             has one form"
        }
        SerializeSeqLengthUnknown => {
            "it does not say how many elements or fields come (`flatten`); collect them first"
        }
        DeserializeUnexpectedEnd => {
            "the bytes end early; its `Deserialize` reads more than its `Serialize` wrote \
             (`skip_serializing_if`)"
        }
        error => return error.to_string(),
    };
    text.to_owned()
}

/// An error that has left its message.
#[derive(Debug)]
pub(super) struct Said<E>(E);

impl<E> Said<E> {
    pub(super) fn into_inner(self) -> E {
        self.0
    }
}

fn note(message: &impl Display) {
    // Made before the cell is borrowed: it is the user's code.
    let message = message.to_string();
    let _ = MESSAGE.try_with(|cell| cell.replace(Some(message)));
}

impl<E: ser::Error> ser::Error for Said<E> {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        note(&message);
        Self(E::custom(message))
    }
}

impl<E: de::Error> de::Error for Said<E> {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        note(&message);
        Self(E::custom(message))
    }
}

/// For code that puts one error's words into another's.
impl<E: Display> Display for Said<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = MESSAGE.try_with(|cell| cell.borrow().clone());
        match message {
            Ok(Some(message)) => f.write_str(&message),
            _ => self.0.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for Said<E> {}

/// A serializer or deserializer, or what it hands out, whose errors are [`Said`].
#[derive(Debug)]
pub(super) struct Noting<T>(pub(super) T);

/// A value, visitor or seed that meets [`Noting`] inside.
struct Inner<T>(T);

impl<T: Serialize + ?Sized> Serialize for Inner<&T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = self.0.serialize(Noting(serializer));
        written.map_err(Said::into_inner)
    }
}

/// Methods of [`Serializer`] that take a plain value, or names.
macro_rules! serialize {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self $(, $name: $type)*) -> Result<Self::Ok, Self::Error> {
            self.0.$method($($name),*).map_err(Said)
        }
    )*};
}

/// Those that begin something of several parts.
macro_rules! serialize_parts {
    ($($method:ident($($name:ident: $type:ty),*) -> $parts:ident;)*) => {$(
        #[inline]
        fn $method(self $(, $name: $type)*) -> Result<Self::$parts, Self::Error> {
            self.0.$method($($name),*).map(Noting).map_err(Said)
        }
    )*};
}

impl<S: Serializer> Serializer for Noting<S> {
    type Ok = S::Ok;
    type Error = Said<S::Error>;
    type SerializeSeq = Noting<S::SerializeSeq>;
    type SerializeTuple = Noting<S::SerializeTuple>;
    type SerializeTupleStruct = Noting<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Noting<S::SerializeTupleVariant>;
    type SerializeMap = Noting<S::SerializeMap>;
    type SerializeStruct = Noting<S::SerializeStruct>;
    type SerializeStructVariant = Noting<S::SerializeStructVariant>;

    serialize! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_f32(v: f32);
        serialize_f64(v: f64);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    serialize_parts! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant;
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.serialize_some(&Inner(value)).map_err(Said)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        let written = self.0.serialize_newtype_struct(name, &Inner(value));
        written.map_err(Said)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        let value = Inner(value);
        let written = self
            .0
            .serialize_newtype_variant(name, index, variant, &value);
        written.map_err(Said)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.collect_str(value).map_err(Said)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The traits of several parts: what they take, and how they end.
macro_rules! parts {
    ($($trait:ident { $($method:ident($($key:ident: $type:ty)?);)* })*) => {$(
        impl<S: ser::$trait> ser::$trait for Noting<S> {
            type Ok = S::Ok;
            type Error = Said<S::Error>;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $($key: $type,)?
                    value: &T,
                ) -> Result<(), Self::Error> {
                    self.0.$method($($key,)? &Inner(value)).map_err(Said)
                }
            )*

            #[inline]
            fn end(self) -> Result<S::Ok, Self::Error> {
                self.0.end().map_err(Said)
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
    SerializeStruct { serialize_field(key: &'static str); }
    SerializeStructVariant { serialize_field(key: &'static str); }
}

/// Methods of [`Deserializer`], which all take a visitor at last.
macro_rules! deserialize {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.$method($($name,)* Inner(visitor)).map_err(Said)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Noting<D> {
    type Error = Said<D::Error>;

    deserialize! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Methods of [`Visitor`] that take a plain value.
macro_rules! visit {
    ($($method:ident($($type:ty)?);)*) => {$(
        #[inline]
        fn $method<E: de::Error>(self $(, value: $type)?) -> Result<V::Value, E> {
            // The type only names the argument that is handed on.
            self.0.$method::<Said<E>>($(visit!(@value value $type))?).map_err(Said::into_inner)
        }
    )*};
    (@value $value:ident $type:ty) => { $value };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inner<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
        visit_none();
        visit_unit();
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Noting(inner)).map_err(Said::into_inner)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let read = self.0.visit_newtype_struct(Noting(inner));
        read.map_err(Said::into_inner)
    }

    #[inline]
    fn visit_seq<A: de::SeqAccess<'de>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Noting(parts)).map_err(Said::into_inner)
    }

    #[inline]
    fn visit_map<A: de::MapAccess<'de>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Noting(parts)).map_err(Said::into_inner)
    }

    #[inline]
    fn visit_enum<A: de::EnumAccess<'de>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Noting(parts)).map_err(Said::into_inner)
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Inner<T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(Noting(inner)).map_err(Said::into_inner)
    }
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Noting<A> {
    type Error = Said<A::Error>;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        self.0.next_element_seed(Inner(seed)).map_err(Said)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Noting<A> {
    type Error = Said<A::Error>;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        self.0.next_key_seed(Inner(seed)).map_err(Said)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        self.0.next_value_seed(Inner(seed)).map_err(Said)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Noting<A> {
    type Error = Said<A::Error>;
    type Variant = Noting<A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), Self::Error> {
        let (value, variant) = self.0.variant_seed(Inner(seed)).map_err(Said)?;
        Ok((value, Noting(variant)))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Noting<A> {
    type Error = Said<A::Error>;

    #[inline]
    fn unit_variant(self) -> Result<(), Self::Error> {
        self.0.unit_variant().map_err(Said)
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        self.0.newtype_variant_seed(Inner(seed)).map_err(Said)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.tuple_variant(len, Inner(visitor)).map_err(Said)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = Inner(visitor);
        self.0.struct_variant(fields, visitor).map_err(Said)
    }
}
