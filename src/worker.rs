//! [`current_worker`]: returns the [`Worker`] that runs the calling code.
//!
//! Before a worker runs tasks, its executor calls [`enter`] or [`enter_of_pool`] in the
//! worker's thread. This file stores the current worker of each thread, and depends on no
//! executor.

use std::cell::{Cell, RefCell};
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
    /// [`InlineExecutor`](crate::InlineExecutor): the worker is the thread that submits
    /// the task.
    Inline,
    /// [`ThreadPoolExecutor`](crate::ThreadPoolExecutor): the worker is a thread of the
    /// pool.
    Threads,
    /// A process pool: the worker is another process, which runs the same program.
    Processes,
    /// A pool of the ranks (processes) of an MPI job (feature `mpi`): the worker is a rank,
    /// which runs the same program.
    Mpi,
}

impl fmt::Display for PoolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "inline",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Mpi => "mpi",
        })
    }
}

/// The worker that runs the current task. [`current_worker`] returns it.
///
/// A `Worker` contains a copy of the worker's data. A `Worker` is cheap to clone, and does
/// not keep the pool alive.
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
    host: Option<Arc<str>>,
}

impl Worker {
    pub(crate) fn new(kind: PoolKind, number: usize, name: &str) -> Self {
        Self {
            kind,
            number,
            name: name.into(),
            host: None,
        }
    }

    /// Adds the name of the worker's host. A worker has this name only if a launcher's
    /// command, such as `ssh`, or an MPI job has started the worker.
    pub(crate) fn on_host(self, host: &str) -> Self {
        let host = Some(host.into());
        Self { host, ..self }
    }

    /// Returns the kind of the worker's pool.
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

    /// Returns the worker's number in its pool. The pool numbers its workers from 0 in
    /// the order in which they start. A process pool may leave out some numbers.
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

    /// Returns the worker's name. In a thread pool, the worker's thread has the same name.
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

    /// Returns the name that the worker's host gives itself (`uname -n`), if a
    /// [`Launcher`](crate::Launcher) or an MPI job has started the worker. Returns `None`
    /// for any other worker, which always runs on the host of the pool.
    ///
    /// ```
    /// use concurrent_futures::{ProcessPoolExecutor, current_worker};
    ///
    /// let executor = ProcessPoolExecutor::new()?;
    /// let host = |()| current_worker().and_then(|worker| worker.host().map(str::to_owned));
    /// assert_eq!(executor.submit(host, ())?.into_result()?, None);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the id of the process in which the worker runs.
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
    /// `true` while the current worker is not that of this thread's pool: inside an inline
    /// call, or inside [`without_worker`]. A task that runs inside another one reads this
    /// flag, because a read of `CURRENT` takes several times as long.
    static IS_OTHER: Cell<bool> = const { Cell::new(false) };
    /// The worker of the thread pool to which this thread belongs, or `None` for any other
    /// thread.
    static OF_POOL: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Returns the worker that runs the calling code, or `None` if no worker runs the code.
///
/// A callback that a worker runs also has a current worker.
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
    // `try_with` fails if the thread is ending and has dropped its thread locals. On such a
    // thread only an `InlineExecutor` runs tasks, in the destructor of a thread local. Such a
    // task sees no worker.
    CURRENT
        .try_with(|current| current.borrow().clone())
        .unwrap_or(None)
}

/// Makes `worker` the current worker of this thread until the returned value is
/// dropped.
pub(crate) fn enter(worker: Worker) -> Entered {
    let is_other = worker.kind == PoolKind::Inline;
    set_current(Some(worker), is_other)
}

fn set_current(worker: Option<Worker>, is_other: bool) -> Entered {
    let was_other = IS_OTHER.replace(is_other);
    let outer = CURRENT.try_with(|current| current.replace(worker));
    Entered {
        outer: outer.unwrap_or(None),
        was_other,
    }
}

/// Runs user code of a task that another worker has run. There is no current worker
/// meanwhile, although this thread may be a worker that waits for the task.
pub(crate) fn without_worker<R>(f: impl FnOnce() -> R) -> R {
    let _outside = set_current(None, true);
    f()
}

/// Makes `worker` the current worker of this thread, which is a thread of the worker's
/// pool, until the returned value is dropped.
pub(crate) fn enter_of_pool(worker: Worker) -> Entered {
    let _ = OF_POOL.try_with(|of_pool| of_pool.replace(Some(worker.clone())));
    enter(worker)
}

/// Runs a task of this thread's pool inside a wait. The pool's worker is the current worker
/// meanwhile, also if the wait is inside a call of an
/// [`InlineExecutor`](crate::InlineExecutor) or inside [`without_worker`].
#[inline]
pub(crate) fn as_worker_of_pool<R>(task: impl FnOnce() -> R) -> R {
    if !IS_OTHER.get() {
        return task();
    }
    let of_pool = OF_POOL.try_with(|of_pool| of_pool.borrow().clone());
    let _inside = of_pool.unwrap_or(None).map(enter);
    task()
}

/// The guard that [`enter`] and [`enter_of_pool`] return. Its `Drop` restores the worker
/// that was current before the call, if there was one.
#[derive(Debug)]
pub(crate) struct Entered {
    outer: Option<Worker>,
    was_other: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        IS_OTHER.set(self.was_other);
        let outer = self.outer.take();
        // `try_with` fails only while the thread ends. Then `current_worker` returns
        // `None`, and there is nothing to restore.
        let _ = CURRENT.try_with(|current| current.replace(outer));
    }
}
