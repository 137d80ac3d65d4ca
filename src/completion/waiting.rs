//! Waiting for a task: with a thread that blocks, or with a waker.
//!
//! # Why no wake-up is lost
//!
//! A thread that waits (a *waiter*) sets the flag WAITER in the task's word (`word.rs`). If
//! the word does not yet show the awaited state, the waiter parks, with the task's address
//! as the key. The thread that ends the task changes the same word by a read-modify-write.
//! If the end comes first, the waiter sees the final state. If WAITER comes first, the
//! ending thread sees WAITER and wakes all threads that are parked by the task's address.
//! Before a waiter sleeps, it reads the word once more under a lock inside `park`, and the
//! waking thread takes that lock as well. So no wake-up falls between this read and the
//! sleep. The argument also holds for the end of the callbacks, because UNNOTIFIED is a
//! flag of the task's word. The argument also holds if a pool hands a waiter a finalizer
//! (the closure that decodes the answer of a worker process and ends the task), because
//! FINALIZER is a flag of the task's word. No wake-up by a waker is lost, because wakers
//! are stored and taken under the lock of the task's rare box (`rare.rs`).

use std::cell::Cell;
use std::task::Waker;
use std::time::Instant;

use super::callbacks::NotifyingFor;
use super::deadlock;
use super::nested_callbacks::without_callback_queue;
use super::pool_id::{NO_POOL, PoolId};
use super::rare::{Finalizer, Task};
use super::stack::{LEAST, with_stack};
use super::until::Until;
use super::wakers::{WakerKey, is_waking};
use super::word::{FINALIZER, WAITER};
use crate::error::Error;
use crate::panic::contain;
use crate::sync::{local, park, thread_id, unpark_all};
use crate::sys::spin;

local! {
    /// The id of the pool whose collector this thread is (see [`mark_collector_of`]).
    static COLLECTOR_OF: Cell<PoolId> = Cell::new(NO_POOL)
}

/// Marks the current thread as the *collector* of the pool `pool_id`: a thread that must
/// not wait without a deadline for the pool's tasks, because perhaps no other thread can
/// complete them. A process pool marks the thread that decodes the answers of its workers.
/// A thread pool marks a worker while its initializer runs.
pub(crate) fn mark_collector_of(pool_id: PoolId) {
    COLLECTOR_OF.with(|pool| pool.set(pool_id));
}

/// Returns `true` if the current thread is the collector of the pool `pool_id`. A collector
/// that waits for a task of its pool may wait for itself.
#[inline]
pub(crate) fn is_collector_of(pool_id: PoolId) -> bool {
    pool_id != NO_POOL
        && COLLECTOR_OF
            .try_with(Cell::get)
            .is_ok_and(|pool| pool == pool_id)
}

/// A guard of a thread that waits without a deadline for a remote task, which a worker in
/// another process runs. While the guard exists, the pool may [hand](Task::hand_to_waiter)
/// the task's [`Finalizer`] to the waiting thread, and then need not wake its collector
/// (the pool's thread that otherwise runs finalizers). A thread that waits with a deadline
/// has no guard, because the finalizer runs user code, which could run past the deadline.
/// The lock of the task's rare box protects both the number of guards and the handed
/// finalizer. So one of the waiting threads finds the finalizer during its wait, or the
/// last of them finds it when it drops its guard.
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
    /// Blocks until the task is done, and if `until` says so, until its callbacks are done
    /// too ([`Until`]). A thread that waits without a deadline also works for the task. If
    /// the thread is a worker of the task's pool and the task has not begun, the thread
    /// runs the task. If the pool hands the task's [`Finalizer`] to the waiting threads,
    /// one of these threads runs the finalizer.
    ///
    /// # Errors
    ///
    /// Returns `Timeout` at the deadline. Without a deadline, returns `WouldDeadlock` in
    /// three cases: the task waits for the calling thread, directly or through other tasks
    /// (`deadlock.rs`); the calling thread is the collector of the task's pool, and the
    /// task is not done; or too little stack is left to run the task or its callbacks. In a
    /// fork of the task's process, returns an error at once unless the task has reached
    /// `until`.
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
            // If this worker has no stack left for the task, the wait might last for ever,
            // because perhaps no other worker becomes free to run the task.
            self.run_inline().map_err(|_| Error::WouldDeadlock)?;
            if until.reached(self.word()) {
                return Ok(());
            }
        }
        if !self.is_here() {
            // This is a forked child. The task that ran inline may have forked.
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
                // This is a forked child. The finalizer may have forked.
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

    /// Polls the task's word for a moment. Between the polls the thread first pauses and
    /// later yields (`spin.rs`). If the task is remote, the thread also reads the answers
    /// of the pool's workers ([`Remote::poll`](super::job::Remote::poll) names an
    /// exception), and runs a finalizer that the pool hands to it. Returns `true` if the
    /// task reached `until`.
    fn is_soon(&self, until: Until) -> bool {
        let Some(remote) = self.remote() else {
            return spin::poll(|| until.reached(self.word()));
        };
        let is_there = || {
            let word = self.word();
            word.has(FINALIZER) || until.reached(word)
        };
        // During `remote.poll` the workers do not wake this process, because the poll reads
        // their answers. The finalizer calls user code, which may itself wait, so the
        // finalizer runs only after `remote.poll` has returned.
        while (remote.poll)(self.pool_id(), &is_there) {
            if until.reached(self.word()) {
                return true;
            }
            self.run_handed_finalizer();
        }
        false
    }

    /// Hands the finalizer of a remote task to a thread that waits for the task.
    ///
    /// # Errors
    ///
    /// Returns the finalizer if no thread waits without a deadline for the task, or if the
    /// task has callbacks or wakers, because the waiting thread should not run these.
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

    /// Runs the finalizer that the pool handed to the waiting threads, unless another
    /// waiting thread has taken it.
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

    /// Runs a finalizer. If the finalizer completes tasks, their callbacks run at once,
    /// even if this thread is inside a callback and would otherwise queue them.
    fn finalize(&self, finalizer: Finalizer) {
        let _here = NotifyingFor::enter(self);
        let mut finalizer = Some(finalizer);
        let mut run = || {
            if let Some(finalizer) = finalizer.take() {
                contain(|| without_callback_queue(finalizer));
            }
        };
        // The `Deserialize` of the task's value may wait for another task, whose
        // `Deserialize` may wait again, and so on. Such a chain needs much stack.
        if with_stack(LEAST, &mut run).is_err() {
            // No more stack can be allocated. The finalizer must run on this stack, because
            // no other thread can run it.
            run();
        }
    }

    /// Returns `true` if the task has reached `until`.
    #[inline]
    pub(crate) fn is(&self, until: Until) -> bool {
        until.reached(self.word())
    }

    /// Returns `true` if the task is not done, and perhaps cannot end while the calling
    /// thread blocks. There are three cases: the calling thread runs the task, the calling
    /// thread is the collector of the task's pool (see [`mark_collector_of`]), or this
    /// process is a fork of the task's process.
    pub(crate) fn needs_this_thread(&self) -> bool {
        let word = self.word();
        let runs_here = || word.runner() == Some(thread_id());
        let comes_here = || !self.is_here() || is_collector_of(self.pool_id());
        !word.is_done() && (runs_here() || comes_here())
    }

    /// Called when the calling thread polls an `.await` of this task. Returns `true` if
    /// perhaps the task, or its callbacks, cannot end unless the calling thread continues.
    /// Then a thread that blocks until the `.await` is ready, as in `block_on`, might block
    /// for ever. Returns `false` inside a waker, because a waker does not block.
    pub(crate) fn await_would_deadlock(&self) -> bool {
        !is_waking() && (self.is_notifying_here() || self.needs_this_thread())
    }

    /// Returns `true` if the task has reached `until`. Otherwise stores the waker that
    /// `waker` returns, which is woken when the task ends or its callbacks are done.
    /// Returns `true` also in a fork of the task's process, where the task makes no
    /// progress.
    pub(crate) fn poll(
        &self,
        until: Until,
        key: &mut WakerKey,
        waker: impl FnOnce() -> Waker,
    ) -> bool {
        if self.is(until) || !self.is_here() {
            return true;
        }
        // The clone and the drop of a waker are user code, so both happen outside the lock.
        let fresh = waker();
        let Some(mut rare) = self.rare().filter(|_| self.is_here()) else {
            return true;
        };
        // Check again under the lock: a transition that comes after this check needs the
        // lock, and so finds the waker.
        if self.is(until) {
            return true;
        }
        let old = rare.wakers.store(key, fresh);
        drop(rare);
        drop(old);
        false
    }

    /// Removes the stored waker that `key` identifies, if there is one.
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
