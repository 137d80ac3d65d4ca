//! Forks of this process, which have its memory and only one of its threads.

pub(crate) use self::count::Origin;

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread::JoinHandle;

/// Forgets the handles of the parent's threads, in a fork. Dropping them could detach
/// threads of the fork that got the same ids.
pub(crate) fn forget_threads(threads: &mut Vec<JoinHandle<()>>) {
    let threads = std::mem::take(threads);
    #[expect(clippy::mem_forget, reason = "a fork has no such threads to let go")]
    std::mem::forget(threads);
}

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod count {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The number of calls of `fork` that lie between this process and its first
    /// [`Origin`].
    static FORKS: AtomicU32 = AtomicU32::new(0);

    /// The process in which it was made, told apart from the forks of that without
    /// a system call, so that it can be asked several times a task.
    ///
    /// C's `fork` runs a handler that counts, in the child. What does without those
    /// handlers is not seen: a raw `clone` or `fork` system call, `_Fork`, and
    /// `vfork`. After each of them a process with several threads, as all with a
    /// pool are, may do no more than a signal handler may, which is less than to
    /// submit a task or to return from one. Handlers that were set up before this
    /// one run before it, and still see themselves in the parent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Origin(u32);

    impl Origin {
        /// The current process, whose forks are watched from now on.
        ///
        /// # Errors
        ///
        /// There is no memory for the handler.
        pub(crate) fn new() -> io::Result<Self> {
            extern "C" fn count() {
                // ORDERING: the child has one thread; what it starts later sees it.
                FORKS.fetch_add(1, Ordering::Relaxed);
            }
            static WATCHED: OnceLock<libc::c_int> = OnceLock::new();
            let watch = || {
                // SAFETY: the function touches nothing but a number of ours.
                unsafe { libc::pthread_atfork(None, None, Some(count)) }
            };
            match *WATCHED.get_or_init(watch) {
                0 => Ok(Self::current()),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }

        /// The current process. Without any [`new`](Self::new) before a fork, the
        /// two are not told apart.
        #[inline]
        pub(crate) fn current() -> Self {
            // ORDERING: it changes at a fork only, before other threads are there.
            Self(FORKS.load(Ordering::Relaxed))
        }

        /// Returns `true` if this is the process in which it was made.
        #[inline]
        pub(crate) fn is_here(self) -> bool {
            self == Self::current()
        }
    }
}

/// A stand-in where forks are not watched, and in models, which have none.
#[cfg(any(not(target_os = "linux"), concurrent_futures_loom))]
mod count {
    use std::io;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Origin;

    impl Origin {
        #[expect(clippy::unnecessary_wraps, reason = "it may fail on Linux")]
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn current() -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "on Linux it is a number")]
        pub(crate) fn is_here(self) -> bool {
            true
        }
    }
}

/// A static of which each process has its own: a fork begins with a new one.
///
/// In the old one there may be a lock that a thread of the parent held at the
/// fork. It is never unlocked in the fork, which does not have that thread.
#[derive(Debug)]
pub(crate) struct PerProcess<T: 'static> {
    make: fn() -> T,
    current: AtomicPtr<Owned<T>>,
}

#[derive(Debug)]
struct Owned<T> {
    origin: Origin,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self {
            make,
            current: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Replaces the value inherited from the parent process, unless another thread does
    /// so first.
    #[cold]
    fn renew(&self, old: *mut Owned<T>) -> &Owned<T> {
        let new = Box::into_raw(Box::new(Owned {
            origin: Origin::current(),
            value: (self.make)(),
        }));
        // ORDERING: the release publishes the new one to the acquire in `deref`;
        // the acquire of a failure pairs with the release of the thread that won.
        let exchanged =
            (self.current).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        match exchanged {
            // SAFETY: published just now, and never freed: a thread may use an
            // old one for as long as the process lives.
            Ok(_) => unsafe { &*new },
            Err(other) => {
                // SAFETY: it was not published.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: published by another thread, and never freed.
                unsafe { &*other }
            }
        }
    }
}

impl<T: Send + Sync> Deref for PerProcess<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // ORDERING: pairs with the release in `renew`.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: null, or published and never freed.
        let owned = unsafe { current.as_ref() }.filter(|owned| owned.origin.is_here());
        &owned.unwrap_or_else(|| self.renew(current)).value
    }
}

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sys::current_process::{end_now, has_one_thread};

    /// Also one that is made in a fork, and that fork's own.
    #[test]
    fn a_fork_is_told_apart() {
        let origin = Origin::new().unwrap();
        assert!(origin.is_here());
        let in_a_fork = || {
            let own = Origin::new();
            !origin.is_here()
                && has_one_thread()
                && own.is_ok_and(|own| own.is_here() && !is_true_in_a_fork(|| own.is_here()))
        };
        assert!(is_true_in_a_fork(in_a_fork));
        assert!(origin.is_here());
        assert_eq!(Origin::new().unwrap(), origin);
    }

    #[test]
    fn a_fork_has_a_static_of_its_own() {
        static NUMBER: PerProcess<Mutex<i32>> = PerProcess::new(|| Mutex::new(1));
        Origin::new().unwrap();
        let mut number = NUMBER.lock().unwrap();
        *number = 2;
        // It is locked in the fork as well, where nothing unlocks it.
        let is_new = is_true_in_a_fork(|| {
            let number = NUMBER.try_lock().is_ok_and(|number| *number == 1);
            number && ptr::from_ref(&*NUMBER) == ptr::from_ref(&*NUMBER)
        });
        assert!(is_new);
        drop(number);
        assert_eq!(*NUMBER.lock().unwrap(), 2);
    }

    /// Asks in a fork of this process; not for ever.
    pub(crate) fn is_true_in_a_fork(test: impl FnOnce() -> bool) -> bool {
        // SAFETY: glibc and musl have a fork allocate, and here it prints nothing.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child == 0 {
            // SAFETY: takes a number. The signal ends a fork that hangs.
            unsafe { libc::alarm(20) };
            end_now(i32::from(!test()));
        }
        let mut status = 0;
        // SAFETY: our child, and a number of ours.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        libc::WEXITSTATUS(status) == 0
    }
}
