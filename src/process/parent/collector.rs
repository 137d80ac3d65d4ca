//! The collector: decodes what came back, and tells everybody.
//!
//! One thread a pool, started with its first task. All foreign code that the end
//! of a task calls for runs here and not on the supervisor: the `Deserialize`
//! of values, wakers, callbacks, and the `Drop` of whatever nobody wants. So no
//! task of the pool becomes done while the collector is inside such code, and an
//! untimed wait for one in there is `WouldDeadlock`.
//!
//! Tried and left: to work the queue off inside such a wait. It would run the
//! `Deserialize`, the wakers and the `Drop`s of unrelated tasks under the locks that the
//! waiting callback holds.
//!
//! But for one case: a small value that a thread waits for, and nobody else wants
//! to know of, is decoded by that thread. That saves a wake-up, a quarter of the
//! way there and back.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::pool::Pool;
use super::pool_state::Event;
use super::queued_task::QueuedTask;
use crate::completion::{mark_collector_of, run_notifications};
use crate::panic::{contain, contain_drop};
use crate::process::worker::serve;

/// The stack of the collector's thread.
///
/// To read a deep value it goes on on more stack, but the user's own code does not: the
/// `Drop` of a list of itself, for one, that nobody wants any more. A worker whose stack
/// that overflows is one worker; here it would be the whole program. It is memory only
/// where it is used.
pub(super) fn stack() -> usize {
    serve::stack().saturating_mul(4)
}

/// The life of the collector, until the supervisor is gone.
pub(super) fn main(pool: Arc<Pool>, events: &Receiver<Event>) {
    mark_collector_of(pool.id());
    for event in events {
        match event {
            Event::Answered(finalizer) => contain(finalizer),
            Event::Failed(entry, error) => {
                entry.task.failed(error)();
                contain_drop(entry);
            }
            Event::Refused(entries, error) => {
                let fail = |entry: &QueuedTask| entry.task.fail_pending(error.clone());
                let notifications: Vec<_> = entries.iter().map(fail).collect();
                run_notifications(notifications);
                contain_drop(entries);
                contain_drop(error);
            }
            Event::Stale(entry) => contain_drop(entry),
            Event::Ended => pool.collector_ended(),
        }
    }
    // Perhaps the last one who knows it.
    contain_drop(pool);
}
