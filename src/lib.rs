//! Python's `concurrent.futures` for Rust.

mod completion;
mod error;
mod executor;
mod future;
mod inline;
mod map;
mod panic;
mod state;
mod sync;
mod worker;

pub use crate::error::Error;
pub use crate::executor::{Executor, Portable, ShutdownOptions, ShutdownReport, Stats};
pub use crate::future::{Future, TaskAwait, TaskAwaitRef, TaskFuture};
pub use crate::inline::{InlineExecutor, InlineFuture};
pub use crate::map::{Map, MapOptions};
pub use crate::panic::Panic;
pub use crate::state::State;
pub use crate::worker::{PoolKind, Worker, current_worker};
