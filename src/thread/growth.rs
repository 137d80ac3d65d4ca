//! Growth: starting a worker when one is needed.
//!
//! # The rule
//!
//! A worker is *free*, that is, available to a new task, unless its slot says that it is
//! busy: it looks for a task, sleeps, or was just started. If more tasks are queued than
//! workers are free, and fewer than `max_workers` exist, one more is started. This can
//! become necessary in three places: where a task is queued, where a worker begins one,
//! and where a worker turns to callbacks.
//!
//! # Why a worker is started whenever the rule asks for one
//!
//! Each of the three makes its own change (the length of a queue, or its flag), then a
//! sequentially consistent fence, and then looks at all lengths and flags. Of several at
//! the same time, the last one in the order of the fences sees the changes of all others.
//! A pool with `max_workers` workers skips all of this, the fence included.
//!
//! The look reads flags before lengths, and a worker takes a task before it raises its
//! flag. So a task that changes hands is counted with a free worker, or not at all, and
//! never without one. That is why a loop of `submit` and `result` has one worker for ever.
//!
//! A worker counts as free from the moment of its start, under the pool's lock, so that
//! two threads which see the same lack do not start two workers.
//!
//! # A pool without workers
//!
//! The first task waits for the first worker: before there is one, nothing is queued, so
//! that a task of a pool that cannot have a thread is refused.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::pool::{Pool, PoolState};
use super::worker;
use crate::error::Error;
use crate::sync::{Ordering, fence};

impl Pool {
    /// Returns `true` if more workers may be started.
    #[inline]
    pub(super) fn may_grow(&self) -> bool {
        // ORDERING: it falls under the lock, where it is read once more. It rises only when
        // a worker leaves, and `leave` then looks for tasks itself.
        self.growth_left.load(Ordering::Relaxed) != 0
    }

    /// Returns the number of workers that are free.
    pub(super) fn free(&self) -> usize {
        let slots = self.slots.iter(self.started());
        slots.filter(|slot| !slot.is_busy()).count()
    }

    /// Starts a worker if the rule asks for one; called behind the caller's own change.
    #[inline]
    pub(super) fn grow_if_needed(self: &Arc<Self>) {
        if !self.may_grow() {
            return;
        }
        // ORDERING: see the head of this file.
        fence(Ordering::SeqCst);
        if self.is_short() {
            self.grow();
        }
    }

    fn is_short(&self) -> bool {
        // The flags first.
        let free = self.free();
        self.queued() > free
    }

    #[cold]
    fn grow(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if self.may_grow() && self.is_short() {
            // Without another thread, the tasks wait until a worker is free.
            let _ = self.start_worker(&mut state);
        }
    }

    /// Starts workers until so many tasks that have not begun can count on one, or there
    /// is no more room for workers, or no thread.
    pub(super) fn start_workers_for(self: &Arc<Self>, tasks: usize) {
        while self.may_grow() && tasks > self.free() {
            let mut state = self.state.lock();
            if !self.may_grow() || self.start_worker(&mut state).is_err() {
                return;
            }
        }
    }

    /// Starts the first worker, unless there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`], or the reason why the pool is closed.
    #[cold]
    pub(super) fn start_first_worker(self: &Arc<Self>) -> Result<(), Error> {
        let mut state = self.state.lock();
        match &state.closed {
            Some(closed) => Err(closed.clone()),
            None if state.workers > 0 => Ok(()),
            None => self.start_worker(&mut state),
        }
    }

    /// Starts a worker; the pool may grow, or has none.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`].
    pub(super) fn start_worker(self: &Arc<Self>, state: &mut PoolState) -> Result<(), Error> {
        let index = state.vacant.pop().unwrap_or_else(|| self.started());
        let number = state.started;
        let name = format!("{}_{number}", self.config.thread_name_prefix);
        let mut thread = thread::Builder::new().name(name.clone());
        if let Some(bytes) = self.config.stack_size {
            thread = thread.stack_size(bytes);
        }
        // It counts from here on, so that it may leave at once.
        let slot = self.slots.get(index);
        slot.set_busy(false);
        let pool = Arc::clone(self);
        match spawn(thread, move || worker::main(pool, index, number, &name)) {
            Ok(thread) => {
                self.threads.lock().extend(thread);
                state.started += 1;
                state.workers += 1;
                self.count_slot(index);
                // ORDERING: under the lock.
                self.growth_left.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                slot.set_busy(true);
                state.vacant.push(index);
                Err(Error::Spawn(Arc::new(error)))
            }
        }
    }

    /// Shows the slot to the other threads.
    pub(super) fn count_slot(&self, index: usize) {
        // ORDERING: release shows the slot to those who see the number.
        self.started.fetch_max(index + 1, Ordering::Release);
    }

    /// Called by a worker, last of all.
    pub(super) fn leave(self: &Arc<Self>, index: usize) {
        if !self.is_here() {
            return;
        }
        let mut state = self.state.lock();
        self.slots.get(index).set_busy(true);
        state.vacant.push(index);
        state.workers -= 1;
        // ORDERING: under the lock.
        self.growth_left.fetch_add(1, Ordering::Relaxed);
        if state.workers == 0 {
            self.ended.notify_all();
        }
        drop(state);
        // For a thread that counted on this worker while the pool had no room for more.
        self.start_if_queued();
    }

    /// Starts a worker if a task is queued and there is room. That workers are free does
    /// not count: one of them may have turned busy without a fence, since it saw no room.
    pub(super) fn start_if_queued(self: &Arc<Self>) {
        // ORDERING: as in `grow_if_needed`.
        fence(Ordering::SeqCst);
        if self.queued() == 0 {
            return;
        }
        let mut state = self.state.lock();
        if self.may_grow() && self.queued() != 0 {
            // Without another thread, the tasks wait until a worker is free.
            let _ = self.start_worker(&mut state);
        }
    }
}

#[cfg(not(concurrent_futures_loom))]
fn spawn(
    thread: thread::Builder,
    main: impl FnOnce() + Send + 'static,
) -> io::Result<Option<JoinHandle<()>>> {
    thread.spawn(main).map(Some)
}

/// A model counts the workers that are started, and runs those that it has.
#[cfg(concurrent_futures_loom)]
fn spawn(
    _thread: thread::Builder,
    _main: impl FnOnce() + Send + 'static,
) -> io::Result<Option<JoinHandle<()>>> {
    Ok(None)
}
