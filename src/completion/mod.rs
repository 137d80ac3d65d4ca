//! The core: one task, from its submission until its outcome is read.
//!
//! # The two ends
//!
//! * The *worker's end*, [`Task`], is held by an executor's queue and has no type
//!   parameters. An executor runs the task through this end, or ends the task without
//!   calling its job (the function with its arguments). A task that [`Completion::new`]
//!   creates, such as the task of a promise, has no job: the code that created the task
//!   ends it.
//! * The *caller's end*, `TaskFuture`, waits, reads and cancels. Each task has at most one
//!   `TaskFuture`, the task's *handle*. A handle is not `Clone`, so only the owner of the
//!   handle can move the value out, which makes [`Completion::take`] sound.
//!
//! Both ends refer to the same piece of memory (`cell.rs`). The code of this module is the
//! same for all executors.
//!
//! # The transitions
//!
//! ```text
//!               start                    finish, settle
//!   Pending ─────────────▶ Running ─────────────────────▶ Finished
//!      │  settle, fail ──────────────────────────────────────▲
//!      └────────────▶ Cancelled
//!           cancel
//! ```
//!
//! A process pool *claims* a pending task before it offers or sends the task to its
//! workers. A claimed task becomes `Running` when a worker reports that it has started the
//! task. If a worker ends that may have started the task, the task fails, or becomes
//! `Running` and waits for a retry. If a worker ends that has certainly not started the
//! task, or if the pool *recalls* the task (takes it back before a worker starts it), the
//! pool *releases* the task: it is pending and unclaimed again. (A task whose call several
//! workers in a row did not survive reading fails instead.) So a claimed task can be
//! cancelled only after its pool has released it.
//!
//! Each transition is one compare-and-swap on the task's *word*: 64 bits with the state and
//! the flags (`word.rs` has the table). A detached task is the exception: its future was
//! dropped, and only the worker that runs the task can reach it, so a plain store changes
//! its word. A thread that ends a task without calling its job sets the flag ENDING first.
//! If the task has a rare box (`rare.rs`), which holds callbacks and wakers, the thread
//! that makes a transition holds the box's lock meanwhile. (`claim` and `release` need no
//! lock.) After the transition, the thread does what the last column of the table below
//! says, from left to right, without the box's lock. (`settle_quietly` may leave the
//! notification to another thread.)
//!
//! | transition | made by | what follows |
//! |---|---|---|
//! | `start_here` | a worker, also inside a wait | calls the job |
//! | `start` | a promise, a process pool, or an inline executor that records times | nothing: `settle` ends the task |
//! | `finish` (`finish_unwatched`, `end`) | the worker that called the job | wakes waiters; runs the notification (`finish_unwatched`: nothing) |
//! | `settle` | a promise, an inline executor, a map whose batch was refused, or a process pool with an answer or an error | as after `end` |
//! | `fail` | a pool that broke, or a scope without memory for the task's stack, if the task is pending | as after `end` |
//! | `cancel` | any thread, if the task is pending | as after `end` |
//!
//! *Waiters* are threads in `wait`. The [`Notification`] is the user code that must run
//! when a task ends: first the wakers, then the `Drop` of a job that was not called, and
//! last the callbacks in the order in which they were added (`callbacks.rs`) or, if there
//! are none, the `Drop` of an unwanted value (see below).
//!
//! # Done, and callbacks done
//!
//! *Done*: the task's state is final, so its value may be lent. *Callbacks done*: the task
//! is done and all its callbacks have returned, so its value may be moved out.
//!
//! # The owner of the value
//!
//! The value belongs to the `TaskFuture`, which lends the value, moves it out, or drops it.
//! If the future is dropped before the callbacks are done, the value is *unwanted*. Then
//! the thread that runs the task's notification drops the value, or, if there are
//! callbacks, the thread that runs the last of them. So dropping the last reference to a
//! task, at either end, only frees memory and runs no user code (`cell.rs` names one
//! exception).

mod birth;
mod callbacks;
mod cell;
mod deadlock;
#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod fork_tests;
mod inline_worker;
mod job;
mod memory;
mod nested_callbacks;
mod notification;
mod pool_id;
mod rare;
mod remote_end;
mod running;
mod scope_count;
mod scope_end;
mod scope_guard;
mod stack;
mod storage;
mod transitions;
mod until;
mod waiting;
mod wakers;
mod word;
mod worker_hooks;

#[cfg(all(test, concurrent_futures_loom))]
mod model;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

pub(crate) use self::callbacks::is_notifying_for;
pub(crate) use self::inline_worker::{InlineRunner, as_inline_worker};
pub(crate) use self::job::{Job, NoJob, Remote};
pub(crate) use self::nested_callbacks::without_callback_queue;
pub(crate) use self::notification::{JoblessNotification, Notification, run_notifications};
pub(crate) use self::pool_id::{NO_POOL, PoolId, new_pool_id};
use self::rare::RareFields;
pub(crate) use self::rare::{Finalizer, Task};
#[cfg(not(concurrent_futures_loom))]
pub(crate) use self::remote_end::RemoteEnd;
pub(crate) use self::scope_end::ScopeTasks;
pub(crate) use self::until::Until;
pub(crate) use self::waiting::{is_collector_of, mark_collector_of};
pub(crate) use self::wakers::{WakerKey, outside_wakers};
pub(crate) use self::worker_hooks::WorkerHooks;

use self::word::{CANCELLED, FINISHED, HANDLE, RARE, Word};
use crate::error::Error;
use crate::state::State;
use crate::sync::ThreadId;

/// A reference to a task, with the type of its value.
#[repr(transparent)]
pub(crate) struct Completion<T> {
    task: Task,
    value: PhantomData<T>,
}

// SAFETY: a `Task` is `Send`, and the bound `T: Send` lets the value move to another
// thread.
unsafe impl<T: Send> Send for Completion<T> {}
// SAFETY: through a shared `Completion` the value moves in and out, which `T: Send` allows.
// Only `lend` lends the value, and its callers lend it to other threads only if `T: Sync`:
// the future is `Sync` only if `T` is. A callback gets the future by reference, and
// requires `T: Sync`.
unsafe impl<T: Send> Sync for Completion<T> {}

// A `Completion` never pins the value: the value may move in and out.
impl<T> Unpin for Completion<T> {}

/// The state of a task that refused an outcome, in most cases because the task had already
/// ended, and the refused outcome.
pub(crate) type Refused<T> = (State, Result<T, Error>);

impl<T: 'static> Completion<T> {
    /// Creates a task without a job. No worker runs the task: [`settle`](Self::settle) or a
    /// cancel ends it.
    pub(crate) fn new(pool_id: PoolId) -> Self {
        // SAFETY: `NoJob` is empty, so it borrows nothing and is `Send`. The value borrows
        // nothing because `T: 'static`, and reaches another thread only through a
        // `Completion<T>`, which is `Send` and `Sync` only if `T: Send`.
        unsafe { Self::with_job(pool_id, NoJob) }.0
    }
}

impl<T> Completion<T> {
    /// Creates a task with a job. Returns the task's two ends: the caller's and the
    /// worker's.
    ///
    /// # Safety
    ///
    /// Either job and value borrow nothing, or the job was [entered](ScopeTasks::enter)
    /// into a scope, and the borrowed data lives until [`ScopeTasks::wait`] has returned.
    /// Either job and value are `Send`, or no other thread gets the task.
    pub(crate) unsafe fn with_job<J: Job<T>>(pool_id: PoolId, job: J) -> (Self, Task) {
        // SAFETY: the caller of this function promises what `Task::new` demands.
        let (task, worker) = unsafe { Task::new::<J, T>(pool_id, job) };
        let value = PhantomData;
        (Self { task, value }, worker)
    }

    /// Takes the job back out of a task that the pool refused. Returns `None` if a worker
    /// that waits for the task's scope has already begun the task, or has ended it without
    /// a call.
    ///
    /// # Safety
    ///
    /// The job is a `J`. If this function returns the job, the caller makes no future for
    /// the task.
    pub(crate) unsafe fn take_job<J: Job<T>>(&self) -> Option<J> {
        self.begin_ending_of_pending().ok()?;
        // SAFETY: the caller promises that the job is a `J`, and `begin_ending_of_pending`
        // set the flag ENDING.
        let job = unsafe { self.job::<J>() };
        // The notification is empty, because no callback and no waker was added to the
        // task.
        drop(self.end(CANCELLED, None));
        Some(job)
    }

    /// Converts a reference to a task, whose value is a `T`, into a reference to a
    /// `Completion`.
    pub(crate) fn of_task(task: &Task) -> &Self {
        let task: *const Task = task;
        // SAFETY: `Completion` is `#[repr(transparent)]` over `Task`.
        unsafe { &*task.cast::<Self>() }
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// `Pending | Claimed | Running -> Finished`, for a task whose job is not called in
    /// this process. Drops the job at once. All other user code runs only when the caller
    /// calls [`notify`](Notification::notify).
    ///
    /// # Errors
    ///
    /// Returns the outcome, with the task's state, if the task is done already, or, in a
    /// forked child, if another thread was ending the task or had locked its rare box at
    /// the fork.
    pub(crate) fn settle(&self, outcome: Result<T, Error>) -> Result<Notification, Refused<T>> {
        if let Err(state) = self.begin_ending() {
            return Err((state, outcome));
        }
        // SAFETY: `begin_ending` has set the flag ENDING, and no thread of this process
        // calls the job.
        unsafe { self.drop_job() };
        // SAFETY: the job was dropped, so the storage is empty. The value of a
        // `Completion<T>` is a `T`.
        unsafe { self.write_outcome(outcome) };
        Ok(self.end(FINISHED, None))
    }

    /// Like [`settle`](Self::settle) with a value, for a task that has no callback and no
    /// waker. Another thread may add a callback or a waker meanwhile. So if the returned
    /// notification [is due](JoblessNotification::is_due), the thread `notifier` must run
    /// it.
    ///
    /// # Errors
    ///
    /// Returns the value if the task has a callback or a waker, or if
    /// [`settle`](Self::settle) would refuse the outcome.
    pub(crate) fn settle_quietly(
        &self,
        value: T,
        notifier: ThreadId,
    ) -> Result<JoblessNotification, T> {
        let rare = self.rare_if_any();
        let calls = |rare: &RareFields| rare.has_callbacks() || !rare.wakers.is_empty();
        if rare.is_some_and(|rare| calls(&rare)) || self.begin_ending().is_err() {
            return Err(value);
        }
        // SAFETY: `begin_ending` has set the flag ENDING, and no thread of this process
        // calls the job.
        unsafe { self.drop_job() };
        // SAFETY: the job was dropped, so the storage is empty. The value is a `T`.
        unsafe { self.write_outcome(Ok(value)) };
        let notification = self.end_for(FINISHED, None, Some(notifier));
        Ok(JoblessNotification::new(notification))
    }

    /// Lends the value. Returns the task's error if the task has failed or was cancelled,
    /// and another error if the task is not done.
    ///
    /// # Safety
    ///
    /// The value is neither moved out nor dropped as long as the reference lives.
    pub(crate) unsafe fn lend(&self) -> Result<&T, Error> {
        match self.state() {
            State::Cancelled => Err(Error::Cancelled),
            State::Finished => {
                // SAFETY: the task is finished, and the caller promises that the value
                // stays in place.
                let outcome = unsafe { self.lend_outcome() };
                outcome.as_ref().map_err(Clone::clone)
            }
            early if self.is_here() => Err(Error::InvalidState(early)),
            _ => Err(Error::forked_task()),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        // SAFETY: the reference ends with this line. `self` is borrowed from the task's
        // only handle, and only a call that consumes the handle moves the value out.
        self.state() == State::Finished && unsafe { self.lend() }.is_err()
    }

    /// Moves the outcome out of the task.
    ///
    /// # Safety
    ///
    /// The caller has seen that the callbacks are done, or is the last callback. The caller
    /// owns the value, no reference from [`lend`](Self::lend) is alive, and the outcome is
    /// not read again.
    pub(crate) unsafe fn take(&self) -> Result<T, Error> {
        if self.state() == State::Cancelled {
            return Err(Error::Cancelled);
        }
        // SAFETY: the task is done and not cancelled, so it is finished. The caller
        // promises that it owns the value.
        unsafe { self.take_outcome() }
    }

    /// Gives up the value when the future is dropped: clears the flag HANDLE, and releases
    /// the future's reference. Drops the value now if the callbacks are done. Otherwise the
    /// thread that runs the task's notification drops the value, or, if there are
    /// callbacks, the thread that runs the last of them.
    ///
    /// # Safety
    ///
    /// The caller owns the only handle, and no reference from [`lend`](Self::lend) is
    /// alive, except in a callback.
    pub(crate) unsafe fn release_handle(self) {
        // Clear HANDLE and release the future's reference in one step, unless the task is
        // done, has a rare box, or has no other reference.
        let detach = |word: Word| {
            let is_plain = !word.has(RARE) && !word.is_done() && word.references() > 1;
            is_plain.then(|| word.without(HANDLE).released())
        };
        if self.task.update(detach).is_ok() {
            // SAFETY: `released` subtracted this reference from the word, and the task has
            // another reference.
            return unsafe { self.task.forget_reference() };
        }
        let released = (self.task).update(|word| (!word.has(RARE)).then(|| word.without(HANDLE)));
        let released = match released {
            Ok(word) => word,
            Err(_) => {
                // The task has a rare box, so clear HANDLE under the box's lock. In a
                // forked child, a lock that was held at the fork is never released. Then
                // the value is leaked.
                let Some(_rare) = self.task.known_rare() else {
                    return;
                };
                self.task.clear(HANDLE)
            }
        };
        if released.callbacks_done() && released.is(FINISHED) {
            // SAFETY: the callbacks are done, so no callback borrows the value, and the
            // handle was released.
            unsafe { self.task.drop_outcome() };
        }
    }
}

impl<T> Clone for Completion<T> {
    fn clone(&self) -> Self {
        Self {
            task: self.task.clone(),
            value: PhantomData,
        }
    }
}

impl<T> Deref for Completion<T> {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("word", &self.word())
            .finish_non_exhaustive()
    }
}
