//! [`Types`]: the layout of a task, and the functions that know the types of its job and
//! its value.
//!
//! The job is the function with its arguments. Behind the task's header lies one storage,
//! which first contains the job, and later the outcome: a value or an error.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::ptr::NonNull;

use super::job::{Job, Remote, Withdrawn, WithdrawnJob};
use super::scope_guard::ScopeGuard;
use crate::encoded::EncodedCall;
use crate::error::Error;
use crate::panic::{catch, contain_drop};
use crate::sync::AtomicU64;
use crate::sys::stack::with_room_for;

/// The result of a call: `true` if the job panicked, and the [`ScopeGuard`] of a task
/// that is in a scope.
pub(super) type Called = (bool, Option<ScopeGuard>);

/// The functions that know the types of a task's job and value. Each function must be
/// called with a live task. The method of `TaskWith` (`cell.rs`) that calls a function
/// states the function's other conditions.
pub(super) struct Types {
    pub(super) layout: Layout,
    pub(super) remote: Option<&'static Remote>,
    pub(super) value_needs_drop: bool,
    pub(super) call: unsafe fn(NonNull<()>) -> Called,
    pub(super) withdraw: unsafe fn(NonNull<()>) -> Box<dyn Withdrawn>,
    pub(super) drop_job: unsafe fn(NonNull<()>),
    pub(super) encoded_call: unsafe fn(NonNull<()>) -> Option<NonNull<EncodedCall>>,
    pub(super) take_encoded_call: unsafe fn(NonNull<()>) -> Option<EncodedCall>,
    pub(super) write_error: unsafe fn(NonNull<()>, Error),
    pub(super) error: unsafe fn(NonNull<()>) -> Option<NonNull<Error>>,
    pub(super) drop_outcome: unsafe fn(NonNull<()>),
}

/// Returns the offset of a value that has the alignment `align` and lies behind a header of
/// `header` bytes.
const fn behind(header: usize, align: usize) -> usize {
    header.next_multiple_of(align)
}

const fn larger(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// Returns the address of a task's job.
///
/// # Safety
///
/// The task was allocated with the [layout](TypesOf::LAYOUT) of a `J`, behind a header of
/// `HEADER` bytes.
#[inline]
pub(super) unsafe fn job_of<J, const HEADER: usize>(task: NonNull<()>) -> NonNull<J> {
    // SAFETY: the caller promises the layout, so the address is inside the allocation.
    unsafe { task.byte_add(behind(HEADER, align_of::<J>())) }.cast()
}

/// Returns the address of a task's outcome.
///
/// # Safety
///
/// The task was allocated with the [layout](TypesOf::LAYOUT) of a value of type `T`, behind
/// a header of `HEADER` bytes.
#[inline]
pub(super) unsafe fn outcome_of<T, const HEADER: usize>(
    task: NonNull<()>,
) -> NonNull<Result<T, Error>> {
    let offset = behind(HEADER, align_of::<Result<T, Error>>());
    // SAFETY: the caller promises the layout, so the address is inside the allocation.
    unsafe { task.byte_add(offset) }.cast()
}

/// The types of a task's job and value. The constant `TYPES` is the [`Types`] for them.
pub(super) struct TypesOf<J, T, const HEADER: usize>(PhantomData<(J, T)>);

impl<J: Job<T>, T, const HEADER: usize> TypesOf<J, T, HEADER> {
    /// The layout of the header, and behind it a storage large enough for the job and for
    /// the outcome.
    pub(super) const LAYOUT: Layout = {
        let job_end = behind(HEADER, align_of::<J>()) + size_of::<J>();
        let outcome_end =
            behind(HEADER, align_of::<Result<T, Error>>()) + size_of::<Result<T, Error>>();
        let align = larger(align_of::<J>(), align_of::<Result<T, Error>>());
        let align = larger(align, align_of::<AtomicU64>());
        match Layout::from_size_align(larger(job_end, outcome_end), align) {
            Ok(layout) => layout.pad_to_align(),
            Err(_) => panic!("a job or a value as large as the address space"),
        }
    };

    pub(super) const TYPES: Types = Types {
        layout: Self::LAYOUT,
        remote: J::REMOTE,
        value_needs_drop: needs_drop::<T>(),
        call: Self::call,
        withdraw: Self::withdraw,
        drop_job: Self::drop_job,
        encoded_call: Self::encoded_call,
        take_encoded_call: Self::take_encoded_call,
        write_error: Self::write_error,
        error: Self::error,
        drop_outcome: Self::drop_outcome,
    };

    fn job(task: NonNull<()>) -> NonNull<J> {
        // SAFETY: the functions below are called only with tasks of this layout.
        unsafe { job_of::<J, HEADER>(task) }
    }

    fn outcome(task: NonNull<()>) -> NonNull<Result<T, Error>> {
        // SAFETY: the functions below are called only with tasks of this layout.
        unsafe { outcome_of::<T, HEADER>(task) }
    }

    unsafe fn call(task: NonNull<()>) -> Called {
        let size = size_of::<J>() + size_of::<Result<T, Error>>();
        // SAFETY: the caller promises what `call_here` needs.
        with_room_for(size, || unsafe { Self::call_here(task) })
    }

    /// Calls the job on the current stack.
    ///
    /// # Safety
    ///
    /// The same as for `TaskWith::call` (`cell.rs`).
    #[inline]
    unsafe fn call_here(task: NonNull<()>) -> Called {
        // SAFETY: the caller started the task, so the job belongs to the caller.
        let mut job = unsafe { Self::job(task).read() };
        let guard = job.take_guard();
        let outcome = catch(|| job.call()).map_err(Error::Panicked);
        let failed = outcome.is_err();
        // SAFETY: the job was moved out of the storage above.
        unsafe { Self::outcome(task).write(outcome) };
        (failed, guard)
    }

    unsafe fn withdraw(task: NonNull<()>) -> Box<dyn Withdrawn> {
        // SAFETY: the caller has set ENDING on a pending task, so the job belongs to the
        // caller.
        let job = unsafe { Self::job(task).read() };
        let job: Box<dyn Withdrawn + '_> = Box::new(WithdrawnJob(job, PhantomData::<T>));
        // SAFETY: only the lifetime changes. The data that the job borrows lives until the
        // scope guard is dropped, and the guard is dropped only after the job (see the head
        // of `cell.rs`).
        unsafe { std::mem::transmute::<Box<dyn Withdrawn + '_>, Box<dyn Withdrawn>>(job) }
    }

    unsafe fn drop_job(task: NonNull<()>) {
        // SAFETY: the caller promises that the job belongs to the caller.
        unsafe { Self::job(task).read() }.drop_contained();
    }

    unsafe fn encoded_call(task: NonNull<()>) -> Option<NonNull<EncodedCall>> {
        // SAFETY: the caller claimed the task, so no other thread changes the job.
        let job = unsafe { Self::job(task).as_ref() };
        job.encoded_call().map(NonNull::from)
    }

    unsafe fn take_encoded_call(task: NonNull<()>) -> Option<EncodedCall> {
        // SAFETY: the caller claimed the task, so the job belongs to the caller.
        unsafe { Self::job(task).as_mut() }.take_encoded_call()
    }

    unsafe fn write_error(task: NonNull<()>, error: Error) {
        // SAFETY: the caller took the job out of the storage.
        unsafe { Self::outcome(task).write(Err(error)) };
    }

    unsafe fn error(task: NonNull<()>) -> Option<NonNull<Error>> {
        // SAFETY: the caller promises that the outcome is in the storage and stays there.
        let outcome = unsafe { Self::outcome(task).as_ref() };
        outcome.as_ref().err().map(NonNull::from)
    }

    unsafe fn drop_outcome(task: NonNull<()>) {
        // SAFETY: the caller owns the value.
        contain_drop(unsafe { Self::outcome(task).read() });
    }
}
