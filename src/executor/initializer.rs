//! [`InitializerOutcome`]: the types that an initializer may return.

use crate::error::Error;

/// The types that an initializer (the function that each worker runs before its first task)
/// may return: `()`, or `Result<(), E>` with `E: Into<Box<dyn Error + Send + Sync>>`. `E`
/// may be `String`, `&str` or almost any error type. The trait is sealed.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::builder()
///     .initializer(|n: String| n.parse::<u8>().map(drop), "7".to_owned())
///     .build()?;
/// assert!(executor.spawn(|| ())?.exception().is_none());
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "an initializer cannot return `{Self}`",
    label = "not an `InitializerOutcome`",
    note = "return `()`, or a `Result<(), E>` of an error or a text; write the return type of a closure that only panics: `|()| -> () {{ .. }}`"
)]
pub trait InitializerOutcome: sealed::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Error>;
}

impl InitializerOutcome for () {
    fn into_result(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> InitializerOutcome for Result<(), E> {
    fn into_result(self) -> Result<(), Error> {
        self.map_err(Error::other)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}
