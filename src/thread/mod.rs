//! The pool of threads.
//!
//! ```text
//! executor.rs ──▶ pool.rs ──▶ queue.rs ──▶ worker.rs ──▶ the completion core
//!  the face       counts,      tasks in     takes, runs,
//!  builder.rs,    starts,      their order  tells
//!  with.rs        ends
//! ```
//!
//! Above [`pool`] nothing knows that there are threads, below it nothing knows
//! the user's types.

mod builder;
mod executor;
mod pool;
mod queue;
mod scope;
mod with;
mod worker;

pub use self::builder::ThreadPoolExecutorBuilder;
pub use self::executor::{ThreadFuture, ThreadPoolExecutor};
pub use self::scope::{Scope, ScopedFuture};
