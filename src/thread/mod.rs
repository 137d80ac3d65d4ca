//! The thread pool.
//!
//! ```text
//! executor.rs ──▶ submit.rs ──▶ queue.rs ──▶ worker.rs ──▶ the completion core
//!  the face       packs a call,  tasks in     takes, runs,
//!  builder.rs,    starts a       their order  notifies
//!  with.rs        worker            │
//!                     └──▶ pool.rs ◀┘ by hooks.rs
//!                          the counts; shutdown.rs ends them
//! ```
//!
//! Above `submit.rs` nothing knows that there are threads, below it nothing knows
//! the user's types.

mod builder;
mod current;
mod executor;
mod hooks;
mod pool;
mod queue;
mod scope;
mod shutdown;
mod submit;
mod with;
mod worker;

pub use self::builder::ThreadPoolExecutorBuilder;
pub use self::executor::{ThreadFuture, ThreadPoolExecutor};
pub use self::scope::{Scope, ScopedFuture};
