//! The driver of the fuzz target `codec`: decodes any bytes as values of several types, and
//! encodes and decodes any values.
//!
//! The driver encodes and decodes each value that it has made or decoded, and panics if it
//! gets another value. The fuzzer also reports a panic of the codec, a decoding that does
//! not end, and a decoding that takes too much memory.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec::{decode, encode};
use crate::process::fuzz_input::Input;

/// The largest number of levels of nesting in the values that the driver makes, except
/// for a [`Link`].
const DEPTH: u32 = 5;

/// A type whose values the driver can make from any bytes.
trait Made: Sized {
    fn make(input: &mut Input<'_>, depth: u32) -> Self;
}

/// Returns the length of a text or list. Most lengths are below `most`. Some lengths are
/// larger, so that the encoding of such a length may have two bytes.
fn length(input: &mut Input<'_>, most: usize) -> usize {
    match input.byte() {
        long @ 240.. => usize::from(input.byte()) + usize::from(long - 240),
        short => usize::from(short) % most,
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Made for $number {
            fn make(input: &mut Input<'_>, _: u32) -> Self {
                match input.byte() % 4 {
                    0 => Self::from_le_bytes(input.number()),
                    1 => Self::MAX,
                    2 => Self::MIN,
                    _ => input.byte() as Self,
                }
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

impl Made for () {
    fn make(_: &mut Input<'_>, _: u32) -> Self {}
}

impl Made for bool {
    fn make(input: &mut Input<'_>, _: u32) -> Self {
        input.byte() % 2 == 0
    }
}

impl Made for char {
    fn make(input: &mut Input<'_>, _: u32) -> Self {
        Self::from_u32(u32::from_le_bytes(input.number()) >> 11).unwrap_or('\u{fffd}')
    }
}

impl Made for String {
    fn make(input: &mut Input<'_>, depth: u32) -> Self {
        let length = length(input, 16);
        (0..length).map(|_| char::make(input, depth)).collect()
    }
}

impl<T: Made> Made for Option<T> {
    fn make(input: &mut Input<'_>, depth: u32) -> Self {
        (depth > 0 && input.byte() % 3 > 0).then(|| T::make(input, depth - 1))
    }
}

impl<T: Made> Made for Box<T> {
    fn make(input: &mut Input<'_>, depth: u32) -> Self {
        Self::new(T::make(input, depth))
    }
}

macro_rules! collections {
    ($($collection:ident)*) => {$(
        impl<T: Made> Made for $collection<T> {
            fn make(input: &mut Input<'_>, depth: u32) -> Self {
                let length = length(input, if depth == 0 { 1 } else { 6 });
                (0..length).map(|_| T::make(input, depth.saturating_sub(1))).collect()
            }
        }
    )*};
}

collections! { Vec VecDeque }

macro_rules! tuples {
    ($(($($part:ident)*))*) => {$(
        impl<$($part: Made),*> Made for ($($part,)*) {
            fn make(input: &mut Input<'_>, depth: u32) -> Self {
                ($($part::make(input, depth),)*)
            }
        }
    )*};
}

tuples! { (A B) (A B C) (A B C D) (A B C D E) }

macro_rules! structs {
    ($($(#[$attribute:meta])* struct $name:ident {
        $($(#[$of_field:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        struct $name { $($(#[$of_field])* $field: $type,)* }

        impl Made for $name {
            fn make(input: &mut Input<'_>, depth: u32) -> Self {
                Self { $($field: Made::make(input, depth),)* }
            }
        }
    )*};
}

structs! {
    struct Numbers {
        signed: (i8, i16, i32, i64, i128),
        unsigned: (u8, u16, u32, u64),
        large: (u128, usize, isize),
        real: (f32, f64),
        vectors: (Vec<u8>, Vec<u16>, Vec<i128>, Vec<f32>),
        others: (Vec<bool>, Vec<char>, Vec<()>, VecDeque<u16>),
        options: (Vec<Option<u8>>, Option<Option<()>>),
    }
    struct Nested {
        numbers: Vec<f64>,
        text: String,
        shape: Shape,
        shapes: Vec<Shape>,
        inner: Option<Box<Nested>>,
    }
    #[serde(default)]
    struct Lenient {
        #[serde(alias = "first")]
        one: Option<String>,
        two: Option<u32>,
        three: Single,
    }
    struct Single {
        only: (),
    }
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
enum Shape {
    #[default]
    Point,
    Line(Vec<f64>),
    Box(u8, String),
    Circle {
        radius: f32,
        centre: (i16, i16),
    },
    Group(Vec<Shape>),
    Named(BTreeMap<String, Shape>),
}

impl Made for Shape {
    fn make(input: &mut Input<'_>, depth: u32) -> Self {
        match input.byte() % 6 {
            1 => Self::Line(Made::make(input, depth)),
            2 => Self::Box(Made::make(input, depth), Made::make(input, depth)),
            3 => Self::Circle {
                radius: Made::make(input, depth),
                centre: Made::make(input, depth),
            },
            4 if depth > 0 => Self::Group(Made::make(input, depth - 1)),
            5 if depth > 0 => {
                let parts: Vec<(String, Self)> = Made::make(input, depth - 1);
                Self::Named(parts.into_iter().collect())
            }
            _ => Self::Point,
        }
    }
}

/// A linked list, in which each element contains the next element.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Link(u8, Option<Box<Link>>);

impl Made for Link {
    fn make(input: &mut Input<'_>, _: u32) -> Self {
        let mut link = Self(input.byte(), None);
        for _ in 0..input.byte() {
            link = Self(input.byte(), Some(Box::new(link)));
        }
        link
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).expect("a value without foreign code");
    out
}

/// Decodes bytes. If the bytes hold a value, checks that this value stays the same when it
/// is encoded and decoded.
fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        round::<T>(&value);
    }
}

/// Encodes a value, decodes it, and encodes it again. Compares the two encodings and not
/// the values, because a NaN is not equal to itself.
fn round<T: Serialize + DeserializeOwned>(value: &T) -> Vec<u8> {
    let bytes = encoded(value);
    let again = decode::<T>(&bytes).expect("what was encoded can be decoded");
    assert!(encoded(&again) == bytes, "another value has arrived");
    bytes
}

/// Does the same as [`read`] for hash maps and hash sets. Compares the values and not the
/// encodings, because these collections do not write their elements in the same order each
/// time.
fn read_unordered<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(decode(&encoded(&value)).as_ref(), Ok(&value));
    }
}

fn read_all(bytes: &[u8]) {
    read::<Numbers>(bytes);
    read::<Nested>(bytes);
    read::<Lenient>(bytes);
    read::<Shape>(bytes);
    read::<Link>(bytes);
    read::<Vec<f64>>(bytes);
    read::<Vec<u8>>(bytes);
    read::<Vec<()>>(bytes);
    read::<Vec<Option<u64>>>(bytes);
    read::<Vec<Vec<u16>>>(bytes);
    read::<VecDeque<bool>>(bytes);
    read::<String>(bytes);
    read::<(char, u128, [i32; 3])>(bytes);
    read::<BTreeMap<u8, Vec<String>>>(bytes);
    read_unordered::<HashMap<String, Option<u32>>>(bytes);
    read_unordered::<HashSet<i64>>(bytes);
}

/// Makes a value, encodes it, and decodes the bytes. Then changes some of the bytes, and
/// decodes them again, also as values of other types.
fn change<T: Made + Serialize + DeserializeOwned>(input: &mut Input<'_>) {
    let mut bytes = round(&T::make(input, DEPTH));
    for _ in 0..input.byte() % 4 {
        let at = input.index(bytes.len());
        let with = input.byte();
        match input.byte() % 4 {
            0 => bytes[at] = with,
            1 => bytes[at] ^= 1 << (with % 8),
            2 => bytes.truncate(at.max(1)),
            _ => bytes.insert(at, with),
        }
    }
    read::<T>(&bytes);
    read_all(&bytes);
}

pub(crate) fn drive(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 8 {
        0 => change::<Numbers>(&mut input),
        1 => change::<Nested>(&mut input),
        2 => change::<Lenient>(&mut input),
        3 => change::<Link>(&mut input),
        4 => change::<(Shape, Vec<Vec<u16>>, Vec<Option<u64>>)>(&mut input),
        _ => read_all(input.rest()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_make_the_decoding_panic_and_each_value_arrives() {
        crate::process::fuzz_input::run_with_fixed_inputs(super::drive, 500, 300);
    }
}
