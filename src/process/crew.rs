//! The workers of a pool: what they say, how they start and how they end. The
//! supervisor is the one that calls this, and who takes a snapshot.
//!
//! # The end of a worker
//!
//! All that it said was heard before. A task that it had not started goes back to
//! the head of the queue, however often: the worker may have been dead when it was
//! sent. But a call that three workers in a row began to read, and did not
//! survive, fails. (More was written then than their sockets hold.) One that it had started is begun again if it has retries left,
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

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collector::Event;
use super::exit_code::ExitCode;
use super::ledger::Ledger;
use super::link::{Duty, Entry, Fate, Flight, Link, TURN};
use super::message::{Answer, InitializeFailure, Reply};
use super::pool::Pool;
use super::task::{Packed, codec_error};
use super::terms::OnWorkerDeath;
use crate::error::{BrokenPart, DeathParts, End, Error, Loss, Moment, Side, WorkerDeath};
use crate::sys::channel;
use crate::sys::shortage::Shortage;

/// How many workers in a row may die before they begin a task.
const BARREN_STARTS: u32 = 5;

/// The number of workers that may end while they read a task's call, which is then what ends them.
const LOST_SENDS: u32 = 3;

/// How long a pool that has workers goes on with them when one more could not be
/// started. One of them that ends makes room, and is replaced at once.
const SHORTAGE: Duration = Duration::from_millis(500);

/// The time until one that has none tries again, and the time for which it tries: descriptors,
/// processes and memory may be short for a moment only.
const SHORTAGE_WITHOUT_WORKERS: Duration = Duration::from_millis(20);
const SHORTAGE_LIMIT: Duration = Duration::from_secs(10);

impl Pool {
    /// Reads what a worker has said, and acts on it.
    pub(super) fn hear(&self, ledger: &mut Ledger, number: usize) {
        let mut budget = TURN;
        while let Some(link) = ledger.links.get_mut(&number) {
            match link.hear(&mut budget) {
                Ok(Some(reply)) => self.heard(ledger, number, reply),
                Ok(None) => return,
                Err(what) => return link.kill(Fate::Unfit(what)),
            }
        }
    }

    fn heard(&self, ledger: &mut Ledger, number: usize, reply: Reply) {
        let Some(link) = ledger.links.get_mut(&number) else {
            return;
        };
        // Who was told that a task is killed is told the truth. That it began counts, or
        // it would be begun once more elsewhere.
        if link.is_doomed() && !matches!(reply, Reply::Started(_)) {
            return;
        }
        match reply {
            Reply::Ready | Reply::Initialized => {
                // One that leaves was about to say that.
                if !matches!(link.duty, Duty::Starting) {
                    return;
                }
                link.is_ready = true;
                // The initializer may take its time: it is the user's.
                link.deadline = None;
                if reply == Reply::Initialized || !self.launcher.initializes() {
                    link.duty = Duty::Idle;
                    ledger.idle.push(number);
                    self.move_on(ledger);
                    if let Some(link) = ledger.links.get_mut(&number) {
                        link.has_rested = matches!(link.duty, Duty::Idle);
                    }
                }
            }
            // It was told to leave before it was asked for anything: nothing of the
            // pool's depends on it.
            Reply::Refused(_) | Reply::InitializeFailed(_)
                if matches!(link.duty, Duty::Leaving) => {}
            Reply::Refused(why) => {
                link.kill(Fate::Unfit(why.clone()));
                self.break_down(ledger, Error::unsupported(why), BrokenPart::Start);
            }
            Reply::InitializeFailed(failure) => {
                link.leave();
                self.break_down(ledger, cause_of(failure), BrokenPart::Initializer);
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
                flight.entry.times_begun += 1;
                let limit = flight.entry.terms.time_limit;
                link.has_begun = true;
                link.progress = None;
                link.deadline = limit.and_then(|limit| now.checked_add(limit));
                ledger.is_stale |= link.deadline.is_some();
            }
            // `Link::expects` lets no other through.
            _ => {}
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
        // `Link::expects` lets no other answer through.
        let Some(flight) = is_its.then(|| link.take_flight()).flatten() else {
            return;
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
        ledger.unread += 1;
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
        ledger.shortage = None;
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

    pub(super) fn not_started(&self, ledger: &mut Ledger, error: io::Error) {
        ledger.owed = 0;
        ledger.starting = 0;
        let now = Instant::now();
        if !ledger.links.is_empty() {
            // The others take the tasks, and must be heard meanwhile.
            ledger.not_before = now.checked_add(SHORTAGE);
            return;
        }
        // One that was over in between does not count. Half the limit, for an attempt that
        // fails may take its time.
        let recent = ledger
            .shortage
            .filter(|(_, last)| now - *last < SHORTAGE_LIMIT / 2);
        let since = recent.map_or(now, |(since, _)| since);
        ledger.shortage = Some((since, now));
        if Shortage::of(&error).is_some() && now - since < SHORTAGE_LIMIT {
            ledger.not_before = now.checked_add(SHORTAGE_WITHOUT_WORKERS);
        } else {
            self.break_down(ledger, Error::Spawn(Arc::new(error)), BrokenPart::Start);
        }
    }

    /// A worker's process has ended, and all that it had said was heard.
    pub(super) fn worker_ended(&self, ledger: &mut Ledger, number: usize, end: End) {
        let link = ledger.links.get_mut(&number);
        if let Some(task) = link.and_then(Link::begun_unheard) {
            self.task_started(ledger, number, task);
        }
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
        let moment = self.moment_of(&link);
        let flight = link.take_flight();
        // One that rested was well; what ended it came from outside.
        if is_death && !link.has_begun && !link.has_rested {
            ledger.barren_starts += 1;
        }
        let explained = match end {
            End::Exited(code) => ExitCode::explain(code).map(str::to_owned),
            _ => None,
        };
        let death = DeathParts {
            pid: link.process.pid(),
            end,
            task: flight
                .as_ref()
                .and_then(|flight| flight.entry.terms.name.clone()),
            moment,
            note: match &link.fate {
                Some(Fate::Unfit(what)) => Some(format!("the pool ended it, for {what}")),
                _ => explained,
            },
            times_begun: flight.as_ref().map_or(0, |flight| flight.entry.times_begun),
            loss: Loss::Retries,
        };
        if let Some(flight) = flight {
            self.ground(ledger, flight, link.fate, &death);
        }
        let death = Error::WorkerDied(WorkerDeath::new(death));
        if is_death && self.breaks_on_death() {
            self.break_down(ledger, death, BrokenPart::Policy);
            self.stop(ledger, Fate::Broken);
        } else if ledger.barren_starts >= BARREN_STARTS {
            let part = BrokenPart::Starts {
                workers: ledger.barren_starts,
                look_at: self.launcher.runs_before_tasks(),
            };
            self.break_down(ledger, death, part);
        }
        self.move_on(ledger);
    }

    /// The place in its life at which a worker is.
    fn moment_of(&self, link: &Link) -> Moment {
        match &link.duty {
            Duty::Starting if link.is_ready && self.launcher.initializes() => Moment::Initializing,
            Duty::Starting => Moment::Starting,
            Duty::Busy(flight) => match flight.started {
                Some(started) => Moment::Running(started.elapsed()),
                None => Moment::Sent,
            },
            Duty::Idle | Duty::Leaving => Moment::Idle,
        }
    }

    fn breaks_on_death(&self) -> bool {
        self.plan.on_worker_death == OnWorkerDeath::BreakPool
    }

    /// What becomes of the task of a worker that has ended.
    fn ground(&self, ledger: &mut Ledger, flight: Flight, fate: Option<Fate>, death: &DeathParts) {
        let pid = death.pid;
        let died = |loss| {
            let parts = DeathParts {
                loss,
                ..death.clone()
            };
            Error::WorkerDied(WorkerDeath::new(parts))
        };
        let has_started = flight.started.is_some();
        // What a socket holds, a worker need not have been alive for.
        let was_being_read = flight.written > channel::capacity();
        let ran_for = flight.started.map(|started| started.elapsed());
        let (mut entry, call) = (flight.entry, flight.call);
        let error = match fate {
            Some(Fate::Killed | Fate::Terminated) => Error::Killed(entry.end(Some(pid), ran_for)),
            Some(Fate::Overdue) => Error::TimeLimit(entry.end(Some(pid), ran_for)),
            Some(Fate::Broken) => {
                let broken = ledger.closed.clone();
                broken.unwrap_or_else(|| died(Loss::Ended))
            }
            Some(Fate::Unfit(_)) | None => {
                let goes_on = ledger.stopped.is_none() && !ledger.is_broken();
                if let Some(call) = call.filter(|_| goes_on) {
                    if !has_started {
                        entry.lost_sends += u32::from(was_being_read);
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
                died(if !goes_on {
                    Loss::Ended
                } else if !has_started {
                    Loss::Unread(entry.lost_sends)
                } else if self.breaks_on_death() {
                    Loss::Policy
                } else {
                    Loss::Retries
                })
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
mod tests;
