//! [`TrySubmitError`]: a refused call, which it returns.

use std::fmt;

use crate::error::Error;
use crate::panic::contain_drop;

/// A call that [`Executor::try_submit`](crate::Executor::try_submit) refused, and the
/// reason.
///
/// The error returns the function and its arguments to the caller.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, TrySubmitError};
///
/// let executor = ThreadPoolExecutor::new()?;
/// executor.shutdown();
/// let text = String::from("kept");
/// let TrySubmitError { error, call: (_, text) } =
///     executor.try_submit(|text: String| text.len(), text).unwrap_err();
/// assert_eq!(text, "kept");
/// assert!(error.to_string().contains("shut down"));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub struct TrySubmitError<F, A> {
    /// The reason why the executor refused the call.
    pub error: Error,
    /// The function and its arguments.
    pub call: (F, A),
}

impl<F, A> TrySubmitError<F, A> {
    /// Drops the function and its arguments, contains a panic of their `Drop`, and
    /// returns the error. The methods that do not return a refused call use it.
    pub(crate) fn drop_call(self) -> Error {
        let (f, args) = self.call;
        contain_drop(f);
        contain_drop(args);
        self.error
    }
}

impl<F, A> fmt::Debug for TrySubmitError<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySubmitError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<F, A> fmt::Display for TrySubmitError<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<F, A> std::error::Error for TrySubmitError<F, A> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
