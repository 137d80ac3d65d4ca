//! [`Json`]: values that have to be told what comes, through processes.

mod check;

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};

use self::check::Check;

/// A value that travels to another process as JSON.
///
/// A value that goes to a process is written without the names of its parts, which is
/// fast, and is not enough for types whose `Deserialize` looks at what comes:
/// `#[serde(flatten)]`, `untagged`, `tag = ".."`, `skip_serializing_if`,
/// `serde_json::Value`. They are refused with [`Error::Encode`] or
/// [`Error::Decode`]; in this wrapper they arrive. It costs what JSON costs.
///
/// A value that JSON has no words for is refused as well, when it is written: a number
/// that is infinite or NaN, an integer outside of `i64` and `u64`, a `Some` of nothing
/// (`Some(None)`, `Some(())`), map keys that are not text, numbers or `bool`, and
/// what is nested more than 127 deep.
///
/// Beyond that a value arrives as serde reads it from any JSON. A field that serde is
/// told to skip arrives as its default. A variant that is only written
/// (`skip_deserializing`) arrives as the one that is `other`. And of an `untagged` enum
/// the first variant that fits is taken: `B(7)` of `enum { A(u32), B(u64) }` arrives as
/// `A(7)`, so such variants need different shapes, or a `tag`; and none that holds an
/// `i128` or `u128` fits.
///
/// Needs the feature `json`. On threads it changes nothing. In a format for
/// people (serde's `is_human_readable`) it is written as its value alone.
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
    /// Returns the value.
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
