//! Forked children of this process. A forked child has a copy of the parent's memory, but
//! only one of the parent's threads.

pub(crate) use self::count::Origin;

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Empties a collection in a forked child without dropping the items, which belong to the
/// parent. A drop could read inconsistent data, because another thread of the parent may
/// have been changing the collection at the fork. A drop of the parent's thread handles
/// could also detach threads of the child, because threads of the child may have the same
/// ids as threads of the parent.
pub(crate) fn forget<T: Default>(collection: &mut T) {
    let collection = std::mem::take(collection);
    #[expect(clippy::mem_forget, reason = "what is in it belongs to the parent")]
    std::mem::forget(collection);
}

/// Keeps a counted reference of the parent for ever in a forked child, so that no drop of
/// another reference in the child drops the last one.
pub(crate) fn keep<T: Clone>(reference: &T) {
    #[expect(clippy::mem_forget, reason = "the count must never reach zero")]
    std::mem::forget(reference.clone());
}

#[cfg(all(target_os = "linux", not(concurrent_futures_loom)))]
mod count {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    /// The number of counted forks from the process that first called [`Origin::new`] down
    /// to this process. It is 0 if there was no such fork. A fork may count twice, see
    /// [`Origin::new`].
    static FORKS: AtomicU32 = AtomicU32::new(0);

    /// The identity of the process in which this value was created. A comparison of this
    /// value with that of the current process needs no system call, so several comparisons
    /// per task cost little.
    ///
    /// The C library's `fork` calls a handler in the child, and this handler counts the
    /// fork. `_Fork`, `vfork`, and the raw system calls `fork` and `clone` do not call the
    /// handler, so these forks are not counted. After an uncounted fork of a process with
    /// several threads, the child may only call functions that a signal handler may call.
    /// So a child of an uncounted fork may neither submit a task nor return from a task. In
    /// the child, fork handlers run in the order of their registration. A fork handler that
    /// was registered before the counting handler still sees the parent's count.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Origin(u32);

    impl Origin {
        /// Returns the identity of the current process. The first call registers the
        /// handler that counts forks.
        ///
        /// # Errors
        ///
        /// Returns an error if there is no memory for the handler.
        pub(crate) fn new() -> io::Result<Self> {
            extern "C" fn count() {
                // ORDERING: `Relaxed` is enough, because the forked child has only one
                // thread, and the threads that the child starts later see the new count.
                FORKS.fetch_add(1, Ordering::Relaxed);
            }
            static IS_WATCHED: AtomicBool = AtomicBool::new(false);
            // ORDERING: `Relaxed` is enough. Two threads that see `false` at the same time
            // both register the handler, and each fork then counts twice, which does no
            // harm.
            if !IS_WATCHED.load(Ordering::Relaxed) {
                // SAFETY: the handler only changes an atomic number of this crate.
                let error = unsafe { libc::pthread_atfork(None, None, Some(count)) };
                if error != 0 {
                    return Err(io::Error::from_raw_os_error(error));
                }
                // ORDERING: as above.
                IS_WATCHED.store(true, Ordering::Relaxed);
            }
            Ok(Self::current())
        }

        /// Returns the identity of the current process. A parent and its forked child have
        /// equal identities if [`new`](Self::new) was not called before the fork.
        #[inline]
        pub(crate) fn current() -> Self {
            // ORDERING: `Relaxed` is enough, because the count changes only in a forked
            // child that still has one thread.
            Self(FORKS.load(Ordering::Relaxed))
        }

        /// Returns the identity as a number. If [`new`](Self::new) was called before a
        /// counted fork, the child's number is larger than the parent's. Otherwise the two
        /// numbers are equal.
        #[inline]
        pub(crate) fn bits(self) -> u32 {
            self.0
        }

        /// Returns `true` if this value was created in the current process.
        #[inline]
        pub(crate) fn is_here(self) -> bool {
            self == Self::current()
        }
    }
}

/// Replaces the module above on systems other than Linux, on which this crate detects no
/// forks, and in loom models, which do not fork.
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
        pub(crate) fn bits(self) -> u32 {
            0
        }

        #[expect(clippy::unused_self, reason = "on Linux it is a number")]
        pub(crate) fn is_here(self) -> bool {
            true
        }
    }
}

/// A static variable with a separate value in each process. A forked child whose [`Origin`]
/// differs from the parent's creates a new value instead of using the parent's value.
///
/// The parent's value may contain a lock that another thread of the parent held at the
/// fork. This thread does not exist in the child, so no thread of the child could unlock
/// the lock.
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

    /// Replaces `old` by a new value for this process, and returns the new value. `old` is
    /// null or the value of an ancestor of this process. If another thread has already
    /// replaced `old`, returns the value of that thread.
    #[cold]
    fn renew(&self, old: *mut Owned<T>) -> &Owned<T> {
        let new = Box::into_raw(Box::new(Owned {
            origin: Origin::current(),
            value: (self.make)(),
        }));
        // ORDERING: release publishes the new value to the acquire in `deref`. The acquire
        // of a failed exchange pairs with the release of the successful exchange in another
        // thread.
        let exchanged =
            (self.current).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        match exchanged {
            // SAFETY: the value was published just now, and published values are never
            // freed.
            Ok(_) => unsafe { &*new },
            Err(other) => {
                // SAFETY: the exchange failed, so no other thread has the pointer `new`.
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
        // ORDERING: pairs with the release in `renew`, so this thread sees the whole value.
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

    /// The origin of a forked child differs from the parent's origin, and also from the
    /// origins of the child's own forks.
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
        // The child gets a copy of the parent's locked lock, and no thread of the child
        // unlocks this copy.
        let is_new = is_true_in_a_fork(|| {
            let number = NUMBER.try_lock().is_ok_and(|number| *number == 1);
            number && ptr::from_ref(&*NUMBER) == ptr::from_ref(&*NUMBER)
        });
        assert!(is_new);
        drop(number);
        assert_eq!(*NUMBER.lock().unwrap(), 2);
    }

    /// Runs `test` in a forked child, and returns the result of `test`. A signal ends a
    /// hanging child after 20 seconds.
    pub(crate) fn is_true_in_a_fork(test: impl FnOnce() -> bool) -> bool {
        // SAFETY: glibc and musl allow a forked child to allocate memory, and the child
        // prints nothing.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child == 0 {
            // SAFETY: `alarm` accepts any number. SIGALRM ends the child if the child
            // hangs.
            unsafe { libc::alarm(20) };
            end_now(i32::from(!test()));
        }
        let mut status = 0;
        // SAFETY: `child` is a child of this process, and `status` is a local variable.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        libc::WEXITSTATUS(status) == 0
    }
}
