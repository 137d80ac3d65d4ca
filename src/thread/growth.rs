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
//! # One thread at a time
//!
//! To start a thread costs the thread that does it 20 us, and by the time that the new one
//! runs, others may have done the tasks that it was for. So at most one thread is on its
//! way. Meanwhile a worker that the rule asks for is *planned*: it counts like a started
//! one, and takes no room in `growth_left`. The first thing that a new thread does is to
//! drop all planned workers, and to follow the rule anew: it starts the next thread, if one
//! is needed still, and plans the others. A thread that counted on a dropped one made its
//! change before it looked, and the flags of the dropped ones change before the new thread
//! looks, with fences between: so one of the two sees the other, as above.
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
        if self.has_room(&state) && self.is_short() {
            // Without another thread, the tasks wait until a worker is free.
            let _ = self.start_worker(&mut state);
        }
    }

    /// Starts workers until so many tasks that have not begun can count on one, or there
    /// is no more room for workers, or no thread.
    pub(super) fn start_workers_for(self: &Arc<Self>, tasks: usize) {
        while self.may_grow() && tasks > self.free() {
            let mut state = self.state.lock();
            if !self.has_room(&state) || self.start_worker(&mut state).is_err() {
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

    /// Returns `true` if one more worker may be started or planned.
    fn has_room(&self, state: &PoolState) -> bool {
        // ORDERING: under the lock.
        self.growth_left.load(Ordering::Relaxed) > state.planned.len()
    }

    /// Starts a worker, or plans one while another thread is on its way; there is room, or
    /// the pool has none.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`].
    pub(super) fn start_worker(self: &Arc<Self>, state: &mut PoolState) -> Result<(), Error> {
        let index = state.vacant.pop().unwrap_or_else(|| self.started());
        // It counts from here on.
        self.slots.get(index).set_busy(false);
        state.workers += 1;
        if !state.is_starting {
            return self.start_thread(state, index);
        }
        self.count_slot(index);
        state.planned.push(index);
        Ok(())
    }

    /// Shows a slot to the other threads.
    fn count_slot(&self, index: usize) {
        // ORDERING: release shows the slot to those who see the number.
        self.started.fetch_max(index + 1, Ordering::Release);
    }

    /// Called by a new worker, first of all: drops what is planned, and follows the rule
    /// anew.
    pub(super) fn start_planned(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.is_starting = false;
        if state.planned.is_empty() {
            return;
        }
        for index in std::mem::take(&mut state.planned) {
            self.drop_worker(&mut state, index);
        }
        // ORDERING: see the head of this file.
        fence(Ordering::SeqCst);
        // The flags first.
        let free = self.free();
        let queued = self.queued();
        // While the pool is closed, a free worker may have turned busy without a fence
        // (`start_if_queued`).
        let least = usize::from(queued > 0 && !self.queue.is_open());
        for _ in 0..queued.saturating_sub(free).max(least) {
            // Without another thread, the tasks wait until a worker is free.
            if !self.has_room(&state) || self.start_worker(&mut state).is_err() {
                return;
            }
        }
    }

    /// Starts the thread of a worker that counts already.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`]; then the worker does not count any more.
    fn start_thread(self: &Arc<Self>, state: &mut PoolState, index: usize) -> Result<(), Error> {
        let number = state.started;
        let name = format!("{}_{number}", self.config.thread_name_prefix);
        let mut thread = thread::Builder::new().name(name.clone());
        if let Some(bytes) = self.config.stack_size {
            thread = thread.stack_size(bytes);
        }
        let pool = Arc::clone(self);
        match spawn(thread, move || worker::main(pool, index, number, &name)) {
            Ok(thread) => {
                self.threads.lock().extend(thread);
                // Not before, or the next task of a pool without a thread would be accepted.
                self.count_slot(index);
                state.started += 1;
                state.is_starting = true;
                // ORDERING: under the lock.
                self.growth_left.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.drop_worker(state, index);
                Err(Error::Spawn(Arc::new(error)))
            }
        }
    }

    /// Counts a worker no more.
    fn drop_worker(&self, state: &mut PoolState, index: usize) {
        self.slots.get(index).set_busy(true);
        state.vacant.push(index);
        state.workers -= 1;
    }

    /// Called by a worker, last of all.
    pub(super) fn leave(self: &Arc<Self>, index: usize) {
        if !self.is_here() {
            return;
        }
        let mut state = self.state.lock();
        self.drop_worker(&mut state, index);
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
        if self.has_room(&state) && self.queued() != 0 {
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
