//! The only door to locks: the real ones, or the model checker's.
//!
//! Everything above takes its locks, cells and thread locals from here, so
//! that the same source runs on `parking_lot` in a program and on `loom` in a
//! model (`--cfg concurrent_futures_loom`). The face is `parking_lot`'s: no
//! poisoning, and a wait borrows its guard.
//!
//! `Arc` is std's in both: a model of who drops the last reference would need
//! unsized `loom` references, which do not exist.

#[cfg(not(concurrent_futures_loom))]
pub(crate) use self::real::{
    Condvar, Mutex, MutexGuard, ThreadId, UnsafeCell, thread_id, yield_now,
};

#[cfg(concurrent_futures_loom)]
pub(crate) use self::model::{
    Condvar, Mutex, MutexGuard, ThreadId, UnsafeCell, thread_id, yield_now,
};

/// `thread_local!` of the thread, or of the model's thread: a model runs all of
/// its threads on one real thread.
#[cfg(not(concurrent_futures_loom))]
macro_rules! local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr) => {
        thread_local! { $(#[$attribute])* static $name: $type = const { $value } }
    };
}

#[cfg(concurrent_futures_loom)]
macro_rules! local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value }
    };
}

/// A `static` of the process (a fork has one of its own), or of one run of a model.
#[cfg(not(concurrent_futures_loom))]
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$attribute])*
        static $name: $crate::sys::fork::PerProcess<$type> =
            $crate::sys::fork::PerProcess::new(|| $value);
    };
}

#[cfg(concurrent_futures_loom)]
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! { $(#[$attribute])* static ref $name: $type = $value; }
    };
}

pub(crate) use {global, local};

#[cfg(not(concurrent_futures_loom))]
mod real {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::{ThreadId, yield_now};

    pub(crate) fn thread_id() -> ThreadId {
        std::thread::current().id()
    }

    /// std's cell behind the closures that `loom` needs to watch accesses.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(concurrent_futures_loom)]
mod model {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::thread::{ThreadId, yield_now};

    pub(crate) fn thread_id() -> ThreadId {
        loom::thread::current().id()
    }

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// `None` only while the guard is lent to a wait.
    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("a model never poisons")))
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("a model never poisons")
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("held outside a wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held outside a wait")
        }
    }

    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    /// The result of a timed wait; a model knows no clocks.
    #[derive(Debug)]
    pub(crate) struct WaitTimeoutResult;

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().expect("held outside a wait");
            guard.0 = Some(self.0.wait(inner).expect("a model never poisons"));
        }

        pub(crate) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _deadline: Instant,
        ) -> WaitTimeoutResult {
            self.wait(guard);
            WaitTimeoutResult
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
