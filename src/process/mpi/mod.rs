//! [`MpiPoolExecutor`]: the process pool over the ranks of an MPI job.
//!
//! Rank 0 has the pool (`parent/`), and each other rank is one of its workers
//! (`worker/rank.rs`). Their messages are those of any other process pool, and travel through
//! MPI (`transport/mpi.rs`). So this folder only starts and ends the job, and leaves out what
//! MPI cannot do: no rank can be killed alone, or started again.

mod builder;
mod executor;
mod with;

pub use self::builder::MpiPoolExecutorBuilder;
pub use self::executor::{MpiFuture, MpiPoolExecutor};
