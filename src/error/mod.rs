//! [`Error`]: everything that can keep a task from giving its value.
//!
//! One type for every executor, so that code stays generic over where its
//! tasks run. It is two words wide and cheap to clone: whatever is larger sits
//! behind an `Arc`.

mod codec;
mod death;
mod task_end;

use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

pub use self::codec::{CodecError, Side};
pub use self::death::WorkerDeath;
#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_imports, reason = "workers die where there are processes")
)]
pub(crate) use self::death::{End, Parts as DeathParts};
#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_imports, reason = "tasks are ended where there are processes")
)]
pub(crate) use self::task_end::Parts as TaskEndParts;
pub use self::task_end::TaskEnd;

use crate::panic::Panic;
use crate::state::State;

/// Why there is no value.
///
/// A task's own `Err` is *not* here: it is the value that the task returned,
/// and `result()` lends it as `Ok(&Err(..))`.
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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The task was cancelled before it began, and never runs.
    Cancelled,
    /// The wait ended before the task did. The task goes on.
    Timeout {
        /// How many of the awaited tasks had not ended.
        unfinished: u32,
        /// How many tasks the wait was for.
        total: u32,
    },
    /// The task's function panicked.
    Panicked(Panic),
    /// The task ran longer than its time limit, so its worker was ended.
    TimeLimit(TaskEnd),
    /// The task was ended by [`kill`](crate::TaskFuture::kill), or together with
    /// all workers of its pool.
    Killed(TaskEnd),
    /// The process of the worker ended under the task.
    WorkerDied(WorkerDeath),
    /// The pool cannot run tasks any more; the cause is inside.
    ///
    /// For the pools of this crate, `Panicked`, `Other` and `Decode` inside it
    /// are failures of the initializer.
    Broken(Arc<Error>),
    /// The executor was shut down before the call.
    ShutDown,
    /// The executor's queue is as long as it may be, and the call would not wait.
    QueueFull,
    /// The [`Promise`](crate::Promise) was dropped without an outcome.
    Abandoned,
    /// A value could not be encoded: an argument, which was not submitted, or
    /// what the task returned.
    Encode(CodecError),
    /// A value could not be decoded: an argument in the worker, or what the task
    /// returned.
    Decode(CodecError),
    /// The function is not part of the main program, so that another process
    /// could not find it; the text says which.
    NotShippable(Arc<String>),
    /// The wait would never end: what it is for waits, itself or through others,
    /// for the waiting thread.
    WouldDeadlock,
    /// The operation does not fit the state that the task is in.
    InvalidState(State),
    /// An argument is out of range; the text says which and what is allowed.
    InvalidArgument(Arc<String>),
    /// The operating system refused to start a worker.
    Spawn(Arc<io::Error>),
    /// This platform, or the way the program was built, has no such thing; the
    /// text says what is missing.
    Unsupported(Arc<String>),
    /// Any other error, for those who write executors; see [`Error::other`].
    Other(Arc<Box<dyn std::error::Error + Send + Sync>>),
}

impl Error {
    /// Wraps any error, or a text, as [`Error::Other`].
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

    pub(crate) fn invalid_argument(what: impl Into<String>) -> Self {
        Self::InvalidArgument(Arc::new(what.into()))
    }

    /// A task's outcome was handed out, with this in it.
    pub(crate) fn mark_read(&self) {
        if let Self::Panicked(panic) = self {
            panic.mark_read();
        }
    }

    pub(crate) fn not_shippable(what: impl Into<String>) -> Self {
        Self::NotShippable(Arc::new(what.into()))
    }

    /// The error of each call on a pool that belongs to the process which this
    /// one was forked from.
    pub(crate) fn forked_pool() -> Self {
        Self::other(
            "the pool was made in the process that this one was forked from, \
             which alone has its workers; make a new one here",
        )
    }

    /// The error of each wait for a task that such a pool, or a promise, had not
    /// ended.
    pub(crate) fn forked_task() -> Self {
        Self::other(
            "the task had not ended when this process was forked from the one that has it, \
             and never ends here; submit it to a pool that was made here",
        )
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(Arc::new(what.into()))
    }

    /// The error of every call on a pool that broke for `self`.
    pub(crate) fn broken(self) -> Self {
        Self::Broken(Arc::new(self))
    }
}

// Plain data, never changed once made; what `Other` wraps is only lent.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

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
                "the wait timed out with {unfinished} of {total} tasks unfinished; they go on and may be waited for again"
            ),
            Self::Panicked(panic) => panic.fmt(f),
            Self::TimeLimit(end) => {
                f.write_str("the time limit")?;
                if let Some(limit) = end.limit() {
                    write!(f, " of {limit:?}")?;
                }
                write!(f, " ended {end}; allow it more, or give it less to do")
            }
            Self::Killed(end) => write!(
                f,
                "a kill ended {end}; submit it again if it may run twice"
            ),
            Self::WorkerDied(death) => match death.times_begun() {
                0 => write!(f, "{death}; the task did not run, submit it again"),
                1 => write!(
                    f,
                    "{death}; the task is lost, set `retries` if it may run twice"
                ),
                times => write!(
                    f,
                    "{death}; the task was begun {times} times and has no retries left"
                ),
            },
            Self::Broken(cause) => {
                f.write_str("the pool is broken, ")?;
                match &**cause {
                    Self::Panicked(panic) => {
                        panic.describe("its initializer", f)?;
                        f.write_str("; mend that and make a new pool")
                    }
                    Self::Other(error) => write!(
                        f,
                        "its initializer failed: {error}; mend that and make a new pool"
                    ),
                    Self::Decode(_) => write!(f, "the argument of its initializer did not arrive: {cause}"),
                    // Not the task's text, which speaks of `retries`.
                    Self::WorkerDied(death) => write!(
                        f,
                        "a worker's end broke it: {death}; mend that and make a new pool"
                    ),
                    _ => write!(f, "make a new one: {cause}"),
                }
            }
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
                error.type_name(), error.side(), error.reason()
            ),
            Self::Decode(error) => write!(
                f,
                "a value of the type {} could not be decoded {}: {}; its `Deserialize` must read what its `Serialize` wrote",
                error.type_name(), error.side(), error.reason()
            ),
            Self::WouldDeadlock => {
                f.write_str("the wait would never end, for what it is for waits for this very thread; wait elsewhere, or with a limit")
            }
            Self::InvalidState(state) => {
                write!(f, "the operation does not fit a task that is {state}")
            }
            Self::InvalidArgument(what) => f.write_str(what),
            Self::Spawn(cause) => write!(
                f,
                "no worker could be started ({cause}); ask for fewer workers, or free memory or threads"
            ),
            Self::NotShippable(what) | Self::Unsupported(what) => f.write_str(what),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    /// What is behind the cause that the text already shows.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(cause) => cause.source(),
            Self::Spawn(cause) => cause.source(),
            Self::Other(error) => error.source(),
            _ => None,
        }
    }
}

// A result is as wide as two words: it travels in registers.
const _: () = {
    assert!(size_of::<Error>() == 16);
    assert!(size_of::<Result<&u8, Error>>() == 16);
};

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn death(end: End, task: Option<&str>, ran_for: Option<Duration>) -> String {
        worker_died(end, task, ran_for, 1).to_string()
    }

    fn worker_died(
        end: End,
        task: Option<&str>,
        ran_for: Option<Duration>,
        times_begun: u32,
    ) -> Error {
        Error::WorkerDied(WorkerDeath::new(DeathParts {
            pid: 7,
            end,
            task: task.map(Arc::from),
            ran_for,
            note: None,
            times_begun,
        }))
    }

    fn thumb() -> TaskEnd {
        TaskEnd::new(TaskEndParts {
            task: Some("thumb".into()),
            pid: Some(7),
            ran_for: Some(Duration::from_millis(2500)),
            limit: Some(Duration::from_secs(2)),
        })
    }

    #[test]
    fn a_task_without_retries_left_says_how_often_it_was_begun() {
        let died = |times| worker_died(End::Exited(3), None, Some(Duration::ZERO), times);
        let text = died(3).to_string();
        assert!(
            text.contains("begun 3 times") && !text.contains("set `retries`"),
            "{text}"
        );
        assert!(died(1).to_string().contains("set `retries`"));
        assert!(died(0).to_string().contains("did not run"));
    }

    #[test]
    fn a_broken_pool_says_what_broke_it() {
        let panic = Panic::from_payload(Box::new("ouch"));
        let died = |times| worker_died(End::Exited(3), None, None, times);
        for (cause, what) in [
            (
                Error::Panicked(panic),
                "its initializer panicked: ouch; mend",
            ),
            (
                Error::other("no licence"),
                "its initializer failed: no licence; mend",
            ),
            (
                died(0),
                "a worker's end broke it: the worker process 7 exited with code 3",
            ),
        ] {
            let text = cause.broken().to_string();
            assert!(text.contains(what) && !text.contains("retries"), "{text}");
        }
    }

    #[test]
    fn a_death_says_who_how_and_under_what() {
        let second = Some(Duration::from_secs(1));
        let text = death(End::Signalled("SIGSEGV".to_owned()), Some("thumb"), second);
        assert!(
            text.starts_with("the worker process 7 was ended by SIGSEGV 1.0s into the task thumb;"),
            "{text}"
        );
        let text = death(End::Exited(3), None, second);
        assert!(
            text.contains("7 exited with code 3 1.0s into the task;"),
            "{text}"
        );
        let text = death(End::Signalled("signal 40".to_owned()), None, None);
        assert!(
            text.contains("ended by signal 40 before it ran anything"),
            "{text}"
        );
    }

    #[test]
    fn each_message_says_what_happened_and_what_to_do() {
        let codec = CodecError::new(Side::Worker, "Shape", "no corners");
        for (error, what, to_do) in [
            (
                Error::TimeLimit(thumb()),
                "limit of 2s ended the task thumb in the worker process 7, after 2.5s;",
                "allow it more",
            ),
            (
                Error::Killed(thumb()),
                "a kill ended the task thumb in the worker process 7, after 2.5s;",
                "submit it again",
            ),
            (Error::Encode(codec.clone()), "no corners", "mend its"),
            (
                Error::Decode(codec),
                "Shape could not be decoded in the worker",
                "must read",
            ),
            (
                Error::unsupported("no processes here"),
                "no processes",
                "here",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(to_do), "{text}");
        }
    }
}
