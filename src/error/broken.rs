//! [`BrokenPool`]: the error that broke a pool, and the part of the pool that failed.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Error;

/// The reason why a pool can run no more tasks.
///
/// [`Error::Broken`] contains a `BrokenPool`. A `BrokenPool` dereferences to its cause. All
/// clones of a `BrokenPool` share one cause.
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::builder()
///     .initializer(|()| Err("no licence"), ())
///     .build()?;
/// let Some(Error::Broken(broken)) = executor.spawn(|| ())?.exception() else {
///     unreachable!("the initializer fails")
/// };
/// assert!(broken.is_initializer());
/// assert_eq!(broken.cause().to_string(), "no licence");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct BrokenPool(Arc<Parts>);

struct Parts {
    cause: Error,
    part: BrokenPart,
}

/// The part of a pool that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    any(not(target_os = "linux"), concurrent_futures_loom),
    expect(dead_code, reason = "a thread pool breaks by its initializer alone")
)]
pub(crate) enum BrokenPart {
    Initializer,
    /// A worker died, and the pool's policy for the death of a worker is
    /// `OnWorkerDeath::BreakPool`.
    Policy,
    /// Several workers in a row ended before they began a task or waited for a task.
    /// `workers` is the number of these workers. `look_at` names the user code that ran in
    /// these workers and that may have ended them.
    Starts {
        workers: u32,
        look_at: &'static str,
    },
    /// No worker could be started, or a started worker reported that it cannot run tasks.
    Start,
    /// An executor of another crate created the error, so the part is unknown.
    Unknown,
}

impl BrokenPool {
    /// Creates the error of a pool that broke because of `cause`. An implementation of
    /// [`Executor`](crate::Executor) needs this function for its own pools.
    ///
    /// ```
    /// use concurrent_futures::{BrokenPool, Error};
    ///
    /// let error = Error::Broken(BrokenPool::new(Error::other("the cluster is away")));
    /// assert!(error.to_string().contains("the cluster is away"));
    /// ```
    pub fn new(cause: Error) -> Self {
        Self::by(cause, BrokenPart::Unknown)
    }

    pub(super) fn by(cause: Error, part: BrokenPart) -> Self {
        Self(Arc::new(Parts { cause, part }))
    }

    /// Returns the error that broke the pool.
    pub fn cause(&self) -> &Error {
        &self.0.cause
    }

    /// Returns `true` if the initializer of a worker failed: the initializer panicked,
    /// returned an error, or did not receive its argument.
    pub fn is_initializer(&self) -> bool {
        self.0.part == BrokenPart::Initializer
    }
}

impl Deref for BrokenPool {
    type Target = Error;

    fn deref(&self) -> &Error {
        self.cause()
    }
}

/// Writes the text of the cause and nothing else.
impl fmt::Display for BrokenPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause().fmt(f)
    }
}

impl fmt::Debug for BrokenPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokenPool")
            .field("cause", self.cause())
            .field("is_initializer", &self.is_initializer())
            .finish()
    }
}

/// Writes that the pool is broken, and then the cause and advice to the user.
pub(super) fn describe(broken: &BrokenPool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let cause = broken.cause();
    f.write_str("the pool is broken, ")?;
    match (broken.0.part, cause) {
        (BrokenPart::Initializer, Error::Panicked(panic)) => {
            panic.describe("its initializer", f)?;
            f.write_str("; mend that and make a new pool")
        }
        (BrokenPart::Initializer, Error::Decode(_)) => write!(
            f,
            "the argument of its initializer did not arrive: {cause}; mend that and make a new pool"
        ),
        (BrokenPart::Initializer, _) => write!(
            f,
            "its initializer failed: {cause}; mend that and make a new pool"
        ),
        (BrokenPart::Policy, _) => {
            f.write_str("as its policy `OnWorkerDeath::BreakPool` has it when a worker dies: ")?;
            death(cause, f)?;
            f.write_str(
                "; make a new pool, or choose `OnWorkerDeath::FailTask`, by which the task of \
                 that worker fails alone",
            )
        }
        (BrokenPart::Starts { workers, look_at }, _) => {
            write!(
                f,
                "{workers} workers in a row ended before they began a task, the last so: "
            )?;
            death(cause, f)?;
            write!(f, "; look at {look_at}, and make a new pool")
        }
        (BrokenPart::Start, _) => write!(f, "{cause}, and make a new pool"),
        (BrokenPart::Unknown, _) => write!(f, "{cause}; mend that and make a new pool"),
    }
}

/// Writes the cause of a broken pool, which is usually the death of a worker. The text does
/// not advise to set `retries`, because retries do not help against a broken pool.
fn death(cause: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match cause {
        Error::WorkerDied(death) => write!(f, "{death}"),
        other => write!(f, "{other}"),
    }
}
