//! [`ThreadPoolExecutorBuilder`], and the functions that create a thread pool.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::thread::available_parallelism;

use super::executor::ThreadPoolExecutor;
use super::pool::{Config, ExitHook, Initializer, Pool};
use crate::error::Error;
use crate::executor::{InitializerOutcome, next_name, refuse_zeros};
use crate::panic::{Contained, watch_panics};
use crate::sys::stack;

/// The number of pools that have got a default name prefix so far. The prefix of the
/// next such pool contains this number.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Configures and builds a [`ThreadPoolExecutor`].
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::builder()
///     .max_workers(2)
///     .thread_name_prefix("resize")
///     .stack_size(8 << 20)
///     .build()?;
/// assert_eq!(executor.max_workers(), 2);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "a builder makes nothing before `build`"]
pub struct ThreadPoolExecutorBuilder {
    max_workers: Option<usize>,
    thread_name_prefix: Option<String>,
    stack_size: Option<usize>,
    initializer: Option<Initializer>,
    on_worker_exit: Option<ExitHook>,
    queue_capacity: Option<usize>,
    record_timing: bool,
}

impl ThreadPoolExecutor {
    /// Creates a pool of the default size, `min(32, available_parallelism + 4)`.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let cores = std::thread::available_parallelism()?.get();
    /// assert_eq!(ThreadPoolExecutor::new()?.max_workers(), (cores + 4).min(32));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Spawn`] if the system has no memory for the handler by which a pool
    /// detects that its process forked.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Creates a pool of at most `max_workers` threads.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(8)?;
    /// assert_eq!(executor.max_workers(), 8);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if `max_workers` is 0, and the errors of
    /// [`new`](Self::new).
    pub fn with_max_workers(max_workers: usize) -> Result<Self, Error> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Returns a builder with which a pool can be configured.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().max_workers(2).build()?;
    /// assert_eq!(executor.max_workers(), 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn builder() -> ThreadPoolExecutorBuilder {
        ThreadPoolExecutorBuilder::new()
    }
}

impl ThreadPoolExecutorBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            thread_name_prefix: None,
            stack_size: None,
            initializer: None,
            on_worker_exit: None,
            queue_capacity: None,
            record_timing: false,
        }
    }

    /// Sets the largest number of threads. The pool starts threads on demand.
    ///
    /// The default is `min(32, available_parallelism + 4)`, as in Python. The 4 extra
    /// threads are for tasks that wait, for example for input.
    ///
    /// If the system refuses to start a further thread, the tasks wait for the existing
    /// threads. The pool tries again when a task is submitted or begins. So a task that
    /// waits, for example by a channel, for a task that is queued behind it may wait for
    /// ever.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let none = ThreadPoolExecutor::builder().max_workers(0).build();
    /// assert!(matches!(none, Err(Error::InvalidArgument(_))));
    /// ```
    pub fn max_workers(mut self, threads: usize) -> Self {
        self.max_workers = Some(threads);
        self
    }

    /// Sets the first part of the threads' names, which are `prefix_0`, `prefix_1`...
    ///
    /// By default, and if `prefix` is empty, the prefix is `ThreadPoolExecutor-N`, with a
    /// different number `N` for each pool.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder()
    ///     .thread_name_prefix("fetch")
    ///     .build()?;
    /// let name = executor.spawn(|| std::thread::current().name().map(String::from))?;
    /// assert_eq!(name.into_result()?.as_deref(), Some("fetch_0"));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = Some(prefix.into());
        self
    }

    /// Sets the number of bytes of stack that each task may use. If a worker runs a task
    /// inside the wait of another task, each of the two tasks may use this number of bytes.
    /// The default is the stack size of `std::thread`. The stack of each thread is twice as
    /// large as this number, but only its used pages take memory.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().stack_size(16 << 20).build()?;
    /// let deep = executor.spawn(|| std::hint::black_box([1_u8; 4 << 20]).len())?;
    /// assert_eq!(deep.into_result()?, 4 << 20);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Makes each worker call `f` with a clone of `args` before the worker's first task.
    ///
    /// If `f` panics or returns an `Err`, the pool is broken: pending tasks and each later
    /// `submit` fail with [`Error::Broken`].
    ///
    /// ```
    /// use std::cell::Cell;
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// thread_local!(static SEED: Cell<u64> = const { Cell::new(0) });
    ///
    /// let executor = ThreadPoolExecutor::builder()
    ///     .initializer(|seed| SEED.set(seed), 42)
    ///     .build()?;
    /// assert_eq!(executor.spawn(|| SEED.get())?.into_result()?, 42);
    ///
    /// let broken = ThreadPoolExecutor::builder()
    ///     .initializer(|()| Err("no licence"), ())
    ///     .build()?;
    /// let error = broken.spawn(|| 1)?.into_result().unwrap_err();
    /// assert!(matches!(&error, Error::Broken(cause) if cause.to_string() == "no licence"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn initializer<F, A, O>(mut self, f: F, args: A) -> Self
    where
        F: Fn(A) -> O + Send + Sync + 'static,
        A: Clone + Send + Sync + 'static,
        O: InitializerOutcome,
    {
        let (f, args) = (Contained::new(f), Contained::new(args));
        self.initializer = Some(Box::new(move || {
            (f.get())(args.get().clone()).into_result()
        }));
        self
    }

    /// Makes each worker call `f` after the worker's last task, before the worker ends.
    ///
    /// A worker whose initializer failed does not call `f`. A panic of `f` is caught.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let (sender, ends) = mpsc::channel();
    /// let executor = ThreadPoolExecutor::builder()
    ///     .on_worker_exit(move || sender.send(std::thread::current().id()).unwrap())
    ///     .build()?;
    /// let worker = executor.spawn(|| std::thread::current().id())?;
    /// drop(executor);
    /// assert_eq!(ends.try_recv(), Ok(worker.into_result()?));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn on_worker_exit(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_worker_exit = Some(Box::new(f));
        self
    }

    /// Limits the number of tasks that may wait for a worker; by default there is
    /// no limit.
    ///
    /// A task that an idle or new worker can take at once does not count as waiting. When
    /// the queue is full, `submit` waits for room, and `try_submit` returns
    /// [`Error::QueueFull`]. A task that is submitted inside one of the pool's own tasks,
    /// or inside a callback of such a task, needs no room, so the queue may exceed its
    /// capacity. Cancelling a task makes room at once, but a small entry of the cancelled
    /// task may stay in the queue.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().queue_capacity(2).build()?;
    /// let squares = executor.map(|n: u64| n * n, 1..=100)?; // never more than two wait
    /// assert_eq!(squares.sum::<Result<u64, _>>()?, 338_350);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = Some(tasks);
        self
    }

    /// Makes each task record the times when it was queued, started and finished; see
    /// [`Timing`](crate::Timing). By default tasks record no times, because reading the
    /// clock costs more than running a small task.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().record_timing(true).build()?;
    /// let future = executor.spawn(|| 1)?;
    /// future.result()?;
    /// assert!(future.timing().unwrap().ran().is_some());
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn record_timing(mut self, record: bool) -> Self {
        self.record_timing = record;
        self
    }

    /// Creates the pool. Its threads start when tasks are submitted.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::builder().max_workers(3).build()?;
    /// assert_eq!(executor.stats().workers, 0);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidArgument`] if `max_workers` or `queue_capacity` is 0, if
    /// `thread_name_prefix` contains a NUL byte, or if `stack_size` is larger than a
    /// quarter of the address space. Returns [`Error::Spawn`] if the system has no memory
    /// for the handler by which a pool detects that its process forked.
    pub fn build(self) -> Result<ThreadPoolExecutor, Error> {
        watch_panics();
        let max_workers = self.max_workers.unwrap_or_else(default_workers);
        refuse_zeros(&[
            ("max_workers", Some(max_workers as u64)),
            ("queue_capacity", self.queue_capacity.map(|n| n as u64)),
        ])?;
        let thread_name_prefix = self
            .thread_name_prefix
            .filter(|prefix| !prefix.is_empty())
            .unwrap_or_else(|| next_name("ThreadPoolExecutor", &MADE));
        if thread_name_prefix.contains('\0') {
            return Err(Error::invalid_argument(
                "thread_name_prefix must not have a NUL byte",
            ));
        }
        if self.stack_size.is_some_and(|bytes| bytes > stack::LARGEST) {
            return Err(Error::invalid_argument(
                "stack_size is in bytes, and must be at most a quarter of the address space",
            ));
        }
        let pool = Pool::new(Config {
            max_workers,
            thread_name_prefix,
            stack_size: self.stack_size.unwrap_or_else(stack::default_size),
            initializer: self.initializer,
            on_worker_exit: self.on_worker_exit,
            queue_capacity: self.queue_capacity,
            record_timing: self.record_timing,
        });
        pool.map(ThreadPoolExecutor::from_pool)
    }
}

impl fmt::Debug for ThreadPoolExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutorBuilder")
            .field("max_workers", &self.max_workers)
            .field("thread_name_prefix", &self.thread_name_prefix)
            .field("stack_size", &self.stack_size)
            .field("initializer", &self.initializer.is_some())
            .field("on_worker_exit", &self.on_worker_exit.is_some())
            .field("queue_capacity", &self.queue_capacity)
            .field("record_timing", &self.record_timing)
            .finish()
    }
}

fn default_workers() -> usize {
    let parallelism = available_parallelism().map_or(1, NonZeroUsize::get);
    parallelism.saturating_add(4).min(32)
}
