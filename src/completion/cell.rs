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

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop};
use std::ptr::{self, NonNull};

use super::job::{EncodedCall, Job, Withdrawn, WithdrawnJob};
use super::scope_guard::ScopeGuard;
use super::word::{Flag, REFERENCE, RUNNING, Word};
use crate::error::Error;
use crate::panic::{catch, contain_drop};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell, alloc, dealloc};
use crate::sys::fork::Origin;

/// A reference to a task of any type, to which an `X` may be attached.
pub(crate) struct TaskWith<X: 'static>(NonNull<Header<X>>);

#[repr(C)]
struct Header<X: 'static> {
    word: AtomicU64,
    types: &'static Types<X>,
    /// Null until something is attached; owned.
    attached: AtomicPtr<X>,
    /// The id of the pool that it was submitted to, or `NO_POOL`.
    pool_id: usize,
    /// The process that it was made in.
    origin: Origin,
    /// Has no size. A model watches the accesses to the storage by it.
    storage: UnsafeCell<()>,
}

/// The size of the header.
const HEADER: usize = size_of::<Header<()>>();

/// `true` if the job panicked; and the guard of a job in a scope.
type Called = (bool, Option<ScopeGuard>);

/// The functions that know the types of job and value. All get a live task; the other
/// conditions are those of the methods of [`TaskWith`] that call them.
struct Types<X: 'static> {
    layout: Layout,
    is_remote: bool,
    value_needs_drop: bool,
    call: unsafe fn(NonNull<Header<X>>) -> Called,
    withdraw: unsafe fn(NonNull<Header<X>>) -> Box<dyn Withdrawn>,
    drop_job: unsafe fn(NonNull<Header<X>>),
    take_call: unsafe fn(NonNull<Header<X>>) -> Option<EncodedCall>,
    put_call: unsafe fn(NonNull<Header<X>>, EncodedCall),
    write_error: unsafe fn(NonNull<Header<X>>, Error),
    error: unsafe fn(NonNull<Header<X>>) -> Option<NonNull<Error>>,
    drop_outcome: unsafe fn(NonNull<Header<X>>),
}

/// Returns the offset of a value with that alignment behind the header.
const fn behind_header(align: usize) -> usize {
    HEADER.next_multiple_of(align)
}

const fn larger(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

fn job_of<J, X>(header: NonNull<Header<X>>) -> NonNull<J> {
    // SAFETY: inside the allocation, by `TypesOf::LAYOUT`.
    unsafe { header.byte_add(behind_header(align_of::<J>())) }.cast()
}

fn outcome_of<T, X>(header: NonNull<Header<X>>) -> NonNull<Result<T, Error>> {
    let offset = behind_header(align_of::<Result<T, Error>>());
    // SAFETY: inside the allocation, by `TypesOf::LAYOUT`.
    unsafe { header.byte_add(offset) }.cast()
}

/// The types that a [`Types`] is made of.
struct TypesOf<J, T, X>(PhantomData<(J, T, X)>);

impl<J: Job<T>, T, X: 'static> TypesOf<J, T, X> {
    const LAYOUT: Layout = {
        let job_end = behind_header(align_of::<J>()) + size_of::<J>();
        let outcome_end =
            behind_header(align_of::<Result<T, Error>>()) + size_of::<Result<T, Error>>();
        let align = larger(align_of::<J>(), align_of::<Result<T, Error>>());
        let align = larger(align, align_of::<usize>());
        match Layout::from_size_align(larger(job_end, outcome_end), align) {
            Ok(layout) => layout.pad_to_align(),
            Err(_) => panic!("a job or a value as large as the address space"),
        }
    };

    const TYPES: Types<X> = Types {
        layout: Self::LAYOUT,
        is_remote: J::IS_REMOTE,
        value_needs_drop: needs_drop::<T>(),
        call: Self::call,
        withdraw: Self::withdraw,
        drop_job: Self::drop_job,
        take_call: Self::take_call,
        put_call: Self::put_call,
        write_error: Self::write_error,
        error: Self::error,
        drop_outcome: Self::drop_outcome,
    };

    unsafe fn call(task: NonNull<Header<X>>) -> Called {
        // SAFETY: the caller started the task, so the job is its own.
        let mut job = unsafe { job_of::<J, X>(task).read() };
        let guard = job.take_guard();
        let outcome = catch(|| job.call()).map_err(Error::Panicked);
        let failed = outcome.is_err();
        // SAFETY: the job has left the storage.
        unsafe { outcome_of::<T, X>(task).write(outcome) };
        (failed, guard)
    }

    unsafe fn withdraw(task: NonNull<Header<X>>) -> Box<dyn Withdrawn> {
        // SAFETY: the caller ends the task, so the job is its own.
        let job = unsafe { job_of::<J, X>(task).read() };
        let job: Box<dyn Withdrawn + '_> = Box::new(WithdrawnJob(job, PhantomData::<T>));
        // SAFETY: what it borrows lives until the scope guard is dropped, which the
        // thread that has this does last (the head of this file); only the lifetime
        // changes.
        unsafe { std::mem::transmute::<Box<dyn Withdrawn + '_>, Box<dyn Withdrawn>>(job) }
    }

    unsafe fn drop_job(task: NonNull<Header<X>>) {
        // SAFETY: the caller has the job for itself.
        unsafe { job_of::<J, X>(task).read() }.drop_contained();
    }

    unsafe fn take_call(task: NonNull<Header<X>>) -> Option<EncodedCall> {
        // SAFETY: the caller claimed the task, so the job is its own.
        unsafe { job_of::<J, X>(task).as_mut() }.take_call()
    }

    unsafe fn put_call(task: NonNull<Header<X>>, call: EncodedCall) {
        // SAFETY: as above.
        unsafe { job_of::<J, X>(task).as_mut() }.put_call(call);
    }

    unsafe fn write_error(task: NonNull<Header<X>>, error: Error) {
        // SAFETY: the caller took the job out of the storage.
        unsafe { outcome_of::<T, X>(task).write(Err(error)) };
    }

    unsafe fn error(task: NonNull<Header<X>>) -> Option<NonNull<Error>> {
        // SAFETY: the outcome is there, and stays, says the caller.
        let outcome = unsafe { outcome_of::<T, X>(task).as_ref() };
        outcome.as_ref().err().map(NonNull::from)
    }

    unsafe fn drop_outcome(task: NonNull<Header<X>>) {
        // SAFETY: the caller owns the value.
        contain_drop(unsafe { outcome_of::<T, X>(task).read() });
    }
}

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
    /// If job or value borrow, the job has a scope guard. The job is `Send`, or no other thread gets the task; and the same for the
    /// value.
    pub(super) unsafe fn new<J: Job<T>, T>(pool_id: usize, job: J) -> (Self, Self) {
        let layout = TypesOf::<J, T, X>::LAYOUT;
        // SAFETY: the layout has a header, so it is not empty.
        let memory = unsafe { alloc(layout) }.cast::<Header<X>>();
        let Some(header) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        let contents = Header {
            word: AtomicU64::new(Word::new().bits()),
            types: const { &TypesOf::<J, T, X>::TYPES },
            attached: AtomicPtr::new(ptr::null_mut()),
            pool_id,
            origin: Origin::current(),
            storage: UnsafeCell::new(()),
        };
        // SAFETY: fresh memory of that layout.
        unsafe { header.write(contents) };
        // SAFETY: as above.
        unsafe { job_of::<J, X>(header).write(job) };
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
    pub(crate) fn pool_id(&self) -> usize {
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
        let called = unsafe { (self.header().types.call)(self.0) };
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
        unsafe { (self.header().types.withdraw)(self.0) }
    }

    /// Moves a job of known type out of the storage.
    ///
    /// # Safety
    ///
    /// The job is a `J`. The caller has set ENDING on a pending task, and calls this once.
    pub(super) unsafe fn job<J>(&self) -> J {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { job_of::<J, X>(self.0).read() }
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
        unsafe { (self.header().types.drop_job)(self.0) };
    }

    /// Takes the call out of the job of a remote task.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task.
    pub(super) unsafe fn take_call(&self) -> Option<EncodedCall> {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.take_call)(self.0) }
    }

    /// Puts the call back into the job.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task.
    pub(super) unsafe fn put_call(&self, call: EncodedCall) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.put_call)(self.0, call) };
    }

    /// Writes an error as the outcome.
    ///
    /// # Safety
    ///
    /// The caller has set ENDING, and the job has left the storage.
    pub(super) unsafe fn write_error(&self, error: Error) {
        self.header().storage.with_mut(|_| ());
        // SAFETY: as the caller says.
        unsafe { (self.header().types.write_error)(self.0, error) };
    }

    /// Lends the error that is the outcome, if it is one.
    ///
    /// # Safety
    ///
    /// The outcome was written, and stays as long as the reference lives.
    pub(super) unsafe fn error(&self) -> Option<&Error> {
        // SAFETY: as the caller says.
        let error = unsafe { (self.header().types.error)(self.0) };
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
        unsafe { (self.header().types.drop_outcome)(self.0) };
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
        let place = outcome_of::<T, X>(self.0);
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
        let place = outcome_of::<T, X>(self.0);
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
        let place = outcome_of::<T, X>(self.0);
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
            unsafe { (contents.types.drop_job)(header) };
        }
        // ORDERING: no other thread is there.
        if let Some(attached) = NonNull::new(contents.attached.load(Ordering::Relaxed)) {
            // SAFETY: made by `Box::into_raw`, and owned by the task.
            drop(unsafe { Box::from_raw(attached.as_ptr()) });
        }
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(header.as_ptr().cast(), contents.types.layout) };
    }

    #[inline]
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
