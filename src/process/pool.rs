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
//!
//! # Breaking
//!
//! An initializer that fails, a worker that is another program, five workers in
//! a row that die before they begin a task, or a worker that cannot be started
//! when there is no other: the pool is closed with that cause and all that is
//! queued fails. (A task that ends its worker is over, and fails alone: ten such
//! in a row do not break a pool.) Under [`OnWorkerDeath::BreakPool`] any death
//! does that, and the other workers are ended too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::collector::{self, Event};
use super::entry;
use super::frame;
use super::launcher::Launcher;
use super::link::{Duty, Entry, Fate, Flight, Link, TURN};
use super::message::{Answer, InitializeFailure, Reply};
use super::supervisor;
use super::task::{Packed, Shipped};
use super::terms::{OnWorkerDeath, Plan, Terms};
use crate::completion::{Completion, brings_results_of, is_telling_of, new_home};
use crate::error::{DeathParts, End, Error, WorkerDeath};
use crate::executor::{ShutdownOptions, ShutdownReport, Stats};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::sys::bell::Bell;

/// How many workers in a row may die before they begin a task.
const BARREN_STARTS: u32 = 5;

/// How many workers may end with a task's call before it starts: reading the
/// call is what ends them.
const LOST_SENDS: u32 = 3;

pub(super) struct Pool {
    id: usize,
    /// The process that made it. A fork of that has none of its threads.
    pid: u32,
    plan: Plan,
    launcher: Launcher,
    ledger: Mutex<Ledger>,
    /// Notified when the collector ends.
    over: Condvar,
    /// Notified when a bounded queue has room again, or is closed.
    room: Condvar,
    /// Wakes the supervisor.
    pub(super) bell: Bell,
    threads: Mutex<Vec<JoinHandle<()>>>,
    last_number: AtomicU64,
}

/// The supervisor and the collector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    Unneeded,
    Up,
    Over,
}

pub(super) struct Ledger {
    /// Why tasks are refused.
    closed: Option<Error>,
    shut_down: bool,
    /// All workers are ended; one that was just being started too.
    stopped: Option<Fate>,
    threads: Threads,
    queue: VecDeque<Entry>,
    pub(super) links: BTreeMap<usize, Link>,
    /// Those that wait for a task; the last was busy last.
    idle: Vec<usize>,
    /// Workers that the supervisor has yet to start, or is starting.
    owed: usize,
    starting: usize,
    started: usize,
    /// Workers that ended and were not replaced yet.
    ended: u64,
    replaced: u64,
    barren_starts: u32,
    queued: usize,
    /// Tasks in the queue that were begun before.
    again: usize,
    running: usize,
    finished: u64,
    failed: u64,
    cancelled: u64,
    collector: Option<Sender<Event>>,
    /// Whether the supervisor has to look at the links anew.
    is_stale: bool,
}

static POOLS: Mutex<BTreeMap<usize, Weak<Pool>>> = Mutex::new(BTreeMap::new());

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
        let pool = Arc::new(Self {
            id: new_home(),
            pid: std::process::id(),
            plan,
            launcher,
            ledger: Mutex::new(Ledger::new()),
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
        self.check_process()?;
        self.ledger.lock().closed.clone().map_or(Ok(()), Err)
    }

    fn check_process(&self) -> Result<(), Error> {
        if self.is_here() {
            return Ok(());
        }
        Err(Error::other(
            "the pool was made in the process that this one was forked from, \
             which alone has its workers; make a new one here",
        ))
    }

    /// Whether this is the process that made it, and not a fork of that.
    fn is_here(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Queues a task; a full queue is waited for if `waits`.
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
        self.check_process()?;
        // ORDERING: it has to be unique; it publishes nothing.
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        frame::set_task(&mut call, number);
        let job = Packed {
            pool: Arc::clone(self),
            number,
            frame: Arc::new(call),
        };
        let completion = Completion::new(self.id);
        if self.plan.record_timing {
            completion.record_timing();
        }
        // SAFETY: neither the call nor the value borrows.
        let _ = unsafe { completion.pack(Some(Box::new(job)), None) };
        let task = Shipped {
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
            let is_full = self.plan.queue_capacity.is_some_and(|n| ledger.queued >= n);
            if !is_full || self.is_in_own_code() {
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

    fn start_threads(self: &Arc<Self>, ledger: &mut Ledger) -> Result<(), Error> {
        let (sender, events): (Sender<Event>, Receiver<Event>) = unbounded();
        let start = |role: &str, life: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(format!("cf-{role}-{}", self.id));
            let thread = thread.spawn(life);
            thread.map_err(|error| Error::Spawn(Arc::new(error)))
        };
        let pool = Arc::clone(self);
        let collector = start(
            "collector",
            Box::new(move || collector::main(pool, &events)),
        )?;
        let pool = Arc::clone(self);
        // Should this fail, the collector sees its channel closed and goes.
        let supervisor = start("supervisor", Box::new(move || supervisor::main(&pool)))?;
        ledger.collector = Some(sender);
        ledger.threads = Threads::Up;
        self.threads.lock().extend([collector, supervisor]);
        Ok(())
    }

    /// Wakes the supervisor after unlocking, if there is news for it.
    fn ring_if_stale(&self, mut ledger: MutexGuard<'_, Ledger>) {
        let is_stale = std::mem::take(&mut ledger.is_stale);
        drop(ledger);
        if is_stale {
            self.bell.ring();
        }
    }

    /// What the supervisor does at the beginning of each turn, with the lock.
    pub(super) fn begin_turn(&self, ledger: &mut Ledger) {
        ledger.is_stale = false;
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
                link.send(Arc::clone(&call.frame));
                ledger.is_stale |= link.has_unsent();
                link.duty = Duty::Busy(Flight {
                    number: call.number,
                    entry,
                    call: Some(call),
                    started: None,
                });
            }
        }
        if ledger.closed.is_some() {
            self.wind_up(ledger);
        }
        let waiting = ledger.queued + ledger.again;
        let coming = ledger.owed + ledger.starting_links();
        let exist = ledger.owed + ledger.links.len();
        if !ledger.queue.is_empty() && waiting > coming && exist < self.plan.max_workers {
            let more = (waiting - coming).min(self.plan.max_workers - exist);
            ledger.owed += more;
            ledger.is_stale = true;
        }
    }

    /// The next task that is to be sent, with its call.
    fn next_task(&self, ledger: &mut Ledger) -> Option<(Entry, Box<Packed>)> {
        while let Some(mut entry) = ledger.queue.pop_front() {
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
    fn unqueue(&self, ledger: &mut Ledger) {
        ledger.queued -= 1;
        if self.plan.queue_capacity.is_some() {
            self.room.notify_one();
        }
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
        if failed {
            ledger.failed += 1;
        } else {
            ledger.finished += 1;
        }
    }

    // What the workers say.

    /// Reads what a worker has said, and acts on it.
    pub(super) fn hear(&self, ledger: &mut Ledger, number: usize) {
        let mut budget = TURN;
        while let Some(link) = ledger.links.get_mut(&number) {
            match link.hear(&mut budget) {
                Ok(Some(reply)) => self.heard(ledger, number, reply),
                Ok(None) => return,
                Err(nonsense) => {
                    let what = format!("it sent nonsense: {nonsense}");
                    return link.kill(Fate::Unfit(what));
                }
            }
        }
    }

    fn heard(&self, ledger: &mut Ledger, number: usize, reply: Reply) {
        let Some(link) = ledger.links.get_mut(&number) else {
            return;
        };
        // Who was told that a task is killed is told the truth.
        if link.is_doomed() {
            return;
        }
        match reply {
            Reply::Ready | Reply::Initialized => {
                // One that leaves was sent all of that before.
                if !matches!(link.duty, Duty::Starting) {
                    return;
                }
                // The initializer may take its time: it is the user's.
                link.deadline = None;
                if reply == Reply::Initialized || !self.launcher.initializes() {
                    link.duty = Duty::Idle;
                    ledger.idle.push(number);
                    self.move_on(ledger);
                }
            }
            Reply::Refused(why) => {
                link.kill(Fate::Unfit(why.clone()));
                self.break_down(ledger, Error::unsupported(why));
            }
            Reply::InitializeFailed(failure) => {
                link.leave();
                self.break_down(ledger, cause_of(failure));
            }
            Reply::Started(task) => self.task_started(ledger, number, task),
            Reply::Answer(task, answer) => self.task_answered(ledger, number, task, answer),
        }
    }

    fn task_started(&self, ledger: &mut Ledger, number: usize, task: u64) {
        let Some(link) = ledger.links.get_mut(&number) else {
            return;
        };
        let now = Instant::now();
        match &mut link.duty {
            Duty::Busy(flight) if flight.number == task && flight.started.is_none() => {
                flight.started = Some(now);
                if flight.entry.terms.retries == 0 {
                    flight.call = None;
                }
                if !flight.entry.has_begun {
                    flight.entry.has_begun = true;
                    ledger.running += 1;
                    flight.entry.task.begin();
                }
                let limit = flight.entry.terms.time_limit;
                link.has_begun = true;
                link.deadline = limit.and_then(|limit| now.checked_add(limit));
                ledger.is_stale |= link.deadline.is_some();
            }
            _ => link.kill(Fate::Unfit("it started what it does not have".to_owned())),
        }
    }

    fn task_answered(
        &self,
        ledger: &mut Ledger,
        number: usize,
        task: u64,
        answer: Answer<Vec<u8>>,
    ) {
        let Some(link) = ledger.links.get_mut(&number) else {
            return;
        };
        let flight = link.flight();
        let is_its = flight.is_some_and(|flight| flight.number == task && flight.started.is_some());
        let Some(flight) = is_its.then(|| link.take_flight()).flatten() else {
            return link.kill(Fate::Unfit("it answered what nobody asked".to_owned()));
        };
        link.deadline = None;
        link.done += 1;
        if self.plan.max_tasks_per_child == Some(link.done) || link.fate.is_some() {
            link.dismiss();
            ledger.is_stale = true;
        } else {
            ledger.idle.push(number);
        }
        ledger.running -= 1;
        ledger.barren_starts = 0;
        // The next task first: its worker waits, and this task is over.
        self.move_on(ledger);
        let Entry { task, terms, .. } = flight.entry;
        ledger.tell(Event::Answered(task, answer, terms.name));
    }

    // The ends of workers; the supervisor's.

    /// Whether a worker is to be started: its number. The supervisor says by
    /// [`worker_started`](Self::worker_started) or
    /// [`not_started`](Self::not_started) what came of it.
    pub(super) fn start_owed(&self, ledger: &mut Ledger) -> Option<usize> {
        if ledger.owed == 0 {
            return None;
        }
        ledger.starting = 1;
        let number = ledger.started;
        ledger.started += 1;
        Some(number)
    }

    pub(super) fn worker_started(&self, ledger: &mut Ledger, number: usize, mut link: Link) {
        ledger.owed -= 1;
        ledger.starting = 0;
        if ledger.ended > 0 {
            ledger.ended -= 1;
            ledger.replaced += 1;
        }
        if let Some(fate) = &ledger.stopped {
            link.kill(fate.clone());
        }
        ledger.links.insert(number, link);
        if ledger.closed.is_some() && ledger.queued + ledger.again == 0 {
            if let Some(link) = ledger.links.get_mut(&number) {
                link.dismiss();
            }
        }
    }

    pub(super) fn not_started(&self, ledger: &mut Ledger, error: Error) {
        ledger.owed = 0;
        ledger.starting = 0;
        // Another worker will take the task, and ask again when it ends.
        if ledger.links.is_empty() {
            self.break_down(ledger, error);
        }
    }

    /// A worker's process has ended, and all that it had said was heard.
    pub(super) fn worker_ended(&self, ledger: &mut Ledger, number: usize, end: End) {
        let Some(mut link) = ledger.links.remove(&number) else {
            return;
        };
        ledger.idle.retain(|idle| *idle != number);
        ledger.ended += 1;
        let is_death = match &link.fate {
            None => !matches!(link.duty, Duty::Leaving),
            Some(fate) => matches!(fate, Fate::Unfit(_)),
        };
        let flight = link.take_flight();
        let death = Error::WorkerDied(WorkerDeath::new(DeathParts {
            pid: link.process.pid(),
            end,
            task: flight
                .as_ref()
                .and_then(|flight| flight.entry.terms.name.clone()),
            ran_for: flight
                .as_ref()
                .and_then(|flight| Some(flight.started?.elapsed())),
            note: match &link.fate {
                Some(Fate::Unfit(what)) => Some(what.clone()),
                _ => None,
            },
        }));
        if is_death && !link.has_begun {
            ledger.barren_starts += 1;
        }
        if let Some(flight) = flight {
            self.ground(ledger, flight, link.fate, &death);
        }
        if is_death && self.breaks_on_death() {
            self.break_down(ledger, death);
            self.stop(ledger, Fate::Broken);
        } else if ledger.barren_starts >= BARREN_STARTS {
            self.break_down(ledger, death);
        }
        self.move_on(ledger);
    }

    fn breaks_on_death(&self) -> bool {
        self.plan.on_worker_death == OnWorkerDeath::BreakPool
    }

    /// What becomes of the task of a worker that has ended.
    fn ground(&self, ledger: &mut Ledger, flight: Flight, fate: Option<Fate>, death: &Error) {
        let has_started = flight.started.is_some();
        let (mut entry, call) = (flight.entry, flight.call);
        let error = match fate {
            Some(Fate::Killed | Fate::Terminated) => Error::Killed,
            Some(Fate::Overdue) => Error::TimeLimit,
            Some(Fate::Broken) => ledger.closed.clone().unwrap_or_else(|| death.clone()),
            Some(Fate::Unfit(_)) | None => {
                let goes_on = ledger.stopped.is_none() && !ledger.is_broken();
                if let Some(call) = call.filter(|_| goes_on) {
                    if !has_started {
                        entry.lost_sends += 1;
                        if entry.lost_sends < LOST_SENDS {
                            return self.put_back(ledger, entry, call);
                        }
                    } else if entry.terms.retries > 0 && !self.breaks_on_death() {
                        entry.terms.retries -= 1;
                        return self.put_back(ledger, entry, call);
                    }
                }
                // A task that ends its worker is over, whatever the next one does.
                ledger.barren_starts = 0;
                death.clone()
            }
        };
        ledger.fail(entry, error);
    }

    /// Puts a task back to the head of the queue.
    fn put_back(&self, ledger: &mut Ledger, mut entry: Entry, call: Box<Packed>) {
        if entry.has_begun {
            ledger.again += 1;
            entry.again = Some(call);
        } else {
            entry.task.release(call);
            ledger.queued += 1;
        }
        ledger.queue.push_front(entry);
    }

    // The ends of pools.

    /// The pool cannot go on.
    fn break_down(&self, ledger: &mut Ledger, cause: Error) {
        let broken = cause.broken();
        ledger.close(broken.clone());
        self.room.notify_all();
        ledger.again = 0;
        let entries: Vec<_> = ledger.queue.drain(..).collect();
        let (begun, pending): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.has_begun);
        for entry in begun {
            ledger.fail(entry, broken.clone());
        }
        ledger.tell(Event::Refused(pending, broken));
        self.move_on(ledger);
    }

    /// Ends all workers.
    fn stop(&self, ledger: &mut Ledger, fate: Fate) {
        ledger.owed = ledger.starting;
        ledger.stopped = Some(fate.clone());
        for link in ledger.links.values_mut() {
            if link.fate.is_some() {
                continue;
            }
            if fate == Fate::Terminated {
                link.terminate();
            } else {
                link.kill(fate.clone());
            }
        }
        ledger.is_stale = true;
    }

    /// Ends all workers, and the pool with them; at once, or as `SIGTERM` does.
    pub(super) fn stop_workers(&self, at_once: bool) {
        if !self.is_here() {
            return;
        }
        let fate = if at_once {
            Fate::Killed
        } else {
            Fate::Terminated
        };
        self.shutdown(ShutdownOptions::new().wait(false).cancel_pending(true));
        let mut ledger = self.ledger.lock();
        while let Some(at) = ledger.queue.iter().position(|entry| entry.has_begun) {
            ledger.again -= 1;
            if let Some(entry) = ledger.queue.remove(at) {
                ledger.fail(entry, Error::Killed);
            }
        }
        self.stop(&mut ledger, fate);
        self.move_on(&mut ledger);
        self.ring_if_stale(ledger);
    }

    /// Ends a task that cannot be cancelled, with its worker; whether it could.
    pub(super) fn kill(&self, task: usize) -> bool {
        if !self.is_here() {
            return false;
        }
        let mut ledger = self.ledger.lock();
        self.catch_up(&mut ledger);
        let is_it = |entry: &Entry| entry.task.id() == task;
        let link = ledger
            .links
            .values_mut()
            .find(|link| link.flight().is_some_and(|flight| is_it(&flight.entry)));
        let killed = match link {
            Some(link) if link.fate.is_none() || link.fate == Some(Fate::Terminated) => {
                link.kill(Fate::Killed);
                true
            }
            Some(link) => link.fate == Some(Fate::Killed),
            None => {
                let mut queue = ledger.queue.iter();
                let at = queue.position(|entry| entry.has_begun && is_it(entry));
                let entry = at.and_then(|at| ledger.queue.remove(at));
                let found = entry.is_some();
                if let Some(entry) = entry {
                    ledger.again -= 1;
                    ledger.fail(entry, Error::Killed);
                    self.move_on(&mut ledger);
                }
                found
            }
        };
        self.ring_if_stale(ledger);
        killed
    }

    pub(super) fn shutdown(&self, options: ShutdownOptions) -> ShutdownReport {
        if !self.is_here() {
            return ShutdownReport::default();
        }
        // Before anything takes its time.
        let deadline = options
            .limit()
            .and_then(|limit| Instant::now().checked_add(limit));
        let mut ledger = self.ledger.lock();
        ledger.shut_down = true;
        ledger.close(Error::ShutDown);
        self.room.notify_all();
        let mut cancelled = Vec::new();
        if options.cancels_pending() {
            let entries = std::mem::take(&mut ledger.queue);
            let (begun, pending): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|entry| entry.has_begun);
            ledger.queue = begun.into();
            cancelled = pending;
        }
        self.move_on(&mut ledger);
        self.ring_if_stale(ledger);
        // All are cancelled before one is told: a callback may wait for another.
        let tidings: Vec<_> = cancelled.iter().map(|entry| entry.task.cancel()).collect();
        for tell in tidings {
            tell();
        }
        drop(cancelled);
        // There it would wait for itself.
        if options.waits() && !self.is_in_own_code() {
            self.join(deadline);
        }
        self.stats().into()
    }

    /// Whether the current thread is in one of its callbacks, or decodes one of
    /// its results.
    fn is_in_own_code(&self) -> bool {
        is_telling_of(self.id) || brings_results_of(self.id)
    }

    pub(super) fn is_shut_down(&self) -> bool {
        !self.is_here() || self.ledger.lock().shut_down
    }

    fn join(&self, deadline: Option<Instant>) {
        let mut ledger = self.ledger.lock();
        while ledger.threads == Threads::Up {
            match deadline {
                None => self.over.wait(&mut ledger),
                Some(at) => {
                    if self.over.wait_until(&mut ledger, at).timed_out() {
                        return;
                    }
                }
            }
        }
        drop(ledger);
        if deadline.is_some() {
            return;
        }
        let mut threads = self.threads.lock();
        for thread in threads.drain(..) {
            // They contain every panic of others.
            let _ = thread.join();
        }
    }

    /// Whether nothing is left for the supervisor.
    pub(super) fn is_over(&self, ledger: &Ledger) -> bool {
        ledger.closed.is_some()
            && ledger.queue.is_empty()
            && ledger.links.is_empty()
            && ledger.owed == 0
    }

    /// The supervisor ends: no event comes any more.
    pub(super) fn supervisor_over(&self, ledger: &mut Ledger) {
        ledger.tell(Event::Over);
        ledger.collector = None;
    }

    /// The collector ends.
    pub(super) fn collector_over(&self) {
        let mut ledger = self.ledger.lock();
        ledger.threads = Threads::Over;
        drop(ledger);
        self.over.notify_all();
    }

    /// Hears what the workers have said up to now.
    fn catch_up(&self, ledger: &mut Ledger) {
        let busy: Vec<usize> = ledger
            .links
            .iter()
            .filter(|(_, link)| !matches!(link.duty, Duty::Idle))
            .map(|(number, _)| *number)
            .collect();
        for number in busy {
            self.hear(ledger, number);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        if !self.is_here() {
            return Stats::default();
        }
        let mut ledger = self.ledger.lock();
        self.catch_up(&mut ledger);
        let stats = Stats {
            workers: ledger.owed + ledger.links.len(),
            idle: ledger.idle.len() + ledger.owed + ledger.starting_links(),
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
        stats
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        POOLS.lock().remove(&self.id);
    }
}

impl Ledger {
    fn new() -> Self {
        Self {
            closed: None,
            shut_down: false,
            stopped: None,
            threads: Threads::Unneeded,
            queue: VecDeque::new(),
            links: BTreeMap::new(),
            idle: Vec::new(),
            owed: 0,
            starting: 0,
            started: 0,
            ended: 0,
            replaced: 0,
            barren_starts: 0,
            queued: 0,
            again: 0,
            running: 0,
            finished: 0,
            failed: 0,
            cancelled: 0,
            collector: None,
            is_stale: false,
        }
    }

    fn starting_links(&self) -> usize {
        let is_coming = |link: &&Link| matches!(link.duty, Duty::Starting) && link.fate.is_none();
        self.links.values().filter(is_coming).count()
    }

    fn is_broken(&self) -> bool {
        matches!(self.closed, Some(Error::Broken(_)))
    }

    /// Refuses tasks from now on; that the pool broke outweighs a shutdown, and
    /// the first cause a second.
    fn close(&mut self, why: Error) {
        if !self.is_broken() {
            self.closed = Some(why);
        }
    }

    /// A task that was claimed ends with an error.
    fn fail(&mut self, entry: Entry, error: Error) {
        if entry.has_begun {
            self.running -= 1;
        }
        self.failed += 1;
        self.tell(Event::Failed(entry, error));
    }

    /// Hands something to the collector. It is there as long as anything can
    /// happen to a task.
    fn tell(&mut self, event: Event) {
        if let Some(collector) = &self.collector {
            // Refused only if the collector is gone, which goes last.
            let _ = collector.send(event);
        }
    }
}

/// Why a worker was not initialized.
fn cause_of(failure: InitializeFailure) -> Error {
    match failure {
        InitializeFailure::Error(report) => Error::other(report),
        InitializeFailure::Panicked(note) => Error::Panicked(note.into_panic(None)),
        InitializeFailure::Undecodable(fault) => {
            Error::Decode(super::task::codec_error(crate::error::Side::Worker, fault))
        }
    }
}
