//! Tests that need no other process: futures by themselves, the executor without
//! workers, the thread pool.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

#[cfg(target_os = "linux")]
mod alone;
mod futures;
#[cfg(target_os = "linux")]
mod hook;
mod inline;
mod nested;
mod own_executor;
mod panics;
mod report;
mod threads;

/// No wait in a test is longer than this.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
