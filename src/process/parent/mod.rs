//! The parent's side of a process pool.
//!
//! ```text
//!  submit.rs ─▶ pool.rs ─▶ offers.rs ═══════════▶ the workers take
//!  values to    state,      calls to all workers,     their calls
//!  bytes        dispatch    in shared memory          ║
//!                 │                                   ║
//!                 └──────▶ worker_handle.rs ════════▶ one worker
//!                 ▲         frames to and from it     ║
//!  supervisor.rs ─┘◀══════════════════════════════════╝
//!  one thread: reads replies (worker_replies.rs), starts workers (starter.rs,
//!     │        worker_starts.rs), handles their ends (worker_ends.rs)
//!     ▼
//!  collector.rs
//!  the other thread: bytes to values (task.rs), callbacks
//! ```

#[cfg(test)]
mod by_hand;
mod collector;
mod command;
mod error_output;
mod escaped;
#[cfg(any(test, concurrent_futures_fuzz))]
pub(super) mod fuzz;
mod launched;
mod launcher_states;
mod offered_tasks;
mod offers;
mod polling;

mod pool;
mod pool_state;
mod process_handle;
mod progress;
mod queued_task;
#[cfg(feature = "mpi")]
mod ranks;
#[cfg(not(feature = "mpi"))]
#[path = "no_ranks.rs"]
mod ranks;
mod recalls;
mod sent_ahead;
mod shutdown;
mod staging;
mod starter;
mod stats;
mod submit;
mod supervisor;
mod task;
mod worker_ends;
mod worker_handle;
mod worker_replies;
mod worker_starts;
mod worker_timeouts;

#[cfg(feature = "mpi")]
pub(super) use self::pool::end_pools_of_ranks;
pub(super) use self::pool::{Pool, find};
