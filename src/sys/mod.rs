//! Functions of the operating system. The modules in this folder know nothing about tasks.

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod channel;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod checked;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod child;
#[cfg_attr(
    not(feature = "worker-hook"),
    expect(dead_code, reason = "the hook alone stands in their way")
)]
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod constructors;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod current_process;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod dynamic_section;
pub(crate) mod fork;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod image;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod life;
pub(crate) mod numbers;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod parent;
#[cfg(all(feature = "mpi", target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod patience;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod shared_memory;
pub(crate) mod shortage;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod signals;
pub(crate) mod spin;
pub(crate) mod stack;
#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod wake_fd;
