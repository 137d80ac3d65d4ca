//! [`Slot`]: the cell that holds a task's outcome.
//!
//! A slot is written once, then lent any number of times, then taken at most
//! once. It cannot check that order itself: the record beside it (its lock and
//! its state) does, and each method says what it relies on. Its callers are in
//! `mod.rs` and `notification.rs`.

use crate::error::Error;
use crate::sync::UnsafeCell;

#[derive(Debug)]
pub(super) struct Slot<T>(UnsafeCell<Option<Result<T, Error>>>);

// SAFETY: through a shared slot, values move in and out (`T: Send`), and are
// lent by `lend` alone. Its callers lend to other threads only as `T` allows: the
// handle is `Sync` only if `T` is (its `PhantomData<T>`), and a callback, which
// gets the handle by reference, asks for `T: Sync`.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// Puts the outcome in.
    ///
    /// # Safety
    ///
    /// The caller is the only one to write, and nobody lends or takes before
    /// it has learned of the write through a lock.
    pub(super) unsafe fn write(&self, outcome: Result<T, Error>) {
        // SAFETY: no other access before the write is known, says the caller.
        // What is overwritten is the `None` of `new`.
        self.0.with_mut(|place| unsafe { *place = Some(outcome) });
    }

    /// Lends the outcome; `None` if it was taken.
    ///
    /// # Safety
    ///
    /// The write happened before, and `take` does not happen while the
    /// reference lives.
    pub(super) unsafe fn lend(&self) -> Option<&Result<T, Error>> {
        // SAFETY: written before, not changed while lent, says the caller.
        self.0.with(|place| unsafe { (*place).as_ref() })
    }

    /// Moves the outcome out; `None` if it was taken before.
    ///
    /// # Safety
    ///
    /// The write happened before, no reference of `lend` lives, and nobody
    /// else touches the slot during the call.
    pub(super) unsafe fn take(&self) -> Option<Result<T, Error>> {
        // SAFETY: the caller is alone with the slot for the time of the call.
        self.0.with_mut(|place| unsafe { (*place).take() })
    }
}
