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
//! All of them change the accounts in [`Ledger`] under one lock. What is done
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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::unbounded;

use super::collector::{self, Event};
use super::entry;
use super::frame;
use super::launcher::Launcher;
use super::ledger::{Ledger, Threads};
use super::link::{Duty, Entry, Flight};
use super::supervisor;
use super::task::{Packed, Shipped};
use super::terms::{Plan, Terms};
use crate::completion::{Completion, new_home};
use crate::error::Error;
use crate::executor::Stats;
use crate::sync::{Condvar, Mutex, MutexGuard, global};
use crate::sys::bell::Bell;
use crate::sys::fork::{Origin, forget_threads};
use crate::sys::own;

pub(super) struct Pool {
    pub(super) id: usize,
    /// The process that made it. A fork of that has none of its threads.
    pub(super) origin: Origin,
    pub(super) plan: Plan,
    pub(super) launcher: Launcher,
    pub(super) ledger: Mutex<Ledger>,
    /// Notified when the collector ends, and when the last task is settled
    /// after that.
    pub(super) over: Condvar,
    /// Notified when a bounded queue has room again, or is closed.
    pub(super) room: Condvar,
    /// Wakes the supervisor.
    pub(super) bell: Bell,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(super) last_number: AtomicU64,
}

/// For how many tasks an empty queue keeps its memory.
const KEPT: usize = 4096;

global! {
    static POOLS: Mutex<BTreeMap<usize, Weak<Pool>>> = Mutex::new(BTreeMap::new());
}

/// The pool of a task's home, if it lives.
pub(super) fn find(id: usize) -> Option<Arc<Pool>> {
    POOLS.lock().get(&id).and_then(Weak::upgrade)
}

impl Pool {
    pub(super) fn new(plan: Plan) -> Result<Arc<Self>, Error> {
        let way = entry::way().map_err(|refusal| Error::unsupported(refusal.to_string()))?;
        let launcher = Launcher {
            way,
            name: plan.name.clone(),
            env: plan.env.clone(),
            current_dir: plan.current_dir.clone(),
            initialize: plan.initialize.clone().map(Arc::new),
        };
        let bell = Bell::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        let origin = Origin::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        let pool = Arc::new(Self {
            id: new_home(),
            origin,
            plan,
            launcher,
            ledger: Mutex::new(Ledger::default()),
            over: Condvar::new(),
            room: Condvar::new(),
            bell,
            threads: Mutex::new(Vec::new()),
            last_number: AtomicU64::new(0),
        });
        POOLS.lock().insert(pool.id, Arc::downgrade(&pool));
        Ok(pool)
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Why a task would be refused, before its arguments are encoded.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if !self.is_here() {
            return Err(Error::forked_pool());
        }
        self.ledger.lock().closed.clone().map_or(Ok(()), Err)
    }

    /// Whether this is the process that made it, and not a fork of that.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// Queues a task of a pool that was found open; a full queue is waited for if
    /// `waits`.
    pub(super) fn queue<T, D>(
        self: &Arc<Self>,
        mut call: Vec<u8>,
        terms: Terms,
        decode: D,
        waits: bool,
    ) -> Result<Arc<Completion<T>>, Error>
    where
        T: Send + 'static,
        D: Fn(&[u8], Option<&Arc<str>>) -> Result<T, Error> + Send + 'static,
    {
        // ORDERING: it has to be unique; it publishes nothing.
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        frame::set_task(&mut call, number);
        frame::set_cpu(&mut call, own::cpu());
        let job = Packed {
            pool: Arc::clone(self),
            number,
            frame: Arc::new(call),
        };
        let completion = Completion::remote(self.id);
        if self.plan.record_timing {
            completion.record_timing();
        }
        // SAFETY: neither the call nor the value borrows.
        let _ = unsafe { completion.pack(Some(Box::new(job)), None) };
        let task = Shipped {
            pool: Arc::clone(self),
            completion: Arc::clone(&completion),
            decode,
        };
        self.enqueue(Entry::new(Box::new(task), terms), waits)?;
        Ok(completion)
    }

    fn enqueue(self: &Arc<Self>, entry: Entry, waits: bool) -> Result<(), Error> {
        let mut ledger = self.ledger.lock();
        loop {
            if let Some(closed) = &ledger.closed {
                return Err(closed.clone());
            }
            // Its own code never waits for room: it is what makes it.
            if !self.is_full(&ledger) || self.is_in_own_code() {
                break;
            }
            if !waits {
                return Err(Error::QueueFull);
            }
            self.room.wait(&mut ledger);
        }
        if ledger.threads == Threads::Unneeded {
            self.start_threads(&mut ledger)?;
        }
        ledger.queue.push_back(entry);
        ledger.queued += 1;
        self.move_on(&mut ledger);
        self.ring_if_stale(ledger);
        Ok(())
    }

    /// Whether a bounded queue has no room. A task that can count on a worker, one
    /// that starts or is yet to be started, takes none.
    fn is_full(&self, ledger: &Ledger) -> bool {
        self.plan.queue_capacity.is_some_and(|n| {
            let to_start = self.plan.max_workers.saturating_sub(ledger.exist());
            let to_count_on = ledger.idle.len() + ledger.coming() + to_start;
            ledger.queued >= n.saturating_add(to_count_on)
        })
    }

    /// Tells one who waits for room that there may be some.
    pub(super) fn has_room(&self) {
        if self.plan.queue_capacity.is_some() {
            self.room.notify_one();
        }
    }

    fn start_threads(self: &Arc<Self>, ledger: &mut Ledger) -> Result<(), Error> {
        let (sender, events) = unbounded::<Event>();
        let start = |role: &str, stack: usize, life: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(format!("cf-{role}-{}", self.id));
            let thread = thread.stack_size(stack).spawn(life);
            thread.map_err(|error| Error::Spawn(Arc::new(error)))
        };
        let pool = Arc::clone(self);
        let collector = start(
            "collector",
            collector::stack(),
            Box::new(move || collector::main(pool, &events)),
        )?;
        let pool = Arc::clone(self);
        // Should this fail, the collector sees its channel closed and goes.
        let life = Box::new(move || supervisor::main(&pool));
        let supervisor = start("supervisor", supervisor::STACK, life)?;
        ledger.collector = Some(sender);
        ledger.threads = Threads::Up;
        self.threads.lock().extend([collector, supervisor]);
        Ok(())
    }

    /// Wakes the supervisor after unlocking, if there is news for it.
    pub(super) fn ring_if_stale(&self, mut ledger: MutexGuard<'_, Ledger>) {
        let is_stale = std::mem::take(&mut ledger.is_stale);
        drop(ledger);
        if is_stale {
            self.bell.ring();
        }
    }

    /// What the supervisor does at the beginning of each turn, with the lock.
    pub(super) fn begin_turn(&self, ledger: &mut Ledger) {
        ledger.is_stale = false;
        if ledger.not_before.is_some_and(|at| at <= Instant::now()) {
            ledger.not_before = None;
        }
        self.move_on(ledger);
    }

    /// Sends tasks to idle workers, dismisses those that are needed no more, and
    /// sees how many are to be started: the rule of this module.
    pub(super) fn move_on(&self, ledger: &mut Ledger) {
        while let Some(&number) = ledger.idle.last() {
            let Some((entry, call)) = self.next_task(ledger) else {
                break;
            };
            ledger.idle.pop();
            if let Some(link) = ledger.links.get_mut(&number) {
                let frame = Arc::clone(&call.frame);
                link.duty = Duty::Busy(Flight {
                    number: call.number,
                    entry,
                    call: Some(call),
                    started: None,
                    written: 0,
                });
                link.expect_progress();
                link.send(frame);
                ledger.is_stale |= link.has_unsent() || link.is_lost || !ledger.is_watched;
                ledger.was_active = true;
            }
        }
        if ledger.closed.is_some() {
            self.wind_up(ledger);
        }
        let waiting = ledger.queued + ledger.again;
        let (coming, exist) = (ledger.coming(), ledger.exist());
        let may_start = ledger.not_before.is_none() && exist < self.plan.max_workers;
        if !ledger.queue.is_empty() && waiting > coming && may_start {
            let more = (waiting - coming).min(self.plan.max_workers - exist);
            ledger.owed += more;
            ledger.is_stale = true;
        }
    }

    /// The next task that is to be sent, with its call.
    fn next_task(&self, ledger: &mut Ledger) -> Option<(Entry, Box<Packed>)> {
        while let Some(mut entry) = ledger.queue.pop_front() {
            // A long queue does not keep its memory for ever.
            if ledger.queue.is_empty() && ledger.queue.capacity() > KEPT {
                ledger.queue.shrink_to(KEPT);
            }
            if let Some(call) = entry.again.take() {
                ledger.again -= 1;
                return Some((entry, call));
            }
            match entry.task.claim() {
                Some(call) => {
                    self.unqueue(ledger);
                    return Some((entry, call));
                }
                // It was cancelled; who cancelled it has told everybody.
                None => ledger.tell(Event::Stale(entry)),
            }
        }
        None
    }

    /// After the last task the workers may go.
    fn wind_up(&self, ledger: &mut Ledger) {
        if ledger.queued + ledger.again > 0 {
            return;
        }
        ledger.owed = ledger.starting;
        while let Some(entry) = ledger.queue.pop_front() {
            ledger.tell(Event::Stale(entry));
        }
        for number in std::mem::take(&mut ledger.idle) {
            if let Some(link) = ledger.links.get_mut(&number) {
                link.dismiss();
            }
        }
        // The supervisor may be the last one here.
        ledger.is_stale = true;
    }

    /// A queued task is none any more.
    pub(super) fn unqueue(&self, ledger: &mut Ledger) {
        ledger.queued -= 1;
        self.has_room();
    }

    /// A task was cancelled while it was queued, or failed with its pool.
    pub(super) fn withdrawn(&self, cancelled: bool) {
        let mut ledger = self.ledger.lock();
        self.unqueue(&mut ledger);
        if cancelled {
            ledger.cancelled += 1;
        } else {
            ledger.failed += 1;
        }
        if ledger.closed.is_some() {
            self.move_on(&mut ledger);
        }
        self.ring_if_stale(ledger);
    }

    /// A task has its outcome, which nobody knows yet.
    pub(super) fn ended(&self, failed: bool) {
        let mut ledger = self.ledger.lock();
        ledger.unread -= 1;
        if failed {
            ledger.failed += 1;
        } else {
            ledger.finished += 1;
        }
    }

    /// A task that was answered has its outcome, and all were told.
    pub(super) fn settled(&self) {
        let mut ledger = self.ledger.lock();
        ledger.unsettled -= 1;
        let was_last = ledger.unsettled == 0 && ledger.threads == Threads::Over;
        drop(ledger);
        if was_last {
            self.over.notify_all();
        }
    }

    /// Hears what the workers have said up to now.
    pub(super) fn catch_up(&self, ledger: &mut Ledger) {
        let busy: Vec<usize> = ledger
            .links
            .iter()
            .filter(|(_, link)| !matches!(link.duty, Duty::Idle))
            .map(|(number, _)| *number)
            .collect();
        for number in busy {
            self.hear(ledger, number);
            // Half a message has a limit from now on, which the supervisor keeps.
            let link = ledger.links.get(&number);
            ledger.is_stale |= link.is_some_and(|link| link.progress.is_some());
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats_and_unread().0
    }

    /// And the number of tasks whose values are still being read: no worker runs them
    /// any more, and they have no outcome yet.
    pub(super) fn stats_and_unread(&self) -> (Stats, usize) {
        if !self.is_here() {
            return (Stats::default(), 0);
        }
        let mut ledger = self.ledger.lock();
        self.catch_up(&mut ledger);
        let unread = ledger.unread;
        let stats = Stats {
            workers: ledger.exist(),
            idle: ledger.idle.len() + ledger.coming(),
            queued: ledger.queued,
            running: ledger.running,
            finished: ledger.finished,
            failed: ledger.failed,
            cancelled: ledger.cancelled,
            replaced: ledger.replaced,
            pids: ledger
                .links
                .values()
                .map(|link| link.process.pid())
                .collect(),
            broken: ledger.is_broken(),
        };
        self.ring_if_stale(ledger);
        (stats, unread)
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
