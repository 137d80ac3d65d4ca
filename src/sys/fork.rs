//! Forks of this process, which have its memory and only one of its threads.

pub(crate) use self::count::Origin;

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Forgets a collection of the parent in a forked child. A thread of the parent may have
/// been changing the collection at the fork; and dropping the handles of the parent's
/// threads could detach threads of the child that got the same ids.
pub(crate) fn forget<T: Default>(collection: &mut T) {
    let collection = std::mem::take(collection);
    #[expect(clippy::mem_forget, reason = "what is in it belongs to the parent")]
    std::mem::forget(collection);
}

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod count {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU16, Ordering};

    /// The number of calls of `fork` that lie between this process and its first
    /// [`Origin`].
    static FORKS: AtomicU16 = AtomicU16::new(0);

    /// The process in which this value was created. Comparing it with the current process
    /// needs no system call, so the check is cheap enough for several checks per task.
    ///
    /// C's `fork` runs a handler in the child, which counts the fork. Forks without these
    /// handlers are not seen: a raw `clone` or `fork` system call, `_Fork`, and `vfork`.
    /// After such a fork, the child of a process with several threads may only do what a
    /// signal handler may do. So the child may neither submit a task nor return from one.
    /// `fork` handlers that were registered before this handler run before it, and still
    /// see the parent's value.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Origin(u16);

    impl Origin {
        /// Returns the current process, and counts its forks from now on.
        ///
        /// # Errors
        ///
        /// Returns an error if there is no memory for the handler.
        pub(crate) fn new() -> io::Result<Self> {
            extern "C" fn count() {
                // ORDERING: the child has only one thread, and the threads that it starts
                // later see the new count.
                FORKS.fetch_add(1, Ordering::Relaxed);
            }
            static WATCHED: OnceLock<libc::c_int> = OnceLock::new();
            let watch = || {
                // SAFETY: the handler only changes an atomic number of this crate.
                unsafe { libc::pthread_atfork(None, None, Some(count)) }
            };
            match *WATCHED.get_or_init(watch) {
                0 => Ok(Self::current()),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }

        /// Returns the current process. Parent and child compare as equal if
        /// [`new`](Self::new) was never called before the fork.
        #[inline]
        pub(crate) fn current() -> Self {
            // ORDERING: the count changes only at a fork, when the child has no other
            // threads.
            Self(FORKS.load(Ordering::Relaxed))
        }

        /// Returns `true` if the current process is the one in which this value was
        /// created.
        #[inline]
        pub(crate) fn is_here(self) -> bool {
            self == Self::current()
        }
    }
}

/// A stand-in for systems without fork handlers, and for loom models, which do not fork.
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

/// A static value of which each process has its own: a forked child starts with a new
/// value.
///
/// The old value may contain a lock that a thread of the parent held at the fork. The child
/// does not have that thread, so the lock would never be unlocked in the child.
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
        // ORDERING: release publishes the new value to the acquire in `deref`. The acquire
        // of a failed exchange pairs with the release of the thread that succeeded.
        let exchanged =
            (self.current).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        match exchanged {
            // SAFETY: the value was published just now, and published values are never
            // freed.
            Ok(_) => unsafe { &*new },
            Err(other) => {
                // SAFETY: the exchange failed, so no other thread has the pointer.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: another thread published the value, and published values are
                // never freed.
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
        // SAFETY: the pointer is null, or points to a published value, which is never
        // freed.
        let owned = unsafe { current.as_ref() }.filter(|owned| owned.origin.is_here());
        &owned.unwrap_or_else(|| self.renew(current)).value
    }
}

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sys::current_process::{end_now, has_one_thread};

    /// An `Origin` created in a child also differs from the origins of the child's own
    /// forks.
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
        // The lock is held in the child as well, where no thread unlocks it.
        let is_new = is_true_in_a_fork(|| {
            let number = NUMBER.try_lock().is_ok_and(|number| *number == 1);
            number && ptr::from_ref(&*NUMBER) == ptr::from_ref(&*NUMBER)
        });
        assert!(is_new);
        drop(number);
        assert_eq!(*NUMBER.lock().unwrap(), 2);
    }

    /// Returns the result of `test` in a forked child. A child that hangs is ended after 20
    /// seconds.
    pub(crate) fn is_true_in_a_fork(test: impl FnOnce() -> bool) -> bool {
        // SAFETY: glibc and musl have a fork allocate, and here it prints nothing.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child == 0 {
            // SAFETY: `alarm` takes any number. Its signal ends a child that hangs.
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
