//! The other process: where it finds out that it is a worker, and its life as one.

pub(crate) mod entry;
pub(crate) mod serve;
