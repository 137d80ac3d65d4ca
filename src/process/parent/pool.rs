//! [`Pool`]: what the executor, the supervisor and the collector share.
//!
//! # The threads
//!
//! * *Submitters* queue tasks, and send one at once if a worker is idle.
//! * The *supervisor* (`supervisor.rs`) starts workers, reads their replies, and
//!   handles their deaths. It runs no user code.
//! * The *collector* (`collector.rs`) decodes results and runs notifications: all
//!   user code of a task's end runs there.
//!
//! All of them change [`PoolState`] under one lock. Nothing under it blocks: sockets
//! are read and written as far as they go.
//!
//! # The states of a task
//!
//! | the task is | its future says | can be cancelled | if its worker ends |
//! |---|---|---|---|
//! | queued | pending | yes | - |
//! | sent | pending | no | queued again, at the head |
//! | started | running | no | fails, or queued to be retried |
//! | answered, with the collector | running | no | - |
//!
//! # The rule
//!
//! A worker is *idle*, that is, available to a new task, if it waits for one or is
//! starting. A waiting worker is sent a task at once, so that tasks in the queue are
//! compared with starting workers alone: whenever there are more of them, and fewer than
//! `max_workers` workers exist, the supervisor is to spawn one more. A worker that is
//! leaving exists until its process has ended.
//!
//! # Why nothing is lost
//!
//! A task is in the queue, in flight to one worker, or with the collector; it moves
//! under the lock. The supervisor ends only when tasks are refused, none is left,
//! and no worker either; the collector ends after it. The end of a worker requeues
//! its task or has it fail. A worker that does not finish its start or its exit in
//! time is killed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use super::launcher::Launcher;
use super::pool_state::{Event, PoolState, Threads};
use super::queued_task::{InFlight, QueuedTask};
use super::worker_handle::WorkerState;
use crate::completion::{EncodedCall, PoolId, new_pool_id};
use crate::error::Error;
use crate::executor::QueueCapacity;
use crate::process::settings::Config;
use crate::process::worker::entry;
use crate::sync::{Condvar, Mutex, MutexGuard, global};
use crate::sys::fork::{Origin, forget_threads};
use crate::sys::wake_fd::WakeFd;

pub(in crate::process) struct Pool {
    pub(super) id: PoolId,
    /// The process that made it. A fork of that has none of its threads.
    pub(super) origin: Origin,
    pub(super) config: Config,
    pub(super) launcher: Launcher,
    pub(super) state: Mutex<PoolState>,
    /// Notified when the collector ends, and when the last task is settled
    /// after that.
    pub(super) threads_ended: Condvar,
    pub(super) capacity: QueueCapacity,
    /// Wakes the supervisor.
    pub(super) wake_fd: WakeFd,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(super) last_number: AtomicU64,
}

/// The number of tasks for which an empty queue keeps its memory.
const KEPT: usize = 4096;

global! {
    static POOLS: Mutex<BTreeMap<PoolId, Weak<Pool>>> = Mutex::new(BTreeMap::new());
}

/// Returns the pool with that id, if it lives.
pub(in crate::process) fn find(id: PoolId) -> Option<Arc<Pool>> {
    POOLS.lock().get(&id).and_then(Weak::upgrade)
}

impl Pool {
    pub(in crate::process) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let entry_point =
            entry::entry_point().map_err(|refusal| Error::unsupported(refusal.to_string()))?;
        let launcher = Launcher {
            entry_point,
            name: config.name.clone(),
            env: config.env.clone(),
            current_dir: config.current_dir.clone(),
            initialize: config.initialize.clone().map(Arc::new),
        };
        let wake_fd = WakeFd::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        let origin = Origin::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        let pool = Arc::new(Self {
            id: new_pool_id(),
            origin,
            capacity: QueueCapacity::new(config.queue_capacity),
            config,
            launcher,
            state: Mutex::new(PoolState::default()),
            threads_ended: Condvar::new(),
            wake_fd,
            threads: Mutex::new(Vec::new()),
            last_number: AtomicU64::new(0),
        });
        POOLS.lock().insert(pool.id, Arc::downgrade(&pool));
        Ok(pool)
    }

    pub(super) fn id(&self) -> PoolId {
        self.id
    }

    pub(in crate::process) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock()
    }

    /// Checks, before a task's arguments are encoded, that it would not be refused.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if !self.is_here() {
            return Err(Error::forked_pool());
        }
        self.state.lock().closed.clone().map_or(Ok(()), Err)
    }

    /// Returns `true` if this is the process that made it, and not a fork of that.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// Unlocks, and wakes the supervisor if it has something to do.
    pub(super) fn wake_supervisor_if_needed(&self, mut state: MutexGuard<'_, PoolState>) {
        let needs_wakeup = std::mem::take(&mut state.needs_wakeup);
        drop(state);
        if needs_wakeup {
            self.wake_fd.wake();
        }
    }

    /// Begins a round of the supervisor, with the lock.
    pub(super) fn begin_round(&self, state: &mut PoolState) {
        state.needs_wakeup = false;
        if state.not_before.is_some_and(|at| at <= Instant::now()) {
            state.not_before = None;
        }
        self.dispatch(state);
    }

    /// Sends tasks to idle workers, retires workers that are not needed any more, and
    /// counts those to spawn: the rule of this module.
    pub(super) fn dispatch(&self, state: &mut PoolState) {
        while let Some(&number) = state.idle.last() {
            let Some((entry, call)) = self.next_task(state) else {
                break;
            };
            state.idle.pop();
            if let Some(handle) = state.workers.get_mut(&number) {
                let frame = Arc::clone(&call.frame);
                handle.activity = WorkerState::Busy(InFlight {
                    number: call.number,
                    entry,
                    call: Some(call),
                    started: None,
                    written: 0,
                });
                handle.expect_progress();
                handle.send(frame);
                state.needs_wakeup |=
                    handle.has_unsent() || handle.write_failed || !state.is_watched;
                state.was_active = true;
            }
        }
        if state.closed.is_some() {
            self.retire_idle_workers(state);
        }
        let waiting = state.queued + state.retries_queued;
        let (starting, workers) = (state.count_starting(), state.count_workers());
        let may_start = state.not_before.is_none()
            && state.stopped.is_none()
            && workers < self.config.max_workers;
        if !state.queue.is_empty() && waiting > starting && may_start {
            let more = (waiting - starting).min(self.config.max_workers - workers);
            state.to_spawn += more;
            state.needs_wakeup = true;
        }
    }

    /// Takes the next task that is to be sent, with its call.
    fn next_task(&self, state: &mut PoolState) -> Option<(QueuedTask, EncodedCall)> {
        while let Some(mut entry) = state.queue.pop_front() {
            // A long queue does not keep its memory for ever.
            if state.queue.is_empty() && state.queue.capacity() > KEPT {
                state.queue.shrink_to(KEPT);
            }
            if let Some(call) = entry.retry_call.take() {
                state.retries_queued -= 1;
                return Some((entry, call));
            }
            match entry.task.claim() {
                Some(call) => {
                    self.unqueue(state);
                    return Some((entry, call));
                }
                // It was cancelled, and notified by the thread that did so.
                None => state.send_event(Event::Stale(entry)),
            }
        }
        None
    }

    /// Tells idle workers to exit once no task is left.
    fn retire_idle_workers(&self, state: &mut PoolState) {
        if state.queued + state.retries_queued > 0 {
            return;
        }
        state.to_spawn = state.starting;
        while let Some(entry) = state.queue.pop_front() {
            state.send_event(Event::Stale(entry));
        }
        for number in std::mem::take(&mut state.idle) {
            if let Some(handle) = state.workers.get_mut(&number) {
                handle.send_exit();
            }
        }
        // The supervisor may have to end as well.
        state.needs_wakeup = true;
    }

    /// Counts a task out of the queue.
    pub(super) fn unqueue(&self, state: &mut PoolState) {
        state.queued -= 1;
        self.capacity.notify_one();
    }

    /// Counts a task that was cancelled while it was queued, or failed with its pool.
    pub(super) fn on_withdrawn(&self, cancelled: bool) {
        let mut state = self.state.lock();
        self.unqueue(&mut state);
        if cancelled {
            state.cancelled += 1;
        } else {
            state.failed += 1;
        }
        if state.closed.is_some() {
            self.dispatch(&mut state);
        }
        self.wake_supervisor_if_needed(state);
    }

    /// Counts a task whose outcome is known, before its future can show it.
    pub(super) fn ended(&self, failed: bool) {
        let mut state = self.state.lock();
        state.unread -= 1;
        if failed {
            state.failed += 1;
        } else {
            state.finished += 1;
        }
    }

    /// Counts an answered task as settled, and its notification as run.
    pub(super) fn settled(&self) {
        let mut state = self.state.lock();
        state.unsettled -= 1;
        let was_last = state.unsettled == 0 && state.threads == Threads::Ended;
        drop(state);
        if was_last {
            self.threads_ended.notify_all();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_here() {
            forget_threads(self.threads.get_mut());
        }
        POOLS.lock().remove(&self.id);
    }
}
