//! [`TaskWith`]: a counted reference to a task of any type, one pointer wide, and the
//! task's memory.
//!
//! A task is one piece of memory (`memory.rs`): a header, and behind it one storage that
//! first holds the job (the function with its arguments) and later the outcome. Behind the
//! header, job and outcome each begin at the first address that their own alignment allows.
//! So the future, which knows the type of the value but not the type of the job, finds the
//! outcome. The table of functions in the header knows both types.
//!
//! # The owner of the storage
//!
//! The task's word (`word.rs`) shows the contents and the owner of the storage:
//!
//! * *The job* of a pending task belongs to no thread. A thread that will call the job owns
//!   the job once it has made the task running (by a compare-and-swap, unless it has the
//!   only reference to the task). A thread that will end the task without a call owns the
//!   job once it has set the flag ENDING; it then drops the job or takes the job out of the
//!   storage. A remote task, which a worker in another process runs, keeps its job in the
//!   storage until the task ends, because the pool may have to send the job's encoded call
//!   more than once. Only the pool that has *claimed* the task reads the call
//!   (`remote_end.rs`).
//! * *The outcome* is written by the owner of the job, before the transition to a final
//!   state. After the transition, threads only read the outcome, until the owner of the
//!   value moves it out or drops it. Once the callbacks are done, the owner is the future.
//!   If `TaskFuture::then` added a last callback, this callback is the owner. If the future
//!   was dropped before the callbacks were done (the flag HANDLE is not set), the owner is
//!   the thread that runs the task's notification, or, if there are callbacks, the thread
//!   that runs the last of them.
//!
//! So dropping the last reference to a task only frees memory and runs no user code. The
//! one exception is a task that never ends, for example in a forked child: dropping its
//! last reference also drops its job, if the job was not called, and its callbacks and
//! wakers.
//!
//! # Tasks that borrow
//!
//! The job and the value of a task in a scope may borrow data from outside the scope. The
//! type of a `TaskWith` has no lifetime, so the code that uses a task keeps these rules:
//!
//! * A task that borrows has a scope guard (`scope_guard.rs`) in its job.
//! * The scope does not end before the task's scope guard is dropped.
//! * When the scope guard is dropped, the job was called or dropped, the callbacks have
//!   run, and the value was dropped or belongs to the future. The future's type has the
//!   scope's lifetime, so no safe code can use the future after the scope. A leaked future
//!   leaks its value.
//! * After the drop of the scope guard, besides the future only entries of queues and of
//!   the scope's lists, or a thread's own reference to the task, may remain. Through
//!   such a reference a thread only reads and changes the word and frees memory, and never
//!   touches borrowed data.

use std::alloc::handle_alloc_error;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::birth::Birth;
use super::job::{Job, Remote, Withdrawn};
use super::memory::{allocate, free};
use super::pool_id::PoolId;
use super::storage::{Called, Types, TypesOf, job_of, outcome_of};
use super::word::{Flag, REFERENCE, RUNNING, Word};
use crate::encoded::EncodedCall;
use crate::error::Error;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell};

/// A counted reference to a task of any type. An `X` may be attached to the task.
pub(crate) struct TaskWith<X: 'static>(NonNull<Header<X>>);

#[repr(C)]
struct Header<X: 'static> {
    word: AtomicU64,
    types: &'static Types,
    /// The attached `X`, which the task owns. The pointer is null until an `X` is attached.
    attached: AtomicPtr<X>,
    /// The id of the pool that the task was submitted to, or `NO_POOL`.
    pool_id: PoolId,
    birth: Birth,
    /// A cell of size 0 through which loom models check the accesses to the storage.
    storage: UnsafeCell<()>,
}

const HEADER: usize = size_of::<Header<()>>();

// SAFETY: `new` demands that job and value are `Send` if another thread gets the task, and
// the word shows which thread owns them. The other fields are atomics, or are never
// changed.
unsafe impl<X: Send> Send for TaskWith<X> {}
// SAFETY: even with shared references to a task, a thread uses job or value only if the
// word shows this thread as the owner. A value is lent to several threads only through a
// future, which is `Sync` only if the value is.
unsafe impl<X: Send + Sync> Sync for TaskWith<X> {}

impl<X> TaskWith<X> {
    /// Allocates a pending task. Returns two references: one for the future and one for the
    /// worker.
    ///
    /// # Safety
    ///
    /// If job or value borrow data, the job has a scope guard. Job and value are `Send`, or
    /// no other thread gets the task.
    pub(super) unsafe fn new<J: Job<T>, T>(pool_id: PoolId, job: J) -> (Self, Self) {
        let layout = TypesOf::<J, T, HEADER>::LAYOUT;
        let Some(memory) = allocate(layout) else {
            handle_alloc_error(layout)
        };
        let header = memory.start.cast::<Header<X>>();
        let contents = Header {
            word: AtomicU64::new(Word::new().bits()),
            types: const { &TypesOf::<J, T, HEADER>::TYPES },
            attached: AtomicPtr::new(ptr::null_mut()),
            pool_id,
            birth: Birth::new(memory.place),
            storage: UnsafeCell::new(()),
        };
        // SAFETY: `header` points to fresh memory of the layout `layout`.
        unsafe { header.write(contents) };
        // SAFETY: the memory was allocated with the layout for a `J` behind a header of
        // `HEADER` bytes.
        let place = unsafe { job_of::<J, HEADER>(header.cast()) };
        // SAFETY: `place` is the address of the job in this fresh memory.
        unsafe { place.write(job) };
        (Self(header), Self(header))
    }

    #[inline]
    fn header(&self) -> &Header<X> {
        // SAFETY: `self` is a counted reference, and the task is freed with the last
        // reference.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn atomic(&self) -> &AtomicU64 {
        &self.header().word
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        // ORDERING: acquire pairs with the release of the transitions. A thread that sees a
        // transition also sees the writes before it, above all the outcome.
        Word::from_bits(self.atomic().load(Ordering::Acquire))
    }

    /// Replaces the word by the result of `change`, and returns the old word. If `change`
    /// returns `None`, keeps the word and returns it as an error.
    #[inline]
    pub(super) fn update(
        &self,
        mut change: impl FnMut(Word) -> Option<Word>,
    ) -> Result<Word, Word> {
        let change = |bits| change(Word::from_bits(bits)).map(Word::bits);
        // ORDERING: release publishes the storage to the threads that see the new word.
        // Acquire sees the storage and the attached box, as other threads published them.
        let updated = (self.atomic()).fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        updated.map(Word::from_bits).map_err(Word::from_bits)
    }

    /// Replaces the word of a task that no other thread can reach.
    #[inline]
    pub(super) fn pass_unseen(&self, change: impl FnOnce(Word) -> Word) {
        let word = change(self.word());
        // ORDERING: no other thread can reach the task, so relaxed is enough.
        self.atomic().store(word.bits(), Ordering::Relaxed);
    }

    /// Sets a flag, and returns the word as it was before.
    #[inline]
    pub(super) fn set(&self, flag: Flag) -> Word {
        // ORDERING: release publishes this thread's earlier writes. Acquire sees the writes
        // that other threads published: a waiter that sets WAITER on a task that is done
        // returns, and its caller may read what the task wrote.
        Word::from_bits(self.atomic().fetch_or(flag.bits(), Ordering::AcqRel))
    }

    /// Clears a flag, and returns the word as it was before. The caller holds the lock of
    /// the task's rare box.
    #[inline]
    pub(super) fn clear(&self, flag: Flag) -> Word {
        // ORDERING: release publishes this thread's earlier writes. Acquire is not needed,
        // because the task has RARE: each end of the task, and each change of the flags
        // that are cleared here, was made under the lock that the caller holds, or was
        // acquired when RARE was set under that lock.
        Word::from_bits(self.atomic().fetch_and(!flag.bits(), Ordering::Release))
    }

    /// Returns the pointer to the attached `X`. The pointer is null, or came from
    /// `Box::into_raw`.
    pub(super) fn attached(&self) -> &AtomicPtr<X> {
        &self.header().attached
    }

    #[inline]
    pub(crate) fn pool_id(&self) -> PoolId {
        self.header().pool_id
    }

    pub(super) fn is_remote(&self) -> bool {
        self.remote().is_some()
    }

    /// Returns the functions of the task's pool if a worker in another process runs the
    /// task.
    pub(super) fn remote(&self) -> Option<&'static Remote> {
        self.header().types.remote
    }

    /// Returns `true` in the process that created the task, and `false` in a forked child.
    /// In the child the task keeps the state it had at the fork, unless it is the task of a
    /// promise and the child starts, ends or cancels it. Also returns `true` in a child of
    /// a fork that [`Origin`](crate::sys::fork::Origin) does not count.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.header().birth.is_here()
    }

    /// Returns the address of the task, which identifies the task as long as it exists.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// Calls the job and writes the outcome. Returns two values: `true` if the job
    /// panicked, and the scope guard if the job has one.
    ///
    /// # Safety
    ///
    /// The caller started the task, and calls this function once.
    pub(super) unsafe fn call(&self) -> Called {
        // SAFETY: the caller started the task, and calls this function once.
        let called = unsafe { (self.header().types.call)(self.as_ptr()) };
        self.header().storage.with_mut(|_| ());
        called
    }

    /// Moves the job out of the storage.
    ///
    /// # Safety
    ///
    /// The caller has set the flag ENDING on a pending task, and calls this function once.
    pub(super) unsafe fn withdraw(&self) -> Box<dyn Withdrawn> {
        self.header().storage.with_mut(|_| ());
        // SAFETY: the caller has set ENDING on a pending task, and calls this function
        // once.
        unsafe { (self.header().types.withdraw)(self.as_ptr()) }
    }

    /// Moves a job of known type out of the storage.
    ///
    /// # Safety
    ///
    /// The job is a `J`. The caller has set the flag ENDING on a pending task, and calls
    /// this function once.
    pub(super) unsafe fn job<J>(&self) -> J {
        self.header().storage.with_mut(|_| ());
        // SAFETY: the caller promises that the job is a `J`.
        let place = unsafe { job_of::<J, HEADER>(self.as_ptr()) };
        // SAFETY: the caller has set ENDING on a pending task, so the job is in the storage
        // and belongs to the caller.
        unsafe { place.read() }
    }

    /// Drops the job in the storage.
    ///
    /// # Safety
    ///
    /// The caller has set the flag ENDING on a task whose job was not called, and calls
    /// this function once.
    pub(super) unsafe fn drop_job(&self) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: the caller has set ENDING, and the job was not called.
        unsafe { (self.header().types.drop_job)(self.as_ptr()) };
    }

    /// Returns the encoded call of a [remote](Job::REMOTE) task, or `None` if the call was
    /// taken.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task. As long as the returned reference is alive, the
    /// caller does not end the claim, and does not take the call.
    pub(super) unsafe fn claimed_call(&self) -> Option<&EncodedCall> {
        self.header().storage.with(|_| ());
        // SAFETY: the caller has claimed the task.
        let call = unsafe { (self.header().types.encoded_call)(self.as_ptr()) }?;
        // SAFETY: the caller promises that the call stays in the storage.
        Some(unsafe { call.as_ref() })
    }

    /// Takes the encoded call of a [remote](Job::REMOTE) task.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task, does not end the claim meanwhile, and has no
    /// reference to the encoded call.
    pub(super) unsafe fn take_claimed_call(&self) -> Option<EncodedCall> {
        self.header().storage.with_mut(|_| ());
        // SAFETY: the caller has claimed the task, and promises that it has the only access
        // to the call.
        unsafe { (self.header().types.take_encoded_call)(self.as_ptr()) }
    }

    /// Writes an error as the outcome.
    ///
    /// # Safety
    ///
    /// The caller has set the flag ENDING, and the job was moved out of the storage.
    pub(super) unsafe fn write_error(&self, error: Error) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: the caller has set ENDING, and the job was moved out of the storage.
        unsafe { (self.header().types.write_error)(self.as_ptr(), error) };
    }

    /// Lends the error if the outcome is an error.
    ///
    /// # Safety
    ///
    /// The outcome was written, and stays in the storage as long as the returned reference
    /// is alive.
    pub(super) unsafe fn error(&self) -> Option<&Error> {
        // SAFETY: the caller promises that the outcome was written.
        let error = unsafe { (self.header().types.error)(self.as_ptr()) };
        // SAFETY: the caller promises that the outcome stays in the storage.
        error.map(|error| unsafe { error.as_ref() })
    }

    /// Drops the outcome in the storage.
    ///
    /// # Safety
    ///
    /// The outcome is in the storage. The caller owns the outcome, and calls this function
    /// once.
    pub(super) unsafe fn drop_outcome(&self) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: the outcome is in the storage, and the caller owns it.
        unsafe { (self.header().types.drop_outcome)(self.as_ptr()) };
    }

    /// Returns `true` if dropping the value may run user code.
    pub(super) fn value_needs_drop(&self) -> bool {
        self.header().types.value_needs_drop
    }

    /// Writes the outcome.
    ///
    /// # Safety
    ///
    /// The task's value is a `T`. The caller has set the flag ENDING, and the job was moved
    /// out of the storage or dropped.
    pub(super) unsafe fn write_outcome<T>(&self, outcome: Result<T, Error>) {
        // SAFETY: the caller promises that the task's value is a `T`.
        let place = unsafe { outcome_of::<T, HEADER>(self.as_ptr()) };
        let write = |_| {
            // SAFETY: the caller promises that the storage is empty and belongs to the
            // caller.
            unsafe { place.write(outcome) };
        };
        self.header().storage.with_mut(write);
    }

    /// Lends the outcome.
    ///
    /// # Safety
    ///
    /// The task's value is a `T`, and the caller has seen that the task is finished. The
    /// value is neither moved out nor dropped as long as the returned reference is alive.
    pub(super) unsafe fn lend_outcome<T>(&self) -> &Result<T, Error> {
        // SAFETY: the caller promises that the task's value is a `T`.
        let place = unsafe { outcome_of::<T, HEADER>(self.as_ptr()) };
        // SAFETY: the task is finished, and the caller promises that the value stays in
        // place.
        self.header().storage.with(|_| unsafe { place.as_ref() })
    }

    /// Moves the outcome out of the storage.
    ///
    /// # Safety
    ///
    /// The task's value is a `T`, and the caller has seen that the task is finished. The
    /// caller owns the value, and calls this function once.
    pub(super) unsafe fn take_outcome<T>(&self) -> Result<T, Error> {
        // SAFETY: the caller promises that the task's value is a `T`.
        let place = unsafe { outcome_of::<T, HEADER>(self.as_ptr()) };
        // SAFETY: the task is finished, and the caller owns the value.
        (self.header().storage).with_mut(|_| unsafe { place.read() })
    }

    /// Forgets the reference without subtracting it from the word.
    ///
    /// # Safety
    ///
    /// The caller has already subtracted the reference from the word, or keeps the counted
    /// reference as a pointer.
    #[expect(clippy::mem_forget, reason = "the word does not count it any more")]
    #[inline]
    pub(super) unsafe fn forget_reference(self) {
        std::mem::forget(self);
    }

    /// Frees the memory of the task.
    ///
    /// # Safety
    ///
    /// No reference remains, and the calling thread has acquired the writes that other
    /// threads made through their references.
    pub(super) unsafe fn free(task: NonNull<()>, word: Word) {
        let header = task.cast::<Header<X>>();
        // SAFETY: this thread owns the header, and frees its memory below.
        let contents = unsafe { header.read() };
        // Lets a loom model check that every other use of the storage came before.
        contents.storage.with_mut(|_| ());
        // If the word still says that a task of a thread pool runs, this process was forked
        // during the run. The job may then be gone from the storage already, so it is not
        // dropped.
        if !word.is_done() && (!word.is(RUNNING) || contents.types.remote.is_some()) {
            // SAFETY: the job is in the storage, and no other thread has a reference.
            unsafe { (contents.types.drop_job)(task) };
        }
        // ORDERING: no other thread has a reference, so relaxed is enough.
        if let Some(attached) = NonNull::new(contents.attached.load(Ordering::Relaxed)) {
            // SAFETY: the pointer came from `Box::into_raw`, and the task owns the box.
            drop(unsafe { Box::from_raw(attached.as_ptr()) });
        }
        // SAFETY: `new` allocated the memory with this layout and this place.
        unsafe { free(header.cast(), contents.birth.place(), contents.types.layout) };
    }

    /// Returns a second reference that the word does not count.
    ///
    /// # Safety
    ///
    /// The returned reference is not used longer than `self` exists.
    pub(super) unsafe fn uncounted(&self) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(self.0))
    }

    pub(super) fn as_ptr(&self) -> NonNull<()> {
        self.0.cast()
    }

    /// Converts the reference into a pointer, and keeps the reference counted.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<()> {
        let pointer = self.as_ptr();
        // SAFETY: the reference stays counted, and becomes the returned pointer.
        unsafe { self.forget_reference() };
        pointer
    }

    /// Restores the reference that [`into_raw`](Self::into_raw) converted into a pointer.
    ///
    /// # Safety
    ///
    /// The pointer came from [`into_raw`](Self::into_raw), and is passed to this function
    /// once.
    #[inline]
    pub(crate) unsafe fn from_raw(pointer: NonNull<()>) -> Self {
        Self(pointer.cast())
    }
}

impl<X> Clone for TaskWith<X> {
    #[inline]
    fn clone(&self) -> Self {
        // ORDERING: relaxed is enough: the cloned reference keeps the task alive.
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
            // ORDERING: release publishes the writes made through this reference to the
            // thread that drops the last reference. If this is the last reference, acquire
            // sees the writes of the other threads.
            word = Word::from_bits(self.atomic().fetch_sub(REFERENCE, Ordering::AcqRel));
        }
        // If the load above shows only one reference, this load has acquired the writes of
        // all other threads. Then no other thread can reach the task, so the subtraction is
        // left out.
        if word.references() == 1 {
            // SAFETY: this is the last reference.
            unsafe { Self::free(self.as_ptr(), word) };
        }
    }
}
