//! [`CodecError`]: the error of a value that could not be encoded or decoded.

use std::fmt;
use std::sync::Arc;

/// The error of a value that could not be encoded or decoded.
///
/// [`Error::Encode`](crate::Error::Encode) and [`Error::Decode`](crate::Error::Decode)
/// contain a `CodecError`. All clones of a `CodecError` share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct CodecError(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    side: Side,
    type_name: String,
    reason: String,
    /// `true` if the value itself is fine, but there was no memory for it.
    is_shortage: bool,
}

/// The process in which a value was encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Side {
    /// The parent process, which has the executor.
    Parent,
    /// The worker process.
    Worker,
}

impl CodecError {
    /// `is_shortage` says that there was no memory for the value.
    pub(crate) fn new(
        side: Side,
        type_name: impl Into<String>,
        reason: impl Into<String>,
        is_shortage: bool,
    ) -> Self {
        Self(Arc::new(Parts {
            side,
            type_name: type_name.into(),
            reason: reason.into(),
            is_shortage,
        }))
    }

    pub(super) fn is_shortage(&self) -> bool {
        self.0.is_shortage
    }

    /// Returns the process in which the value could not be encoded or decoded.
    pub fn side(&self) -> Side {
        self.0.side
    }

    /// Returns the name of the value's type.
    pub fn type_name(&self) -> &str {
        &self.0.type_name
    }

    /// Returns the reason why the value could not be encoded or decoded. The text comes
    /// from the value's `Serialize` or `Deserialize`, or from this crate's encoder or
    /// decoder.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parent => "here",
            Self::Worker => "in the worker",
        })
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecError")
            .field("side", &self.side())
            .field("type_name", &self.type_name())
            .field("reason", &self.reason())
            .finish()
    }
}
