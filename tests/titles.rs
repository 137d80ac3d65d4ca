//! The title fetcher, `examples/titles`, run as users run it, against servers on loopback.
//!
//! Each test starts what it needs and waits for nothing without a limit.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and says where"
)]

#[path = "titles/charsets.rs"]
mod charsets;
#[path = "titles/command_line.rs"]
mod command_line;
#[path = "titles/compression.rs"]
mod compression;
#[path = "titles/content_types.rs"]
mod content_types;
#[path = "titles/file.rs"]
mod file;
#[path = "titles/hostile.rs"]
mod hostile;
#[path = "titles/html.rs"]
mod html;
#[path = "titles/network.rs"]
mod network;
#[path = "titles/output.rs"]
mod output;
#[path = "titles/pool.rs"]
mod pool;
#[path = "titles/program.rs"]
mod program;
#[path = "titles/server.rs"]
mod server;
#[path = "titles/tree.rs"]
mod tree;
