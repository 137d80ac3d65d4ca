//! [`Pool`]: the data that the executor, the supervisor and the collector share.
//!
//! # The threads
//!
//! * *Submitters* queue tasks. A submitter then offers the oldest queued tasks to the
//!   workers if there is room, or sends them to idle workers if there are any.
//! * The *supervisor* (`supervisor.rs`) starts workers, reads their replies, and handles
//!   their deaths. The supervisor runs no user code.
//! * The *collector* (`collector.rs`) decodes results and runs *notifications*: the wakers,
//!   drops and callbacks that the end of a task calls for. A thread that waits for the
//!   task, or that cancels tasks, may run this user code instead.
//!
//! All threads change [`PoolState`] under one lock. A thread that holds the lock waits for
//! no message and for no room: it reads and writes the workers' sockets without blocking.
//!
//! # The states of a task
//!
//! | the task is | its future says | can be cancelled | if its worker ends |
//! |---|---|---|---|
//! | queued | pending | yes | - |
//! | offered | pending | until a worker takes it (`offers.rs`) | stays offered; if that worker has taken it, see the next row |
//! | sent, or taken | pending | only if a launched worker has it, after a recall (`sent_ahead.rs`) | queued again, at the head, with the exceptions in `worker_ends.rs` |
//! | started | running | no | fails, or queued to be retried |
//! | answered, not decoded yet | running | no | - |
//!
//! The future of a task that is queued or offered for a retry still says running, and the
//! task cannot be cancelled.
//!
//! # The rule
//!
//! Whenever more tasks are queued, offered or sent ahead (to a busy worker) than workers
//! are starting or idle, and fewer than `max_workers` workers exist, the supervisor has to
//! spawn one more worker, as soon as it may start one. A worker that the pool has told to
//! exit counts as existing until its process has ended. A pool that is broken or that ends
//! all its workers spawns no more workers.
//!
//! # Why nothing is lost
//!
//! Each task that has not ended is in one of these places: in the queue, in an offer, with
//! one worker, or, if it is about to end, with the collector, a waiting thread, or a thread
//! that cancels it. Only a thread that holds the lock moves a task from one place to
//! another. The supervisor ends only when the pool refuses tasks and has neither an
//! unanswered task nor a worker left. The collector ends after the supervisor. When a
//! worker ends, the pool puts the worker's tasks back into the queue, or makes them fail.
//! (A task that a thread waits to cancel goes to that thread instead.) The supervisor kills
//! a worker that does not send `Ready`, or does not exit, in time, unless the worker is an
//! MPI rank.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use super::launcher_states::LauncherStates;
use super::offered_tasks::OfferedTasks;
use super::pool_state::{BURST, Event, PoolState, Threads};
use super::queued_task::{InFlight, QueuedTask};
use super::ranks::Ranks;
use super::staging::StagedProgram;
use super::starter::Starter;
use crate::completion::{PoolId, new_pool_id};
use crate::error::Error;
use crate::executor::QueueCapacity;
#[cfg(feature = "mpi")]
use crate::executor::ShutdownOptions;
use crate::process::settings::{Config, Transport};
use crate::process::transport::PoolOffers;
use crate::process::wire::marker::EntryPoint;
use crate::process::worker::entry;
use crate::sync::{Condvar, Mutex, MutexGuard, global};
use crate::sys::fork::{Origin, forget};
use crate::sys::wake_fd::WakeFd;

pub(in crate::process) struct Pool {
    pub(super) id: PoolId,
    /// The process that made the pool. A fork of it has none of the pool's threads.
    pub(super) origin: Origin,
    pub(super) config: Arc<Config>,
    pub(super) starter: Starter,
    pub(super) ranks: Ranks,
    pub(super) state: Mutex<PoolState>,
    /// Notified when the collector ends. Also notified later, when the last task is
    /// *settled* (its callbacks and wakers have run), if another thread settles that task.
    pub(super) threads_ended: Condvar,
    pub(super) capacity: QueueCapacity,
    /// Notified when a recall, which asks a worker to give a task back, has ended
    /// (`sent_ahead.rs`).
    pub(super) recalled: Condvar,
    pub(super) wake_fd: WakeFd,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(super) last_number: AtomicU64,
}

/// The largest number of tasks for which the queue keeps memory when it becomes empty.
const KEPT: usize = 4096;

global! {
    static POOLS: Mutex<BTreeMap<PoolId, Weak<Pool>>> = Mutex::new(BTreeMap::new());
}

/// Shuts down all pools whose workers are MPI ranks, and waits until these pools have
/// ended.
#[cfg(feature = "mpi")]
pub(in crate::process) fn end_pools_of_ranks() {
    let pools: Vec<Arc<Pool>> = POOLS.lock().values().filter_map(Weak::upgrade).collect();
    for pool in pools.iter().filter(|pool| pool.config.has_ranks()) {
        pool.shutdown(ShutdownOptions::new());
    }
}

pub(in crate::process) fn find(id: PoolId) -> Option<Arc<Pool>> {
    POOLS.lock().get(&id).and_then(Weak::upgrade)
}

impl Pool {
    pub(in crate::process) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let entry_point = match config.has_ranks() {
            true => EntryPoint::Init,
            false => entry::entry_point().map_err(Error::unsupported)?,
        };
        let offers = offers(&config).map_err(Error::spawn)?;
        if !config.launchers.is_empty() && entry_point != EntryPoint::Init {
            return Err(Error::unsupported(
                "the workers of a launcher begin in `concurrent_futures::init()`; call it first in \
                 `main`",
            ));
        }
        let staged = match config.launchers.iter().any(|launcher| launcher.stages) {
            true => Some(Arc::new(StagedProgram::open().map_err(Error::spawn)?)),
            false => None,
        };
        let config = Arc::new(config);
        let starter = Starter {
            config: Arc::clone(&config),
            staged,
            offers: offers.as_ref().map(|offers| (offers.key(), offers.files())),
            entry_point,
        };
        let pool = Arc::new(Self {
            id: new_pool_id(),
            origin: Origin::new().map_err(Error::spawn)?,
            capacity: QueueCapacity::new(config.queue_capacity),
            starter,
            ranks: Ranks::new(&config),
            state: Mutex::new(PoolState {
                offered: offers.map(OfferedTasks::new),
                launchers: LauncherStates::new(&config.launchers),
                ..PoolState::default()
            }),
            threads_ended: Condvar::new(),
            recalled: Condvar::new(),
            wake_fd: WakeFd::new().map_err(Error::spawn)?,
            config,
            threads: Mutex::new(Vec::new()),
            last_number: AtomicU64::new(0),
        });
        POOLS.lock().insert(pool.id, Arc::downgrade(&pool));
        Ok(pool)
    }

    pub(in crate::process) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the number of workers that the pool may start now, besides those that the
    /// supervisor has yet to start.
    pub(super) fn count_startable(&self, state: &PoolState) -> usize {
        let room = self
            .config
            .max_workers
            .saturating_sub(state.count_workers());
        if state.not_before.is_some() || state.stopped.is_some() {
            return 0;
        }
        if state.launchers.is_empty() {
            return room;
        }
        let startable = state.launchers.count_startable(Instant::now());
        // `to_spawn` includes the worker that is being started (`starting`, 0 or 1). Its
        // launcher counts this worker already.
        let planned = state.to_spawn.saturating_sub(state.starting);
        room.min(startable.saturating_sub(planned))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock()
    }

    /// Checks that the pool accepts tasks. The caller makes this check before it encodes a
    /// task's arguments.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if !self.is_here() {
            return Err(Error::forked_pool());
        }
        self.state.lock().closed.clone().map_or(Ok(()), Err)
    }

    /// Returns `true` if the current process made the pool, and `false` in a fork of it.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    pub(super) fn wake_supervisor_if_needed(&self, mut state: MutexGuard<'_, PoolState>) {
        let needs_wakeup = std::mem::take(&mut state.needs_wakeup);
        drop(state);
        if needs_wakeup {
            self.wake_fd.wake();
        }
    }

    /// Begins a round of the supervisor's loop. The supervisor holds the lock.
    pub(super) fn begin_round(&self, state: &mut PoolState) {
        state.needs_wakeup = false;
        // In a burst, `dispatch` lets workers sleep although there are offers. If the
        // burst is over, the call of `dispatch` below wakes these workers.
        state.is_burst &= state.submitted >= BURST;
        if state.not_before.is_some_and(|at| at <= Instant::now()) {
            state.not_before = None;
        }
        self.dispatch(state);
    }

    /// Offers tasks, or sends them to idle workers. Retires the idle workers of a closed
    /// pool, and counts the workers to spawn ("The rule" at the top of this file). Also
    /// sends tasks ahead and recalls them (`sent_ahead.rs`).
    pub(super) fn dispatch(&self, state: &mut PoolState) {
        if state.offered.is_some() {
            self.offer_tasks(state);
        } else {
            self.send_to_idle_workers(state);
        }
        if state.closed.is_some() {
            self.retire_idle_workers(state);
        }
        let retry_at = match state.count_workers() < self.config.max_workers {
            true => self.plan_starts(state),
            false => None,
        };
        // The supervisor has to wake up and read `retry_at`. Its next sleep then ends at
        // this time, when the pause of a launcher ends.
        state.needs_wakeup |= retry_at.is_some() && state.retry_at.is_none();
        state.retry_at = retry_at;
        self.send_ahead(state);
        self.recall_for_idle(state);
    }

    /// Adds to `to_spawn` one worker for each waiting task for which there is no starting
    /// or idle worker, as far as workers may start now. If none may start now, returns the
    /// time at which the first pause of a launcher ends.
    fn plan_starts(&self, state: &mut PoolState) -> Option<Instant> {
        // In a pool that is broken or ends all its workers, tasks that were sent ahead may
        // still wait. They need no new worker: their workers run them or give them back,
        // and a task that comes back fails. Until `not_before`, the end of a launcher's
        // pause changes nothing, and may be in the past.
        if state.stopped.is_some() || state.is_broken() || state.not_before.is_some() {
            return None;
        }
        let waiting = state.count_waiting();
        let coming = state.count_starting() + state.idle.len();
        let may_move = state.count_offered() + state.count_ahead() > 0;
        let has_tasks = !state.queue.is_empty() || may_move;
        if !has_tasks || waiting <= coming {
            return None;
        }
        let startable = self.count_startable(state);
        let more = (waiting - coming).min(startable);
        state.to_spawn += more;
        state.needs_wakeup |= more > 0;
        match startable {
            0 => state.launchers.next_pause(),
            _ => None,
        }
    }

    fn send_to_idle_workers(&self, state: &mut PoolState) {
        while let Some(&number) = state.idle.last().filter(|_| !state.holds_queue) {
            let worker = state.workers.get(&number);
            if worker.is_none_or(|worker| worker.is_being_killed() || worker.write_failed) {
                // The worker will end. It may end late, if it cannot be killed.
                state.idle.pop();
                continue;
            }
            let Some(entry) = self.next_task(state) else {
                break;
            };
            self.capacity.notify_one();
            state.idle.pop();
            if let Some(handle) = state.workers.get_mut(&number) {
                if state.is_asleep && state.pollers == 0 {
                    // The result is ignored. No message can have arrived, because without
                    // offers an idle worker sends none through shared memory.
                    handle.arm();
                }
                handle.send_task(InFlight::new(entry));
                state.needs_wakeup |= handle.has_unsent() || handle.write_failed;
                state.needs_wakeup |= state.is_asleep && self.ranks.must_wake();
                state.became_active();
            }
        }
    }

    /// Takes the next task out of the queue. The caller then offers or sends its call.
    pub(super) fn next_task(&self, state: &mut PoolState) -> Option<Box<QueuedTask>> {
        while let Some(mut entry) = state.queue.pop_front() {
            // A queue that was long frees most of its memory when it is empty again.
            if state.queue.is_empty() && state.queue.capacity() > KEPT {
                state.queue.shrink_to(KEPT);
            }
            if entry.has_begun {
                state.retries_queued -= 1;
                return Some(entry);
            }
            if entry.task.claim() {
                state.queued -= 1;
                return Some(entry);
            }
            // `claim` fails only if the task was cancelled. The thread that cancelled the
            // task runs the task's notification.
            state.send_event(Event::Stale(entry));
        }
        None
    }

    /// If no task waits for a worker, tells the idle workers to exit, and closes the
    /// connection to each launcher's command that has not started its worker yet.
    fn retire_idle_workers(&self, state: &mut PoolState) {
        if state.count_waiting() > 0 {
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
        for handle in state
            .workers
            .values_mut()
            .filter(|handle| handle.connects())
        {
            // The worker's command has not started the program yet and may still take long.
            // No task is left for this worker.
            handle.hang_up();
        }
        // The supervisor has to wake up, because it ends if no worker is left.
        state.needs_wakeup = true;
    }

    /// Asks each other pool whose workers are MPI ranks to give back one idle rank, because
    /// this pool needs a rank. The caller does not hold the pool's lock.
    #[cfg(feature = "mpi")]
    pub(super) fn ask_for_ranks(&self) {
        let pools: Vec<Arc<Self>> = POOLS.lock().values().filter_map(Weak::upgrade).collect();
        for pool in pools {
            if pool.config.has_ranks() && pool.id != self.id {
                pool.give_up_an_idle_worker();
            }
        }
    }

    /// Tells one idle worker to exit, unless a task waits for a worker.
    #[cfg(feature = "mpi")]
    fn give_up_an_idle_worker(&self) {
        let mut state = self.state.lock();
        if state.count_waiting() > 0 {
            return;
        }
        let idle = state.idle.pop();
        if let Some(handle) = idle.and_then(|number| state.workers.get_mut(&number)) {
            handle.send_exit();
            state.needs_wakeup = true;
        }
        self.wake_supervisor_if_needed(state);
    }

    /// Subtracts 1 from the number of queued tasks, and notifies one thread that waits
    /// because the queue is full.
    pub(super) fn unqueue(&self, state: &mut PoolState) {
        state.queued -= 1;
        self.capacity.notify_one();
    }

    /// Counts a task as cancelled, or as failed because the pool broke. The task no longer
    /// counts as queued.
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

    /// Counts a task as finished or failed, before the task's future shows the outcome.
    pub(super) fn ended(&self, failed: bool) {
        let mut state = self.state.lock();
        state.unread -= 1;
        if failed {
            state.failed += 1;
        } else {
            state.finished += 1;
        }
    }

    /// Counts tasks as settled: answered or failed tasks whose notifications have all run,
    /// or tasks that the pool has cancelled.
    pub(super) fn settled(&self, tasks: usize) {
        let mut state = self.state.lock();
        state.unsettled -= tasks;
        let was_last = state.unsettled == 0 && state.threads == Threads::Ended;
        drop(state);
        if was_last {
            self.threads_ended.notify_all();
        }
    }
}

/// Creates the memory for offers if the workers share memory with the pool, and if the
/// number of tasks of a worker is not limited (`max_tasks_per_child`). If that fails, a
/// pool with the transport `Automatic` goes without offers.
fn offers(config: &Config) -> io::Result<Option<PoolOffers>> {
    match config.transport {
        _ if config.max_tasks_per_child.is_some() => Ok(None),
        Transport::Socket => Ok(None),
        Transport::Shared => PoolOffers::create().map(Some),
        Transport::Automatic => Ok(PoolOffers::create().ok()),
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_here() {
            forget(self.threads.get_mut());
        }
        POOLS.lock().remove(&self.id);
    }
}
