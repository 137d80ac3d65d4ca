//! [`Report`]: the text of an error of any type, which can be sent to another process.

use std::error::Error;
use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// The largest number of errors in a chain whose messages a report contains.
const MOST: usize = 128;

/// The text of an error and of its chain of causes.
///
/// A report of an error has the messages of at most the first 128 errors of the chain,
/// because an error may be its own cause, and the chain would then not end.
///
/// Most errors cannot be sent to another process, but the text of an error can. A task that
/// returns `Result<T, Report>` can use `?` on any type that implements
/// [`std::error::Error`]. The `Result` is [`Portable`](crate::Portable) if `T` is. Like
/// `anyhow::Error`, a `Report` does not itself implement [`std::error::Error`], so that `?`
/// can convert all these types. The operator `?` also converts a `Report` to a boxed error.
///
/// ```
/// use concurrent_futures::{Report, ThreadPoolExecutor};
///
/// fn sum(numbers: Vec<String>) -> Result<i64, Report> {
///     let mut sum = 0;
///     for number in numbers {
///         sum += number.parse::<i64>()?;
///     }
///     Ok(sum)
/// }
///
/// let executor = ThreadPoolExecutor::new()?;
/// let sum = executor.submit(sum, vec!["1".into(), "two".into()])?;
/// let report = sum.into_result()?.unwrap_err();
/// assert_eq!(report.message(), "invalid digit found in string");
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// The error's message, followed by the messages of its causes. The list is empty only
    /// if an empty list was decoded.
    lines: Vec<String>,
}

impl Report {
    /// Creates a report with the text `message` and no cause.
    ///
    /// ```
    /// use concurrent_futures::Report;
    ///
    /// assert_eq!(Report::new("out of paper").to_string(), "out of paper");
    /// ```
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            lines: vec![message.into()],
        }
    }

    /// Creates a report of a boxed error. The operator `?` cannot convert a `Box<dyn
    /// Error>`, because this type does not implement [`Error`].
    ///
    /// ```
    /// use std::error::Error;
    /// use concurrent_futures::Report;
    ///
    /// fn parse(text: &str) -> Result<u8, Box<dyn Error + Send + Sync>> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// fn task(text: String) -> Result<u8, Report> {
    ///     // For an error of `anyhow` or `eyre`: `Report::from_boxed(error.into())`.
    ///     parse(&text).map_err(|error| Report::from_boxed(error))
    /// }
    ///
    /// let report = task("x".into()).unwrap_err();
    /// assert_eq!(report.message(), "invalid digit found in string");
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
    pub fn from_boxed(error: Box<dyn Error>) -> Self {
        Self::of(&*error)
    }

    fn of(error: &dyn Error) -> Self {
        let mut lines = vec![text_of(error)];
        let mut cause = error.source();
        while let Some(error) = cause {
            if lines.len() == MOST {
                lines.push("more causes, which the report leaves out".to_owned());
                break;
            }
            lines.push(text_of(error));
            cause = error.source();
        }
        Self { lines }
    }

    /// Returns the error's own text, without its causes.
    ///
    /// ```
    /// use concurrent_futures::Report;
    ///
    /// let report = Report::from("x".parse::<u8>().unwrap_err());
    /// assert_eq!(report.message(), "invalid digit found in string");
    /// ```
    pub fn message(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }

    /// Returns the error's message, followed by the messages of its causes, from the
    /// nearest cause to the root cause. If the chain has more than 128 errors, a remark
    /// stands in the place of the others.
    ///
    /// ```
    /// use std::io;
    /// use concurrent_futures::Report;
    ///
    /// let report = Report::from(io::Error::other("out of paper"));
    /// assert_eq!(report.chain().collect::<Vec<_>>(), ["out of paper"]);
    /// ```
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// Returns the text of a value. Where `to_string` would panic, because the value's `Display`
/// returns an error, returns a text that says so.
pub(crate) fn text_of(value: impl fmt::Display) -> String {
    let mut text = String::new();
    match write!(text, "{value}") {
        Ok(()) => text,
        Err(fmt::Error) => "an error whose `Display` fails".to_owned(),
    }
}

impl<E: Error> From<E> for Report {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

/// Writes the message. With `{:#}`, also writes the causes, separated by colons.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            f.write_str(&self.lines.join(": "))
        } else {
            f.write_str(self.message())
        }
    }
}

/// Writes the message, and the causes on the lines below the message. If `main` returns a
/// `Report` as its error, Rust prints the report in this format.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())?;
        for cause in self.chain().skip(1) {
            write!(f, "\n  because {cause}")?;
        }
        Ok(())
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|lines| Self { lines })
    }
}

/// One message of a [`Report`] that was converted to a boxed error, and all later messages.
struct Link {
    message: String,
    cause: Option<Box<Link>>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Writes the same text as the `Debug` of [`Report`]. If `main` returns the boxed error of
/// a report, Rust prints the error in this format.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut next = &self.cause;
        while let Some(link) = next {
            write!(f, "\n  because {}", link.message)?;
            next = &link.cause;
        }
        Ok(())
    }
}

impl Drop for Link {
    /// Drops all later links in a loop. A decoded [`Report`] may have any number of
    /// messages, so a recursive drop of its links could overflow the stack.
    fn drop(&mut self) {
        let mut next = self.cause.take();
        while let Some(mut link) = next {
            next = link.cause.take();
        }
    }
}

impl Error for Link {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl From<Report> for Box<dyn Error + Send + Sync> {
    fn from(report: Report) -> Self {
        let links = report.lines.into_iter().rev();
        let chain = links.fold(None, |cause, message| {
            Some(Box::new(Link { message, cause }))
        });
        match chain {
            Some(link) => link,
            None => "".into(),
        }
    }
}

impl From<Report> for Box<dyn Error> {
    fn from(report: Report) -> Self {
        Box::<dyn Error + Send + Sync>::from(report)
    }
}
