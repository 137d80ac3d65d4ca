//! The locks, atomics and thread locals of this crate: the real types, or the types of the
//! model checker `loom`.
//!
//! A *model* is a test that `loom` runs many times, each time with another order of the
//! threads' steps (`--cfg concurrent_futures_loom`). The code that the models check imports
//! its locks, atomics, `UnsafeCell` and thread locals from this module. This code therefore
//! uses `parking_lot` and std in a program, and `loom` in a model. The locks have the API
//! of `parking_lot`: a lock is never poisoned, and a wait on a condition variable borrows
//! the lock's guard.
//!
//! Both a program and a model use std's `Arc`, because the models do not check the
//! reference counts of an `Arc`. A task is not in an `Arc`: its reference count is a part
//! of the task's state word, so the models check this count.

#[cfg(not(concurrent_futures_loom))]
pub(crate) use self::real::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex,
    MutexGuard, UnsafeCell, alloc, dealloc, fence, park, unpark_all, yield_now,
};

#[cfg(all(test, concurrent_futures_loom))]
pub(crate) use self::model::Tracked;
#[cfg(concurrent_futures_loom)]
pub(crate) use self::model::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex,
    MutexGuard, UnsafeCell, alloc, dealloc, fence, park, unpark_all, yield_now,
};
pub(crate) use std::sync::atomic::Ordering;

use std::cell::Cell;
use std::num::NonZeroU32;

/// A macro like `thread_local!`. In a model, each thread of the model has its own value,
/// although `loom` runs all threads of the model on one real thread.
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

/// A macro for a `static`. Each forked child, and each run of a model, has its own value
/// of the `static`.
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

/// The number that identifies a thread. It has only 32 bits, because it shares a 64-bit
/// word with a task's state. The numbers repeat after about 4 billion threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadId(NonZeroU32);

impl ThreadId {
    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0.get()
    }
}

local! {
    static THREAD_ID: Cell<u32> = Cell::new(0)
}

#[inline]
pub(crate) fn thread_id() -> ThreadId {
    let known = THREAD_ID.try_with(Cell::get).unwrap_or(0);
    ThreadId::from_bits(known).unwrap_or_else(new_thread_id)
}

#[cold]
fn new_thread_id() -> ThreadId {
    // Models also use std's atomic for the thread numbers, because the numbers only have to
    // be unique. In a model, `global!` makes all runs begin with the same number.
    #[cfg(not(concurrent_futures_loom))]
    static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    #[cfg(concurrent_futures_loom)]
    global! { static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0); }
    loop {
        // ORDERING: `Relaxed` is enough, because the number only has to be unique, and no
        // other data is published with it.
        let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if let Some(id) = ThreadId::from_bits(number) {
            let _ = THREAD_ID.try_with(|known| known.set(number));
            return id;
        }
    }
}

#[cfg(not(concurrent_futures_loom))]
mod real {
    pub(crate) use std::alloc::{alloc, dealloc};
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use std::thread::yield_now;
    use std::time::Instant;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    use parking_lot_core::{DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, ParkResult};

    /// Blocks the calling thread until [`unpark_all`] is called with the same key, or until
    /// the deadline. Does not block if `may_sleep` returns `false`. The function calls
    /// `may_sleep` while it holds the lock that `unpark_all` takes. The function may also
    /// return spuriously. Returns `true` if it has blocked until the deadline.
    pub(crate) fn park(
        key: usize,
        may_sleep: impl FnOnce() -> bool,
        deadline: Option<Instant>,
    ) -> bool {
        // SAFETY: the key is the address of memory of this crate. No closure panics or
        // parks: all callers pass a `may_sleep` that only reads atomics.
        let parked = unsafe {
            parking_lot_core::park(
                key,
                may_sleep,
                || {},
                |_, _| {},
                DEFAULT_PARK_TOKEN,
                deadline,
            )
        };
        parked == ParkResult::TimedOut
    }

    /// Wakes all threads that are parked with this key. The key is an address, but the
    /// function does not read the memory at this address.
    pub(crate) fn unpark_all(key: usize) {
        // SAFETY: the key is the address of memory that belongs or belonged to this crate.
        unsafe { parking_lot_core::unpark_all(key, DEFAULT_UNPARK_TOKEN) };
    }

    /// std's `UnsafeCell` with the API of `loom`'s `UnsafeCell`: each access calls a
    /// closure with a pointer to the value.
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

    pub(crate) use loom::alloc::{alloc, dealloc};
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use loom::thread::yield_now;

    /// A memory location without a value. The model fails if a write and another access are
    /// not ordered. A `Tracked` stands in for a load that an ordering must keep before a
    /// later store of the same thread. A CPU may delay such a load past the store, but
    /// `loom` never does. So the model reads the `Tracked` directly before the load, and
    /// another thread writes the `Tracked` when it has seen the store.
    #[cfg(test)]
    #[derive(Debug)]
    pub(crate) struct Tracked(UnsafeCell<()>);

    // SAFETY: `loom` checks each access.
    #[cfg(test)]
    unsafe impl Sync for Tracked {}

    #[cfg(test)]
    impl Tracked {
        pub(crate) fn new() -> std::sync::Arc<Self> {
            std::sync::Arc::new(Self(UnsafeCell::new(())))
        }

        pub(crate) fn read(&self) {
            self.0.with(|_| ());
        }

        pub(crate) fn write(&self) {
            self.0.with_mut(|_| ());
        }
    }

    loom::lazy_static! {
        /// The lock and the condition variable with which [`park`] sleeps in a model. All
        /// keys share them, so [`unpark_all`] also wakes threads with other keys. That is
        /// allowed, because `park` may return spuriously.
        static ref BUCKET: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn park(
        _key: usize,
        may_sleep: impl FnOnce() -> bool,
        _deadline: Option<Instant>,
    ) -> bool {
        let mut bucket = BUCKET.0.lock();
        if may_sleep() {
            BUCKET.1.wait(&mut bucket);
        }
        false
    }

    pub(crate) fn unpark_all(_key: usize) {
        drop(BUCKET.0.lock());
        BUCKET.1.notify_all();
    }

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// The guard of `loom`, or `None` during a wait on a condition variable, which takes
    /// the guard.
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

    /// The result of a wait with a deadline. In a model the deadline never passes, because
    /// a model has no clock.
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
