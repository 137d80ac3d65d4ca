//! The end of a pool: broken, stopped by force, or shut down; and the kill of a
//! single task, which is the end of a single worker.

use std::time::Instant;

use super::collector::Event;
use super::ledger::{Ledger, Threads};
use super::link::{Entry, Fate};
use super::pool::Pool;
use crate::completion::{brings_results_of, is_telling_of, outside_turns, tell_all};
use crate::error::{BrokenPart, Error};
use crate::executor::{ShutdownOptions, ShutdownReport};

impl Pool {
    /// The pool cannot go on.
    pub(super) fn break_down(&self, ledger: &mut Ledger, cause: Error, part: BrokenPart) {
        let broken = cause.broken(part);
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
    pub(super) fn stop(&self, ledger: &mut Ledger, fate: Fate) {
        ledger.owed = ledger.starting;
        ledger.stopped = Some(fate.clone());
        for link in ledger.links.values_mut() {
            if link.is_doomed() {
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
        self.close(true, false);
        let mut ledger = self.ledger.lock();
        while let Some(at) = ledger.queue.iter().position(|entry| entry.has_begun) {
            ledger.again -= 1;
            if let Some(entry) = ledger.queue.remove(at) {
                let end = entry.end(None, None);
                ledger.fail(entry, Error::Killed(end));
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
                    let end = entry.end(None, None);
                    ledger.fail(entry, Error::Killed(end));
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
        self.ledger.lock().shut_down = true;
        // There it would wait for itself.
        let waits = options.waits() && !self.is_in_own_code();
        self.close(options.cancels_pending(), waits);
        if waits {
            self.join(deadline);
        }
        let (mut stats, unread) = self.stats_and_unread();
        // Nothing is left only when those have ended too.
        stats.running += unread;
        stats.into()
    }

    /// Refuses tasks from now on, and cancels those that wait if so asked. The
    /// caller waits for the workers then, or not.
    fn close(&self, cancels_pending: bool, waits: bool) {
        let mut ledger = self.ledger.lock();
        ledger.close(Error::ShutDown);
        self.room.notify_all();
        let mut cancelled = Vec::new();
        if cancels_pending {
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
        if waits {
            // Not behind the callback that it may be in, for which the collector
            // that is waited for may have to wait.
            outside_turns(|| tell_all(tidings));
        } else {
            tell_all(tidings);
        }
        drop(cancelled);
    }

    /// Whether the current thread is in one of its callbacks, or decodes one of
    /// its results.
    pub(super) fn is_in_own_code(&self) -> bool {
        is_telling_of(self.id) || brings_results_of(self.id)
    }

    /// Returns `true` if nothing is left to do or to wait for when the executor is dropped.
    ///
    /// Workers that were ended by force are waited for: they are gone in a moment,
    /// and until then they are still there to be seen.
    pub(super) fn needs_no_shutdown(&self) -> bool {
        if !self.is_here() {
            return true;
        }
        let ledger = self.ledger.lock();
        ledger.shut_down && ledger.stopped.is_none()
    }

    fn join(&self, deadline: Option<Instant>) {
        let mut ledger = self.ledger.lock();
        while ledger.threads == Threads::Up || ledger.unsettled > 0 {
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
}
