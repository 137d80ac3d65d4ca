//! Growth: starting a worker when one is needed.
//!
//! # The rule
//!
//! Each worker has a slot (`slots.rs`), the part of its state that other threads see. A
//! worker is *free*, that is, available to a new task, unless the flag in its slot says
//! that the worker is busy. A free worker looks for a task, sleeps, was just started, or is
//! about to end. If more tasks are queued than workers are free, and fewer than
//! `max_workers` workers exist, the pool starts one more worker. A new worker can become
//! necessary when a task is queued, when a worker begins a task, and when a worker starts
//! to run callbacks.
//!
//! # Why a worker is started whenever the rule asks for one
//!
//! A thread that queues a task, begins a task, or starts to run callbacks first makes its
//! own change, to the length of a queue or to a busy flag. Then it executes a sequentially
//! consistent fence, and reads the flags of all workers and the lengths of all queues. If
//! several threads make changes at the same time, the thread with the last fence sees the
//! changes of all other threads. If the pool already has `max_workers` threads, the thread
//! skips the fence and the reads. So does a thread that adds a task to the pool's queue and
//! sees under the queue's lock that enough workers sleep or search (`Queue::push`).
//!
//! The thread reads the flags before the lengths, and a worker takes a task before it sets
//! its busy flag. So if the thread counts a task that a worker is just taking, it also
//! counts this worker as free. And a worker is free again before other threads can see the
//! result of its task. For these two reasons, a loop of `submit` and `result` never needs a
//! second worker.
//!
//! A worker is started under the lock of the pool's state, and counts as free at once. The
//! starting thread checks once more under this lock if a worker is missing. So if two
//! threads see that one worker is missing, only one of them starts a worker.
//!
//! # One thread at a time
//!
//! Starting a thread costs the starting thread about 20 us. When the new thread runs, other
//! workers may already have done the tasks for which it was started. So at most one thread
//! is starting at any time. If the rule asks for more workers meanwhile, these workers are
//! *planned*. A planned worker has no thread, but counts as free. It does not reduce
//! `growth_left`, the number of workers that may still be started. If there are planned
//! workers, a new thread first drops them all, and then applies the rule again. If more
//! workers are still needed, it starts the next thread and plans the other workers. A
//! submitting thread that counted on a planned worker had queued its task before it read
//! the flags. The new thread changes the flags of the planned workers before it reads the
//! lengths. Both threads execute a fence in between. So the submitting thread sees that the
//! planned worker is gone, or the new thread sees the queued task.
//!
//! # A pool without workers
//!
//! A pool queues its first task only after it has started its first worker. If the pool
//! cannot start this worker's thread, it refuses the task.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::pool::{Pool, PoolState};
use super::worker;
use crate::error::Error;
use crate::sync::{Ordering, fence};

impl Pool {
    #[inline]
    pub(super) fn may_grow(&self) -> bool {
        // ORDERING: relaxed is enough, because `growth_left` is reduced only under the lock
        // of the pool's state, and `has_room` reads it again under this lock. `growth_left`
        // grows only when a worker leaves, and `leave` then checks for queued tasks itself.
        self.growth_left.load(Ordering::Relaxed) != 0
    }

    pub(super) fn free(&self) -> usize {
        let slots = self.slots.iter(self.started());
        slots.filter(|slot| !slot.is_busy()).count()
    }

    /// Starts a worker if the rule at the head of this file asks for one. The caller has
    /// already made its change: for example, it has queued a task or set a busy flag.
    #[inline]
    pub(super) fn grow_if_needed(self: &Arc<Self>) {
        if !self.may_grow() {
            return;
        }
        // ORDERING: the caller's change comes before this fence and the reads after it, as
        // the section "Why a worker is started whenever the rule asks for one" needs it.
        fence(Ordering::SeqCst);
        if self.is_short() {
            self.grow();
        }
    }

    fn is_short(&self) -> bool {
        // Read the workers' busy flags before the lengths of the queues.
        let free = self.free();
        self.queued() > free
    }

    #[cold]
    fn grow(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if self.has_room(&state) && self.is_short() {
            // If no thread can be started, the tasks wait until a worker is free.
            let _ = self.start_worker(&mut state);
        }
    }

    /// Starts workers until `tasks` workers are free, or `max_workers` exist, or no thread
    /// can be started. Returns the number of free workers. The caller holds the lock of the
    /// pool's state, so that no new thread drops the planned workers, which count as free,
    /// meanwhile.
    pub(super) fn start_workers_for(
        self: &Arc<Self>,
        state: &mut PoolState,
        tasks: usize,
    ) -> usize {
        loop {
            let free = self.free();
            if tasks <= free || !self.has_room(state) || self.start_worker(state).is_err() {
                return free;
            }
        }
    }

    /// Starts the first worker, unless the pool has a worker already.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Spawn`] if no thread can be started, or the reason why the pool is
    /// closed.
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
        // ORDERING: the lock of the pool's state orders this access.
        self.growth_left.load(Ordering::Relaxed) > state.planned.len()
    }

    /// Starts a worker. While another thread is starting, only plans the worker (see the
    /// head of this file). Called only if one more worker is allowed.
    pub(super) fn start_worker(self: &Arc<Self>, state: &mut PoolState) -> Result<(), Error> {
        let index = state.vacant.pop().unwrap_or_else(|| self.started());
        // The worker counts as free as soon as its slot is counted (`count_slot`).
        self.slots.get(index).set_busy(false);
        state.workers += 1;
        if !state.is_starting {
            return self.start_thread(state, index);
        }
        self.count_slot(index);
        state.planned.push(index);
        Ok(())
    }

    /// Makes a slot visible to the other threads.
    fn count_slot(&self, index: usize) {
        // ORDERING: release publishes the slot's flag, which says that the worker is free,
        // to the threads that read the new value of `started`.
        self.started.fetch_max(index + 1, Ordering::Release);
    }

    /// If there are planned workers, drops them all, and applies the rule at the head of
    /// this file again. A new worker calls this function first of all.
    pub(super) fn start_planned(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.is_starting = false;
        if state.planned.is_empty() {
            return;
        }
        for index in std::mem::take(&mut state.planned) {
            self.drop_worker(&mut state, index);
        }
        // ORDERING: the busy flags of the dropped workers changed before this fence, and the
        // reads below come after it, as the section "One thread at a time" requires.
        fence(Ordering::SeqCst);
        // Read the workers' busy flags before the lengths of the queues.
        let free = self.free();
        let queued = self.queued();
        // In a closed pool, `free` may be too high, because a worker may have become busy
        // without a fence (see `start_if_queued`). So start at least one worker if a task
        // is queued.
        let least = usize::from(queued > 0 && !self.queue.is_open());
        for _ in 0..queued.saturating_sub(free).max(least) {
            // If no thread can be started, the tasks wait until a worker is free.
            if !self.has_room(&state) || self.start_worker(&mut state).is_err() {
                return;
            }
        }
    }

    /// Starts the thread of a worker that `state.workers` already includes.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Spawn`] if the system starts no thread. Then this function has
    /// removed the worker from the counts.
    fn start_thread(self: &Arc<Self>, state: &mut PoolState, index: usize) -> Result<(), Error> {
        let number = state.started;
        let name = format!("{}_{number}", self.config.thread_name_prefix);
        // Twice the stack of a task, so that a task that runs inside the wait of another
        // task seldom needs another stack segment (`completion/stack.rs`).
        let stack_size = 2 * self.config.stack_size;
        let thread = thread::Builder::new().name(name.clone());
        let thread = thread.stack_size(stack_size);
        let pool = Arc::clone(self);
        match spawn(thread, move || worker::main(pool, index, number, &name)) {
            Ok(thread) => {
                self.threads.lock().extend(thread);
                // The slot is counted only after its thread was started, because a pool
                // accepts tasks as soon as a slot is counted (`Pool::admit`).
                self.count_slot(index);
                state.started += 1;
                state.is_starting = true;
                // ORDERING: the lock of the pool's state orders this access.
                self.growth_left.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.drop_worker(state, index);
                Err(Error::spawn(error))
            }
        }
    }

    /// Removes a worker from the pool's counts.
    fn drop_worker(&self, state: &mut PoolState, index: usize) {
        self.slots.get(index).set_busy(true);
        state.vacant.push(index);
        state.workers -= 1;
    }

    /// Removes a worker that ends from the pool's counts. Its thread still has a reference
    /// to the pool, which it drops afterwards.
    pub(super) fn leave(self: &Arc<Self>, index: usize) {
        if !self.is_here() {
            return;
        }
        let mut state = self.state.lock();
        self.drop_worker(&mut state, index);
        // ORDERING: the lock of the pool's state orders this access.
        self.growth_left.fetch_add(1, Ordering::Relaxed);
        if state.workers == 0 {
            self.ended.notify_all();
        }
        drop(state);
        // A thread that queued a task may have counted on this worker while the pool could
        // not start another worker.
        self.start_if_queued();
    }

    /// Starts a worker if a task is queued and one more worker is allowed. Does not rely on
    /// workers that seem free: while the pool could not grow, such a worker may have become
    /// busy without a fence.
    pub(super) fn start_if_queued(self: &Arc<Self>) {
        // ORDERING: the caller's change comes before this fence and the reads after it, as
        // the section "Why a worker is started whenever the rule asks for one" needs it.
        fence(Ordering::SeqCst);
        if self.queued() == 0 {
            return;
        }
        let mut state = self.state.lock();
        if self.has_room(&state) && self.queued() != 0 {
            // If no thread can be started, the tasks wait until a worker is free.
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

/// Starts no thread in a loom model. The model's own threads do the steps of the workers.
#[cfg(concurrent_futures_loom)]
fn spawn(
    _thread: thread::Builder,
    _main: impl FnOnce() + Send + 'static,
) -> io::Result<Option<JoinHandle<()>>> {
    Ok(None)
}
