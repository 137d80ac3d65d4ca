//! [`Life`]: waits until a thread has ended, for any reason.
//!
//! Usually the last code that a thread runs reports the thread's end to other threads.
//! But a thread may end without running this code: a seccomp filter with
//! `SECCOMP_RET_KILL_THREAD` kills a single thread, and the system call `exit` ends the
//! calling thread at once. So a `Life` gives the kernel the address of a word
//! (set_tid_address(2)). When the thread ends, the kernel sets the word to 0, and wakes
//! one thread that waits on the word. The kernel stores only one such address for each
//! thread. The C library needs this address in order to join the thread, and a `Life`
//! replaces it. So a thread with a `Life` must not be joined.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

/// A word that is 1 until its thread has ended, and 0 afterwards.
pub(crate) struct Life(AtomicU32);

impl Life {
    /// Creates a `Life` that belongs to no thread yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(1))
    }

    /// Makes this value belong to the calling thread. After this call the thread must not
    /// be joined.
    pub(crate) fn begin(&'static self) {
        // SAFETY: the word is `'static`, and the kernel may write to the word at any time
        // because the word is atomic.
        unsafe { libc::syscall(libc::SYS_set_tid_address, self.0.as_ptr()) };
    }

    /// Waits until the thread has ended. This function must not allocate, because the ended
    /// thread may still hold the allocator's locks.
    pub(crate) fn wait_until_over(&self) {
        // ORDERING: `Relaxed` is enough, because the waiting thread reads no data that the
        // ended thread has written.
        while self.0.load(Ordering::Relaxed) != 0 {
            // The futex must not be process-private, because at the end of a thread the
            // kernel wakes only waiters of shared futexes. The call returns an error after
            // a signal, or if the word has already changed. In both cases the loop reads
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
