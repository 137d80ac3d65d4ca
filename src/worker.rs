//! [`current_worker`]: the [`Worker`] that runs the calling code.
//!
//! An executor calls [`enter`] around each task. This file knows no executor; it
//! keeps one value a thread.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// The kind of pool that a [`Worker`] belongs to.
///
/// ```
/// use concurrent_futures::{InlineExecutor, PoolKind, current_worker};
///
/// let executor = InlineExecutor::new()?;
/// let kind = executor.submit(|()| current_worker().map(|w| w.kind()), ())?;
/// assert_eq!(*kind.result()?, Some(PoolKind::Inline));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolKind {
    /// [`InlineExecutor`](crate::InlineExecutor): the thread that submits.
    Inline,
    /// [`ThreadPoolExecutor`](crate::ThreadPoolExecutor): a thread of the pool.
    Threads,
    /// A process pool: another process, which runs the same program.
    Processes,
}

impl fmt::Display for PoolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "inline",
            Self::Threads => "threads",
            Self::Processes => "processes",
        })
    }
}

/// The worker that runs the current task, as [`current_worker`] gives it.
///
/// A snapshot: cheap to clone, and it keeps nothing of the pool alive.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, current_worker};
///
/// let executor = ThreadPoolExecutor::builder()
///     .thread_name_prefix("fetch")
///     .build()?;
/// let worker = executor.spawn(current_worker)?.into_result()?.unwrap();
/// assert_eq!((worker.name(), worker.number()), ("fetch_0", 0));
/// assert_eq!(worker.pid(), std::process::id());
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Worker {
    kind: PoolKind,
    number: usize,
    name: Arc<str>,
}

impl Worker {
    pub(crate) fn new(kind: PoolKind, number: usize, name: &str) -> Self {
        Self {
            kind,
            number,
            name: name.into(),
        }
    }

    /// The kind of the worker's pool.
    ///
    /// ```
    /// use concurrent_futures::{PoolKind, ThreadPoolExecutor, current_worker};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let worker = executor.spawn(current_worker)?.into_result()?.unwrap();
    /// assert_eq!(worker.kind(), PoolKind::Threads);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn kind(&self) -> PoolKind {
        self.kind
    }

    /// The worker's number in its pool, counted from 0 in the order of start.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, current_worker};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let worker = executor.spawn(current_worker)?.into_result()?.unwrap();
    /// assert_eq!(worker.number(), 0);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn number(&self) -> usize {
        self.number
    }

    /// The worker's name; for a thread pool also the thread's name.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, current_worker};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let (worker, thread) = executor
    ///     .spawn(|| (current_worker(), std::thread::current()))?
    ///     .into_result()?;
    /// assert_eq!(Some(worker.unwrap().name()), thread.name());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the process that the worker runs in.
    ///
    /// ```
    /// use concurrent_futures::{ThreadPoolExecutor, current_worker};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let worker = executor.spawn(current_worker)?.into_result()?.unwrap();
    /// assert_eq!(worker.pid(), std::process::id());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn pid(&self) -> u32 {
        std::process::id()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// The worker that runs the calling code, or `None` outside every task.
///
/// Inside a task, and in a callback that a worker runs, it says which worker
/// of which kind of pool that is.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, current_worker};
///
/// assert!(current_worker().is_none());
/// let executor = ThreadPoolExecutor::new()?;
/// let inside = executor.spawn(|| current_worker().is_some())?;
/// assert!(inside.into_result()?);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub fn current_worker() -> Option<Worker> {
    // At the end of a thread its locals may be destroyed already; no task runs then.
    CURRENT
        .try_with(|current| current.borrow().clone())
        .unwrap_or(None)
}

/// Makes `worker` the current one until the returned value is dropped.
pub(crate) fn enter(worker: Worker) -> Entered {
    Entered {
        outer: CURRENT
            .try_with(|current| current.replace(Some(worker)))
            .unwrap_or(None),
    }
}

/// Puts the outer worker back when dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    outer: Option<Worker>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let outer = self.outer.take();
        // An error means that the thread ends: no code is left that could ask.
        let _ = CURRENT.try_with(|current| current.replace(outer));
    }
}
