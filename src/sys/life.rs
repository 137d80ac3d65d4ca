//! [`Life`]: waits for the end of a thread, however it ends.
//!
//! Usually a thread reports its end itself, by code that runs in it. Some ends run no
//! code: with a seccomp filter of the kind `SECCOMP_RET_KILL_THREAD` the kernel ends
//! the one thread that broke it, and so does a bare system call `exit`. But each
//! thread can name a word that the kernel itself sets to 0 at its end, and then wakes
//! the threads that sleep on it (set_tid_address(2)). The C library uses that word to
//! join a thread, so the thread must not be joined.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

/// The life of one thread.
pub(crate) struct Life(AtomicU32);

impl Life {
    /// Creates a life that no thread has begun.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(1))
    }

    /// Makes this value the life of the calling thread. From now on the thread must not be
    /// joined.
    pub(crate) fn begin(&'static self) {
        // SAFETY: the word lives as long as the process, and the kernel may write
        // to it at any time: it is an atomic.
        unsafe { libc::syscall(libc::SYS_set_tid_address, self.0.as_ptr()) };
    }

    /// Waits until the thread has ended. This function must not allocate, because the
    /// thread may have ended inside the allocator while it held the allocator's locks.
    pub(crate) fn wait_until_over(&self) {
        // ORDERING: the waiting thread reads no data that the other thread has written.
        while self.0.load(Ordering::Relaxed) != 0 {
            // The futex must not be process-private, because the kernel wakes waiters of
            // shared futexes. An error means a signal or a changed word, so the loop reads
            // the word again.
            let _ = futex::wait(&self.0, futex::Flags::empty(), 1, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_bare_exit_of_a_thread_is_seen() {
        static LIFE: Life = Life::new();
        // The thread is never joined, and its stack is never freed.
        thread::spawn(|| {
            LIFE.begin();
            // SAFETY: no other thread uses data on this thread's stack.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        });
        LIFE.wait_until_over();
    }
}
