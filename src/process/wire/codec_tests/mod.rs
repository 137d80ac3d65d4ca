//! Tests that encode and decode values of every kind. Each value must arrive unchanged, or
//! the codec must return an error that gives the reason.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::{CodecFault, decode, encode, tag};

/// A struct with fields of all kinds that serde knows, except bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct All {
    plain: (bool, i8, i16, i32, i64, i128, char),
    unsigned: (u8, u16, u32, u64, u128),
    real: (f32, f64),
    text: String,
    list: Vec<Picky>,
    map: BTreeMap<String, Option<Picky>>,
    shapes: Vec<Shape>,
    unit: Unit,
    newtype: Newtype,
    pair: Pair,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Newtype(Picky);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pair(u8, Picky);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Line(Picky),
    Box(u8, Picky),
    Circle { radius: Picky },
}

/// A number whose `Serialize` fails if the number is 1, and whose `Deserialize` fails if
/// the number is 2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Picky(u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 1 {
            return Err(serde::ser::Error::custom("one is not written"));
        }
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            2 => Err(serde::de::Error::custom("two is not read")),
            n => Ok(Self(n)),
        }
    }
}

fn bytes_of<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecFault> {
    let mut out = b"before".to_vec();
    let encoded = encode(value, &mut out);
    let bytes = out.strip_prefix(b"before").expect("it only appends");
    assert!(
        encoded.is_ok() || bytes.is_empty(),
        "it leaves nothing behind"
    );
    encoded.map(|()| bytes.to_vec())
}

/// Returns values of type `All`. The first [`NUMBERED`] values contain `Picky(n)`, each in
/// a different place.
fn all_with(n: u8) -> [All; 9] {
    let with = |change: fn(&mut All, Picky)| {
        let mut all = All {
            text: "text".to_owned(),
            ..All::default()
        };
        change(&mut all, Picky(n));
        all
    };
    [
        with(|all, picky| all.list = vec![Picky(7), picky]),
        with(|all, picky| all.map = [("some".to_owned(), Some(picky))].into()),
        with(|all, picky| all.shapes = vec![Shape::Point, Shape::Line(picky)]),
        with(|all, picky| all.shapes = vec![Shape::Box(1, picky)]),
        with(|all, picky| all.shapes = vec![Shape::Circle { radius: picky }]),
        with(|all, picky| all.newtype = Newtype(picky)),
        with(|all, picky| all.pair = Pair(1, picky)),
        with(|all, _| all.map = [("none".to_owned(), None)].into()),
        with(|all, _| all.plain.5 = i128::MIN),
    ]
}

/// The number of values of `all_with` that contain the number `n`.
const NUMBERED: usize = 7;

#[test]
fn values_of_every_kind_come_back() {
    for all in all_with(9) {
        let bytes = bytes_of(&all).unwrap();
        assert_eq!(decode::<All>(&bytes).unwrap(), all);
    }
}

#[test]
fn the_reason_is_what_the_values_own_code_says_wherever_it_is() {
    for all in &all_with(1)[..NUMBERED] {
        let fault = bytes_of(all).unwrap_err();
        assert_eq!(fault.reason, "one is not written", "{all:?}");
        assert!(fault.type_name.ends_with("::All"), "{fault}");
    }
    for all in &all_with(2)[..NUMBERED] {
        let fault = decode::<All>(&bytes_of(all).unwrap()).unwrap_err();
        assert_eq!(fault.reason, "two is not read", "{all:?}");
        assert!(fault.type_name.ends_with("::All"), "{fault}");
    }
}

/// If serde finds a decoded value invalid, the error must contain serde's description of
/// the expected values.
#[test]
fn the_reason_of_serde_is_told_too() {
    let zero = bytes_of(&0_u8).unwrap();
    let fault = decode::<std::num::NonZeroU8>(&zero).unwrap_err();
    assert!(fault.reason.contains("expected a nonzero u8"), "{fault}");
    let seven = bytes_of(&7_u32).unwrap();
    let fault = decode::<Shape>(&seven).unwrap_err();
    assert!(
        fault
            .reason
            .contains("a u32 where its `Deserialize` reads an enum"),
        "{fault}"
    );
}

#[test]
fn an_earlier_message_is_not_told_again() {
    assert!(bytes_of(&Picky(1)).is_err());
    let fault = decode::<String>(&[0, tag::STR, 5, b'x']).unwrap_err();
    assert!(fault.reason.contains("end early"), "{fault}");
}

/// Recursive types must compile and arrive unchanged. They would not compile if the codec
/// added a wrapper type at each level of a value.
#[test]
fn types_that_hold_themselves_come_back() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf(Picky),
        Node {
            left: Box<Tree>,
            others: Vec<(u8, Option<Tree>)>,
        },
    }
    let tree = |n| Tree::Node {
        left: Box::new(Tree::Leaf(Picky(3))),
        others: vec![(1, None), (2, Some(Tree::Leaf(Picky(n))))],
    };
    let bytes = bytes_of(&tree(4)).unwrap();
    assert_eq!(decode::<Tree>(&bytes), Ok(tree(4)));
    assert_eq!(bytes_of(&tree(1)).unwrap_err().reason, "one is not written");
}

/// A `Serialize` may add words to the error of a part of its value. The reason then
/// contains all these words.
#[test]
fn words_around_words_stay() {
    struct Outer;
    impl Serialize for Outer {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let inner = Picky(1).serialize(serializer);
            inner.map_err(|error| serde::ser::Error::custom(format!("outer: {error}")))
        }
    }
    let fault = bytes_of(&Outer).unwrap_err();
    assert_eq!(fault.reason, "outer: one is not written");
}

#[test]
fn what_the_format_cannot_do_is_said_with_a_way_out() {
    let json = bytes_of(&"text").unwrap();
    let fault = decode::<serde_json::Value>(&json).unwrap_err();
    assert!(fault.reason.contains("wrap the value in `Json`"), "{fault}");
    #[derive(Serialize)]
    struct Flat {
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    let fault = bytes_of(&Flat {
        rest: BTreeMap::new(),
    });
    assert!(fault.unwrap_err().reason.contains("collect them first"));
}

#[test]
fn what_is_left_over_is_an_error() {
    let fault = decode::<u8>(&[0, tag::U8, 1, 2, 3]).unwrap_err();
    assert!(fault.reason.starts_with("2 bytes are left over"), "{fault}");
}

/// The decoder must not panic, whatever bytes it gets. If the bytes claim a wrong length,
/// the decoder must not allocate memory of that length.
#[test]
fn no_bytes_panic() {
    let good = bytes_of(&all_with(9)[0]).unwrap();
    for at in 0..good.len() {
        let _ = decode::<All>(&good[..at]);
        for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = byte;
            let _ = decode::<All>(&bad);
        }
    }
    let claims = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for head in [
        &[tag::SEQ][..],
        &[tag::PACKED, tag::U64],
        &[tag::STR],
        &[tag::MAP],
    ] {
        let bytes = [&[0], head, &claims].concat();
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<Vec<()>>(&bytes).is_err());
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<BTreeMap<u8, u8>>(&bytes).is_err());
    }
}

#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: T) {
    let bytes = bytes_of(&value).unwrap_or_else(|fault| panic!("{fault}"));
    let read = decode::<T>(&bytes).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(read, value);
    // The test also encodes the value as a part of a tuple, in which other parts stand in
    // front of it and behind it.
    let bytes = bytes_of(&(1_u8, &value, [Some(&value)])).unwrap();
    let (one, inner, [again]) = decode::<(u8, T, [Option<T>; 1])>(&bytes).unwrap();
    assert_eq!((one, &inner, again.as_ref()), (1, &value, Some(&value)));
    // The decoder must return an error if the bytes of the tuple are cut short.
    for end in (0..bytes.len()).take(100) {
        assert!(decode::<(u8, T, [Option<T>; 1])>(&bytes[..end]).is_err());
    }
}

#[test]
fn types_with_attributes_of_every_sort_arrive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Aliased {
        #[serde(alias = "colour", alias = "hue")]
        color: String,
        #[serde(skip)]
        cache: Option<u8>,
        size: Scale,
        #[serde(rename = "n")]
        number: u64,
        #[serde(default)]
        optional: Option<Box<Aliased>>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Scale {
        #[serde(alias = "tiny", alias = "little")]
        Small,
        #[serde(alias = "huge")]
        Large(u8),
        #[serde(other)]
        Unknown,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(from = "(u8, String)", into = "(u8, String)")]
    struct Converted(u8, String);
    impl Clone for Converted {
        fn clone(&self) -> Self {
            Self(self.0, self.1.clone())
        }
    }
    impl From<(u8, String)> for Converted {
        fn from((n, text): (u8, String)) -> Self {
            Self(n, text)
        }
    }
    impl From<Converted> for (u8, String) {
        fn from(Converted(n, text): Converted) -> Self {
            (n, text)
        }
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Transparent {
        list: Vec<u32>,
    }
    let aliased = |size| Aliased {
        color: "red".to_owned(),
        cache: None,
        size,
        number: 7,
        optional: None,
    };
    arrives(aliased(Scale::Small));
    arrives(aliased(Scale::Large(3)));
    arrives(aliased(Scale::Unknown));
    arrives(Aliased {
        optional: Some(Box::new(aliased(Scale::Small))),
        ..aliased(Scale::Large(0))
    });
    arrives(Converted(1, "one".to_owned()));
    arrives(Transparent {
        list: (0..100).collect(),
    });
    arrives('\u{1f600}');
    arrives((Some(Some(())), None::<Option<()>>, ((),), [0_u8; 0]));
    arrives(std::collections::HashMap::from([(
        "a".to_owned(),
        vec![1.5, -0.0],
    )]));
    arrives(serde_bytes_like::Bytes(vec![1, 2, 3]));
}

/// Imitates the crate `serde_bytes`, which writes and reads a vector by serde's calls for
/// bytes.
mod serde_bytes_like {
    use super::*;

    #[derive(Debug, PartialEq)]
    pub(super) struct Bytes(pub(super) Vec<u8>);

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Any;
            impl serde::de::Visitor<'_> for Any {
                type Value = Bytes;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("bytes")
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                    Ok(Bytes(bytes.to_vec()))
                }
            }
            deserializer.deserialize_byte_buf(Any)
        }
    }
}

#[test]
fn vectors_of_each_number_arrive_whole_wherever_they_are() {
    macro_rules! numbers {
        ($($number:ty)*) => {$({
            let numbers = |len: usize| -> Vec<$number> {
                let edges = [<$number>::MIN, <$number>::MAX, 1 as $number, 0 as $number];
                edges.into_iter().cycle().take(len).collect()
            };
            for len in [0, 1, 31, 32, 33, 1000] {
                arrives(numbers(len));
            }
            arrives(vec![numbers(40), numbers(2), numbers(0)]);
            arrives((numbers(50).into_boxed_slice(), Some(numbers(50))));
        })*};
    }
    numbers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }
    let text = "x".repeat(100_000);
    arrives((text.clone(), vec![text]));
}

/// The encoding of the vector must not be much longer than the vector, so it has no tag for
/// each number. The test does not check the time of the copy, because the time depends on
/// the build.
#[test]
fn vectors_of_numbers_are_copied() {
    let bytes = bytes_of(&(1_u8, vec![300_u64; 1000])).unwrap();
    assert!(bytes.len() < 8 * 1000 + 20, "as in memory");
}

/// The attribute `serialize_with` hides a vector's type from the writer only, and
/// `deserialize_with` hides the type from the reader only. Each vector must still arrive
/// unchanged.
#[test]
fn vectors_that_one_side_does_not_recognize_arrive() {
    fn write<S: Serializer, T: Serialize>(list: &T, serializer: S) -> Result<S::Ok, S::Error> {
        list.serialize(serializer)
    }
    fn read<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: Deserialize<'de>,
    {
        T::deserialize(deserializer)
    }
    macro_rules! numbers {
        ($($number:ty)*) => {$({
            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            struct Hidden {
                #[serde(serialize_with = "write")]
                written: Vec<$number>,
                #[serde(deserialize_with = "read")]
                read: Vec<$number>,
            }
            let list = vec![<$number>::MIN, <$number>::MAX, 1 as $number];
            let list: Vec<_> = list.into_iter().cycle().take(100).collect();
            arrives(Hidden {
                written: list.clone(),
                read: list,
            });
        })*};
    }
    numbers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }
}

/// Checks that a value arrives unchanged, or that its error recommends `Json`.
fn arrives_or_says_json<T>(value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
{
    let read = bytes_of(value).and_then(|bytes| decode::<T>(&bytes));
    match read {
        Ok(read) => assert_eq!(&read, value, "another value arrived"),
        Err(fault) => assert!(fault.reason.contains("`Json`"), "{fault}"),
    }
}

/// The test gives three fields many combinations of the attributes that make only the
/// writer, or only the reader, skip a field. Each value must arrive unchanged, or its error
/// must recommend `Json`.
#[test]
fn no_combination_of_skipped_fields_makes_another_value() {
    macro_rules! skipped {
        ($($first:meta, $second:meta, $third:meta;)*) => {$({
            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            struct Skips {
                #[serde($first)]
                first: u8,
                #[serde($second)]
                second: u8,
                #[serde($third)]
                third: Vec<u8>,
            }
            for [first, second] in [[0, 0], [1, 0], [0, 1], [1, 2], [2, 1], [3, 3]] {
                for third in [vec![], vec![0], vec![1, 1], vec![2, 0, 1]] {
                    let value = Skips { first, second, third };
                    // A field with the attribute `skip` is neither written nor read, so the
                    // value does not arrive unchanged.
                    let skips = [stringify!($first), stringify!($second), stringify!($third)];
                    if skips.contains(&"skip") {
                        continue;
                    }
                    arrives_or_says_json(&value);
                    #[derive(Debug, PartialEq, Serialize, Deserialize)]
                    enum Variant {
                        Of {
                            #[serde($first)]
                            first: u8,
                            #[serde($second)]
                            second: u8,
                            #[serde($third)]
                            third: Vec<u8>,
                        },
                    }
                    let Skips { first, second, third } = value;
                    arrives_or_says_json(&Variant::Of { first, second, third });
                }
            }
        })*};
    }
    skipped! {
        default, default, default;
        skip_serializing, default, default;
        default, skip_serializing, default;
        default, default, skip_serializing;
        skip_deserializing, default, default;
        default, skip_deserializing, default;
        default, default, skip_deserializing;
        skip_serializing, skip_deserializing, default;
        skip_deserializing, skip_serializing, default;
        skip_serializing, default, skip_deserializing;
        skip_deserializing, default, skip_serializing;
        default, skip_serializing, skip_deserializing;
        default, skip_deserializing, skip_serializing;
        skip_serializing, skip_serializing, default;
        skip_deserializing, skip_deserializing, default;
        skip_serializing, skip_serializing, skip_deserializing;
        skip_serializing, skip_deserializing, skip_deserializing;
    }
}

/// serde's writer numbers all variants of an enum, but serde's reader numbers only the
/// variants that it does not skip. So the codec must identify a variant by its name.
#[test]
fn a_variant_behind_a_skipped_one_arrives() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Skips {
        First(u8),
        #[serde(skip)]
        Second(u8),
        Third(u8),
        #[serde(skip_deserializing)]
        Fourth(u8),
        #[serde(alias = "5th")]
        Fifth(u8),
    }
    arrives(Skips::First(1));
    arrives(Skips::Third(3));
    arrives(Skips::Fifth(5));
    let second = bytes_of(&Skips::Second(2)).unwrap_err();
    assert!(second.reason.contains("cannot be serialized"), "{second}");
    let fourth = decode::<Skips>(&bytes_of(&Skips::Fourth(4)).unwrap()).unwrap_err();
    assert!(fourth.reason.contains("unknown variant `Fourth`"));
}

/// The second type of each pair makes other serde calls than the first type. So the decoder
/// must not read a value of the first type as the second type.
#[test]
fn what_is_written_in_another_shape_is_an_error() {
    fn differ<W: Serialize, R: DeserializeOwned + fmt::Debug>(written: W) {
        let bytes = bytes_of(&written).unwrap();
        assert!(decode::<R>(&bytes).is_err(), "{:?}", decode::<R>(&bytes));
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Pair {
        a: u8,
        b: u8,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Swapped {
        b: u8,
        a: u8,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Three {
        a: u8,
        b: u8,
        c: (),
    }
    differ::<_, Swapped>(Pair { a: 1, b: 2 });
    differ::<_, Three>(Pair { a: 1, b: 2 });
    differ::<_, Pair>((1_u8, 2_u8));
    differ::<_, (u8, u8)>(vec![7_u8]);
    differ::<_, (u8, u8)>(Some(5_u8));
    differ::<_, (u8, u8, ())>((1_u8, 2_u8));
    differ::<_, Vec<()>>(3_u8);
    differ::<_, Option<()>>(0_u8);
    differ::<_, Result<(), ()>>(Some(()));
}

/// A `Serialize` that was written by hand announces more fields than memory has room for.
/// The encoder must not allocate memory for all of them.
#[test]
fn a_struct_that_lies_about_the_number_of_its_fields_needs_no_memory_for_them() {
    struct Lies(usize);
    impl Serialize for Lies {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut fields = serializer.serialize_struct("Lies", self.0)?;
            fields.serialize_field("one", &1_u8)?;
            fields.end()
        }
    }
    let honest = bytes_of(&Lies(1)).expect("it has one field");
    for count in [usize::MAX, 1 << 40] {
        assert_eq!(
            bytes_of(&Lies(count)).expect("the count is not written"),
            honest
        );
    }
}

/// A visitor that was written by hand reads the first element of a list, and leaves the
/// other elements unread. The decoder must return an error.
#[test]
fn elements_that_are_not_read_are_an_error() {
    #[derive(Debug)]
    struct First;
    impl<'de> serde::de::Visitor<'de> for First {
        type Value = First;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<First, A::Error> {
            list.next_element::<u16>()?;
            Ok(First)
        }
    }
    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(First)
        }
    }
    for len in [2, 50] {
        let fault = decode::<First>(&bytes_of(&vec![1_u16; len]).unwrap()).unwrap_err();
        assert!(
            fault.reason.contains("elements or fields unread"),
            "{fault}"
        );
    }
}

/// A *block* (a list of numbers without a tag for each) may state a wrong count or a wrong
/// tag of its elements. The decoder must not allocate memory for elements whose bytes are
/// not there.
#[test]
fn no_block_makes_it_allocate_what_it_claims() {
    for width in 0..=255 {
        for count in [0x00_u8, 0x01, 0x05, 0x7f, 0xff] {
            let mut bytes = vec![0, tag::PACKED, width];
            if count == 0xff {
                bytes.extend([0xff; 9]);
            }
            bytes.push(count & 0x7f);
            bytes.extend([0xff; 16]);
            let _ = decode::<Vec<u32>>(&bytes);
            let _ = decode::<Vec<i128>>(&bytes);
            let _ = decode::<Vec<Vec<u8>>>(&bytes);
            bytes.insert(1, tag::SOME);
            let _ = decode::<Option<Box<[u64]>>>(&bytes);
            assert!(decode::<Vec<f64>>(&bytes).is_err());
        }
    }
}

/// A bool is only a tag, and the elements of a packed list ([`tag::PACKED`]) have no tags.
/// So a packed list of bools would need no bytes for its elements, and could claim any
/// length. The decoder must return an error before it has read the list to its end.
#[test]
fn a_list_whose_elements_take_no_bytes_is_not_read_to_its_end() {
    thread_local! {
        static READS: Cell<u32> = const { Cell::new(0) };
    }
    #[derive(Debug)]
    struct Counted;
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            READS.set(READS.get() + 1);
            bool::deserialize(deserializer).map(|_| Self)
        }
    }
    for of in [tag::FALSE, tag::TRUE] {
        let read = decode::<Vec<Counted>>(&[0, tag::PACKED, of, 100]);
        assert!(read.is_err(), "{read:?}");
        assert_eq!(READS.take(), 1);
    }
    let claims = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for of in [tag::UNIT, tag::NONE, tag::FALSE, tag::TRUE] {
        let bytes = [&[0, tag::PACKED, of][..], &claims].concat();
        assert!(decode::<Vec<()>>(&bytes).is_err());
        assert!(decode::<Vec<Option<u8>>>(&bytes).is_err());
        assert!(decode::<Vec<bool>>(&bytes).is_err());
    }
}

mod halves;
#[cfg(feature = "json")]
mod json;

/// One of the aliases of a field may be the name of another field. The decoder must return
/// an error, so that it does not read the wrong field.
#[test]
fn a_field_that_is_written_for_old_readers_is_not_taken_for_an_alias() {
    #[derive(Serialize, Deserialize)]
    struct User {
        #[serde(skip_deserializing)]
        name: String,
        #[serde(alias = "name")]
        nick: String,
        #[serde(skip_serializing)]
        cached: String,
    }
    let [name, nick, cached] = ["name", "nick", "cached"].map(str::to_owned);
    let mut bytes = Vec::new();
    encode(&User { name, nick, cached }, &mut bytes).unwrap();
    let read = decode::<User>(&bytes);
    assert!(
        read.is_err(),
        "{:?}",
        read.map(|user| (user.name, user.nick, user.cached))
    );
}

/// The structs of the list have aliases, so the decoder reads the whole list twice. It must
/// not read the rest of the list twice at each struct, which would take exponential time.
#[test]
fn a_long_list_of_structs_with_aliases_arrives() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Node {
        #[serde(alias = "number")]
        n: u32,
        #[serde(skip)]
        skipped: u8,
        next: Option<Box<Node>>,
    }
    let mut list = Node::default();
    for n in 1..200 {
        list = Node {
            n,
            next: Some(Box::new(list)),
            ..Node::default()
        };
    }
    let mut bytes = Vec::new();
    encode(&list, &mut bytes).unwrap();
    assert_eq!(decode::<Node>(&bytes).unwrap(), list);
}

/// The decoder learns how many bytes of memory a part of a value takes only when the part's
/// `Deserialize` runs. By then the calling functions may already have reserved stack for
/// copies of the part. So the test reads the part with different amounts of free stack, and
/// the stack must never overflow.
#[test]
fn a_large_part_deep_inside_a_value_finds_stack() {
    type Row = [[u64; 32]; 32];
    #[derive(Serialize, Deserialize)]
    struct Large([Row; 8]);
    #[derive(Serialize, Deserialize)]
    enum List {
        Next(Box<List>),
        Last(Box<Large>),
    }
    let bytes_of = |depth: usize| {
        let mut list = List::Last(Box::new(Large([[[7; 32]; 32]; 8])));
        for _ in 0..depth {
            list = List::Next(Box::new(list));
        }
        let mut bytes = Vec::new();
        encode(&list, &mut bytes).unwrap();
        bytes
    };
    for depth in (0..2000).step_by(100) {
        let bytes = bytes_of(depth);
        let thread = std::thread::Builder::new().stack_size(3 << 20);
        let read = thread.spawn(move || decode::<List>(&bytes).map(drop));
        read.unwrap().join().unwrap().unwrap();
    }
}

/// The values are nested deep, but their types do not show this: no type has drop code, and
/// two of the types are smaller than a reference. The encoder must still find enough stack.
#[test]
fn a_deep_value_that_small_indices_write_finds_stack() {
    const DEPTH: u32 = 100_000;
    struct Index(u32);
    impl Serialize for Index {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            (self.0 < DEPTH)
                .then_some(Index(self.0 + 1))
                .serialize(serializer)
        }
    }
    struct Pair(u32);
    impl Serialize for Pair {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                DEPTH => serializer.collect_seq([(); 0]),
                at => serializer.collect_seq([Pair(DEPTH), Pair(at + 1)]),
            }
        }
    }
    #[derive(Serialize)]
    enum Field {
        Next { next: &'static Field },
        Last,
    }
    let mut field = &Field::Last;
    for _ in 0..DEPTH {
        field = Box::leak(Box::new(Field::Next { next: field }));
    }
    assert!(bytes_of(&Index(0)).unwrap().len() > DEPTH as usize);
    assert!(bytes_of(&Pair(0)).unwrap().len() > DEPTH as usize);
    assert!(bytes_of(field).unwrap().len() > DEPTH as usize);
}

struct Fails;

impl fmt::Display for Fails {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn a_display_that_fails_is_an_error() {
    let fault = bytes_of(&vec![Fails]).unwrap_err();
    assert_eq!(fault.reason, "its `Display` returns an error");
}

/// An error of a `Serialize` or `Deserialize`, made from a text that cannot be written.
#[derive(Debug)]
struct Unsaid;

impl Serialize for Unsaid {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(Fails))
    }
}

impl<'de> Deserialize<'de> for Unsaid {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(Fails))
    }
}

#[test]
fn an_error_whose_text_cannot_be_written_is_an_error_and_no_panic() {
    let why = "an error whose `Display` fails";
    assert_eq!(bytes_of(&Unsaid).unwrap_err().reason, why);
    let bytes = bytes_of(&7_u8).unwrap();
    assert_eq!(decode::<Unsaid>(&bytes).unwrap_err().reason, why);
    #[cfg(feature = "json")]
    assert_eq!(
        bytes_of(&crate::json::Json(Unsaid)).unwrap_err().reason,
        why
    );
}

/// Its `Deserialize` reads fields by their names only, which a reader of this format does
/// not offer. `Json` does.
#[derive(Debug)]
struct ByName;

impl Serialize for ByName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ByName", 1)?;
        fields.serialize_field("a", &1_u8)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for ByName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = ByName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of fields")
            }
            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<ByName, M::Error> {
                while map.next_entry::<String, u8>()?.is_some() {}
                Ok(ByName)
            }
        }
        deserializer.deserialize_struct("ByName", &["a"], Names)
    }
}

#[test]
fn a_struct_that_is_read_by_name_only_is_advised_to_use_json() {
    let bytes = bytes_of(&ByName).unwrap();
    let fault = decode::<ByName>(&bytes).unwrap_err();
    assert!(fault.reason.contains("invalid type: sequence"), "{fault}");
    assert!(fault.reason.contains("wrap the value in `Json`"), "{fault}");
}
