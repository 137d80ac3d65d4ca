//! Values as bytes: `postcard`, and the reason why a value would not.
//!
//! `postcard` drops the message of a value's own `Serialize` or `Deserialize`;
//! `reason.rs` catches it on the way. It knows nothing of frames and tasks.

use std::any::type_name;
use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reason::{Noting, Said, reason_of};

/// Why a value could not be written down or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) type_name: String,
    /// What the value's own code said, or the format.
    pub(crate) reason: String,
}

impl Fault {
    fn new<T>(reason: String) -> Self {
        Self {
            type_name: type_name::<T>().to_owned(),
            reason,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.type_name, self.reason)
    }
}

/// Appends the value to `out`. A value that cannot be written leaves `out` as
/// it was.
///
/// # Errors
///
/// The value's `Serialize` failed, or does something that the format cannot.
///
/// # Panics
///
/// If the value's `Serialize` does; `out` then has part of it.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    let before = out.len();
    let mut serializer = postcard::Serializer {
        output: Append(out),
    };
    let written = value.serialize(Noting(&mut serializer));
    written.map_err(|said| {
        out.truncate(before);
        Fault::new::<T>(reason_of(&said.into_inner()))
    })
}

/// Reads a value that takes up all of `bytes`.
///
/// # Errors
///
/// The bytes are no such value, or its `Deserialize` says so.
///
/// # Panics
///
/// If the value's `Deserialize` does.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut deserializer = postcard::Deserializer::from_bytes(bytes);
    let read = T::deserialize(Noting(&mut deserializer)).map_err(Said::into_inner);
    let value = read.map_err(|error| Fault::new::<T>(reason_of(&error)))?;
    match deserializer.finalize() {
        Ok([]) => Ok(value),
        Ok(rest) => Err(Fault::new::<T>(format!(
            "{} bytes are left over; its `Deserialize` reads less than its `Serialize` wrote",
            rest.len()
        ))),
        Err(error) => Err(Fault::new::<T>(reason_of(&error))),
    }
}

/// Where `postcard` writes to.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::*;

    /// Something of every kind that serde knows.
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

    /// Cannot be written if it is 1, nor read if it is 2.
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

    fn bytes_of<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
        let mut out = b"before".to_vec();
        let encoded = encode(value, &mut out);
        let bytes = out.strip_prefix(b"before").expect("it only appends");
        assert!(
            encoded.is_ok() || bytes.is_empty(),
            "it leaves nothing behind"
        );
        encoded.map(|()| bytes.to_vec())
    }

    /// `All` with that number in each place where there can be one.
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

    /// The last two have no number.
    const NUMBERED: usize = 7;

    #[test]
    fn values_of_every_kind_come_back_and_are_what_postcard_writes() {
        for all in all_with(9) {
            let bytes = bytes_of(&all).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&all).unwrap());
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

    /// An error that serde makes, of a type that says what it expects.
    #[test]
    fn the_reason_of_serde_is_told_too() {
        let zero = bytes_of(&0_u8).unwrap();
        let fault = decode::<std::num::NonZeroU8>(&zero).unwrap_err();
        assert!(fault.reason.contains("expected a nonzero u8"), "{fault}");
        let seven = bytes_of(&7_u32).unwrap();
        let fault = decode::<Shape>(&seven).unwrap_err();
        assert!(fault.reason.contains("variant index"), "{fault}");
    }

    #[test]
    fn an_earlier_message_is_not_told_again() {
        assert!(bytes_of(&Picky(1)).is_err());
        let fault = decode::<String>(&[5, b'x']).unwrap_err();
        assert!(fault.reason.contains("end early"), "{fault}");
    }

    /// The wrappers must not pile up, or it would not compile.
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

    /// One that quotes another.
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
        assert!(fault.reason.contains("send it as text"), "{fault}");
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
        let fault = decode::<u8>(&[1, 2, 3]).unwrap_err();
        assert!(fault.reason.starts_with("2 bytes are left over"), "{fault}");
    }

    /// No bytes panic, and none make it allocate what they claim.
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
        assert!(decode::<Vec<u64>>(&claims).is_err());
        assert!(decode::<String>(&claims).is_err());
    }
}
