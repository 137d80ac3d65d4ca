//! The card on which every effect of one task is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use concurrent_futures::Error;

use crate::{count, fault};

/// The effects of one task.
#[derive(Default, Debug)]
pub struct Card {
    pub runs: AtomicU32,
    pub argument_drops: AtomicU32,
    pub values: AtomicU32,
    pub value_drops: AtomicU32,
    pub callbacks: AtomicU32,
    pub callback_runs: AtomicU32,
    pub refused: AtomicU32,
    pub cancels: AtomicU32,
    ended_well: AtomicU32,
    ended_badly: AtomicU32,
    ended_cancelled: AtomicU32,
}

/// An argument, and whether its drop panics.
pub struct Argument(pub Arc<Card>, pub bool);

impl Drop for Argument {
    fn drop(&mut self) {
        self.0.argument_drops.fetch_add(1, SeqCst);
        if self.1 && !std::thread::panicking() {
            panic!("planned: an argument's drop");
        }
    }
}

/// A value, and whether its drop panics: where the pool drops it, for `received` takes
/// that away.
#[derive(Debug)]
pub struct Value(pub Arc<Card>, pub bool);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.value_drops.fetch_add(1, SeqCst);
        if self.1 && !std::thread::panicking() {
            panic!("planned: a value's drop");
        }
    }
}

/// Panics where a callback is dropped that has it.
pub struct Bomb(pub bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 && !std::thread::panicking() {
            panic!("planned: a callback's drop");
        }
    }
}

impl Card {
    /// Notes how a wait without a limit ended.
    pub fn note(&self, error: Option<&Error>) {
        let (counter, kind) = match error {
            None => (&self.ended_well, "ended well"),
            Some(Error::Cancelled) => (&self.ended_cancelled, "cancelled"),
            Some(Error::Panicked(_)) => (&self.ended_badly, "panicked"),
            Some(other) => return fault(format!("a task ended with {other:?}")),
        };
        counter.fetch_add(1, SeqCst);
        count(kind);
    }

    /// Notes how a wait with a limit ended.
    pub fn note_timed(&self, error: Option<&Error>) {
        match error {
            Some(Error::Timeout {
                unfinished: 1,
                total: 1,
            }) => count("waits timed out"),
            error => self.note(error),
        }
    }

    /// Takes a result that is given away.
    pub fn received(&self, result: Result<Value, Error>) {
        self.note(result.as_ref().err());
        if let Ok(mut value) = result {
            if !std::ptr::eq(&*value.0, self) {
                fault("the value of another task".to_owned());
            }
            value.1 = false;
        }
    }

    /// Returns what is not yet as it must be in the end.
    pub fn wrong(&self) -> Option<&'static str> {
        let is = |counter: &AtomicU32| counter.load(SeqCst);
        let (runs, values) = (is(&self.runs), is(&self.values));
        let well = is(&self.ended_well) > 0;
        let badly = is(&self.ended_badly) > 0;
        let cancelled = is(&self.ended_cancelled) > 0;
        if is(&self.argument_drops) != 1 {
            Some("an argument was not dropped once")
        } else if is(&self.value_drops) != values {
            Some("a value was not dropped once")
        } else if is(&self.callback_runs) != is(&self.callbacks) {
            Some("a callback did not run once")
        } else if runs > 1 || (is(&self.refused) > 0 && runs > 0) {
            Some("a task ran twice, or though it was refused")
        } else if (is(&self.cancels) > 0 || cancelled) && runs > 0 {
            Some("a cancelled task ran")
        } else if u32::from(well) + u32::from(badly) + u32::from(cancelled) > 1 {
            Some("a task ended in two ways")
        } else if (well || badly) && runs != 1 {
            Some("a task ended without a run")
        } else {
            None
        }
    }
}
