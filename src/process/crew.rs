//! The workers of a pool: what they say, how they start and how they end. The
//! supervisor is the one that calls this, and who takes a snapshot.
//!
//! # The end of a worker
//!
//! All that it said was heard before. A task that it had not started goes back to
//! the head of the queue, and after three such sends fails, since its call may be
//! what ends them. One that it had started is begun again if it has retries left,
//! and fails otherwise: with `Killed` or `TimeLimit` if the pool ended the worker
//! for that, with `WorkerDied` if not.
//!
//! # Breaking
//!
//! An initializer that fails, a worker that is another program, five workers in
//! a row that die before they begin a task, or a worker that cannot be started
//! when there is no other (if there is, it is tried again after a while): the pool
//! is closed with that cause and all that is queued fails. (A task that ends its
//! worker is over, and fails alone: ten such in a row do not break a pool.) Under
//! [`OnWorkerDeath::BreakPool`] any death does that, and the other workers are
//! ended too.

use std::time::{Duration, Instant};

use super::collector::Event;
use super::exit_code::ExitCode;
use super::ledger::Ledger;
use super::link::{Duty, Entry, Fate, Flight, Link, TURN};
use super::message::{Answer, InitializeFailure, Reply};
use super::pool::Pool;
use super::task::{Packed, codec_error};
use super::terms::OnWorkerDeath;
use crate::error::{DeathParts, End, Error, Side, WorkerDeath};

/// How many workers in a row may die before they begin a task.
const BARREN_STARTS: u32 = 5;

/// How many workers may end with a task's call before it starts: reading the
/// call is what ends them.
const LOST_SENDS: u32 = 3;

/// How long a pool that has workers goes on with them when one more could not be
/// started. One of them that ends makes room, and is replaced at once.
const SHORTAGE: Duration = Duration::from_millis(500);

impl Pool {
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
        ledger.unsettled += 1;
        if let Some(rest) = task.answered(answer, terms.name) {
            ledger.tell(Event::Answered(rest));
        }
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
        if ledger.links.is_empty() {
            self.break_down(ledger, error);
        } else {
            // The others take the tasks, and must be heard meanwhile.
            ledger.not_before = Instant::now().checked_add(SHORTAGE);
        }
    }

    /// A worker's process has ended, and all that it had said was heard.
    pub(super) fn worker_ended(&self, ledger: &mut Ledger, number: usize, end: End) {
        let Some(mut link) = ledger.links.remove(&number) else {
            return;
        };
        ledger.idle.retain(|idle| *idle != number);
        ledger.ended += 1;
        self.has_room();
        let is_death = match &link.fate {
            None => !matches!(link.duty, Duty::Leaving),
            // One that is slow to leave is no death.
            Some(Fate::Unfit(_)) => !matches!(link.duty, Duty::Leaving),
            Some(_) => false,
        };
        let flight = link.take_flight();
        let explained = match end {
            End::Exited(code) => ExitCode::explain(code).map(str::to_owned),
            _ => None,
        };
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
                _ => explained,
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
}

/// Why a worker was not initialized.
fn cause_of(failure: InitializeFailure) -> Error {
    match failure {
        InitializeFailure::Error(report) => Error::other(report),
        InitializeFailure::Panicked(note) => Error::Panicked(note.into_panic(None)),
        InitializeFailure::Undecodable(fault) => Error::Decode(codec_error(Side::Worker, fault)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::sync::Arc;

    use super::super::frame::{Kind, bare};
    use super::super::launcher::Process;
    use super::super::task::one;
    use super::super::terms::{Plan, Terms};
    use super::*;
    use crate::completion::{Completion, Until};
    use crate::executor::ShutdownOptions;
    use crate::sys::channel;

    /// A pool whose only worker is a process that does nothing, and that worker's
    /// end of the channel for the test to speak through.
    fn pool_with_a_dummy() -> (Arc<Pool>, UnixStream) {
        pool_with(dummy())
    }

    fn dummy() -> Process {
        Process::new(Command::new("sleep").arg("60").spawn().unwrap()).unwrap()
    }

    fn pool_with(process: Process) -> (Arc<Pool>, UnixStream) {
        let pool = Pool::new(Plan {
            name: "by hand".to_owned(),
            max_workers: 1,
            max_tasks_per_child: None,
            terms: Terms::default(),
            on_worker_death: OnWorkerDeath::FailTask,
            queue_capacity: None,
            record_timing: false,
            env: Vec::new(),
            current_dir: None,
            initialize: None,
        });
        let pool = pool.unwrap();
        let (ours, childs) = channel::pair().unwrap();
        let mut worker = UnixStream::from(childs);
        worker.write_all(&bare(Kind::Ready, 0)).unwrap();
        let mut ledger = pool.lock();
        ledger.links.insert(0, Link::new(process, ours));
        pool.hear(&mut ledger, 0);
        assert_eq!(ledger.idle, [0]);
        drop(ledger);
        (pool, worker)
    }

    /// A task that the dummy has started.
    fn started(pool: &Arc<Pool>, worker: &mut UnixStream) -> Arc<Completion<()>> {
        started_under(Terms::default(), pool, worker)
    }

    fn started_under(
        terms: Terms,
        pool: &Arc<Pool>,
        worker: &mut UnixStream,
    ) -> Arc<Completion<()>> {
        let call = bare(Kind::Task, 0).to_vec();
        let task = pool.queue(call, terms, one::<()>, true).unwrap();
        worker.write_all(&bare(Kind::Started, 1)).unwrap();
        while pool.stats().running == 0 {
            std::thread::yield_now();
        }
        task
    }

    fn outcome(task: &Arc<Completion<()>>) -> Result<(), Error> {
        task.wait(Until::Done, None).unwrap();
        // SAFETY: nobody takes from it.
        unsafe { task.lend() }.copied()
    }

    /// Who was told that it is killed is told the truth.
    #[test]
    fn an_answer_after_a_kill_does_not_count() {
        let (pool, mut worker) = pool_with_a_dummy();
        let task = started(&pool, &mut worker);
        let mut ledger = pool.lock();
        ledger.links.get_mut(&0).unwrap().kill(Fate::Killed);
        worker.write_all(&bare(Kind::Returned, 1)).unwrap();
        drop(ledger);
        assert!(matches!(outcome(&task), Err(Error::Killed)));
        pool.shutdown(ShutdownOptions::new());
    }

    /// A worker may end right behind its answer.
    #[test]
    fn an_answer_before_the_end_counts() {
        let (pool, mut worker) = pool_with_a_dummy();
        let task = started(&pool, &mut worker);
        let ledger = pool.lock();
        worker.write_all(&bare(Kind::Returned, 1)).unwrap();
        drop(worker);
        ledger.links[&0].process.kill().unwrap();
        drop(ledger);
        assert!(outcome(&task).is_ok());
        pool.shutdown(ShutdownOptions::new());
    }

    /// Whether its socket ends with it, or a grandchild holds that open.
    #[test]
    fn without_a_descriptor_a_death_is_seen_all_the_same() {
        for is_held_open in [false, true] {
            let (pool, mut worker) = pool_with(dummy().without_descriptor());
            let task = started(&pool, &mut worker);
            let held_open = is_held_open.then_some(worker);
            pool.lock().links[&0].process.kill().unwrap();
            let Err(Error::WorkerDied(death)) = outcome(&task) else {
                panic!("it died");
            };
            assert_eq!(death.signal(), Some("SIGKILL"));
            drop(held_open);
            pool.shutdown(ShutdownOptions::new());
        }
    }

    /// Or it would be the end of an idle worker.
    #[test]
    fn a_limit_is_over_with_its_task() {
        let (pool, mut worker) = pool_with_a_dummy();
        let terms = Terms {
            time_limit: Some(Duration::from_secs(3600)),
            ..Terms::default()
        };
        let task = started_under(terms, &pool, &mut worker);
        assert!(pool.lock().links[&0].deadline.is_some());
        worker.write_all(&bare(Kind::Returned, 1)).unwrap();
        assert!(outcome(&task).is_ok());
        let ledger = pool.lock();
        let deadline = ledger.links[&0].deadline;
        ledger.links[&0].process.kill().unwrap();
        drop(ledger);
        assert_eq!(deadline, None);
        pool.shutdown(ShutdownOptions::new());
    }

    /// Its initializer might run for ever.
    #[test]
    fn a_worker_that_comes_up_behind_a_stop_is_ended_too() {
        let (pool, _worker) = pool_with_a_dummy();
        pool.stop_workers(true);
        let mut ledger = pool.lock();
        // As if the supervisor had been starting one meanwhile.
        ledger.owed = 1;
        ledger.starting = 1;
        let (ours, _childs) = channel::pair().unwrap();
        pool.worker_started(&mut ledger, 1, Link::new(dummy(), ours));
        assert_eq!(ledger.links[&1].fate, Some(Fate::Killed));
        for link in ledger.links.values() {
            while link.process.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_second_start_ends_the_worker() {
        let (pool, mut worker) = pool_with_a_dummy();
        let task = started(&pool, &mut worker);
        worker.write_all(&bare(Kind::Started, 1)).unwrap();
        let error = outcome(&task).unwrap_err().to_string();
        assert!(error.contains("what it does not have"), "{error}");
        pool.shutdown(ShutdownOptions::new());
    }

    #[test]
    fn an_answer_to_nothing_ends_the_worker() {
        let (pool, mut worker) = pool_with_a_dummy();
        let task = started(&pool, &mut worker);
        worker.write_all(&bare(Kind::Returned, 7)).unwrap();
        let error = outcome(&task).unwrap_err().to_string();
        assert!(error.contains("what nobody asked"), "{error}");
        pool.shutdown(ShutdownOptions::new());
    }
}
