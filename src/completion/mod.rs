//! The core: one task, from its submission until its outcome was read.
//!
//! # The two ends
//!
//! * The *worker's end*, [`Task`]: what an executor's queue holds, whatever the types. It
//!   runs the task, or ends it without a call. A promise is a worker's end without a job.
//! * The *caller's end*, `TaskFuture`: waits, reads, cancels. There is one, and
//!   it is not `Clone`; that is what makes [`Completion::take`] sound.
//!
//! Both are references to one allocation (`cell.rs`), and neither knows an executor.
//!
//! # The transitions
//!
//! ```text
//!               start                    finish, settle
//!   Pending ─────────────▶ Running ─────────────────────▶ Finished
//!      │  settle (a promise), fail (a pool that broke) ──────▲
//!      └────────────▶ Cancelled
//!           cancel
//! ```
//!
//! A pending task may be *claimed* for a worker in another process: it can no longer be
//! cancelled, but it becomes `Running` only when that worker reports its start. If the
//! worker dies before that, the task is *released*: pending and unclaimed again.
//!
//! Each transition is one compare-and-swap on the task's word (`word.rs`, which has the
//! table of its bits); under the lock of the rare box, if the task has one (`rare.rs`).
//! The thread that makes it does what the last column says, in this order, without a
//! lock:
//!
//! | transition | made by | what follows |
//! |---|---|---|
//! | `start` | a worker, a promise, a waiting worker | calls the job |
//! | `finish` | the worker that called the job | wakes waiters; runs the notification |
//! | `settle` | a promise, the collector of a process pool | the same |
//! | `fail` | a pool that broke, if pending | the same |
//! | `cancel` | any thread, if pending | the same |
//!
//! *Waiters* are threads in `wait`. The [`Notification`] is the user code that the end
//! of a task calls for: wakers, the `Drop` of a job that was not called and of an
//! unwanted value, and the callbacks in the order of adding (`callbacks.rs`).
//!
//! # Done, and callbacks done
//!
//! *Done*: the state is final, so the value may be lent. *Callbacks done*: done, no
//! callback is left and none runs, so the value may be moved out.
//!
//! # The owner of the value
//!
//! The value belongs to the `TaskFuture`, which lends it, moves it out, or drops it.
//! If the future is dropped before all callbacks have run, the value is *unwanted*:
//! the thread that ends the task, or runs its last callback, drops it. So the last
//! reference, whichever end lets go of it, frees memory and runs no user code.

mod callbacks;
mod cell;
mod deadlock;
#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod fork_tests;
mod inline_worker;
mod job;
mod nested_callbacks;
mod notification;
mod pool_id;
mod rare;
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
pub(crate) use self::job::{EncodedCall, Job, NoJob};
pub(crate) use self::nested_callbacks::without_callback_queue;
pub(crate) use self::notification::{Notification, run_notifications};
pub(crate) use self::pool_id::{NO_POOL, PoolId, new_pool_id};
pub(crate) use self::rare::{Finalizer, Task};
pub(crate) use self::running::run_inline;
pub(crate) use self::scope_end::ScopeTasks;
pub(crate) use self::until::Until;
pub(crate) use self::waiting::{is_collector_of, mark_collector_of};
pub(crate) use self::wakers::WakerKey;
pub(crate) use self::worker_hooks::WorkerHooks;

use self::word::{CANCELLED, FINISHED, HANDLE, RARE, Word};
use crate::error::Error;
use crate::state::State;

/// A reference to a task, with the type of its value.
#[repr(transparent)]
pub(crate) struct Completion<T> {
    task: Task,
    value: PhantomData<T>,
}

// SAFETY: as for `Task`; the value goes to another thread only if it may.
unsafe impl<T: Send> Send for Completion<T> {}
// SAFETY: through a shared one the value moves in and out, and is lent by `lend` alone,
// whose callers lend to other threads only as `T` allows: the future is `Sync` only if
// `T` is, and a callback, which gets the future by reference, asks for `T: Sync`.
unsafe impl<T: Send> Sync for Completion<T> {}

// The value is never pinned: it moves in and out.
impl<T> Unpin for Completion<T> {}

/// An outcome that came too late, with the state that the task was in.
pub(crate) type Refused<T> = (State, Result<T, Error>);

impl<T: 'static> Completion<T> {
    /// Creates a task that [`settle`](Self::settle) ends.
    pub(crate) fn new(pool_id: PoolId) -> Self {
        // SAFETY: it borrows nothing, and `Completion` is as `Send` as its value.
        unsafe { Self::with_job(pool_id, NoJob) }.0
    }
}

impl<T> Completion<T> {
    /// Creates a task with a job. Returns the caller's end and the worker's.
    ///
    /// # Safety
    ///
    /// Job and value borrow nothing; or the job was [entered](ScopeTasks::enter) into a
    /// scope, and what they borrow lives until [`ScopeTasks::wait`] has returned. The job is
    /// `Send`, or no other thread gets the task.
    pub(crate) unsafe fn with_job<J: Job<T>>(pool_id: PoolId, job: J) -> (Self, Task) {
        // SAFETY: as the caller says.
        let (task, worker) = unsafe { Task::new::<J, T>(pool_id, job) };
        let value = PhantomData;
        (Self { task, value }, worker)
    }

    /// Takes the job back out of a task that was not accepted, unless a worker that waits
    /// for its scope has begun it already.
    ///
    /// # Safety
    ///
    /// The job is a `J`, and the task gets no future if this returns it.
    pub(crate) unsafe fn take_job<J: Job<T>>(&self) -> Option<J> {
        self.begin_ending_of_pending().ok()?;
        // SAFETY: as the caller says; ENDING was set just now.
        let job = unsafe { self.job::<J>() };
        // Nothing is attached.
        drop(self.end(CANCELLED, None));
        Some(job)
    }

    /// Takes a task for one with such a value.
    pub(crate) fn of_task(task: &Task) -> &Self {
        let task: *const Task = task;
        // SAFETY: transparent over it.
        unsafe { &*task.cast::<Self>() }
    }

    /// Returns the worker's end.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// `Pending | Claimed | Running -> Finished`, for a task whose job is not called here.
    /// Runs no user code itself: the caller does, with
    /// [`notify`](Notification::notify).
    ///
    /// # Errors
    ///
    /// The task is done already: returns the outcome.
    pub(crate) fn settle(&self, outcome: Result<T, Error>) -> Result<Notification, Refused<T>> {
        if let Err(state) = self.begin_ending() {
            return Err((state, outcome));
        }
        // SAFETY: ENDING was set just now, and the job is not called here.
        unsafe { self.drop_job() };
        // SAFETY: the job has left the storage. That the value is a `T` says this type.
        unsafe { self.write_outcome(outcome) };
        Ok(self.end(FINISHED, None))
    }

    /// Lends the outcome; an error if there is none yet.
    ///
    /// # Safety
    ///
    /// The value is neither moved out nor dropped as long as the reference lives.
    pub(crate) unsafe fn lend(&self) -> Result<&T, Error> {
        match self.state() {
            State::Cancelled => Err(Error::Cancelled),
            State::Finished => {
                // SAFETY: finished; the rest is the caller's duty here as there.
                let outcome = unsafe { self.lend_outcome() };
                outcome.as_ref().map_err(Clone::clone)
            }
            early if self.is_here() => Err(Error::InvalidState(early)),
            _ => Err(Error::forked_task()),
        }
    }

    /// Returns `true` if the task finished with an error.
    pub(crate) fn failed(&self) -> bool {
        // SAFETY: the reference ends here, and this borrows from the one
        // handle, which `take` consumes.
        self.state() == State::Finished && unsafe { self.lend() }.is_err()
    }

    /// Moves the outcome out of a task whose callbacks are done.
    ///
    /// # Safety
    ///
    /// The caller has seen that the callbacks are done, or is the last callback. It owns
    /// the value, no reference from [`lend`](Self::lend) is alive, and the outcome is not
    /// asked for again.
    pub(crate) unsafe fn take(&self) -> Result<T, Error> {
        if self.state() == State::Cancelled {
            return Err(Error::Cancelled);
        }
        // SAFETY: done, so finished; the rest is the caller's duty here as there.
        unsafe { self.take_outcome() }
    }

    /// Releases the handle of a dropped future: drops the value now if all callbacks
    /// have run, otherwise leaves it to the thread that runs them.
    ///
    /// # Safety
    ///
    /// The caller owns the only handle, and no reference from [`lend`](Self::lend) is
    /// alive, except in a callback.
    pub(crate) unsafe fn release_handle(self) {
        // The future's reference goes with its flag, unless there is more to do.
        let detach = |word: Word| {
            let is_plain = !word.has(RARE) && !word.is_done() && word.references() > 1;
            is_plain.then(|| word.without(HANDLE).released())
        };
        if self.task.update(detach).is_ok() {
            // SAFETY: `released` took it out of the word, and there is another one.
            return unsafe { self.task.forget_reference() };
        }
        let released = (self.task).update(|word| (!word.has(RARE)).then(|| word.without(HANDLE)));
        let released = match released {
            Ok(word) => word,
            Err(_) => {
                // If it is locked for ever, the value stays where it is.
                let Some(_rare) = self.task.known_rare() else {
                    return;
                };
                self.task.clear(HANDLE)
            }
        };
        if released.callbacks_done() && released.is(FINISHED) {
            // SAFETY: the callbacks are done, so none lends; and the handle is gone.
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
