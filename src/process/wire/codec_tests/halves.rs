//! Tests of types whose `Serialize` and `Deserialize` do not fit together. A value must
//! arrive equal, or the codec must return an error.

#![expect(unreachable_patterns, reason = "each field has the same aliases")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use serde::de::DeserializeOwned;

/// Encodes `value`, and decodes the bytes as a `B`.
fn carried<A: Serialize, B: DeserializeOwned>(value: &A) -> Result<B, CodecFault> {
    decode(&bytes_of(value)?)
}

/// An order in the format of a web service. The service does not write absent values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    coupon: Option<u8>,
    urgent: u8,
    items: Vec<u8>,
    country: u8,
}

#[test]
fn a_field_that_is_left_out_is_an_error_that_names_it() {
    let mut order = Order {
        coupon: Some(1),
        urgent: 0,
        items: vec![1, 7],
        country: 5,
    };
    arrives(order.clone());
    order.coupon = None;
    let fault = carried::<_, Order>(&order).unwrap_err();
    assert!(fault.reason.contains("`coupon` of `Order`"), "{fault}");
    assert!(fault.reason.contains("`Json`"), "{fault}");
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Message {
        Say {
            #[serde(skip_serializing_if = "Option::is_none")]
            to: Option<u8>,
            volume: u8,
        },
    }
    let fault = bytes_of(&Message::Say {
        to: None,
        volume: 0,
    })
    .unwrap_err();
    assert!(fault.reason.contains("`to` of `Say`"), "{fault}");
    assert!(fault.reason.contains("`Json`"), "{fault}");
}

#[test]
fn a_field_that_only_one_half_knows_is_an_error_that_names_it() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        id: u8,
        #[serde(skip_serializing, default)]
        role: u8,
        name: Vec<u8>,
        age: u8,
    }
    let user = User {
        id: 1,
        role: 9,
        name: vec![1, 7],
        age: 5,
    };
    let fault = carried::<_, User>(&user).unwrap_err();
    assert!(fault.reason.contains("`role` of `User`"), "{fault}");
    assert!(fault.reason.contains("`Json`"), "{fault}");
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Swap {
        #[serde(skip_serializing, default)]
        into: u8,
        #[serde(skip_deserializing)]
        from: u8,
    }
    let fault = carried::<_, Swap>(&Swap { into: 1, from: 2 }).unwrap_err();
    assert!(fault.reason.contains("`from` of `Swap`"), "{fault}");
    assert!(fault.reason.contains("`into` of `Swap`"), "{fault}");
}

/// Calls the macro `$next` once for each attribute. The arguments of the call are the
/// attributes in `$so_far` and the new attribute.
macro_rules! each_attribute {
    ($next:ident $($so_far:tt)*) => {
        $next! { $($so_far)* [] }
        $next! { $($so_far)* [#[serde(skip_serializing, default)]] }
        $next! { $($so_far)* [#[serde(skip_deserializing)]] }
        $next! { $($so_far)* [#[serde(skip_serializing_if = "is_zero", default)]] }
        $next! { $($so_far)* [#[serde(alias = "aaa", alias = "z", default)]] }
        $next! { $($so_far)* [#[serde(rename(serialize = "other"), default)]] }
    };
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

macro_rules! second {
    ($first:tt) => {
        each_attribute! { third $first }
    };
}

macro_rules! third {
    ($first:tt $second:tt) => {
        check! { $first $second [] }
        check! { $first $second [#[serde(skip_serializing, default)]] }
        check! { $first $second [#[serde(skip_deserializing)]] }
    };
}

macro_rules! check {
    ([$($a:tt)*] [$($b:tt)*] [$($c:tt)*]) => {{
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct Three {
            $($a)* a: u8,
            $($b)* b: u8,
            $($c)* c: u8,
        }
        for [a, b, c] in [[1, 2, 3], [0, 1, 2], [1, 0, 2], [1, 2, 0], [0; 3]] {
            check_one(vec![Three { a, b, c }]);
            check_one(vec![Three { a, b, c }, Three { a: c, b: a, c: b }]);
        }
    }};
}

macro_rules! second_of_a_variant {
    ($first:tt) => {
        each_attribute! { check_fields_of_a_variant $first }
    };
}

macro_rules! check_fields_of_a_variant {
    ([$($a:tt)*] [$($b:tt)*]) => {{
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        enum Of {
            Two {
                $($a)* a: u8,
                $($b)* b: u8,
            },
        }
        for [a, b] in [[1, 2], [0, 1], [1, 0], [0; 2]] {
            check_one((Of::Two { a, b }, 7_u8));
        }
    }};
}

fn check_one<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    if let Ok(arrived) = carried::<T, T>(&value) {
        assert_eq!(arrived, value);
    }
}

/// The test gives two fields each pair of the attributes in `each_attribute`, which can
/// make the writer and the reader of a struct differ. A third field is written and read, or
/// only written, or only read. With more fields, the test would compile too slowly.
#[test]
fn whatever_is_skipped_a_struct_arrives_equal_or_is_an_error() {
    each_attribute! { second }
}

/// The test gives the two fields of an enum's variant each pair of the attributes in
/// `each_attribute`, which can make the writer and the reader of a variant differ.
#[test]
fn whatever_is_skipped_a_variant_arrives_equal_or_is_an_error() {
    each_attribute! { second_of_a_variant }
}

macro_rules! each_variant_attribute {
    ($next:ident $($so_far:tt)*) => {
        $next! { $($so_far)* [] }
        $next! { $($so_far)* [#[serde(skip)]] }
        $next! { $($so_far)* [#[serde(skip_serializing)]] }
        $next! { $($so_far)* [#[serde(skip_deserializing)]] }
        $next! { $($so_far)* [#[serde(alias = "aaa", alias = "z")]] }
        $next! { $($so_far)* [#[serde(rename(deserialize = "Other"))]] }
    };
}

macro_rules! second_variant {
    ($first:tt) => {
        each_variant_attribute! { check_variants $first }
    };
}

macro_rules! check_variants {
    ([$($a:tt)*] [$($b:tt)*]) => {{
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Unit { $($a)* A, $($b)* B, C }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Full { $($a)* A(u8), $($b)* B(u8, u8), C { c: u8 } }
        check_one(vec![Unit::A, Unit::A]);
        check_one([Unit::B, Unit::C]);
        arrives(Unit::C);
        check_one(Full::A(1));
        check_one(Full::B(1, 2));
        arrives(Full::C { c: 1 });
    }};
}

#[test]
fn whatever_is_skipped_an_enum_arrives_equal_or_is_an_error() {
    each_variant_attribute! { second_variant }
}

#[test]
fn other_names_of_fields_and_fields_of_neither_half_arrive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Named {
        #[serde(alias = "a", alias = "zz")]
        host: String,
        #[serde(rename = "type", alias = "kind")]
        kind: u8,
        #[serde(skip)]
        cache: u8,
        #[serde(default)]
        port: Option<u16>,
    }
    let named = |port| Named {
        host: "h".to_owned(),
        kind: 2,
        cache: 0,
        port,
    };
    arrives(vec![named(None), named(Some(3))]);
    /// serde reads a `Checked` through an `Unchecked`, which is a struct with another name.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(try_from = "Unchecked")]
    struct Checked {
        n: u8,
    }
    #[derive(Deserialize)]
    struct Unchecked {
        n: u8,
    }
    impl TryFrom<Unchecked> for Checked {
        type Error = String;
        fn try_from(Unchecked { n }: Unchecked) -> Result<Self, String> {
            if n < 9 {
                Ok(Self { n })
            } else {
                Err("too big".to_owned())
            }
        }
    }
    arrives(Checked { n: 3 });
    let fault = carried::<_, Checked>(&Checked { n: 9 }).unwrap_err();
    assert_eq!(fault.reason, "too big");
}

#[test]
fn the_types_of_std_arrive() {
    arrives(());
    arrives([(); 3]);
    arrives(vec![(), ()]);
    arrives(Some(Some(None::<u8>)));
    arrives(Some(()));
    arrives((
        1_u8,
        -1_i8,
        'ß',
        true,
        1.5_f32,
        f64::MIN,
        u128::MAX,
        i128::MIN,
    ));
    arrives((
        usize::MAX,
        isize::MIN,
        u16::MAX,
        i16::MIN,
        u32::MAX,
        i32::MIN,
    ));
    arrives(Duration::new(5, 6));
    arrives(SystemTime::UNIX_EPOCH + Duration::new(5, 6));
    arrives(["::1", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    arrives::<SocketAddr>("[::1]:80".parse().unwrap());
    arrives((1..3, 1..=3, Bound::Included(1), Bound::<u8>::Unbounded));
    arrives(PathBuf::from("/a/b"));
    arrives(std::ffi::OsString::from("os"));
    arrives(c"text".to_owned());
    arrives(Cow::<'static, str>::Borrowed("cow"));
    arrives(PhantomData::<u8>);
    arrives((std::num::Wrapping(7_u16), std::num::NonZeroU32::MIN));
    arrives(std::cmp::Reverse(7_u16));
    arrives(std::cell::Cell::new(7));
    arrives([Ok(vec![1_u8]), Err("no".to_owned())]);
    arrives(HashMap::from([(1_u8, "a".to_owned()), (2, "b".to_owned())]));
    arrives(BTreeMap::from([(vec![1_u8], 'a'), (vec![], 'b')]));
    arrives(VecDeque::from([1_u32, 2, 3]));
    arrives(BTreeSet::from([1_u64, 2, 3]));
    arrives([vec![1_i32; 4], vec![]].map(Vec::into_boxed_slice));
    arrives([[1.0_f32; 3]; 3]);
    arrives(Box::<str>::from("boxed"));
    assert!(carried::<_, f64>(&f64::NAN).unwrap().is_nan());
}

/// The test writes a value of one type and reads it as another type. The decoder must
/// accept only the pairs of types that `deserializer.rs` lists.
#[test]
fn what_is_the_same_by_another_name_is_read() {
    assert_eq!(carried(&7_u8), Ok(7_u64));
    assert_eq!(carried(&7_i64), Ok(7_u8));
    assert!(carried::<_, u8>(&256_u32).is_err());
    assert_eq!(carried(&1.5_f32), Ok(1.5_f64));
    assert!(carried::<_, f32>(&0.1_f64).is_err());
    assert!(carried::<_, f64>(&7_u64).is_err());
    assert_eq!(carried(&'x'), Ok("x".to_owned()));
    assert_eq!(carried(&"x"), Ok('x'));
    assert_eq!(carried(&(1_u8, 2_u8)), Ok(vec![1_u8, 2]));
    assert_eq!(carried(&vec![1_u8, 2]), Ok((1_u8, 2_u8)));
    assert_eq!(carried(&vec![1_u8, 2]), Ok(VecDeque::from([1_u8, 2])));
    assert_eq!(carried(&vec![1_u8, 2]), Ok(BTreeSet::from([1_u16, 2])));
    assert_eq!(carried(&vec![1_u8, 2]), Ok([1_u8, 2]));
    assert_eq!(carried(&[1_u8, 2]), Ok(vec![1_u8, 2].into_boxed_slice()));
    assert!(carried::<_, [u8; 3]>(&vec![1_u8, 2]).is_err());
    assert!(carried::<_, (u8,)>(&vec![1_u8, 2]).is_err());
    assert!(carried::<_, Vec<()>>(&vec![1_u8, 2]).is_err());
    assert!(carried::<_, u8>(&Some(1_u8)).is_err());
    assert!(carried::<_, Option<u8>>(&1_u8).is_err());
    assert!(carried::<_, BTreeMap<String, u8>>(&Duration::ZERO).is_err());
    assert!(carried::<_, Duration>(&BTreeMap::from([("secs", 1), ("nanos", 2)])).is_err());
}

/// A `Deserialize` that was written by hand ignores the error of a part of its value. The
/// decoder must still return an error, because the meaning of the bytes after the part is
/// unknown.
#[test]
fn an_error_that_is_passed_over_is_an_error() {
    #[derive(Debug, PartialEq)]
    struct Lenient(Option<(u8, bool)>, u8);
    impl Serialize for Lenient {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            ((1_u8, 2_u8), self.1).serialize(serializer)
        }
    }
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            struct Inner(
                #[serde(deserialize_with = "lenient")] Option<(u8, bool)>,
                u8,
            );
            fn lenient<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<(u8, bool)>, D::Error> {
                Ok(<(u8, bool)>::deserialize(deserializer).ok())
            }
            Inner::deserialize(deserializer).map(|inner| Self(inner.0, inner.1))
        }
    }
    assert!(carried::<_, Lenient>(&Lenient(None, 3)).is_err());
}

#[test]
fn a_count_that_is_wrong_is_an_error() {
    struct Liar(usize);
    impl Serialize for Liar {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut parts = serializer.serialize_seq(Some(2))?;
            for n in 0..self.0 {
                parts.serialize_element(&n)?;
            }
            parts.end()
        }
    }
    for count in 0..4 {
        assert_eq!(bytes_of(&Liar(count)).is_ok(), count == 2);
    }
    let fault = bytes_of(&Liar(0)).unwrap_err();
    assert!(fault.reason.contains("2 elements fewer"), "{fault}");
}

/// serde would read an unknown variant name as the variant with the attribute `other`. The
/// decoder must return an error instead.
#[test]
fn a_variant_that_only_the_writer_knows_is_not_another_one() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Other {
        A,
        #[serde(skip_deserializing)]
        B,
        #[serde(rename(serialize = "see"))]
        C,
        #[serde(rename = "d", alias = "e")]
        D,
        #[serde(other)]
        Unknown,
    }
    for lost in [Other::B, Other::C] {
        let fault = carried::<_, Other>(&lost).unwrap_err();
        let name =
            fault.reason.contains("`B` of `Other`") || fault.reason.contains("`see` of `Other`");
        assert!(name, "{fault}");
    }
    arrives([Other::A, Other::D, Other::Unknown]);
}

#[test]
fn variants_of_one_name_are_not_taken_for_each_other() {
    #[expect(unreachable_patterns, reason = "as serde's derive says of such names")]
    mod twice {
        use super::*;

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        pub(super) enum Twice {
            #[serde(rename = "x")]
            A,
            #[serde(rename = "x")]
            B(u8),
            #[serde(rename = "x")]
            C,
            #[serde(alias = "E")]
            D,
            E,
            F,
        }
    }
    use twice::Twice;
    for (value, name) in [(Twice::A, "`x`"), (Twice::C, "`x`"), (Twice::E, "`E`")] {
        let fault = carried::<_, Twice>(&value).unwrap_err();
        assert!(
            fault.reason.contains(&format!("{name} of `Twice`")),
            "{fault}"
        );
    }
    arrives([Twice::D, Twice::F]);
}

/// The first struct in the list writes all its announced fields, and the second struct
/// writes fewer fields than it announces. The decoder must return an error for the second
/// struct.
#[test]
fn a_struct_that_has_fewer_fields_the_second_time_is_not_read_as_the_first() {
    struct Shrinking(usize);
    impl Serialize for Shrinking {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut fields = serializer.serialize_struct("Shrinking", 2)?;
            for name in ["a", "b"].iter().take(self.0) {
                fields.serialize_field(name, &7_u8)?;
            }
            fields.end()
        }
    }
    #[derive(Debug, Deserialize)]
    #[serde(rename = "Shrinking")]
    struct Whole {
        #[expect(dead_code, reason = "it is only read")]
        a: u8,
        #[expect(dead_code, reason = "it is only read")]
        b: u8,
    }
    let twice = [Shrinking(2), Shrinking(1)];
    let fault = carried::<_, Vec<Whole>>(&twice).unwrap_err();
    let words = "`b` of `Shrinking` is read but was not written";
    assert!(fault.reason.contains(words), "{fault}");
    assert!(carried::<_, Vec<Whole>>(&[Shrinking(2), Shrinking(2)]).is_ok());
}

/// `Nothing` does not read its number of the vector, so without an error the last byte of
/// the vector would become the tag `Some` of the next value.
#[test]
fn a_value_that_reads_nothing_does_not_change_the_next() {
    #[derive(Debug)]
    struct Nothing;
    impl<'de> Deserialize<'de> for Nothing {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Nest(Option<Box<Nest>>);
    let written = (vec![9_u8, tag::SOME], Nest(None));
    let read = carried::<_, ((Nothing, u8), Nest)>(&written);
    assert!(read.is_err(), "{read:?}");
}

#[test]
fn a_count_whose_bytes_overflow_is_an_error() {
    // The encoded count is 2^61, and each element has eight bytes, so all elements would
    // take 2^64 bytes.
    let count = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    let bytes = [&[0, tag::PACKED, tag::U64][..], &count].concat();
    let read = decode::<Vec<u64>>(&bytes);
    assert!(read.is_err(), "{read:?}");
}
