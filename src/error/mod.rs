//! [`Error`]: the error type of all executors and futures.
//!
//! All executors return the same error type, so that code can be generic over the executor.
//! An `Error` has at most 16 bytes and is cheap to clone, because larger data is behind an
//! `Arc`.

mod broken;
mod codec;
mod death;
mod spawn;
mod task_end;

use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

pub(crate) use self::broken::BrokenPart;
pub use self::broken::BrokenPool;
pub use self::codec::{CodecError, Side};
pub use self::death::WorkerDeath;
#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_imports, reason = "workers die where there are processes")
)]
pub(crate) use self::death::{End, Loss, Moment, Parts as DeathParts, Place, StartStage};
#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_imports, reason = "it is made where there are processes")
)]
pub(crate) use self::spawn::StartFailure;
#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_imports, reason = "tasks are ended where there are processes")
)]
pub(crate) use self::task_end::Parts as TaskEndParts;
pub use self::task_end::TaskEnd;

use crate::panic::Panic;
use crate::state::State;

/// The reason why a task has no value, or why a call on an executor failed.
///
/// An `Err` that the task itself returns is *not* an `Error`. The `Err` is the task's
/// value, and `result()` lends it as `Ok(&Err(..))`.
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
///     text.parse()
/// }
///
/// let executor = ThreadPoolExecutor::new()?;
/// let future = executor.submit(parse, "many".to_owned())?;
/// assert!(future.result()?.is_err()); // the task's own error: a value
/// assert!(future.exception().is_none());
///
/// executor.shutdown();
/// let refused = executor.submit(parse, "1".to_owned()).unwrap_err();
/// assert!(matches!(refused, Error::ShutDown));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The task was cancelled before it began, and never runs.
    Cancelled,
    /// The time limit of a wait passed before the task ended. The wait does not end the
    /// task. But if the time limit of a map passes, the map cancels its tasks that have not
    /// begun.
    Timeout {
        /// The number of awaited tasks that had not ended when the time limit passed.
        unfinished: u32,
        /// The number of all awaited tasks.
        total: u32,
    },
    /// The task's function panicked.
    Panicked(Panic),
    /// The task ran longer than its time limit, so the pool killed its worker.
    TimeLimit(TaskEnd),
    /// A call of [`kill`](crate::TaskFuture::kill) ended the task, or the program killed
    /// all workers of the task's pool.
    Killed(TaskEnd),
    /// The worker's process ended before the task was done.
    WorkerDied(WorkerDeath),
    /// The pool cannot run tasks any more. The [`BrokenPool`] contains the cause.
    Broken(BrokenPool),
    /// The executor was shut down, and refuses the call.
    ShutDown,
    /// The executor's queue is full, and the call, such as
    /// [`try_submit`](crate::Executor::try_submit), does not wait for room in the queue.
    QueueFull,
    /// The [`Promise`](crate::Promise) was dropped without an outcome.
    Abandoned,
    /// An argument of a task, or the value that a task returned, could not be encoded. If
    /// an argument could not be encoded, the task was not submitted.
    Encode(CodecError),
    /// An argument of a task, or the value that a task returned, could not be decoded. The
    /// worker decodes the argument, and the parent process decodes the value.
    Decode(CodecError),
    /// The function is not part of the main program but of a shared library, so a worker
    /// process might not have it. The text shows the function's type and address.
    NotShippable(Arc<String>),
    /// The wait would never end, because the awaited task waits for the waiting thread,
    /// directly or through other tasks. Or the wait might never end, because the waiting
    /// worker has too little stack left to run the awaited task itself.
    WouldDeadlock,
    /// The operation is not allowed in the current state of the task.
    InvalidState(State),
    /// An argument is out of range, or the executor does not support an option. The text
    /// names the argument or the option, and says what is allowed.
    InvalidArgument(Arc<String>),
    /// No worker could be started, or the pool could not get something else that it needs:
    /// memory, a descriptor, or a thread of its own. The error contains the cause.
    Spawn(Arc<io::Error>),
    /// The platform or the build of the program does not support the operation. The
    /// text says what is missing.
    Unsupported(Arc<String>),
    /// Any other error, for example of an initializer, of an executor that another crate
    /// implements, or of a forked child that uses a pool of its parent process.
    /// [`Error::other`] creates this variant.
    Other(Arc<Box<dyn std::error::Error + Send + Sync>>),
}

impl Error {
    /// Wraps an error of any type, or a text, as [`Error::Other`].
    ///
    /// ```
    /// use concurrent_futures::{Error, promise};
    ///
    /// let (promise, future) = promise::<u8>();
    /// promise.set_exception(Error::other("the cluster is away"))?;
    /// let error = future.exception().unwrap();
    /// assert_eq!(error.to_string(), "the cluster is away");
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(Arc::new(error.into()))
    }

    pub(crate) fn spawn(error: io::Error) -> Self {
        Self::Spawn(Arc::new(error))
    }

    pub(crate) fn invalid_argument(what: impl Into<String>) -> Self {
        Self::InvalidArgument(Arc::new(what.into()))
    }

    /// Records that the program has read this error as a task's outcome. Only the record of
    /// a panic has an effect: a scope resumes only a panic that the program has not read.
    pub(crate) fn mark_read(&self) {
        if let Self::Panicked(panic) = self {
            panic.mark_read();
        }
    }

    pub(crate) fn not_shippable(what: impl Into<String>) -> Self {
        Self::NotShippable(Arc::new(what.into()))
    }

    /// Creates the error for a forked child that uses a pool of its parent process.
    pub(crate) fn forked_pool() -> Self {
        Self::other(
            "the pool was made in the process that this one was forked from, \
             which alone has its workers; make a new one here",
        )
    }

    /// Creates the error for a forked child that waits for a task of its parent process, if
    /// the task had not ended at the time of the fork.
    pub(crate) fn forked_task() -> Self {
        Self::other(
            "the task had not ended when this process was forked from the one that has it, \
             and never ends here; submit it to a pool that was made here",
        )
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(Arc::new(what.into()))
    }

    /// Creates the error of a broken pool and of the tasks in its queue. `self` is the
    /// error that broke the pool, and `part` is the part of the pool that failed.
    pub(crate) fn broken(self, part: BrokenPart) -> Self {
        Self::Broken(BrokenPool::by(self, part))
    }
}

// An `Error` is unwind safe: its methods change only the flag of a [`Panic`], which is
// unwind safe itself, and they only lend the error inside `Other`.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

/// Formats the name of the variant and the text of [`Display`](fmt::Display). A `main` that
/// returns the error and an `unwrap` print this text, so the text must say what to do.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Cancelled => "Cancelled",
            Self::Timeout { .. } => "Timeout",
            Self::Panicked(_) => "Panicked",
            Self::TimeLimit(_) => "TimeLimit",
            Self::Killed(_) => "Killed",
            Self::WorkerDied(_) => "WorkerDied",
            Self::Broken(_) => "Broken",
            Self::ShutDown => "ShutDown",
            Self::QueueFull => "QueueFull",
            Self::Abandoned => "Abandoned",
            Self::Encode(_) => "Encode",
            Self::Decode(_) => "Decode",
            Self::NotShippable(_) => "NotShippable",
            Self::WouldDeadlock => "WouldDeadlock",
            Self::InvalidState(_) => "InvalidState",
            Self::InvalidArgument(_) => "InvalidArgument",
            Self::Spawn(_) => "Spawn",
            Self::Unsupported(_) => "Unsupported",
            Self::Other(_) => "Other",
        };
        write!(f, "{name}: {self}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str(
                "the task was cancelled before it began; submit it again if it is still wanted",
            ),
            Self::Timeout {
                unfinished,
                total: 1,
            } if *unfinished == 1 => {
                f.write_str("the wait timed out; the task goes on and may be waited for again")
            }
            Self::Timeout { unfinished, total } => write!(
                f,
                "the wait timed out with {unfinished} of {total} tasks unfinished; allow more time (futures may be waited for again)"
            ),
            Self::Panicked(panic) => panic.fmt(f),
            Self::TimeLimit(end) => {
                f.write_str("the time limit")?;
                if let Some(limit) = end.limit() {
                    write!(f, " of {limit:?}")?;
                }
                write!(f, " ended {end}; allow it more, or give it less to do")
            }
            Self::Killed(end) => {
                write!(f, "a kill ended {end}; submit it again if it may run twice")
            }
            Self::WorkerDied(death) => death::describe(death, f),
            Self::Broken(broken) => broken::describe(broken, f),
            Self::ShutDown => {
                f.write_str("the executor was shut down and takes no new tasks; make a new one")
            }
            Self::QueueFull => {
                f.write_str("the executor's queue is full; try again later, or wait with `submit`")
            }
            Self::Abandoned => {
                f.write_str("the promise was dropped without an outcome; set one on every path")
            }
            Self::Encode(error) => write!(
                f,
                "a value of the type {} could not be encoded {}: {}; mend its `Serialize`, or send another type",
                error.type_name(),
                error.side(),
                error.reason()
            ),
            Self::Decode(error) => write!(
                f,
                "a value of the type {} could not be decoded {}: {}; {}",
                error.type_name(),
                error.side(),
                error.reason(),
                match error.is_shortage() {
                    true => "free memory, or send the value in parts",
                    false => "its `Deserialize` must read what its `Serialize` wrote",
                }
            ),
            Self::WouldDeadlock => f.write_str(
                "the wait would never end, since what it waits for waits for this very thread; \
                 wait in another thread, or with a limit",
            ),
            Self::InvalidState(state) => f.write_str(match state {
                State::Pending | State::Running => {
                    "the task has not ended and has no outcome yet; wait for it first"
                }
                State::Finished => {
                    "the task has finished, and its outcome was set or taken before; set it once, \
                     and take it once"
                }
                State::Cancelled => {
                    "the task was cancelled before it began, and takes no outcome; ask \
                     `Promise::start` first, and leave out the work if that says `false`"
                }
            }),
            Self::InvalidArgument(what) => f.write_str(what),
            Self::Spawn(cause) => spawn::describe(cause, f),
            Self::NotShippable(what) | Self::Unsupported(what) => f.write_str(what),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    /// Returns the source of the error's cause. The cause itself is skipped, because the
    /// error's text already contains the text of the cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(broken) => broken.cause().source(),
            Self::Spawn(cause) => cause.source(),
            Self::Other(error) => error.source(),
            _ => None,
        }
    }
}

// A `Result<&T, Error>` has at most 16 bytes, so that functions on 64-bit systems return it
// in registers.
const _: () = {
    assert!(size_of::<Error>() <= 16);
    assert!(size_of::<Result<&u8, Error>>() == size_of::<Error>());
};

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;
