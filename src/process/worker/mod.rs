//! The worker process: its start, and the loop that runs its tasks.

pub(crate) mod entry;
pub(crate) mod serve;
