//! [`MpiPoolExecutor`]: the process pool over the ranks of an MPI job.
//!
//! The processes of an MPI job are called *ranks*, after their numbers. Rank 0 has the
//! pools (`parent/`), and each other rank may be a worker of one of them
//! (`worker/rank.rs`). The parent and the workers exchange the same messages as in any
//! other process pool, but through MPI (`transport/mpi/messages.rs`). So this folder holds
//! only the API, and the start and end of the job. The API leaves out what MPI cannot do:
//! no rank can be killed alone, or started again.

mod builder;
mod executor;
mod with;

pub use self::builder::MpiPoolExecutorBuilder;
pub use self::executor::{MpiFuture, MpiPoolExecutor};
