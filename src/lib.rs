//! Python's `concurrent.futures` for Rust.

mod completion;
mod error;
mod panic;
mod state;
mod sync;
mod worker;

pub use crate::error::Error;
pub use crate::panic::Panic;
pub use crate::state::State;
pub use crate::worker::{PoolKind, Worker, current_worker};
