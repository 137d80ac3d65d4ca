//! Python's `concurrent.futures` for Rust: one `submit` and one [`Future`],
//! over pools of workers.
//!
//! # From one at a time to a pool
//!
//! A program that does one thing after the other:
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
//! The same with an executor that is still synchronous. [`submit`] takes the
//! function and its argument, and returns a future; [`result`] lends what came
//! of it:
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
//! } // waits for all of it
//! for (text, future) in &work {
//!     println!("{text}: {}", future.result()?);
//! }
//! # assert_eq!(*work[1].1.result()?, 4);
//! # Ok::<(), concurrent_futures::Error>(())
//! ```
//!
//! And on a thread pool. `submit` now returns at once, all calls run side by
//! side, and the block ends when they are done:
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
//! // the rest is the same to the letter
//! # Ok::<(), concurrent_futures::Error>(())
//! ```
//!
//! The values that travel are owned (`String`, not `&str`), so that they could go
//! to another process as well.
//!
//! # In other processes
//!
//! With `ProcessPoolExecutor` in that line each call runs in another process: the same
//! program, started again, with nothing to write for it. Such a worker runs nothing of
//! `main`: an initializer sets up [loggers](recipes#logging-in-workers) and
//! [state](recipes#state-that-each-worker-keeps) there. What a task does to its process
//! is the error of one future:
//!
//! ```
//! use concurrent_futures::{Error, ProcessPoolExecutor};
//!
//! fn careless(n: u32) -> u32 {
//!     if n == 2 {
//!         std::process::abort(); // not even a panic
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
//! Futures can be awaited on any runtime. All other waits block their thread: not
//! only `result`, [`wait()`] and the items of a map, but also dropping a pool, `shutdown`,
//! the end of a scope, and `submit`, `spawn` or `map` on a full bounded queue. In a task
//! of an async runtime they hold up that runtime, and hang for ever if what they wait
//! for needs the blocked thread. Submit by `try_submit`. Before the pool is dropped call
//! `shutdown_with(ShutdownOptions::new().wait(false))`; what is not awaited then may be
//! cut off by the end of `main`. Or block where the runtime lets you, as in tokio's
//! `spawn_blocking` ([recipe](recipes#in-async-code)).
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
//!     // Without this the drop would wait for the task, which waits for the
//!     // runtime, whose only thread is this one.
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
//! An `async fn` given to a thread pool does nothing: calling one only makes a
//! future, which becomes the task's value and is never polled by the pool. Give a
//! function that runs it to its end, as with the runtime's `block_on`. (For a process
//! pool it does not compile.)
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
//! A task of a thread pool that waits, without a limit, for another task of
//! that pool that has not begun runs that one itself, on its own thread. The two
//! share that thread's state: thread locals, and locks that are held during the
//! wait, which the inner one must not take.
//!
//! A wait that can be known to hang is [`Error::WouldDeadlock`]. Not known, and so
//! hanging, are:
//!
//! * a cycle of waits of several tasks through [`wait()`], [`as_completed`],
//!   [`completions`], an unordered map, an `.await`, the end of a scope, a channel or
//!   a lock;
//! * [`completions`] as a bare channel (`select!`, `recv_timeout` in a loop) in a task,
//!   for tasks that only its own worker could run: the channel runs none of them,
//!   unlike the other waits;
//! * in an initializer of a thread pool or a callback of a process pool, the
//!   end of a scope, a channel or a lock that needs another task of that pool;
//! * tasks that wait in their queues for workers that wait for each other's tasks,
//!   as when all workers of two pools do.
//!
//! [`wait()`], [`wait_until`], [`as_completed`], [`completions`] and unordered maps sleep
//! by `std::thread::park`: they may take a token that the program's own `unpark` left,
//! or leave one.
//!
//! # After a fork
//!
//! A child that this process makes by `fork` has none of its threads. There every use
//! of a pool, a scope or a future of the parent is an error or a default at once, and
//! dropping one waits for nothing: `submit` and `result` fail, [`wait()`] gives
//! `not_done`, [`as_completed`] gives futures that are not done. What was done before has
//! its value. The child makes pools of its own.
//!
//! # More
//!
//! * [`recipes`]: programs for what is asked most.
//! * [`compare`]: Python's module name by name, and what newcomers stumble over.
//!
//! # What is where
//!
//! | you want | take |
//! |---|---|
//! | a function run elsewhere | [`ThreadPoolExecutor::submit`], [`spawn`](ThreadPoolExecutor::spawn) for a closure |
//! | closures that borrow run elsewhere | [`ThreadPoolExecutor::scope`] |
//! | a function run on many items | [`ThreadPoolExecutor::map`] |
//! | code that crashes, leaks or hangs run apart | [`ProcessPoolExecutor`] |
//! | a limit or a name for a task, or to run it again | [`ProcessPoolExecutor::with`], [`TaskOptions`] |
//! | to wait, read, cancel, be called back, `.await` | [`TaskFuture`] |
//! | several futures at once | [`wait()`], [`as_completed`], [`completions`] |
//! | code that does not care where | the traits [`Executor`] and [`Future`] |
//! | to end a pool | its end of scope, [`ThreadPoolExecutor::shutdown_with`] |
//! | a future that you settle yourself | [`promise()`] |
//! | to know why there is no value | [`Error`] |
//! | to return any error from a task, as text | [`Report`] |
//! | to send a process what serde reads by looking (`flatten`, `untagged`) | `Json` (feature `json`) |
//!
//! # Features and platforms
//!
//! * `worker-hook` (default): a program needs nothing to be started as a worker of a
//!   process pool. Without it, `main` begins with [`init()`].
//! * `json`: the wrapper `Json`.
//!
//! Linux on x86-64 is tested, other Linux is by design. Elsewhere the threads and the
//! inline executor work by design, and a process pool is
//! [`Error::Unsupported`].

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

/// The channels that [`Completions`] is one of, in the version that fits it.
#[doc(no_inline)]
pub use crossbeam_channel;

pub use crate::as_completed::{AsCompleted, AsCompletedTimeout, as_completed};
pub use crate::completions::{Completions, completions};
pub use crate::error::{BrokenPool, CodecError, Error, Side, TaskEnd, WorkerDeath};
pub use crate::executor::{
    Executor, InitializerOutcome, Portable, ShutdownOptions, ShutdownReport, Stats, TaskOptions,
    TrySubmitError, With,
};
pub use crate::future::{Future, TaskAwait, TaskAwaitRef, TaskFuture};
pub use crate::inline::{InlineExecutor, InlineFuture};
#[cfg(feature = "json")]
pub use crate::json::Json;
pub use crate::map::{Map, MapOptions, Unordered};
pub use crate::panic::Panic;
pub use crate::process::{
    OnWorkerDeath, ProcessFuture, ProcessPoolExecutor, ProcessPoolExecutorBuilder, init,
};
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

#[cfg(any(doc, doctest))]
#[doc = include_str!("recipes.md")]
pub mod recipes {}

/// The README's programs are tested like every other example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../COMPARE.md")]
pub mod compare {}
