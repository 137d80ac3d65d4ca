//! Waiting for a task: threads that block, and wakers that are to be woken.
//!
//! # Why no wake-up is lost
//!
//! A waiter looks at the record and goes to sleep in one step under the lock
//! (`Condvar::wait`); a waker is stored under the same lock that found the task
//! unfinished. The transition to a final state takes that lock. So it comes before
//! the look, which then sees it, or after the sleep or the storing, which the
//! wake-up that follows the transition then reaches. The same holds for "callbacks
//! done": the notifier clears itself from the record under the lock, then wakes.

use std::cell::Cell;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::callbacks::NotifyingFor;
use super::nested_callbacks::without_callback_queue;
use super::stack::with_enough_stack;
use super::until::Until;
use super::wakers::{WakerKey, is_waking};
use super::{Completion, NO_POOL, Record, deadlock};
use crate::error::Error;
use crate::panic::contain;
use crate::sync::{MutexGuard, local, thread_id, yield_now};
use crate::sys::spin::YIELDS;

local! {
    /// The pool of which this thread is the collector.
    static COLLECTOR_OF: Cell<usize> = Cell::new(NO_POOL)
}

/// Marks the current thread as the collector of that pool: the only thread that
/// completes its tasks, so it must never block on one.
pub(crate) fn mark_collector_of(pool_id: usize) {
    COLLECTOR_OF.with(|pool| pool.set(pool_id));
}

/// Returns `true` if the current thread is the collector of that pool: a wait for
/// one of its tasks would wait for this thread.
pub(crate) fn is_collector_of(pool_id: usize) -> bool {
    pool_id != NO_POOL
        && COLLECTOR_OF
            .try_with(Cell::get)
            .is_ok_and(|pool| pool == pool_id)
}

/// The steps that a remote task still needs after its worker's answer: decoding its
/// value, the final transition, and its notification.
pub(crate) type Finalizer = Box<dyn FnOnce() + Send>;

/// A thread that waits for a remote task without a limit. (User code could overrun
/// a limit.) As long as the record counts one, a finalizer may be
/// [handed](Completion::hand_to_waiter) to it: then no third thread has to be woken
/// in between. Both happen under the record's lock, so a waiter finds the finalizer
/// in its loop, or at the latest when it leaves.
pub(super) struct Waiter<'a, T>(&'a Completion<T>);

impl<'a, T> Waiter<'a, T> {
    pub(super) fn enter(completion: &'a Completion<T>) -> Self {
        completion.record.lock().waiters += 1;
        Self(completion)
    }
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        let Some(mut record) = self.0.locked().filter(|_| self.0.is_here()) else {
            return;
        };
        record.waiters -= 1;
        let is_last = record.waiters == 0;
        let finalizer = record.finalizer.take_if(|_| is_last);
        drop(record);
        if let Some(finalizer) = finalizer {
            self.0.finish(finalizer);
        }
    }
}

impl<T> Completion<T> {
    /// Blocks until the task has come that far. Without a deadline, a worker runs the
    /// task inline if it has not begun, and any thread runs a finalizer that is left.
    ///
    /// # Errors
    ///
    /// `Timeout` at the deadline; without one `WouldDeadlock` if the task waits
    /// for the calling thread, itself or through others (`deadlock.rs`). In a fork
    /// of the task's process, an error at once unless the task has come that far.
    pub(crate) fn wait(
        self: &Arc<Self>,
        until: Until,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let is_open = deadline.is_none();
        if !self.is_here() {
            return self.look_in_a_fork(until);
        }
        if is_open && is_collector_of(self.pool_id) && !self.is(Until::Done) {
            return Err(Error::WouldDeadlock);
        }
        let _waiter = (self.is_remote && is_open).then(|| Waiter::enter(self));
        let _entered = match deadline {
            Some(_) => None,
            None => {
                // Without stack to run it on, this worker cannot; nor may another.
                self.run_inline().map_err(|_| Error::WouldDeadlock)?;
                if !self.is_here() {
                    // The task that was run forked.
                    return self.look_in_a_fork(until);
                }
                if until == Until::CallbacksDone {
                    self.notify_now().map_err(|_| Error::WouldDeadlock)?;
                }
                if self.is_soon(until) {
                    return Ok(());
                }
                Some(deadlock::enter(self, until)?)
            }
        };
        let mut record = self.record.lock();
        let mut timed_out = false;
        while !until.reached(&record) {
            if is_open && record.finalizer.is_some() {
                record = self
                    .after_finalizer(record)
                    .ok_or_else(Error::forked_task)?;
                continue;
            }
            if !self.is_here() {
                // The rest forked.
                return Err(Error::forked_task());
            }
            if timed_out {
                return Err(Error::Timeout {
                    unfinished: 1,
                    total: 1,
                });
            }
            match deadline {
                None => self.changed.wait(&mut record),
                Some(at) => timed_out = self.changed.wait_until(&mut record, at).timed_out(),
            }
        }
        Ok(())
    }

    #[cold]
    fn look_in_a_fork(&self, until: Until) -> Result<(), Error> {
        if self.is(until) {
            return Ok(());
        }
        Err(Error::forked_task())
    }

    /// Yields to other threads for a moment; returns `true` if the task got that far.
    fn is_soon(&self, until: Until) -> bool {
        (0..YIELDS).any(|_| {
            let record = self.after_finalizer(self.record.lock());
            let reached = record.is_some_and(|record| until.reached(&record));
            if !reached {
                yield_now();
            }
            reached
        })
    }

    /// Hands the finalizer of a remote task to a thread that waits for it.
    ///
    /// # Errors
    ///
    /// Returns it if no thread waits; or if there are callbacks or wakers, which the
    /// waiting thread should not have to run.
    pub(crate) fn hand_to_waiter(&self, finalizer: Finalizer) -> Result<(), Finalizer> {
        let mut record = self.record.lock();
        if record.waiters == 0 || record.has_callbacks() || !record.wakers.is_empty() {
            return Err(finalizer);
        }
        record.finalizer = Some(finalizer);
        drop(record);
        self.changed.notify_all();
        Ok(())
    }

    /// Runs the finalizer, if one is left, without the lock. Returns `None` if it
    /// forked, and the lock cannot be taken in the fork.
    fn after_finalizer<'a>(
        &'a self,
        mut record: MutexGuard<'a, Record<T>>,
    ) -> Option<MutexGuard<'a, Record<T>>> {
        let Some(finalizer) = record.finalizer.take() else {
            return Some(record);
        };
        drop(record);
        self.finish(finalizer);
        self.locked()
    }

    /// Runs a finalizer outside the thread's callback queue: the callbacks of what it
    /// completes run at once.
    fn finish(&self, finalizer: Finalizer) {
        let _here = NotifyingFor::enter(self);
        let mut finalizer = Some(finalizer);
        let mut run = || {
            if let Some(finalizer) = finalizer.take() {
                contain(|| without_callback_queue(finalizer));
            }
        };
        // Its `Deserialize` may wait for the next task, and so on.
        if with_enough_stack(&mut run).is_err() {
            // It must run here, for no other thread has it; there is no more stack.
            run();
        }
    }

    /// Returns `true` if the task has come that far.
    pub(crate) fn is(&self, until: Until) -> bool {
        self.locked().is_some_and(|record| until.reached(&record))
    }

    /// Returns `true` if the task is not done and cannot be while the calling thread
    /// blocks: this thread runs it, or brings in all results of its pool. Nor can one
    /// of the process that this one was forked from.
    pub(crate) fn needs_this_thread(&self) -> bool {
        self.locked().is_some_and(|record| {
            let runs_here = || record.runner == Some(thread_id());
            let comes_here = || !self.is_here() || is_collector_of(self.pool_id);
            !record.state.done() && (runs_here() || comes_here())
        })
    }

    /// Returns `true` if an `.await` that the calling thread polls would never end,
    /// should the thread block until then. It does, but inside a waker.
    pub(crate) fn await_would_deadlock(&self) -> bool {
        !is_waking() && (self.is_notifying_here() || self.needs_this_thread())
    }

    /// Like [`is`](Self::is), and if not, wakes `waker` when it may be. Returns `true`
    /// in a fork of the process that has the task, where it comes no further.
    pub(crate) fn poll(&self, until: Until, key: &mut WakerKey, waker: &Waker) -> bool {
        // A waker's clone and drop are user code: both outside the lock.
        let fresh = waker.clone();
        let record = self.locked().filter(|_| self.is_here());
        let Some(mut record) = record else {
            return true;
        };
        if until.reached(&record) {
            return true;
        }
        let old = record.wakers.store(key, fresh);
        drop(record);
        drop(old);
        false
    }

    /// Takes back the waker of an await that is dropped.
    pub(crate) fn forget(&self, key: &mut WakerKey) {
        let old = self
            .locked()
            .and_then(|mut record| record.wakers.remove(key));
        drop(old);
    }
}
