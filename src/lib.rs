//! Python's `concurrent.futures` for Rust: one `submit` and one [`Future`],
//! over pools of workers.
//!
//! # From one at a time to a pool
//!
//! This program computes one result after the other:
//!
//! ```
//! fn word_count(text: String) -> usize {
//!     text.split_whitespace().count()
//! }
//!
//! for text in ["to be".to_string(), "or not to be".to_string()] {
//!     println!("{text}: {}", word_count(text.clone()));
//! }
//! ```
//!
//! The next program makes the calls of the first program through an executor that runs each
//! call at once, in the calling thread. [`submit`] takes the function and its argument, and
//! returns a future. [`result`] lends the value that the function returned:
//!
//! ```
//! use concurrent_futures::InlineExecutor as PoolExecutor;
//!
//! fn word_count(text: String) -> usize {
//!     text.split_whitespace().count()
//! }
//!
//! let mut work = Vec::new();
//! {
//!     let executor = PoolExecutor::new()?;
//!     for text in ["to be".to_string(), "or not to be".to_string()] {
//!         let future = executor.submit(word_count, text.clone())?;
//!         work.push((text, future));
//!     }
//! } // the end of the block waits for all calls
//! for (text, future) in &work {
//!     println!("{text}: {}", future.result()?);
//! }
//! # assert_eq!(*work[1].1.result()?, 4);
//! # Ok::<(), concurrent_futures::Error>(())
//! ```
//!
//! The last program makes the calls on a thread pool. `submit` does not wait for its call,
//! the calls run in parallel, and the block ends when all calls are done:
//!
//! ```
//! use concurrent_futures::ThreadPoolExecutor as PoolExecutor;
//! # fn word_count(text: String) -> usize {
//! #     text.split_whitespace().count()
//! # }
//! # let mut work = Vec::new();
//! # {
//! #     let executor = PoolExecutor::new()?;
//! #     for text in ["to be".to_string(), "or not to be".to_string()] {
//! #         let future = executor.submit(word_count, text.clone())?;
//! #         work.push((text, future));
//! #     }
//! # }
//! # assert_eq!(*work[1].1.result()?, 4);
//! // the rest of the program does not change
//! # Ok::<(), concurrent_futures::Error>(())
//! ```
//!
//! The arguments are owned values (`String`, not `&str`), so that a process pool can send
//! the arguments to another process.
//!
//! # In other processes
//!
//! With `ProcessPoolExecutor` in the `use` line, each call runs in another process. The
//! pool starts the same program again as a worker. By default, the program needs no code of
//! its own to run as a worker. Such a worker does not run `main`, so an initializer sets up
//! [loggers](recipes#logging-in-workers) and [state](recipes#state-that-each-worker-keeps)
//! in the worker. If a task crashes its process, only the future of this task fails:
//!
//! ```
//! use concurrent_futures::{Error, ProcessPoolExecutor};
//!
//! fn careless(n: u32) -> u32 {
//!     if n == 2 {
//!         std::process::abort(); // ends the process without a panic
//!     }
//!     10 * n
//! }
//!
//! let executor = ProcessPoolExecutor::new()?;
//! let (good, bad) = (executor.submit(careless, 1)?, executor.submit(careless, 2)?);
//! assert_eq!(*good.result()?, 10);
//! assert!(matches!(bad.result(), Err(Error::WorkerDied(_))));
//! # Ok::<(), Error>(())
//! ```
//!
//! [`submit`]: Executor::submit
//! [`result`]: TaskFuture::result
//!
//! # In async code
//!
//! Futures can be awaited on any runtime. All other waits block their thread. Examples of
//! such waits are `result`, [`wait()`], the items of a map, `shutdown`, the drop of a pool,
//! the end of a scope, and `submit`, `spawn` or `map` on a full bounded queue. In a task of
//! an async runtime, a blocking wait blocks a thread of the runtime. The wait hangs for
//! ever if the awaited task needs the blocked thread. In async code, submit tasks with
//! `try_submit`. Before the pool is dropped, call
//! `shutdown_with(ShutdownOptions::new().wait(false))`. After this call, the drop of the
//! pool does not wait, and the tasks that still run at the end of `main` are stopped. You
//! can also block a thread that the runtime provides for blocking calls, for example with
//! tokio's `spawn_blocking` ([recipe](recipes#in-async-code)).
//!
//! ```
//! use std::sync::mpsc;
//! use std::time::Duration;
//! use concurrent_futures::{Error, ShutdownOptions, ThreadPoolExecutor};
//!
//! async fn answer() -> Result<u32, Error> {
//!     let (sender, receiver) = mpsc::channel();
//!     tokio::spawn(async move {
//!         tokio::time::sleep(Duration::from_millis(1)).await;
//!         sender.send(42).unwrap();
//!     });
//!     let executor = ThreadPoolExecutor::new()?;
//!     let future = executor.spawn(move || receiver.recv().unwrap())?;
//!     // Without this call, the drop would wait for the task. The task waits for the
//!     // runtime, whose only thread would be blocked in the drop.
//!     executor.shutdown_with(ShutdownOptions::new().wait(false));
//!     drop(executor);
//!     future.await
//! }
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! assert_eq!(runtime.block_on(answer())?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An `async fn` that is submitted to a thread pool does nothing. The call only creates an
//! async future, which becomes the task's value, and the pool does not poll it. Instead,
//! submit a function that runs the async future to its end, for example with
//! `pollster::block_on`, or with the `block_on` of a runtime. Submitting an `async fn` to a
//! process pool does not compile.
//!
//! ```
//! use concurrent_futures::{Error, ThreadPoolExecutor};
//!
//! async fn double(n: u32) -> u32 {
//!     2 * n
//! }
//!
//! let executor = ThreadPoolExecutor::new()?;
//! let doubled = executor.submit(|n| pollster::block_on(double(n)), 21)?;
//! assert_eq!(doubled.into_result()?, 42);
//! # Ok::<(), Error>(())
//! ```
//!
//! # In a task that waits
//!
//! A task of a thread pool may wait, without a limit, for another task of the same pool
//! that has not begun. The waiting task's thread then runs the other task *inline*, which
//! means inside the wait. So both tasks use the thread locals of one thread. The waiting
//! task keeps its locks during the wait, and the inline task must not take these locks.
//!
//! A poll of an `.await` in a task of the same pool also runs the awaited task inline if
//! the awaited task has not begun: the poll returns only when the inline task has ended.
//! Meanwhile no other branch of a `select!` or `join!` runs, and no timeout around the
//! `.await` ends the poll. If the inline task calls a `block_on` that does not nest, such
//! as tokio's, the inline task panics. To poll without inline tasks, spawn the `.await` on
//! the runtime (`tokio::spawn(future.into_future())`), or use a second pool.
//!
//! If the library detects that a wait would never end, the wait returns
//! [`Error::WouldDeadlock`], or futures that are not done ([`wait()`], [`as_completed`],
//! [`completions`]). The library does not detect the following waits, which can hang:
//!
//! * a cycle of tasks that wait for each other through [`wait()`], [`as_completed`],
//!   [`completions`], an unordered map, an `.await`, the end of a scope, a channel or a
//!   lock;
//! * in a task, a wait on the channel of [`completions`] by `select!`, or by `recv_timeout`
//!   in a loop, for tasks that only the waiting worker could run: of the channel's methods,
//!   only [`recv`](Completions::recv) and [`iter`](Completions::iter) run tasks inline;
//! * in an initializer of a thread pool, a wait for a task of the same pool through the end
//!   of a scope, a channel or a lock;
//! * in a callback of a task of a process pool, a wait for a task of the same pool through
//!   a channel or a lock;
//! * waits of two pools for each other: all workers of pool A wait for tasks in pool B's
//!   queue, and all workers of pool B wait for tasks in pool A's queue.
//!
//! [`wait()`], [`wait_until`], [`as_completed`], [`completions`] and unordered maps block
//! with `std::thread::park`. A call of one of these functions may consume the token that
//! the program itself has set by `unpark`. The call may also leave the token set, so that
//! the program's next `park` returns at once.
//!
//! # After a fork
//!
//! This section applies on Linux, to forks by the C library's `fork`. The crate detects no
//! other forks. A child process that `fork` creates has no worker threads. In the child, a
//! method of a pool, a scope or a future of the parent process does not wait, and neither
//! does a drop. A method that would need a worker returns an error or a default value. For
//! example, `submit` and `result` return an error, [`wait()`] returns the futures as
//! `not_done`, and [`as_completed`] yields futures that are not done. A task that was done
//! before the fork keeps its value. The child may create and use its own pools. But such a
//! pool may hang or crash if other threads of the parent process waited at the time of the
//! fork. Libraries such as `parking_lot` keep lists of the waiting threads: the child has
//! copies of these lists, but not the threads. So if a program with several threads forks,
//! the child should at once `exec` another program.
//!
//! # More
//!
//! * [`recipes`]: example programs for frequent questions.
//! * [`clusters`]: workers on other hosts, in containers, and in a batch system.
//! * [`compare`]: a comparison with Python's module, name by name, and frequent
//!   mistakes of newcomers.
//!
//! # What is where
//!
//! | you want | take |
//! |---|---|
//! | to run a function on a worker | [`ThreadPoolExecutor::submit`], [`spawn`](ThreadPoolExecutor::spawn) for a closure |
//! | to run closures that borrow local data | [`ThreadPoolExecutor::scope`] |
//! | to run a function on many items | [`ThreadPoolExecutor::map`] |
//! | to run code in other processes, because it crashes, leaks or hangs | [`ProcessPoolExecutor`] |
//! | workers on other hosts | [`Launcher`], or `MpiPoolExecutor` in an MPI job (feature `mpi`); see [`clusters`] |
//! | a time limit, a name or retries for a task | [`ProcessPoolExecutor::with`], [`TaskOptions`] |
//! | to wait for a task, read its value, cancel it, get a callback, or `.await` it | [`TaskFuture`] |
//! | to wait for several futures at once | [`wait()`], [`as_completed`], [`completions`] |
//! | code that works with every executor | the traits [`Executor`] and [`Future`] |
//! | to end a pool | the drop of the pool, or [`ThreadPoolExecutor::shutdown_with`] |
//! | a future whose value or error you set yourself | [`promise()`] |
//! | to know why a task has no value | [`Error`] |
//! | to return any error from a task, as text | [`Report`] |
//! | to send values that need a self-describing format (`flatten`, `tag`, `untagged`) | `Json` (feature `json`) |
//!
//! # Features and platforms
//!
//! * `worker-hook` (default): the program needs no code of its own to run as a worker
//!   of a process pool on the same host. Without this feature, and for a [`Launcher`],
//!   `main` must begin with [`init()`].
//! * `json`: adds the wrapper `Json`.
//! * `mpi`: adds `MpiPoolExecutor`, whose workers are the ranks of an MPI job. The build
//!   needs an MPI library with `mpicc`, and libclang. The feature works only on Linux.
//!
//! The crate is tested on Linux on x86-64. On other Linux targets the crate should work but
//! is not tested. On other platforms the thread pool and the inline executor should work
//! but are not tested, and creating a process pool returns [`Error::Unsupported`].

#![cfg_attr(
    concurrent_futures_loom,
    expect(
        dead_code,
        unused_imports,
        reason = "a model has no processes, and leaves what is for them unused"
    )
)]

mod as_completed;
mod completion;
mod completion_set;
mod completions;
mod encoded;
mod error;
mod executor;
mod future;
mod inline;
#[cfg(feature = "json")]
mod json;
mod map;
mod panic;
mod process;
mod promise;
mod report;
mod state;
mod submit;
mod sync;
mod sys;
mod thread;
mod timing;
mod wait;
mod waitable;
mod worker;

/// The crate `crossbeam-channel` in the version that this crate uses. [`Completions`]
/// dereferences to a `Receiver` of `crossbeam-channel`.
#[doc(no_inline)]
pub use crossbeam_channel;

pub use crate::as_completed::{AsCompleted, AsCompletedTimeout, as_completed};
pub use crate::completions::{Completions, completions};
pub use crate::error::{BrokenPool, CodecError, Error, Side, TaskEnd, WorkerDeath};
pub use crate::executor::{
    Executor, InitializerOutcome, LauncherStats, Portable, ShutdownOptions, ShutdownReport, Stats,
    TaskOptions, TrySubmitError, With,
};
pub use crate::future::{Future, TaskAwait, TaskAwaitRef, TaskFuture};
pub use crate::inline::{InlineExecutor, InlineExecutorBuilder, InlineFuture};
#[cfg(feature = "json")]
pub use crate::json::Json;
pub use crate::map::{Map, MapOptions, Unordered};
pub use crate::panic::Panic;
pub use crate::process::{
    Launcher, OnWorkerDeath, ProcessFuture, ProcessPoolExecutor, ProcessPoolExecutorBuilder,
    Transport, init,
};
#[cfg(all(feature = "mpi", target_os = "linux", not(concurrent_futures_loom)))]
pub use crate::process::{MpiFuture, MpiPoolExecutor, MpiPoolExecutorBuilder};
pub use crate::promise::{Promise, promise};
pub use crate::report::Report;
pub use crate::state::State;
pub use crate::thread::{
    Scope, ScopedFuture, ThreadFuture, ThreadPoolExecutor, ThreadPoolExecutorBuilder,
};
pub use crate::timing::Timing;
pub use crate::wait::{ReturnWhen, Waited, wait, wait_until};
pub use crate::waitable::Waitable;
pub use crate::worker::{PoolKind, Worker, current_worker};

#[cfg(concurrent_futures_fuzz)]
#[doc(hidden)]
pub use crate::process::fuzz;

#[cfg(any(doc, doctest))]
#[doc = include_str!("recipes.md")]
pub mod recipes {}

/// Includes the README, so that the doc tests run the programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("clusters.md")]
pub mod clusters {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../COMPARE.md")]
pub mod compare {}
