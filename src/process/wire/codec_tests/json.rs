//! Tests of [`Json`], with types that serde can read only from a self-describing format,
//! and with values that JSON cannot express.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::codec::{CodecFault, decode};
use super::{Fails, bytes_of};
use crate::json::Json;

/// Encodes a value as the parent does, and decodes the value as the worker does.
fn sent<T: Serialize + DeserializeOwned>(value: T) -> Result<T, CodecFault> {
    let bytes = bytes_of(&Json(value))?;
    decode::<Json<T>>(&bytes).map(Json::into_inner)
}

fn arrives<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(value: T) {
    assert_eq!(sent(value.clone()).as_ref(), Ok(&value));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    rest: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    coupon: Option<u8>,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Name(String),
    Real(f64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    Login { user: String },
    Logout,
}

#[test]
fn types_that_look_at_what_comes_arrive() {
    for coupon in [None, Some(3)] {
        arrives(Flat {
            rest: [("n".to_owned(), u64::MAX)].into(),
            coupon,
            name: "x".to_owned(),
        });
    }
    arrives([Id::Number(1), Id::Name("a".to_owned()), Id::Real(1.0)]);
    arrives([
        Event::Login {
            user: "me".to_owned(),
        },
        Event::Logout,
    ]);
    arrives(json!({"a": [1, 2.5, null], "b": {}}));
}

#[test]
fn numbers_arrive_to_the_last_bit() {
    arrives((i64::MIN, u64::MAX, f32::MIN_POSITIVE, f64::MAX));
    arrives((
        i128::from(i64::MIN),
        u128::from(u64::MAX),
        i128::from(u64::MAX),
    ));
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..10_000 {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let (long, short) = (f64::from_bits(bits), f32::from_bits(bits as u32));
        if long.is_finite() && short.is_finite() {
            let (got_long, got_short) = sent((long, short)).unwrap();
            assert_eq!(got_long.to_bits(), long.to_bits());
            assert_eq!(got_short.to_bits(), short.to_bits());
        }
    }
}

#[test]
fn what_json_would_change_is_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(sent(number).is_err());
        assert!(sent(Some(number)).is_err());
        assert!(sent(vec![Id::Real(number)]).is_err());
    }
    assert!(sent(f32::NAN).is_err());
    assert!(sent(Some(None::<u8>)).is_err());
    assert!(sent([Some(())]).is_err());
    #[derive(Debug, Serialize, Deserialize)]
    struct Unit;
    assert!(sent(Some(Unit)).is_err());
    assert!(sent(BTreeMap::from([((1, 2), 3)])).is_err());
    arrives((
        None::<Option<u8>>,
        (),
        Some(Some(1)),
        BTreeMap::from([(1, 2)]),
    ));
}

/// A type that accepts any JSON value would read an integer of more than 64 bits as an
/// `f64`. So `Json` must refuse to encode this integer.
#[test]
fn integers_of_more_than_64_bits_do_not_become_floats() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wide {
        Positive(u128),
        Negative(i128),
        Real(f64),
    }
    arrives(Wide::Real(2.0_f64.powi(64)));
    let refused = [
        Wide::Positive(u128::MAX),
        Wide::Positive(u128::from(u64::MAX) + 1),
        Wide::Negative(i128::MIN),
        Wide::Negative(i128::from(i64::MIN) - 1),
        Wide::Negative(i128::from(u64::MAX) + 1),
    ];
    for wide in refused {
        let fault = sent(wide).unwrap_err();
        assert!(fault.reason.contains("64 bits"), "{fault}");
    }
}

#[test]
fn a_display_that_fails_is_an_error_in_json_too() {
    let fault = bytes_of(&Json(vec![Fails])).unwrap_err();
    assert!(
        fault.reason.contains("its `Display` returns an error"),
        "{fault}"
    );
}

/// In a type that accepts any JSON value, serde reads a number as an `f64`, and then rounds
/// it to an `f32`. For some numbers this is another `f32` than the digits mean.
#[test]
fn an_f32_that_json_would_round_twice_is_refused() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Short {
        Real(f32),
        Text(String),
    }
    for twice in [7.038_531e-26_f32, -7.038_531e-26] {
        let fault = sent(Short::Real(twice)).unwrap_err();
        assert!(fault.reason.contains("7.038531e-26"), "{fault}");
    }
    for real in [
        7.038_532e-26_f32,
        0.1,
        -0.0,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
    ] {
        arrives(Short::Real(real));
    }
}

#[test]
fn a_format_for_people_has_the_value_alone() {
    assert_eq!(serde_json::to_string(&Json(vec![1])).unwrap(), "[1]");
    assert_eq!(serde_json::from_str::<Json<u8>>("7").unwrap(), Json(7));
}

/// The `Serialize` of a nested value calls itself for each level, on the stack of the
/// submitting thread. So `Json` must return an error before a deeply nested value overflows
/// the stack.
#[test]
fn a_value_that_json_nests_too_deep_is_refused_before_it_is_written() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Node {
        next: Option<Box<Node>>,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Wrapped(Option<Box<Wrapped>>);
    let list = |nodes: usize| {
        (1..nodes).fold(Node { next: None }, |next, _| Node {
            next: Some(Box::new(next)),
        })
    };
    assert!(sent(list(127)).is_ok());
    for nodes in [128, 129, 5_000] {
        let fault = sent(list(nodes)).unwrap_err();
        assert!(fault.reason.contains("127 deep"), "{fault}");
    }
    let wrapped = (0..5_000).fold(Wrapped(None), |next, _| Wrapped(Some(Box::new(next))));
    assert!(sent(wrapped).is_err());
}

/// JSON has a list of numbers in place of bytes, so bytes add one level.
#[test]
fn bytes_that_json_nests_too_deep_are_refused_before_they_are_written() {
    /// Bytes inside this number of lists.
    struct Bytes(usize);
    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0.checked_sub(1) {
                None => serializer.serialize_bytes(&[7]),
                Some(lists) => [Bytes(lists)].serialize(serializer),
            }
        }
    }
    let json = serde_json::to_string(&Bytes(126)).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    assert!(bytes_of(&Json(Bytes(126))).is_ok());
    let fault = bytes_of(&Json(Bytes(127))).unwrap_err();
    assert!(fault.reason.contains("127 deep"), "{fault}");
}
