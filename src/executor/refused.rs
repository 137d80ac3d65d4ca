//! [`TrySubmitError`]: the error of a refused call, which contains the function and its
//! arguments.

use std::fmt;

use crate::error::Error;
use crate::panic::contain_drop;

/// The error of a call that [`Executor::try_submit`](crate::Executor::try_submit) refused.
///
/// The error contains the reason, and gives the function and its arguments back to the
/// caller.
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
    pub(crate) fn new(error: Error, f: F, args: A) -> Self {
        let call = (f, args);
        Self { error, call }
    }

    /// Drops the function and its arguments, catches a panic of their `Drop`, and returns
    /// the error. The `submit` methods of thread pools, scopes and inline executors use
    /// this method, because they do not give a refused call back to the caller.
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
