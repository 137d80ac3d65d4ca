//! The worker process: its start as a worker, and its work.

pub(crate) mod entry;
pub(crate) mod serve;
