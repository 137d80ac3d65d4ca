//! [`Book`]: the record of each submitted task, by which a driver checks what became of it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::pool::Pool;
use super::super::task::One;
use super::worker::frame;
use crate::error::Error;
use crate::executor::WhenFull;
use crate::future::TaskFuture;
use crate::process::settings::TaskSettings;
use crate::process::wire::frame::Kind;

pub(super) type Future = TaskFuture<u64, ()>;

/// The record of a task.
#[derive(Default)]
pub(super) struct Card {
    /// `None` once the driver has dropped the future.
    pub(super) future: Option<Arc<Future>>,
    retries: u32,
    has_limit: bool,
    /// `true` if the call does not fit into the transport: the task fails if three workers
    /// end while they read the call.
    is_long: bool,
    /// The number of workers that have recorded that they begin the task.
    pub(super) begun: u32,
    /// The number of workers that have run the task.
    pub(super) ran: u32,
    /// The values that workers have returned.
    returned: Vec<u64>,
    has_panicked: bool,
    /// `true` once `cancel` has returned `true`.
    pub(super) is_cancelled: bool,
    /// `true` once `kill` has returned `true`.
    pub(super) is_killed: bool,
    /// The number of callbacks that have not run yet.
    pub(super) callbacks: i32,
}

/// The events of a whole run that explain the ends of tasks.
#[derive(Default)]
pub(super) struct Causes {
    /// The workers were killed or terminated (`stop_workers`).
    pub(super) is_stopped: bool,
    /// A shutdown, or a stop of the workers, has cancelled the pending tasks.
    pub(super) cancels: bool,
    /// A worker has said that it cannot begin, its initializer has failed, or the driver
    /// makes a start fail.
    pub(super) is_refused: bool,
    /// The number of workers that ended, and whose ends may count as failed starts.
    pub(super) useless: u32,
    /// A worker has ended, or has sent bytes that the pool did not expect.
    pub(super) has_death: bool,
    pub(super) breaks_on_death: bool,
    /// A relay may have lost messages.
    pub(super) loses: bool,
}

#[derive(Default)]
pub(super) struct Pages {
    pub(super) cards: BTreeMap<u64, Card>,
    pub(super) causes: Causes,
}

/// The records of all tasks. Callbacks have a reference to them.
#[derive(Clone, Default)]
pub(super) struct Book(Arc<Mutex<Pages>>);

/// The settings of a task to submit.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) retries: u32,
    pub(super) has_limit: bool,
    pub(super) length: usize,
}

impl Book {
    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a task. Returns its number, or `None` if the pool refuses it.
    pub(super) fn submit(&self, pool: &Arc<Pool>, plan: Plan) -> Option<u64> {
        let settings = TaskSettings {
            name: None,
            time_limit: plan.has_limit.then_some(Duration::from_secs(3600)),
            retries: plan.retries,
        };
        let call = frame(Kind::Task, 0, &vec![7; plan.length]);
        match pool.queue::<u64, _>(call.into(), settings, One, WhenFull::Refuse) {
            Ok(completion) => {
                let number = pool.last_number.load(Ordering::Relaxed);
                let card = Card {
                    future: Some(Arc::new(Future::new(completion))),
                    retries: plan.retries,
                    has_limit: plan.has_limit,
                    is_long: plan.length > 128 << 10,
                    ..Card::default()
                };
                self.pages().cards.insert(number, card);
                Some(number)
            }
            Err(Error::QueueFull) => {
                assert!(pool.config.queue_capacity.is_some(), "the queue is full");
                None
            }
            Err(_) => {
                assert!(pool.lock().closed.is_some(), "an open pool refuses a task");
                None
            }
        }
    }

    fn with<R>(&self, task: u64, f: impl FnOnce(&mut Card) -> R) -> R {
        let mut pages = self.pages();
        f(pages.cards.get_mut(&task).expect("it was submitted"))
    }

    pub(super) fn future(&self, task: u64) -> Option<Arc<Future>> {
        self.with(task, |card| card.future.clone())
    }

    pub(super) fn begins(&self, task: u64) {
        self.with(task, |card| {
            card.begun += 1;
            assert!(!card.is_cancelled, "task {task} was cancelled, and begins");
        });
    }

    pub(super) fn runs(&self, task: u64) {
        self.with(task, |card| {
            card.ran += 1;
            assert!(card.ran <= 1 + card.retries, "task {task} runs once more");
        });
    }

    /// Records and returns the value that the task returns in this run.
    pub(super) fn returns(&self, task: u64) -> u64 {
        self.with(task, |card| {
            let value = task << 8 | u64::from(card.ran);
            card.returned.push(value);
            value
        })
    }

    pub(super) fn panics(&self, task: u64) {
        self.with(task, |card| card.has_panicked = true);
    }

    /// Records the result of a cancel.
    pub(super) fn cancelled(&self, task: u64, is_cancelled: bool) {
        self.with(task, |card| {
            let shows = card.future.as_ref().is_none_or(|future| future.cancelled());
            assert!(shows || !is_cancelled, "task {task} shows no cancel");
            assert!(card.ran == 0 || !is_cancelled, "task {task} has begun");
            card.is_cancelled |= is_cancelled;
        });
    }

    /// Adds a callback to the task's future. The callback calls `then`, and subtracts
    /// itself from [`Card::callbacks`].
    pub(super) fn add_callback(&self, task: u64, then: impl FnOnce() + Send + 'static) {
        let Some(future) = self.future(task) else {
            return;
        };
        self.with(task, |card| card.callbacks += 1);
        let book = self.clone();
        future.add_done_callback(move |future| {
            // A panic here would be contained. So a callback that runs before the end of
            // the task makes the count wrong, and `check_ends` fails.
            let count = if future.done() { 1 } else { 2 };
            book.with(task, |card| card.callbacks -= count);
            then();
        });
    }

    /// Checks that all callbacks have run, that each task whose future exists has ended,
    /// and that the end has a reason.
    pub(super) fn check_ends(&self, is_broken: bool) {
        let pages = self.pages();
        for (task, card) in &pages.cards {
            assert_eq!(card.callbacks, 0, "callbacks of task {task}");
            if let Some(future) = &card.future {
                assert!(future.done(), "task {task} has not ended");
                let outcome = future.result_timeout(Duration::ZERO).copied();
                card.check_end(*task, &outcome, &pages.causes, is_broken);
            }
        }
    }
}

impl Card {
    fn check_end(&self, task: u64, outcome: &Result<u64, Error>, causes: &Causes, is_broken: bool) {
        let ends = is_broken || causes.is_stopped;
        let has_reason = match outcome {
            Ok(value) => self.returned.contains(value),
            Err(Error::Cancelled) => self.ran == 0 && (self.is_cancelled || causes.cancels),
            Err(Error::Killed(_)) => self.is_killed || causes.is_stopped,
            Err(Error::TimeLimit(_)) => self.has_limit && self.begun > 0,
            Err(Error::Panicked(_)) => self.has_panicked,
            Err(Error::Broken(_)) => is_broken,
            Err(Error::WorkerDied(_)) => {
                // A task that has begun may fail only if it has no retries left, or if the
                // pool breaks on a death.
                let is_last = causes.breaks_on_death || self.begun > self.retries;
                let is_excused = causes.loses || self.is_long;
                ends || is_excused || is_last && self.begun > 0
            }
            Err(_) => false,
        };
        assert!(has_reason, "task {task} ends with {outcome:?}");
        let is_ended = matches!(outcome, Err(Error::Cancelled));
        assert!(is_ended || !self.is_cancelled, "task {task} was cancelled");
        let is_killed = matches!(outcome, Err(Error::Killed(_)));
        assert!(is_killed || !self.is_killed, "task {task} was killed");
    }
}
