//! [`Refusal`]: a text that says why a value could not be written or read.
//!
//! The errors of a value's own `Serialize` or `Deserialize` have this type too, and keep
//! their texts.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};
use serde::ser;

use crate::report::text_of;

/// The advice in the error for a value that the codec's format does not support.
pub(super) const USE_JSON: &str =
    "wrap the value in `Json` (feature `json`), which says what comes";

/// A refusal has the size of one pointer, so that each `Result` of the codec stays small.
#[expect(
    clippy::box_collection,
    reason = "every result on the way is as large as this"
)]
#[derive(Debug)]
pub(super) struct Refusal(Box<String>);

impl Refusal {
    #[cold]
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(Box::new(reason.into()))
    }

    pub(super) fn into_reason(self) -> String {
        *self.0
    }
}

impl ser::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(text_of(message))
    }
}

impl de::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(text_of(message))
    }

    /// Adds advice if the `Deserialize` of a struct can read its fields only by their names,
    /// or only by position.
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let text = text_of(format_args!(
            "invalid type: {unexpected}, expected {expected}"
        ));
        Self::new(match unexpected {
            Unexpected::Seq | Unexpected::Map => format!("{text}; {USE_JSON}"),
            _ => text,
        })
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
