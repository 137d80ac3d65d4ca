//! [`Refusal`]: why a value could not be written or read, in words.
//!
//! `postcard`'s own error drops what a value's `Serialize` or `Deserialize` says
//! by `Error::custom`; this one is what their code meets, and keeps it.

use std::fmt::{self, Display};

use serde::{de, ser};

/// The way out for a value that these bytes cannot carry.
pub(super) const USE_JSON: &str =
    "wrap the value in `Json` (feature `json`), which says what comes";

/// One pointer wide, so that results on the way stay small.
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

    /// A value that has to be told what comes, which the bytes do not say.
    #[cold]
    pub(super) fn asks_what_comes() -> Self {
        Self::new(format!(
            "its `Deserialize` asks what comes (`untagged`, `flatten` and tagged enums, \
             `serde_json::Value`), which the bytes do not say; {USE_JSON}"
        ))
    }
}

impl From<postcard::Error> for Refusal {
    #[cold]
    fn from(error: postcard::Error) -> Self {
        use postcard::Error::{DeserializeUnexpectedEnd, SerializeSeqLengthUnknown};
        match error {
            SerializeSeqLengthUnknown => Self::new(format!(
                "it does not say how many elements or fields come (`flatten`); collect them \
                 first, or {USE_JSON}"
            )),
            DeserializeUnexpectedEnd => Self::new(format!(
                "the bytes end early: its `Deserialize` reads more than its `Serialize` wrote \
                 (`skip_serializing`); {USE_JSON}"
            )),
            error => Self::new(error.to_string()),
        }
    }
}

impl ser::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl de::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
