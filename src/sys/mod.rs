//! What is asked of the operating system, on Linux: facts, and no knowledge of
//! tasks.

#![cfg(all(target_os = "linux", not(concurrent_futures_loom)))]

pub(crate) mod bell;
pub(crate) mod channel;
pub(crate) mod checked;
pub(crate) mod child;
#[cfg_attr(
    not(feature = "worker-hook"),
    expect(dead_code, reason = "the hook alone stands in their way")
)]
pub(crate) mod constructors;
pub(crate) mod image;
pub(crate) mod life;
pub(crate) mod own;
pub(crate) mod parent;
