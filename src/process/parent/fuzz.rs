//! The driver of the fuzz target `parent`: a whole pool without threads, whose workers,
//! supervisor, collector and users the driver plays, one step at a time.
//!
//! The pool's state, its offers and its transports are the real ones. The driver plays the
//! threads and the worker processes: each makes its next step when the input says so.
//!
//! | played | its steps | in |
//! |---|---|---|
//! | users | submit a task, with retries, a time limit or a long call (`fuzz/book.rs`); call `stats` (this file); cancel or kill a task; drop a future; add a callback, which may submit a task; poll; shut the pool down; kill or terminate the workers | `fuzz/acts.rs` |
//! | a worker | connects, is ready, initializes, takes an offer, records the begin of a task, sends `Started` if the pool sleeps, answers or panics | `fuzz/worker.rs` |
//! | a worker that misbehaves | refuses to begin, sends nonsense, closes its connection, or ends, also after the pool has killed it | `fuzz/acts.rs` |
//! | the supervisor | one round, up to the start of a worker or a sleep; the start of a worker, which may fail; a wake-up, if there is a reason for it | `fuzz/threads.rs` |
//! | the collector | handles one event | this file |
//! | time | a deadline, a limit of progress or silence, or a pause of starts is over | `fuzz/acts.rs` |
//!
//! After each step the driver checks that each task is in one place, and that the pool's
//! counts are right (`check`). At the end, each played side does what it can. Of the limits
//! of time, only the pauses between starts pass: the supervisor and the workers sleep until
//! something wakes them. Then all tasks must have ended, so a lost wake-up shows as a task
//! that has not ended. `fuzz/book.rs` has the record of each task, and says which ends are
//! right:
//!
//! * A task runs once, or once more for each retry. A cancelled task never begins.
//! * A task fails with `WorkerDied` only if it has begun in a worker that died, if it has a
//!   long call, if a relay may have lost messages, or if the pool has broken or its workers
//!   were killed or terminated.
//! * If `cancel` or `kill` has returned `true`, the task ends with `Cancelled` or `Killed`.
//!
//! If the environment variable `TRACE` is set, the driver prints the state before each
//! step.

mod acts;
mod book;
mod threads;
mod worker;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};

use self::book::{Book, Plan};
use self::threads::Supervisor;
use self::worker::{At, Worker, frame};
use super::collector;
use super::launcher_states::LauncherStates;
use super::pool::Pool;
use super::pool_state::{Event, PoolState, Threads};
use super::worker_handle::WorkerState;
use crate::error::End;
use crate::executor::ShutdownOptions;
use crate::process::fuzz_input::Input;
use crate::process::launcher::Launcher;
use crate::process::settings::{Config, OnWorkerDeath, Transport};
use crate::process::wire::frame::Kind;
use crate::sync::thread_id;

const STEPS: usize = 600;

/// The largest number of calls of `go_on` until no side can make a further step.
const LAST_STEPS: usize = 20_000;

struct Driver {
    pool: Arc<Pool>,
    events: Receiver<Event>,
    launchers: Vec<Launcher>,
    supervisor: Supervisor,
    workers: Vec<Worker>,
    book: Book,
    /// The threads that each cancel one task, with the number of the task. Such a thread
    /// may wait until a worker gives the task back.
    cancels: Vec<(u64, JoinHandle<bool>)>,
    is_polling: bool,
}

impl Driver {
    fn new(input: &mut Input<'_>) -> Self {
        let kind = input.byte();
        let (transport, is_launched) = match kind % 4 {
            0 | 1 => (Transport::Shared, false),
            2 => (Transport::Socket, false),
            _ => (Transport::Socket, true),
        };
        let options = input.byte();
        let has = |bit: u8| options >> bit & 1 == 1;
        let on_worker_death = match has(0) && has(1) {
            true => OnWorkerDeath::BreakPool,
            false => OnWorkerDeath::FailTask,
        };
        let max_workers = 1 + usize::from(kind >> 4) % 3;
        let initializer = frame(Kind::Initialize, 0, &[0; 16]);
        let pool = Pool::new(Config {
            max_tasks_per_child: (has(2) && has(3)).then_some(2),
            on_worker_death,
            queue_capacity: (has(4)).then_some(3),
            initialize: (has(5) && has(6)).then(|| Arc::new(initializer.into())),
            ..Config::of_played_pool(transport, max_workers)
        });
        let pool = pool.expect("there is memory");
        let launchers = match is_launched {
            true => (1..=2)
                .map(|workers| Launcher::command(["ssh"]).workers(workers).in_flight(3))
                .collect(),
            false => Vec::new(),
        };
        let (sender, events) = unbounded();
        let mut state = pool.lock();
        state.launchers = LauncherStates::new(&launchers);
        state.collector = Some(sender);
        state.collector_thread = Some(thread_id());
        state.threads = Threads::Up;
        drop(state);
        let book = Book::default();
        book.pages().causes.breaks_on_death = on_worker_death == OnWorkerDeath::BreakPool;
        Self {
            pool,
            events,
            launchers,
            supervisor: Supervisor::new(),
            workers: Vec::new(),
            book,
            cancels: Vec::new(),
            is_polling: false,
        }
    }

    fn supervise(&mut self) -> bool {
        let (pool, launchers) = (&self.pool, &self.launchers);
        self.supervisor.step(pool, launchers, &mut self.workers)
    }

    fn collect(&mut self) -> bool {
        let event = self.events.try_recv();
        event.is_ok_and(|event| {
            collector::handle(&self.pool, event);
            true
        })
    }

    /// Waits for the threads whose cancels no worker holds up.
    fn join_cancels(&mut self) {
        let mut left = Vec::new();
        for (task, cancel) in std::mem::take(&mut self.cancels) {
            let is_over = loop {
                if cancel.is_finished() {
                    break true;
                }
                if self.pool.lock().recalls.is_open(task) {
                    break false;
                }
                thread::yield_now();
            };
            match is_over {
                true => self
                    .book
                    .cancelled(task, cancel.join().expect("it does not panic")),
                false => left.push((task, cancel)),
            }
        }
        self.cancels = left;
    }

    /// Removes the workers that have ended. Records their ends, and nonsense that workers
    /// have sent, as causes of later events.
    fn bury(&mut self) {
        let mut pages = self.book.pages();
        let causes = &mut pages.causes;
        self.workers.retain(|worker| {
            causes.has_death |= worker.has_babbled;
            if worker.at != At::Ended {
                return true;
            }
            causes.has_death = true;
            causes.useless += u32::from(worker.is_useless());
            causes.loses |= worker.traits.is_relayed;
            false
        });
    }

    /// Ends the pauses between starts. Returns `true` if there were any, and the supervisor
    /// has not ended.
    fn end_pauses(&mut self) -> bool {
        let mut state = self.pool.lock();
        let is_paused = state.not_before.is_some() || state.retry_at.is_some();
        let pauses = is_paused && !self.supervisor.has_ended();
        state.not_before = state.not_before.map(|_| Instant::now());
        state.launchers.hurry();
        self.supervisor.is_due |= pauses;
        pauses
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let byte = input.byte();
        let number = usize::from(byte >> 5);
        let count = self.workers.len();
        match byte % 32 {
            0..=8 if count > 0 => drop(self.workers[number % count].step(&self.book)),
            9..=13 => drop(self.supervise()),
            14..=16 => drop(self.collect()),
            17..=21 => {
                let options = input.byte();
                let length = match options {
                    0..=249 => usize::from(options % 8) * 8,
                    250..=253 => 70 << 10,
                    _ => 600 << 10,
                };
                let plan = Plan {
                    retries: u32::from(options >> 4 & 1) + u32::from(options >> 5 & 1),
                    has_limit: options >> 6 == 1,
                    length,
                };
                self.book.submit(&self.pool, plan);
            }
            22..=24 => self.use_task(input),
            25..=27 => self.harm(input),
            28 => self.hurry(input),
            29 if number == 0 => self.stop(input),
            29 => drop(self.pool.stats()),
            30 if number < 2 => {
                let kinds = [ErrorKind::WouldBlock, ErrorKind::NotFound];
                self.supervisor.next_failure = Some(kinds[number]);
                self.book.pages().causes.is_refused = true;
            }
            30 => self.supervisor.relays = number == 2,
            31 if self.is_polling && number > 2 => self.pool.read_arrived(),
            31 => self.poll(),
            _ => {}
        }
    }

    fn trace(&self, input: &Input<'_>) {
        let state = self.pool.lock();
        let at: Vec<_> = self
            .workers
            .iter()
            .map(|it| (it.traits.number, it.at))
            .collect();
        let queue: Vec<_> = state.queue.iter().map(|entry| entry.number).collect();
        eprintln!(
            "{at:?} idle {:?} queue {queue:?} then {input:?}",
            state.idle
        );
    }

    fn after_step(&mut self) {
        self.join_cancels();
        self.bury();
        self.check();
    }

    /// Checks the places of the tasks and the counts of the pool.
    fn check(&self) {
        let state = self.pool.lock();
        assert!(
            state.count_workers() <= self.pool.config.max_workers,
            "too many workers"
        );
        let mut idle = BTreeSet::new();
        for number in &state.idle {
            let handle = state.workers.get(number).expect("an idle worker exists");
            let is_idle = matches!(handle.activity, WorkerState::Idle);
            assert!(is_idle && idle.insert(number), "worker {number} is idle");
        }
        let places = self.places(&state);
        let pages = self.book.pages();
        let cards = &pages.cards;
        let submitted = cards.len() as u64;
        let open = (state.queued + state.count_unbegun() + state.running + state.unread) as u64;
        let ended = state.finished + state.failed + state.cancelled;
        assert_eq!(open + ended, submitted, "each task is counted once");
        if !self.events.is_empty() {
            return;
        }
        for (task, card) in cards {
            let done = card.future.as_ref().is_none_or(|future| future.done());
            assert!(done || places.contains(task), "task {task} is lost");
        }
    }

    /// Returns the numbers of the tasks in the queue, in offers and with workers, and
    /// checks the counts of those that have begun.
    fn places(&self, state: &PoolState) -> BTreeSet<u64> {
        let offered = state.offered.iter().flat_map(|offered| &offered.tasks);
        let offered = offered.map(|offer| &offer.task.entry);
        let handles = state.workers.values();
        let sent = handles.flat_map(|handle| handle.in_flight().into_iter().chain(&handle.ahead));
        let entries = state
            .queue
            .iter()
            .chain(offered)
            .chain(sent.map(|task| &task.entry));
        let mut places = BTreeSet::new();
        let mut begun = 0;
        for entry in entries {
            let number = entry.number;
            assert!(places.insert(number), "task {number} is in two places");
            begun += usize::from(entry.has_begun);
        }
        assert_eq!(state.running, begun, "the tasks that run");
        let retries = state.queue.iter().filter(|entry| entry.has_begun).count();
        assert_eq!(state.retries_queued, retries, "the retries in the queue");
        places
    }

    /// Lets each side make its next step. Returns `false` if no side can make one.
    fn go_on(&mut self) -> bool {
        let mut goes_on = self.supervise();
        goes_on |= self.collect();
        for at in 0..self.workers.len() {
            let worker = &mut self.workers[at];
            let (is_killed, is_terminated) =
                worker.with_process(|process| (process.is_killed, process.is_terminated));
            goes_on |= match worker.at {
                At::Ended => false,
                _ if is_killed || is_terminated => {
                    worker.end(End::Signalled("SIGKILL".to_owned()));
                    true
                }
                // The pool may wait for the rest of a message that never comes.
                _ if worker.has_babbled => {
                    worker.close();
                    worker.step(&self.book)
                }
                _ if worker.has_unsent() => worker.relay().is_ok(),
                _ => worker.step(&self.book),
            };
        }
        self.after_step();
        goes_on
    }

    fn go_on_to_the_end(&mut self) {
        for _ in 0..LAST_STEPS {
            if !self.go_on() && !self.end_pauses() {
                return;
            }
        }
        panic!("the pool does not come to rest");
    }

    /// Lets the run come to its end, and checks that the tasks, the workers and the threads
    /// have ended as they should.
    fn finish(&mut self) {
        if self.is_polling {
            self.poll();
        }
        self.supervisor.next_failure = None;
        self.go_on_to_the_end();
        let is_broken = self.pool.lock().is_broken();
        self.book.check_ends(is_broken);
        let _ = self.pool.shutdown(ShutdownOptions::new().wait(false));
        self.go_on_to_the_end();
        let state = self.pool.lock();
        assert!(self.supervisor.has_ended(), "the supervisor ends");
        assert!(state.threads == Threads::Ended && state.unsettled == 0);
        assert!(self.workers.is_empty() && self.cancels.is_empty());
        let pages = self.book.pages();
        let causes = &pages.causes;
        let may_break =
            causes.is_refused || causes.useless >= 5 || causes.breaks_on_death && causes.has_death;
        assert!(may_break || !state.is_broken(), "{:?}", state.closed);
    }
}

pub(crate) fn drive(data: &[u8]) {
    let mut input = Input::new(data);
    let mut driver = Driver::new(&mut input);
    let traces = std::env::var_os("TRACE").is_some();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        if traces {
            driver.trace(&input);
        }
        driver.step(&mut input);
        driver.after_step();
    }
    driver.finish();
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pool_keeps_its_promises_whatever_its_workers_do() {
        crate::process::fuzz_input::run_with_fixed_inputs(super::drive, 300, 400);
    }
}
