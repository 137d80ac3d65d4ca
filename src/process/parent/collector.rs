//! The collector: decodes results, and runs the notifications of tasks.
//!
//! One thread a pool, started with its first task. All user code that the end of a
//! task calls for runs here and not on the supervisor: the `Deserialize` of values,
//! wakers, callbacks, and the `Drop` of unwanted values. So no
//! task of the pool becomes done while the collector is inside such code, and an
//! untimed wait for one in there is `WouldDeadlock`.
//!
//! Rejected: to work the queue off inside such a wait. It would run the
//! `Deserialize`, the wakers and the `Drop`s of unrelated tasks under the locks that the
//! waiting callback holds.
//!
//! There is one exception: a small value that a thread waits for, with no callback
//! and no waker, is decoded by that thread. That saves a wake-up, a quarter of a
//! round trip.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::pool::Pool;
use super::pool_state::Event;
use super::queued_task::QueuedTask;
use crate::completion::{mark_collector_of, run_notifications};
use crate::panic::{contain, contain_drop};
use crate::process::worker::serve;

/// Returns the stack size of the collector's thread, in bytes.
///
/// The codec switches to more stack for a deep value, but user code does not: the
/// `Drop` of a long linked list, for one. In a worker a stack overflow ends one
/// worker; here it would end the whole program. The stack takes memory only where it
/// is used.
pub(super) fn stack() -> usize {
    serve::stack().saturating_mul(4)
}

/// Runs the collector until the supervisor has ended.
pub(super) fn main(pool: Arc<Pool>, events: &Receiver<Event>) {
    mark_collector_of(pool.id());
    for event in events {
        match event {
            Event::Answered(finalizer) => contain(finalizer),
            Event::Failed(entry, error) => {
                if let Some(notification) = entry.task.failed(error) {
                    notification.notify();
                }
                contain_drop(entry);
            }
            Event::Refused(entries, error) => {
                let fail = |entry: &QueuedTask| entry.task.fail_pending(error.clone());
                let notifications: Vec<_> = entries.iter().filter_map(fail).collect();
                run_notifications(notifications);
                contain_drop(entries);
                contain_drop(error);
            }
            Event::Stale(entry) => contain_drop(entry),
            Event::Ended => pool.collector_ended(),
        }
    }
    // This may be the last reference.
    contain_drop(pool);
}
