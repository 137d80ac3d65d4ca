//! The collector: decodes results, and runs the notifications of tasks.
//!
//! Each pool has one collector thread, which starts with the pool's first task. All user
//! code that the end of a task calls runs on this thread and not on the supervisor: the
//! `Deserialize` of values, wakers, callbacks, and the `Drop` of unwanted values. So no
//! task of the pool becomes done while the collector runs such code. If user code on this
//! thread waits for a task of the same pool without a time limit, the wait returns
//! `WouldDeadlock`.
//!
//! Rejected: handling the queue's events inside such a wait. The `Deserialize`, the wakers
//! and the `Drop`s of unrelated tasks would then run under the locks that the waiting
//! callback holds.
//!
//! There is one exception: a thread that waits for a small value decodes the value itself,
//! if the task has no callback and no waker. The exception saves a wake-up, which takes a
//! quarter of a round trip.

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
/// The codec switches to more stack for a deep value, but user code does not (the `Drop`
/// of a long linked list, for example). In a worker a stack overflow ends only the worker,
/// but on this thread it would end the whole program. The stack takes memory only where it
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
    // The collector may hold the last reference to the pool.
    contain_drop(pool);
}
