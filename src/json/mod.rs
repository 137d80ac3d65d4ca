//! [`Json`]: a wrapper for values that travel to another process as JSON.

mod check;

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};

use self::check::Check;

/// A value that travels to another process as JSON.
///
/// A process pool encodes values in a fast format of its own. With this format, a value's
/// `Deserialize` must know the types of the value's parts in advance, and its `Serialize`
/// must not leave out a field. So types with `#[serde(flatten)]`, `untagged`, `tag = ".."`
/// or `skip_serializing_if`, and `serde_json::Value`, are refused with [`Error::Encode`] or
/// [`Error::Decode`]. Inside a `Json`, values of these types can travel, at the cost of
/// encoding and decoding JSON.
///
/// A value that JSON cannot express is refused when it is encoded: a number that is
/// infinite or NaN, an integer outside of `i64` and `u64`, the few `f32` that would change
/// if they were read as an `f64` first (such as 7.038531e-26), a `Some` of nothing
/// (`Some(None)`, `Some(())`), map keys that are not text, numbers or `bool`, and a
/// value that is nested more than 127 levels deep or inside more than 512 other values.
///
/// All other values arrive as serde reads them from JSON. A field with
/// `#[serde(skip)]` arrives as its default. A variant with `skip_deserializing` arrives
/// as the variant that is marked `other`, if there is one. For an `untagged` enum, serde
/// takes the first variant that fits: `B(7)` of `enum { A(u32), B(u64) }` arrives as
/// `A(7)`. To prevent this, give the variants different fields, or the enum a `tag`. In an
/// `untagged` enum, a variant that contains an `i128` or `u128` never fits. The names in a
/// field with `#[serde(flatten)]` do not say which field they belong to. So two such maps
/// arrive as two copies of all entries, and a `None` arrives as a `Some` if all fields of
/// its type may be missing.
///
/// The wrapper needs the feature `json`. In a thread pool the wrapper has no effect,
/// because the values are not encoded. A human-readable format (serde's
/// `is_human_readable`) writes and reads the value without the wrapper.
///
/// ```
/// use concurrent_futures::{Error, Json, ProcessPoolExecutor};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(untagged)]
/// enum Id {
///     Number(u64),
///     Name(String),
/// }
///
/// let executor = ProcessPoolExecutor::new()?;
/// let refused = executor.submit(|id: Id| id, Id::Number(7))?;
/// assert!(matches!(refused.into_result(), Err(Error::Decode(_))));
///
/// let id = executor.submit(|id: Json<Id>| id, Json(Id::Number(7)))?;
/// assert_eq!(id.into_result()?.into_inner(), Id::Number(7));
/// # Ok::<(), Error>(())
/// ```
///
/// [`Error::Encode`]: crate::Error::Encode
/// [`Error::Decode`]: crate::Error::Decode
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

impl<T> Json<T> {
    /// Returns the wrapped value.
    ///
    /// ```
    /// assert_eq!(concurrent_futures::Json(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        self.0
            .serialize(Check::default())
            .map_err(S::Error::custom)?;
        let text = serde_json::to_string(&self.0).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return T::deserialize(deserializer).map(Self);
        }
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}
