//! [`SharedMemory`]: memory that this process and other processes map.
//!
//! The memory belongs to a file that has no name (memfd_create(2)). The file is sealed, so
//! no process can make it shorter: a read behind the end of a mapped file would end this
//! process by SIGBUS. All pages are allocated before they are written. So if there is too
//! little memory, the call that creates or reserves the memory returns an error, and no
//! later write causes a signal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::current_process::move_above_stdio;

/// The seals that fix the file's size, and the seal that prevents adding further seals.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A mapping of shared memory. Dropping the value unmaps the memory.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the value only owns a mapping, whose words are atomics. Any thread may unmap the
// memory.
unsafe impl Send for SharedMemory {}
// SAFETY: through a shared reference, the memory can be accessed only as atomics.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Creates shared memory of `words` 64-bit words, which are all 0. Also returns the
    /// memory's file, which another process needs for [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// Returns an error if the system is short of memory or descriptors, or does not allow
    /// this process to create a file in memory of this size.
    pub(crate) fn create(words: usize) -> io::Result<(Self, OwnedFd)> {
        Self::create_with(words, words, SealFlags::empty())
    }

    /// Creates shared memory to which only this process, and its forked children, can
    /// write. The other processes map the memory by [`open_to_read`](Self::open_to_read).
    /// This process may write to the first `reserved` words. Before this process writes to
    /// further words, it must call [`reserve`], which allocates the pages of these words.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`create`](Self::create). Returns an error if the kernel is
    /// older than Linux 5.1, because older kernels have no seal that lets only one process
    /// write.
    pub(crate) fn create_to_read(words: usize, reserved: usize) -> io::Result<(Self, OwnedFd)> {
        Self::create_with(words, reserved, SealFlags::FUTURE_WRITE)
    }

    fn create_with(
        words: usize,
        reserved: usize,
        more_seals: SealFlags,
    ) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = move_above_stdio(memfd_create(c"concurrent-futures", flags)?)?;
        let bytes = 8 * words as u64;
        // If a process makes a file larger than the process may (`ulimit -f`), the kernel
        // sends it SIGXFSZ, which by default ends the process.
        if largest_file() < u128::from(bytes) {
            return Err(Errno::FBIG.into());
        }
        ftruncate(&file, bytes)?;
        reserve(&file, reserved)?;
        // The memory is mapped before it is sealed, because after the seal `FUTURE_WRITE`
        // the file can only be mapped for reading.
        let memory = Self::map(&file, words, ProtFlags::READ | ProtFlags::WRITE)?;
        fcntl_add_seals(&file, SEALS | more_seals)?;
        Ok((memory, file))
    }

    /// Maps the file of a shared memory of `words` words, which another process has
    /// created.
    ///
    /// # Errors
    ///
    /// Returns an error if the file is not sealed or has another size, or if this process
    /// cannot map it.
    pub(crate) fn open(file: &OwnedFd, words: usize) -> io::Result<Self> {
        Self::open_with(file, words, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps memory like [`open`](Self::open), but only for reading. A write to one of the
    /// memory's words ends this process. Even an atomic load may end this process, unless
    /// its ordering is `Relaxed`.
    pub(crate) fn open_to_read(file: &OwnedFd, words: usize) -> io::Result<Self> {
        Self::open_with(file, words, ProtFlags::READ)
    }

    fn open_with(file: &OwnedFd, words: usize, access: ProtFlags) -> io::Result<Self> {
        let is_sealed = fcntl_get_seals(file)?.contains(SEALS);
        let size = u64::try_from(fstat(file)?.st_size);
        if !is_sealed || size != Ok(8 * words as u64) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Self::map(file, words, access)
    }

    fn map(file: impl AsFd, words: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: the kernel chooses an address at which nothing is mapped yet.
        let start = unsafe { mmap(null_mut(), 8 * words, access, MapFlags::SHARED, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, words })
    }

    /// Returns the words of the memory. Another process may change each word at any time.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, has `self.words` words, and is unmapped
        // only by `drop`. All accesses to it are atomic, and each bit pattern is a valid
        // word.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

/// Returns the size limit of files in bytes, or a number that no file reaches if there is
/// no limit or the system does not return it. The function calls libc, because rustix's
/// function for limits panics if a seccomp filter forbids the system call.
fn largest_file() -> u128 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the call writes one `rlimit` to `limit`.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    // The type of a limit differs between systems. Each value of these types fits into a
    // `u128`.
    match failed {
        0 if limit.rlim_cur != libc::RLIM_INFINITY => u128::from(limit.rlim_cur),
        _ => u128::MAX,
    }
}

/// Allocates the pages for the first `words` words of the shared memory in `file`.
pub(crate) fn reserve(file: &OwnedFd, words: usize) -> io::Result<()> {
    let bytes = 8 * words as u64;
    // Before Linux 6.11, each signal with a handler interrupts this call, even if the
    // handler has the flag `SA_RESTART`.
    let reserved = retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes));
    // The kernel returns `NOSPC` if `vm.overcommit_memory` forbids it to commit more
    // memory.
    let reserved = reserved.map_err(|error| match error {
        Errno::NOSPC => Errno::NOMEM,
        error => error,
    });
    Ok(reserved?)
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and no reference to its words is left. An
        // error is ignored, because it only means that the memory stays mapped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), 8 * self.words) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let (ours, file) = SharedMemory::create(1024).unwrap();
        let theirs = SharedMemory::open(&file, 1024).unwrap();
        assert!(
            theirs
                .words()
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
        for (n, word) in ours.words().iter().enumerate() {
            word.store(n as u64, Ordering::Relaxed);
        }
        let read = theirs
            .words()
            .iter()
            .map(|word| word.load(Ordering::Relaxed));
        assert!(read.eq(0..1024));
    }

    #[test]
    fn no_other_process_can_write_to_memory_that_is_to_be_read() {
        let (ours, file) = SharedMemory::create_to_read(4096, 1024).unwrap();
        let theirs = SharedMemory::open_to_read(&file, 4096).unwrap();
        let blocks = || fstat(&file).unwrap().st_blocks;
        assert_eq!(blocks(), 1024 * 8 / 512);
        reserve(&file, 4096).unwrap();
        assert_eq!(blocks(), 4096 * 8 / 512);
        assert!(reserve(&file, 8192).is_err(), "the memory cannot grow");
        for word in [7, 4095] {
            ours.words()[word].store(8, Ordering::Relaxed);
            assert_eq!(theirs.words()[word].load(Ordering::Relaxed), 8);
        }
        assert!(SharedMemory::open(&file, 1024).is_err());
        assert!(rustix::io::write(&file, &[1]).is_err());
    }

    #[test]
    fn no_process_can_change_the_size() {
        let (_ours, file) = SharedMemory::create(1024).unwrap();
        for size in [0, 4096, 1 << 20] {
            assert!(ftruncate(&file, size).is_err(), "{size}");
        }
    }

    #[test]
    fn another_file_is_refused() {
        let (_ours, file) = SharedMemory::create(1024).unwrap();
        assert!(SharedMemory::open(&file, 1025).is_err(), "it is shorter");
        assert!(SharedMemory::open(&file, 512).is_err(), "it is longer");
        let unsealed = memfd_create(c"other", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&unsealed, 8192).unwrap();
        assert!(SharedMemory::open(&unsealed, 1024).is_err());
    }
}
