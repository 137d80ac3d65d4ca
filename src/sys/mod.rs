//! What is asked of the operating system, on Linux: facts, and no knowledge of
//! tasks.

#![cfg(all(target_os = "linux", not(concurrent_futures_loom)))]

pub(crate) mod image;
