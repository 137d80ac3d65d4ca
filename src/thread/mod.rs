//! The thread pool.
//!
//! ```text
//! executor.rs ──▶ submit.rs ──▶ queue.rs ────────▶ worker_thread.rs ──▶ the completion core
//!  public API     packs a call,  tasks from outside  takes the next task,
//!  builder.rs,    queues it      deque.rs (slots.rs)  searches, sleeps
//!  with.rs, scope.rs  │           a worker's own        │ hooks.rs
//!                     └────────▶ growth.rs ◀────────────┘
//!                                starts workers: worker.rs
//! ```
//!
//! The files of the public API do not know how tasks are queued and run. The files of the
//! queues and the workers do not know the user's types. `pool.rs` has the state that an
//! executor and its workers share. `shutdown.rs` shuts the pool down, or breaks it if an
//! initializer fails.

mod builder;
mod deque;
mod executor;
mod growth;
mod hooks;
#[cfg(all(test, concurrent_futures_loom))]
mod model;
mod pool;
mod queue;
mod scope;
mod shutdown;
mod slots;
mod submit;
mod with;
mod worker;
mod worker_thread;

pub use self::builder::ThreadPoolExecutorBuilder;
pub use self::executor::{ThreadFuture, ThreadPoolExecutor};
pub use self::scope::{Scope, ScopedFuture};
