//! The worker process: its start, and the loop that runs its tasks.

mod answers;
mod connection;
mod elsewhere;
mod ending;
pub(crate) mod entry;
#[cfg(feature = "mpi")]
pub(super) mod rank;
mod remote;
mod request_queue;
mod requests;
pub(crate) mod serve;
