//! The collector: decodes what came back, and tells everybody.
//!
//! One thread a pool, started with its first task. All foreign code that the end
//! of a task calls for runs here and not on the supervisor: the `Deserialize`
//! of values, wakers, callbacks, and the `Drop` of whatever nobody wants. So no
//! task of the pool becomes done while the collector is inside such code, and an
//! untimed wait for one in there is `WouldDeadlock`.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::link::Entry;
use super::message::Answer;
use super::pool::Pool;
use super::task::Remote;
use crate::completion::bring_results_of;
use crate::error::Error;
use crate::panic::{contain, contain_drop};

/// What the collector is handed.
pub(super) enum Event {
    /// A worker's answer, and the name of its task.
    Answered(Box<dyn Remote>, Answer<Vec<u8>>, Option<Arc<str>>),
    /// A task that was sent fails.
    Failed(Entry, Error),
    /// Tasks that were queued fail together, each before one is told.
    Refused(Vec<Entry>, Error),
    /// A task that was cancelled before: perhaps nobody else has it any more.
    Stale(Entry),
    /// The supervisor has gone; this is the last one.
    Over,
}

/// The life of the collector, until the supervisor is gone.
pub(super) fn main(pool: Arc<Pool>, events: &Receiver<Event>) {
    bring_results_of(pool.id());
    for event in events {
        match event {
            Event::Answered(task, answer, name) => {
                task.answered(answer, name, &pool)();
                contain_drop(task);
            }
            Event::Failed(entry, error) => {
                entry.task.failed(error)();
                contain_drop(entry);
            }
            Event::Refused(entries, error) => {
                let fail = |entry: &Entry| entry.task.fail_pending(error.clone());
                let tidings: Vec<_> = entries.iter().map(fail).collect();
                for tell in tidings {
                    contain(tell);
                }
                contain_drop(entries);
                contain_drop(error);
            }
            Event::Stale(entry) => contain_drop(entry),
            Event::Over => pool.collector_over(),
        }
    }
    // Perhaps the last one who knows it.
    contain_drop(pool);
}
