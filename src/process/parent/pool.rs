//! [`Pool`]: what the executor, the supervisor and the collector share.
//!
//! # Who does what
//!
//! * *Submitters* queue tasks, and send one on at once if a worker is idle.
//! * The *supervisor* (`supervisor.rs`) starts workers, hears what they say, and
//!   judges their deaths. It runs nothing of the user's.
//! * The *collector* (`collector.rs`) decodes what came back and tells
//!   everybody: all foreign code of a task's end runs there.
//!
//! All of them change the accounts in [`PoolState`] under one lock. What is done
//! under it never blocks: sockets are read and written as far as they go.
//!
//! # The states of a task
//!
//! | here | the future says | cancel | its worker ends |
//! |---|---|---|---|
//! | queued | pending | yes | - |
//! | sent | pending | no | queued again, at the head |
//! | started | running | no | fails, or queued to be begun again |
//! | answered, with the collector | running | no | - |
//!
//! # The rule
//!
//! A worker is *idle* if a new task can count on it: it waits for one, or it was
//! just started. Each queued task counts on one that starts, since an idle
//! worker that waits is sent a task at once. Whenever more tasks are queued than
//! workers start, and fewer than `max_workers` exist, one more is *owed*; the
//! supervisor starts it. A worker that leaves exists until it has ended.
//!
//! # Why nothing is lost
//!
//! A task is in the queue, with one worker, or with the collector; it changes
//! places under the lock. The supervisor goes only when tasks are refused, none
//! is left, and no worker either; the collector goes after it. A worker that
//! ends gives its task back or has it fail. One that starts, or is to end, and
//! does not get there is ended.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use super::launcher::Launcher;
use super::pool_state::{Event, PoolState, Threads};
use super::queued_task::{InFlight, QueuedTask};
use super::worker_handle::WorkerState;
use crate::completion::{EncodedCall, new_pool_id};
use crate::error::Error;
use crate::executor::QueueCapacity;
use crate::process::settings::Config;
use crate::process::worker::entry;
use crate::sync::{Condvar, Mutex, MutexGuard, global};
use crate::sys::fork::{Origin, forget_threads};
use crate::sys::wake_fd::WakeFd;

pub(in crate::process) struct Pool {
    pub(super) id: usize,
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

/// For how many tasks an empty queue keeps its memory.
const KEPT: usize = 4096;

global! {
    static POOLS: Mutex<BTreeMap<usize, Weak<Pool>>> = Mutex::new(BTreeMap::new());
}

/// The pool of a task's home, if it lives.
pub(in crate::process) fn find(id: usize) -> Option<Arc<Pool>> {
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

    pub(super) fn id(&self) -> usize {
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

    /// Wakes the supervisor after unlocking, if there is news for it.
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

    /// Sends tasks to idle workers, dismisses those that are needed no more, and
    /// sees how many are to be started: the rule of this module.
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
        let (count_starting, count_workers) = (state.count_starting(), state.count_workers());
        let may_start = state.not_before.is_none() && count_workers < self.config.max_workers;
        if !state.queue.is_empty() && waiting > count_starting && may_start {
            let more = (waiting - count_starting).min(self.config.max_workers - count_workers);
            state.to_spawn += more;
            state.needs_wakeup = true;
        }
    }

    /// The next task that is to be sent, with its call.
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
                // It was cancelled; who cancelled it has told everybody.
                None => state.send_event(Event::Stale(entry)),
            }
        }
        None
    }

    /// After the last task the workers may go.
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
        // The supervisor may be the last one here.
        state.needs_wakeup = true;
    }

    /// A queued task is none any more.
    pub(super) fn unqueue(&self, state: &mut PoolState) {
        state.queued -= 1;
        self.capacity.notify_one();
    }

    /// A task was cancelled while it was queued, or failed with its pool.
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

    /// A task has its outcome, which nobody knows yet.
    pub(super) fn ended(&self, failed: bool) {
        let mut state = self.state.lock();
        state.unread -= 1;
        if failed {
            state.failed += 1;
        } else {
            state.finished += 1;
        }
    }

    /// A task that was answered has its outcome, and all were told.
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
