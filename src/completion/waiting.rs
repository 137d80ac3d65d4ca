//! Waiting for a task: threads that block, and wakers that are to be woken.
//!
//! # Why no wake-up is lost
//!
//! A waiter sets WAITER in the word, and parks by the task's address unless the word is
//! as far as it waits for. The end of the task is a read-modify-write on the same word:
//! it comes before, and the waiter sees it; or after, and sees WAITER. Then it unparks
//! the address. A waiter on the way to its sleep looks at the word once more under the
//! lock of the parking lot's bucket, which the unparking takes as well. The same holds
//! for "callbacks done", and for a finalizer that is handed to a waiter: flags of the
//! same word. A waker is stored under the lock of the rare box, under which it is taken.

use std::cell::Cell;
use std::task::Waker;
use std::time::Instant;

use super::callbacks::NotifyingFor;
use super::deadlock;
use super::nested_callbacks::without_callback_queue;
use super::pool_id::{NO_POOL, PoolId};
use super::rare::{Finalizer, Task};
use super::stack::with_enough_stack;
use super::until::Until;
use super::wakers::{WakerKey, is_waking};
use super::word::{FINALIZER, WAITER};
use crate::error::Error;
use crate::panic::contain;
use crate::sync::{local, park, thread_id, unpark_all};
use crate::sys::spin;

local! {
    /// The pool of which this thread is the collector.
    static COLLECTOR_OF: Cell<PoolId> = Cell::new(NO_POOL)
}

/// Marks the current thread as the collector of that pool: the only thread that
/// completes its tasks, so it must never block on one.
pub(crate) fn mark_collector_of(pool_id: PoolId) {
    COLLECTOR_OF.with(|pool| pool.set(pool_id));
}

/// Returns `true` if the current thread is the collector of that pool: a wait for
/// one of its tasks would wait for this thread.
#[inline]
pub(crate) fn is_collector_of(pool_id: PoolId) -> bool {
    pool_id != NO_POOL
        && COLLECTOR_OF
            .try_with(Cell::get)
            .is_ok_and(|pool| pool == pool_id)
}

/// A thread that waits for a remote task without a limit. (User code could overrun
/// a limit.) As long as the task counts one, a finalizer may be
/// [handed](Task::hand_to_waiter) to it: then no third thread has to be woken
/// in between. Both happen under the rare box's lock, so a waiter finds the finalizer
/// in its loop, or at the latest when it leaves.
pub(super) struct Waiter<'a>(&'a Task);

impl<'a> Waiter<'a> {
    pub(super) fn enter(task: &'a Task) -> Self {
        if let Some(mut rare) = task.rare() {
            rare.waiters += 1;
        }
        Self(task)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(mut rare) = self.0.rare().filter(|_| self.0.is_here()) else {
            return;
        };
        rare.waiters -= 1;
        let is_last = rare.waiters == 0;
        let finalizer = rare.finalizer.take_if(|_| is_last);
        drop(rare);
        if let Some(finalizer) = finalizer {
            self.0.finalize(finalizer);
        }
    }
}

impl Task {
    /// Blocks until the task has come that far. Without a deadline, a worker runs the
    /// task inline if it has not begun, and any thread runs a finalizer that is left.
    ///
    /// # Errors
    ///
    /// `Timeout` at the deadline; without one `WouldDeadlock` if the task waits
    /// for the calling thread, itself or through others (`deadlock.rs`). In a fork
    /// of the task's process, an error at once unless the task has come that far.
    #[inline]
    pub(crate) fn wait(&self, until: Until, deadline: Option<Instant>) -> Result<(), Error> {
        if until.reached(self.word()) {
            spin::over_at_once();
            return Ok(());
        }
        match deadline {
            Some(_) => self.park_until(until, deadline),
            None => self.wait_without_limit(until),
        }
    }

    fn wait_without_limit(&self, until: Until) -> Result<(), Error> {
        if is_collector_of(self.pool_id()) && !self.is(Until::Done) {
            return Err(Error::WouldDeadlock);
        }
        let _waiter = self.is_remote().then(|| Waiter::enter(self));
        if self.may_run_inline() {
            // Without stack to run it on, this worker cannot; nor may another.
            self.run_inline().map_err(|_| Error::WouldDeadlock)?;
            if until.reached(self.word()) {
                return Ok(());
            }
        }
        if !self.is_here() {
            // The task that was run forked.
            return Err(Error::forked_task());
        }
        if until == Until::CallbacksDone {
            self.notify_now().map_err(|_| Error::WouldDeadlock)?;
        }
        if self.is_soon(until) {
            return Ok(());
        }
        let _entered = deadlock::enter(self, until)?;
        self.park_until(until, None)
    }

    fn park_until(&self, until: Until, deadline: Option<Instant>) -> Result<(), Error> {
        let is_open = deadline.is_none();
        let mut timed_out = false;
        loop {
            let word = self.set(WAITER);
            if until.reached(word) {
                return Ok(());
            }
            if !self.is_here() {
                // The finalizer forked.
                return Err(Error::forked_task());
            }
            if is_open && word.has(FINALIZER) {
                self.run_handed_finalizer();
                continue;
            }
            if timed_out {
                return Err(Error::Timeout {
                    unfinished: 1,
                    total: 1,
                });
            }
            let may_sleep = || {
                let word = self.word();
                let has_work = is_open && word.has(FINALIZER);
                !until.reached(word) && !has_work
            };
            timed_out = park(self.address(), may_sleep, deadline);
        }
    }

    /// Polls for a moment, and yields to other threads in between; returns `true` if the
    /// task got that far.
    fn is_soon(&self, until: Until) -> bool {
        spin::poll(|| {
            let word = self.word();
            if word.has(FINALIZER) {
                self.run_handed_finalizer();
            }
            until.reached(word)
        })
    }

    /// Hands the finalizer of a remote task to a thread that waits for it.
    ///
    /// # Errors
    ///
    /// Returns it if no thread waits; or if there are callbacks or wakers, which the
    /// waiting thread should not have to run.
    pub(crate) fn hand_to_waiter(&self, finalizer: Finalizer) -> Result<(), Finalizer> {
        let Some(mut rare) = self.rare_if_any() else {
            return Err(finalizer);
        };
        if rare.waiters == 0 || rare.has_callbacks() || !rare.wakers.is_empty() {
            return Err(finalizer);
        }
        rare.finalizer = Some(finalizer);
        self.set(FINALIZER);
        drop(rare);
        unpark_all(self.address());
        Ok(())
    }

    /// Runs the finalizer, unless another waiter has it.
    fn run_handed_finalizer(&self) {
        let Some(mut rare) = self.rare() else {
            return;
        };
        let finalizer = rare.finalizer.take();
        self.clear(FINALIZER);
        drop(rare);
        if let Some(finalizer) = finalizer {
            self.finalize(finalizer);
        }
    }

    /// Runs a finalizer outside the thread's callback queue: the callbacks of what it
    /// completes run at once.
    fn finalize(&self, finalizer: Finalizer) {
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
    #[inline]
    pub(crate) fn is(&self, until: Until) -> bool {
        until.reached(self.word())
    }

    /// Returns `true` if the task is not done and cannot be while the calling thread
    /// blocks: this thread runs it, or brings in all results of its pool. Nor can one
    /// of the process that this one was forked from.
    pub(crate) fn needs_this_thread(&self) -> bool {
        let word = self.word();
        let runs_here = || word.runner() == Some(thread_id());
        let comes_here = || !self.is_here() || is_collector_of(self.pool_id());
        !word.is_done() && (runs_here() || comes_here())
    }

    /// Returns `true` if an `.await` that the calling thread polls would never end,
    /// should the thread block until then. It does, but inside a waker.
    pub(crate) fn await_would_deadlock(&self) -> bool {
        !is_waking() && (self.is_notifying_here() || self.needs_this_thread())
    }

    /// Like [`is`](Self::is), and if not, wakes `waker` when it may be. Returns `true`
    /// in a fork of the process that has the task, where it comes no further.
    pub(crate) fn poll(&self, until: Until, key: &mut WakerKey, waker: &Waker) -> bool {
        if self.is(until) || !self.is_here() {
            return true;
        }
        // A waker's clone and drop are user code: both outside the lock.
        let fresh = waker.clone();
        let Some(mut rare) = self.rare().filter(|_| self.is_here()) else {
            return true;
        };
        // Under the lock, so the transition that would end the wait comes behind it.
        if self.is(until) {
            return true;
        }
        let old = rare.wakers.store(key, fresh);
        drop(rare);
        drop(old);
        false
    }

    /// Takes back the waker of an await that is dropped.
    pub(crate) fn forget(&self, key: &mut WakerKey) {
        let mut rare = self.rare_if_any();
        let old = rare.as_mut().and_then(|rare| rare.wakers.remove(key));
        drop(rare);
        drop(old);
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::super::Completion;
    use super::*;

    #[test]
    fn a_wait_for_what_is_done_is_noted_as_over_at_once() {
        let task = Completion::new(NO_POOL);
        task.settle(Ok(1)).expect("it is pending").notify();
        let before = spin::waits_over_at_once();
        assert!(task.wait(Until::Done, None).is_ok());
        assert_eq!(spin::waits_over_at_once(), before + 1);
    }
}
