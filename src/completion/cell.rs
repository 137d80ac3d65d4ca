//! [`TaskWith`]: a counted reference to a task of any type, one pointer wide; and the
//! memory behind it.
//!
//! A task is one allocation: a header, and behind it one storage that holds the job
//! first and the outcome later. Each begins at the first place behind the header that
//! its own alignment allows, so that the future, which knows the type of the value but
//! not of the job, finds the outcome. The table of functions in the header is the one
//! place that knows both types.
//!
//! # The owner of the storage
//!
//! The word (`word.rs`) says what the storage holds, and whose it is:
//!
//! * *The job* of a pending task belongs to no thread. The thread that leaves the
//!   pending state by a compare-and-swap gets it: to call it, to send it, or (with
//!   ENDING) to withdraw it.
//! * *The outcome* is written by that thread, before the transition to a final state.
//!   From there on it is only read, until the owner of the value moves it out or drops
//!   it: the future, once the callbacks are done; without a future (no HANDLE) the
//!   thread that made the final transition, or the one that ran the last callback.
//!
//! So the last reference, whichever it is, frees memory and runs no user code. The one
//! exception is a task that never ends, as in a fork: its job is dropped with it.
//!
//! # Tasks that borrow
//!
//! A task of a scope has a job or a value that borrows from where the scope stands. A
//! reference names no type, so its users keep what makes that sound:
//!
//! * Such a task has a scope guard, in its job.
//! * Until its scope guard is dropped, the scope does not end.
//! * When its scope guard is dropped, the job is gone, the callbacks have run, and the
//!   value belongs to the future or is gone as well. The future's type names the scope,
//!   so no safe code has it afterwards; one that was leaked leaks its value.
//! * What is left, an entry in a queue or a thread's own reference, looks at the word and
//!   frees memory. Neither touches anything that was borrowed.

use std::alloc::handle_alloc_error;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::job::{EncodedCall, Job, Withdrawn};
use super::pool_id::PoolId;
use super::storage::{Called, Types, TypesOf, job_of, outcome_of};
use super::word::{Flag, REFERENCE, RUNNING, Word};
use crate::error::Error;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell, alloc, dealloc};
use crate::sys::fork::Origin;

/// A reference to a task of any type, to which an `X` may be attached.
pub(crate) struct TaskWith<X: 'static>(NonNull<Header<X>>);

#[repr(C)]
struct Header<X: 'static> {
    word: AtomicU64,
    types: &'static Types,
    /// Null until something is attached; owned.
    attached: AtomicPtr<X>,
    /// The id of the pool that it was submitted to, or `NO_POOL`.
    pool_id: PoolId,
    /// The process that it was made in.
    origin: Origin,
    /// Has no size. A model watches the accesses to the storage by it.
    storage: UnsafeCell<()>,
}

/// The size of the header.
const HEADER: usize = size_of::<Header<()>>();

// SAFETY: `new` demands that job and value are `Send`, and the word says which thread has
// them. The rest of a task is shared as its locks and atomics allow.
unsafe impl<X: Send> Send for TaskWith<X> {}
// SAFETY: as above. A value is lent to several threads only through a future, which is
// `Sync` only if the value is.
unsafe impl<X: Send + Sync> Sync for TaskWith<X> {}

impl<X> TaskWith<X> {
    /// Allocates a pending task. Returns two references: the future's and the worker's.
    ///
    /// # Safety
    ///
    /// If job or value borrow, the job has a scope guard. The job is `Send`, or no other
    /// thread gets the task; and the same for the value.
    pub(super) unsafe fn new<J: Job<T>, T>(pool_id: PoolId, job: J) -> (Self, Self) {
        let layout = TypesOf::<J, T, HEADER>::LAYOUT;
        // SAFETY: the layout has a header, so it is not empty.
        let memory = unsafe { alloc(layout) }.cast::<Header<X>>();
        let Some(header) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        let contents = Header {
            word: AtomicU64::new(Word::new().bits()),
            types: const { &TypesOf::<J, T, HEADER>::TYPES },
            attached: AtomicPtr::new(ptr::null_mut()),
            pool_id,
            origin: Origin::current(),
            storage: UnsafeCell::new(()),
        };
        // SAFETY: fresh memory of that layout.
        unsafe { header.write(contents) };
        // SAFETY: as above.
        let place = unsafe { job_of::<J, HEADER>(header.cast()) };
        // SAFETY: as above.
        unsafe { place.write(job) };
        (Self(header), Self(header))
    }

    #[inline]
    fn header(&self) -> &Header<X> {
        // SAFETY: this is a reference to it, and it is freed with the last one.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn atomic(&self) -> &AtomicU64 {
        &self.header().word
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        // ORDERING: pairs with the release of the transitions: a thread that sees one
        // sees what was written before it, above all the outcome.
        Word::from_bits(self.atomic().load(Ordering::Acquire))
    }

    /// Replaces the word by what `change` makes of it; returns the old one. `None` from
    /// `change` leaves it and is an error with the word that was refused.
    #[inline]
    pub(super) fn update(
        &self,
        mut change: impl FnMut(Word) -> Option<Word>,
    ) -> Result<Word, Word> {
        let change = |bits| change(Word::from_bits(bits)).map(Word::bits);
        // ORDERING: release publishes the storage to those who see the new word; acquire
        // shows what was attached, and the storage, to the thread that gets it.
        let updated = (self.atomic()).fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        updated.map(Word::from_bits).map_err(Word::from_bits)
    }

    /// Replaces the word of a task that no other thread can reach.
    #[inline]
    pub(super) fn pass_unseen(&self, change: impl FnOnce(Word) -> Word) {
        let word = change(self.word());
        // ORDERING: no other thread sees it.
        self.atomic().store(word.bits(), Ordering::Relaxed);
    }

    /// Sets a flag; returns the word as it was before.
    #[inline]
    pub(super) fn set(&self, flag: Flag) -> Word {
        // ORDERING: as in `update`.
        Word::from_bits(self.atomic().fetch_or(flag.bits(), Ordering::AcqRel))
    }

    /// Clears a flag; returns the word as it was before.
    #[inline]
    pub(super) fn clear(&self, flag: Flag) -> Word {
        // ORDERING: as in `update`.
        Word::from_bits(self.atomic().fetch_and(!flag.bits(), Ordering::AcqRel))
    }

    /// The place of what is attached, made by `Box::into_raw`.
    pub(super) fn attached(&self) -> &AtomicPtr<X> {
        &self.header().attached
    }

    /// Returns the id of the pool that it was submitted to, or `NO_POOL`.
    #[inline]
    pub(crate) fn pool_id(&self) -> PoolId {
        self.header().pool_id
    }

    pub(super) fn is_remote(&self) -> bool {
        self.header().types.is_remote
    }

    /// Returns `true` in the process that created the task, and `false` in a forked
    /// child. There the task stays as it was at the fork, unless a promise is set there.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.header().origin.is_here()
    }

    /// Returns the address of the task, which identifies it as long as it lives.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// Calls the job and writes the outcome; returns `true` if it panicked, and the guard
    /// of a job in a scope.
    ///
    /// # Safety
    ///
    /// The caller started the task, and calls this once.
    pub(super) unsafe fn call(&self) -> Called {
        // SAFETY: as the caller says.
        let called = unsafe { (self.header().types.call)(self.as_ptr()) };
        self.header().storage.with_mut(|_| ());
        called
    }

    /// Moves the job out of the storage.
    ///
    /// # Safety
    ///
    /// The caller has set ENDING on a pending task, and calls this once.
    pub(super) unsafe fn withdraw(&self) -> Box<dyn Withdrawn> {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.withdraw)(self.as_ptr()) }
    }

    /// Moves a job of known type out of the storage.
    ///
    /// # Safety
    ///
    /// The job is a `J`. The caller has set ENDING on a pending task, and calls this once.
    pub(super) unsafe fn job<J>(&self) -> J {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        let place = unsafe { job_of::<J, HEADER>(self.as_ptr()) };
        // SAFETY: as the caller says.
        unsafe { place.read() }
    }

    /// Drops the job in its place.
    ///
    /// # Safety
    ///
    /// The caller has set ENDING, on a task whose job was not called, and calls this
    /// once.
    pub(super) unsafe fn drop_job(&self) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.drop_job)(self.as_ptr()) };
    }

    /// Takes the call out of the job of a remote task.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task.
    pub(super) unsafe fn take_call(&self) -> Option<EncodedCall> {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.take_call)(self.as_ptr()) }
    }

    /// Puts the call back into the job.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task.
    pub(super) unsafe fn put_call(&self, call: EncodedCall) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.put_call)(self.as_ptr(), call) };
    }

    /// Writes an error as the outcome.
    ///
    /// # Safety
    ///
    /// The caller has set ENDING, and the job has left the storage.
    pub(super) unsafe fn write_error(&self, error: Error) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.write_error)(self.as_ptr(), error) };
    }

    /// Lends the error that is the outcome, if it is one.
    ///
    /// # Safety
    ///
    /// The outcome was written, and stays as long as the reference lives.
    pub(super) unsafe fn error(&self) -> Option<&Error> {
        // SAFETY: as the caller says.
        let error = unsafe { (self.header().types.error)(self.as_ptr()) };
        // SAFETY: as the caller says.
        error.map(|error| unsafe { error.as_ref() })
    }

    /// Drops the outcome in its place.
    ///
    /// # Safety
    ///
    /// The task is finished, and the caller owns the value; it calls this once.
    pub(super) unsafe fn drop_outcome(&self) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.drop_outcome)(self.as_ptr()) };
    }

    /// Returns `true` if dropping an outcome runs code that is not this crate's.
    pub(super) fn value_needs_drop(&self) -> bool {
        self.header().types.value_needs_drop
    }

    /// Writes the outcome.
    ///
    /// # Safety
    ///
    /// The task's value is a `T`. The caller has set ENDING, and the job has left the
    /// storage.
    pub(super) unsafe fn write_outcome<T>(&self, outcome: Result<T, Error>) {
        // SAFETY: as the caller says.
        let place = unsafe { outcome_of::<T, HEADER>(self.as_ptr()) };
        let write = |_| {
            // SAFETY: as the caller says.
            unsafe { place.write(outcome) };
        };
        self.header().storage.with_mut(write);
    }

    /// Lends the outcome.
    ///
    /// # Safety
    ///
    /// The task's value is a `T`, and the caller has seen that it is finished. The value
    /// is neither moved out nor dropped as long as the reference lives.
    pub(super) unsafe fn lend_outcome<T>(&self) -> &Result<T, Error> {
        // SAFETY: as the caller says.
        let place = unsafe { outcome_of::<T, HEADER>(self.as_ptr()) };
        // SAFETY: as the caller says.
        self.header().storage.with(|_| unsafe { place.as_ref() })
    }

    /// Moves the outcome out.
    ///
    /// # Safety
    ///
    /// The task's value is a `T`, the caller has seen that it is finished and owns the
    /// value; it calls this once.
    pub(super) unsafe fn take_outcome<T>(&self) -> Result<T, Error> {
        // SAFETY: as the caller says.
        let place = unsafe { outcome_of::<T, HEADER>(self.as_ptr()) };
        // SAFETY: as the caller says.
        (self.header().storage).with_mut(|_| unsafe { place.read() })
    }

    /// Gives the reference up to a caller that has taken it out of the word.
    ///
    /// # Safety
    ///
    /// The word counts one reference less than there are.
    #[expect(clippy::mem_forget, reason = "the word does not count it any more")]
    #[inline]
    pub(super) unsafe fn forget_reference(self) {
        std::mem::forget(self);
    }

    /// Frees the memory.
    ///
    /// # Safety
    ///
    /// No reference is left, and what the other threads did with theirs was acquired.
    pub(super) unsafe fn free(task: NonNull<()>, word: Word) {
        let header = task.cast::<Header<X>>();
        // SAFETY: it is freed below.
        let contents = unsafe { header.read() };
        // A running task of a thread pool has its job on a stack, in the process that
        // this one was forked from.
        if !word.is_done() && (!word.is(RUNNING) || contents.types.is_remote) {
            // SAFETY: the job is in the storage, and no other thread is there.
            unsafe { (contents.types.drop_job)(task) };
        }
        // ORDERING: no other thread is there.
        if let Some(attached) = NonNull::new(contents.attached.load(Ordering::Relaxed)) {
            // SAFETY: made by `Box::into_raw`, and owned by the task.
            drop(unsafe { Box::from_raw(attached.as_ptr()) });
        }
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(header.as_ptr().cast(), contents.types.layout) };
    }

    /// Returns the reference once more, not counted.
    ///
    /// # Safety
    ///
    /// It is not used longer than this one lives.
    pub(super) unsafe fn uncounted(&self) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(self.0))
    }

    pub(super) fn as_ptr(&self) -> NonNull<()> {
        self.0.cast()
    }

    /// Returns the task as one pointer, with its reference.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<()> {
        let pointer = self.as_ptr();
        // SAFETY: `from_raw` takes it up again.
        unsafe { self.forget_reference() };
        pointer
    }

    /// Takes a reference up again.
    ///
    /// # Safety
    ///
    /// The pointer came from [`into_raw`](Self::into_raw), and is used once.
    #[inline]
    pub(crate) unsafe fn from_raw(pointer: NonNull<()>) -> Self {
        Self(pointer.cast())
    }
}

impl<X> Clone for TaskWith<X> {
    #[inline]
    fn clone(&self) -> Self {
        // ORDERING: the reference that is cloned keeps the task alive.
        let before = self.atomic().fetch_add(REFERENCE, Ordering::Relaxed);
        debug_assert!(Word::from_bits(before).references() > 0, "it is alive");
        Self(self.0)
    }
}

impl<X> Drop for TaskWith<X> {
    #[inline]
    fn drop(&mut self) {
        let mut word = self.word();
        if word.references() > 1 {
            // ORDERING: release, so that the last one sees what was done through this
            // reference; acquire, should this be the last one.
            word = Word::from_bits(self.atomic().fetch_sub(REFERENCE, Ordering::AcqRel));
        }
        // The load above has acquired all other references if it shows only this one:
        // then no other thread can reach the task, and no read-modify-write is needed.
        if word.references() == 1 {
            // SAFETY: the last reference.
            unsafe { Self::free(self.as_ptr(), word) };
        }
    }
}
