//! The core: one task, from its submission until its outcome was read.
//!
//! # The two ends
//!
//! * The *worker's end*, [`Task`]: what an executor's queue holds. It starts the
//!   task, runs it, or fails it. A promise is a worker's end without a job.
//! * The *caller's end*, `TaskFuture`: waits, reads, cancels. There is one, and
//!   it is not `Clone`; that is what makes [`Completion::take`] sound.
//!
//! Both hold one [`Completion`], and neither knows an executor.
//!
//! # The transitions
//!
//! ```text
//!               start                    settle
//!   Pending ─────────────▶ Running ─────────────────▶ Finished
//!      │  settle (a promise, or a pool that broke) ──────▲
//!      └────────────▶ Cancelled
//!           cancel
//! ```
//!
//! A pending task may be *claimed* for a worker in another process: it can no longer be
//! cancelled, but it becomes `Running` only when that worker reports its start. If the
//! worker dies before that, the task is *released*: pending and unclaimed again.
//!
//! Every transition happens in this file, under the record's lock. The thread that makes
//! it then releases the lock, and does what the last column says, in this order:
//!
//! | transition | made by | what follows |
//! |---|---|---|
//! | `start` | a worker, a promise, a waiting worker | calls the job |
//! | `settle` | a worker, a promise; a pool that broke, if pending | wakes waiters; runs the notification |
//! | `cancel` | any thread | wakes waiters; runs the notification |
//!
//! *Waiters* are threads in `wait`. The [`Notification`] is the user code that the end
//! of a task calls for: wakers, the `Drop` of a job that was not called and of an
//! unwanted value, and the callbacks in the order of adding (`callbacks.rs`). No user
//! code runs under the lock: it is moved out of the record, and runs after the unlock.
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
//! the thread that ends the task, or runs its last callback, drops it. So the drop
//! of a completion never runs user code, whichever end lets go last.

mod borrowing;
mod callbacks;
mod deadlock;
#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod fork_tests;
mod nested_callbacks;
mod notification;
mod pool_id;
mod running;
mod scope_end;
mod slot;
mod stack;
mod task;
mod until;
mod waiting;
mod wakers;

#[cfg(all(test, concurrent_futures_loom))]
mod model;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

pub(crate) use self::callbacks::{Callback, is_notifying_for};
pub(crate) use self::nested_callbacks::{run_notifications, without_callback_queue};
pub(crate) use self::notification::Notification;
pub(crate) use self::pool_id::{NO_POOL, new_pool_id};
pub(crate) use self::scope_end::ScopeTasks;
pub(crate) use self::task::{EncodedCall, Job, Notifications, Task, WorkerHooks};
pub(crate) use self::until::Until;
pub(crate) use self::waiting::{Finalizer, is_collector_of, mark_collector_of};
pub(crate) use self::wakers::WakerKey;

use self::scope_end::ScopeGuard;
use self::slot::Slot;
use self::wakers::Wakers;
use crate::error::Error;
use crate::panic::contain_drop;
use crate::state::State;
use crate::sync::{Condvar, Mutex, MutexGuard, ThreadId, thread_id, yield_now};
use crate::sys::fork::Origin;
use crate::timing::Timing;

/// The record that both ends of a task share.
pub(crate) struct Completion<T> {
    /// The id of the pool that it was submitted to, or [`NO_POOL`].
    pool_id: usize,
    /// `true` if its worker is another process: then its answer is decoded here, by
    /// a finalizer.
    is_remote: bool,
    /// The process that it was made in.
    origin: Origin,
    record: Mutex<Record<T>>,
    /// Notified when the task is done, and when its callbacks are.
    changed: Condvar,
    outcome: Slot<T>,
}

/// The fields that the lock guards.
struct Record<T> {
    state: State,
    /// `true` once it was claimed for a worker in another process, unless released again.
    claimed: bool,
    /// `None` for a promise, and once it was taken to be called, sent, or dropped.
    job: Option<Box<dyn Job<T>>>,
    /// The thread that runs the function, if it does so from beginning to end.
    runner: Option<ThreadId>,
    /// Not yet run, in the order of adding.
    callbacks: VecDeque<Callback<T>>,
    /// Runs after all callbacks, also those that callbacks add.
    last: Option<Callback<T>>,
    /// The thread that runs the callbacks, or will when its current one ends.
    notifier: Option<ThreadId>,
    wakers: Wakers,
    /// For a remote task: the number of threads that wait for it without a deadline.
    waiters: u32,
    /// For a remote task: the finalizer that was handed to one of these threads.
    finalizer: Option<Finalizer>,
    /// `true` as long as the future lives, to which the value belongs.
    has_future: bool,
    /// Boxed, as is `scope_guard`: few tasks have either.
    timing: Option<Box<Timing>>,
    /// The task's place in a scope, until it ends.
    scope_guard: Option<Box<ScopeGuard>>,
}

impl<T> Record<T> {
    fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty() || self.last.is_some()
    }

    fn callbacks_done(&self) -> bool {
        self.state.done() && self.notifier.is_none() && !self.has_callbacks()
    }

    /// Returns `true` if the task is pending and no worker has claimed it.
    fn is_unclaimed(&self) -> bool {
        self.state == State::Pending && !self.claimed
    }

    fn start(&mut self) {
        self.state = State::Running;
        if let Some(timing) = &mut self.timing {
            timing.start();
        }
    }

    /// Enters a final state. If there are callbacks, the calling thread is the task's
    /// notifier from here on. Returns the user code to run without the lock.
    fn end(&mut self, state: State, completion: &Arc<Completion<T>>) -> Notification<T> {
        self.state = state;
        self.runner = None;
        if let Some(timing) = &mut self.timing {
            timing.finish();
        }
        let has_callbacks = self.has_callbacks();
        self.notifier = has_callbacks.then(thread_id);
        Notification {
            job: self.job.take(),
            wakers: self.wakers.take(),
            unwanted: None,
            callbacks: has_callbacks.then(|| Arc::clone(completion)),
            scope_guard: self.scope_guard.take(),
        }
    }
}

/// A job, and the hooks of the worker that is to call it.
type InlineRun<T> = (Box<dyn WorkerHooks>, Box<dyn Job<T>>);

/// An outcome that came too late, with the state that the task was in.
pub(crate) type Refused<T> = (State, Result<T, Error>);

impl<T> Completion<T> {
    pub(crate) fn new(pool_id: usize) -> Arc<Self>
    where
        T: 'static,
    {
        Self::without_job(pool_id, false)
    }

    /// Creates a task whose worker is another process.
    pub(crate) fn remote(pool_id: usize) -> Arc<Self>
    where
        T: 'static,
    {
        Self::without_job(pool_id, true)
    }

    fn without_job(pool_id: usize, is_remote: bool) -> Arc<Self> {
        Arc::new(Self {
            pool_id,
            is_remote,
            origin: Origin::current(),
            record: Mutex::new(Record {
                state: State::Pending,
                claimed: false,
                job: None,
                runner: None,
                callbacks: VecDeque::new(),
                last: None,
                notifier: None,
                wakers: Wakers::default(),
                waiters: 0,
                finalizer: None,
                has_future: true,
                timing: None,
                scope_guard: None,
            }),
            changed: Condvar::new(),
            outcome: Slot::new(),
        })
    }

    /// Starts recording times; called before any other thread has the task.
    pub(crate) fn record_timing(&self) {
        self.record.lock().timing = Some(Box::new(Timing::queued_now()));
    }

    pub(crate) fn timing(&self) -> Option<Timing> {
        self.locked()?.timing.as_deref().copied()
    }

    /// Returns the id of the pool that it was submitted to, or [`NO_POOL`].
    pub(crate) fn pool_id(&self) -> usize {
        self.pool_id
    }

    /// Returns `true` in the process that created the task, and `false` in a forked
    /// child. There the task stays as it was at the fork, unless a promise is set there.
    pub(crate) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// Locks the record. Returns `None` in a fork if another thread held the lock at
    /// the fork: that thread is not there to unlock it.
    fn locked(&self) -> Option<MutexGuard<'_, Record<T>>> {
        if self.is_here() {
            return Some(self.record.lock());
        }
        self.locked_in_a_fork()
    }

    #[cold]
    fn locked_in_a_fork(&self) -> Option<MutexGuard<'_, Record<T>>> {
        // A thread of the fork itself keeps the lock for a moment only.
        const TRIES: u32 = 1000;
        (0..TRIES).find_map(|_| {
            let record = self.record.try_lock();
            if record.is_none() {
                yield_now();
            }
            record
        })
    }

    pub(crate) fn state(&self) -> State {
        // If it is locked for ever, a thread was about to end it.
        self.locked().map_or(State::Running, |record| record.state)
    }

    /// `Pending -> Running`; `false` if the task is past pending.
    pub(crate) fn start(&self) -> bool {
        let Some(mut record) = self.locked() else {
            return false;
        };
        let pending = record.state == State::Pending;
        if pending {
            record.start();
        }
        pending
    }

    /// Returns `true` if the calling thread could run the task inline now.
    pub(crate) fn may_run_inline(&self) -> bool {
        let record = self.locked();
        record.is_some_and(|record| {
            let is_pending = record.state == State::Pending;
            is_pending
                && record
                    .job
                    .as_ref()
                    .is_some_and(|job| job.inline_hooks().is_some())
        })
    }

    /// `Pending -> Running`, if the calling thread may run it while it waits for it.
    /// Returns its hooks, and the job to call.
    fn start_inline(&self) -> Option<InlineRun<T>> {
        if !self.is_here() {
            // A fork of a worker is no worker.
            return None;
        }
        let mut record = self.record.lock();
        if record.state != State::Pending {
            return None;
        }
        let hooks = record.job.as_ref()?.inline_hooks()?;
        let job = record.job.take()?;
        record.start();
        record.runner = Some(thread_id());
        Some((hooks, job))
    }

    /// Takes the job of a started task, which the calling thread then calls.
    fn take_job(&self) -> Option<Box<dyn Job<T>>> {
        let mut record = self.record.lock();
        record.runner = Some(thread_id());
        record.job.take()
    }

    /// Takes the job of a pending task for a worker in another process: the task
    /// cannot be cancelled any more, and does not run yet. Returns `None` if it is
    /// claimed or past pending.
    pub(crate) fn claim(&self) -> Option<Box<dyn Job<T>>> {
        let mut record = self.record.lock();
        if !record.is_unclaimed() {
            return None;
        }
        let job = record.job.take()?;
        record.claimed = true;
        Some(job)
    }

    /// Releases a claimed task that has not started, and gives its job back to it.
    pub(crate) fn release(&self, job: Box<dyn Job<T>>) {
        let mut record = self.record.lock();
        record.claimed = false;
        record.job = Some(job);
    }

    /// Records that the calling thread runs a started task that has no job.
    pub(crate) fn runs_here(&self) {
        if let Some(mut record) = self.locked() {
            record.runner = Some(thread_id());
        }
    }

    /// `Pending | Running -> Finished`. Runs no user code itself: the caller does, with
    /// [`notify`](Notification::notify).
    ///
    /// # Errors
    ///
    /// The task is done already: returns the outcome.
    pub(crate) fn settle(
        self: &Arc<Self>,
        outcome: Result<T, Error>,
    ) -> Result<Notification<T>, Refused<T>> {
        self.settle_if(outcome, |record| !record.state.done())
    }

    /// `Pending -> Finished` with an error, or `None` if the task is claimed or
    /// past pending: its runner alone ends it then.
    fn fail(self: &Arc<Self>, error: Error) -> Option<Notification<T>> {
        let is_pending = |record: &Record<T>| record.is_unclaimed();
        self.settle_if(Err(error), is_pending).ok()
    }

    fn settle_if(
        self: &Arc<Self>,
        outcome: Result<T, Error>,
        may_settle: impl FnOnce(&Record<T>) -> bool,
    ) -> Result<Notification<T>, Refused<T>> {
        let Some(mut record) = self.locked() else {
            return Err((State::Running, outcome));
        };
        if !may_settle(&record) {
            let state = record.state;
            drop(record);
            return Err((state, outcome));
        }
        if let (Err(Error::Panicked(panic)), Some(scope_guard)) =
            (&outcome, &mut record.scope_guard)
        {
            scope_guard.panicked(panic.clone());
        }
        let mut notification = record.end(State::Finished, self);
        if record.has_future || notification.callbacks.is_some() {
            // SAFETY: the lock and the state admit one writer in a task's life, and
            // no thread reads before the state is final, which the lock guards.
            unsafe { self.outcome.write(outcome) };
        } else {
            notification.unwanted = Some(outcome);
        }
        drop(record);
        self.announce(&notification, false);
        Ok(notification)
    }

    /// `Pending -> Cancelled`, or `None` if the task is claimed or past pending,
    /// or in a fork of the process whose pool will run it.
    pub(crate) fn cancel(self: &Arc<Self>) -> Option<Notification<T>> {
        if self.pool_id != NO_POOL && !self.is_here() {
            return None;
        }
        let mut record = self.locked()?;
        if !record.is_unclaimed() {
            return None;
        }
        let notification = record.end(State::Cancelled, self);
        drop(record);
        self.announce(&notification, true);
        Some(notification)
    }

    /// Counts a job that was not called, and wakes waiters.
    fn announce(&self, notification: &Notification<T>, cancelled: bool) {
        if let Some(job) = &notification.job {
            job.on_withdrawn(cancelled);
        }
        self.changed.notify_all();
    }

    /// Lends the outcome; an error if there is none yet.
    ///
    /// # Safety
    ///
    /// The reference is gone before [`take`](Self::take) is called.
    pub(crate) unsafe fn lend(&self) -> Result<&T, Error> {
        match self.state() {
            State::Cancelled => return Err(Error::Cancelled),
            State::Finished => {}
            early if self.is_here() => return Err(Error::InvalidState(early)),
            _ => return Err(Error::forked_task()),
        }
        // SAFETY: finished, so the one write happened; that `take` comes later
        // is the caller's duty here as there.
        match unsafe { self.outcome.lend() } {
            Some(outcome) => outcome.as_ref().map_err(Clone::clone),
            None => Err(Error::InvalidState(State::Finished)),
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
    /// the only handle, and no reference from [`lend`](Self::lend) is alive.
    pub(crate) unsafe fn take(&self) -> Result<T, Error> {
        if self.state() == State::Cancelled {
            return Err(Error::Cancelled);
        }
        // SAFETY: done, so the one write happened. Only the handle and the
        // callbacks reach the slot, and the caller is the last of them.
        unsafe { self.outcome.take() }.unwrap_or(Err(Error::InvalidState(State::Finished)))
    }

    /// Releases the handle of a dropped future: drops the value now if all callbacks
    /// have run, otherwise leaves it to the thread that runs them.
    ///
    /// # Safety
    ///
    /// The caller owns the only handle, and no reference from [`lend`](Self::lend) is
    /// alive, except in a callback.
    pub(crate) unsafe fn release_handle(&self) {
        // If it is locked for ever, the value stays where it is.
        let Some(mut record) = self.locked() else {
            return;
        };
        record.has_future = false;
        // SAFETY: the callbacks are done, so none lends; and the handle is gone.
        let unread = record
            .callbacks_done()
            .then(|| unsafe { self.outcome.take() });
        drop(record);
        contain_drop(unread);
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
