//! The collector: the thread of a pool that decodes results and runs notifications.
//!
//! Each pool has one collector thread, which starts with the pool's first task. When a task
//! ends, user code runs: the `Deserialize` of its value, its wakers, its callbacks, and the
//! `Drop` of a value that no thread takes. The collector runs this user code, so that the
//! supervisor, the thread that reads the workers' messages, never waits for it. While the
//! collector decodes a value or runs a notification, another task becomes done only if a
//! thread waits for the task without a time limit, or cancels it. If user code on the
//! collector's thread waits without a time limit for a task of the same pool that is not
//! done, the wait returns `WouldDeadlock`.
//!
//! While a callback on the collector's thread waits, the collector handles no further
//! events. Otherwise it would run the user code of unrelated tasks while the callback may
//! hold locks.
//!
//! A thread that waits without a time limit for a task with a small value decodes the value
//! itself, if the task has no callback and no waker. This saves the wake-up of the
//! collector, which would take much of the time of a small task. Decoding a small value of
//! a plain type, such as a number, runs no user code at all. So the thread that reads such
//! a value from the worker also ends the task, if the task has no callback and no waker,
//! and if the user code of all tasks that ended before has run.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::pool::Pool;
use super::pool_state::Event;
use super::queued_task::QueuedTask;
use crate::completion::{mark_collector_of, run_notifications};
use crate::panic::{contain, contain_drop};
use crate::process::worker::serve;
use crate::sync::thread_id;

/// Returns the stack size of the collector's thread, in bytes.
///
/// For a deeply nested value the codec allocates more stack, but user code, such as the
/// `Drop` of a long linked list, does not. A stack overflow in a worker ends only the
/// worker, but a stack overflow of the collector's thread would end the whole program. A
/// large stack is cheap, because the system allocates memory only for the used part.
pub(super) fn stack() -> usize {
    serve::stack().saturating_mul(4)
}

/// Handles events until the supervisor ends and closes the channel.
pub(super) fn main(pool: Arc<Pool>, events: &Receiver<Event>) {
    mark_collector_of(pool.id);
    pool.lock().collector_thread = Some(thread_id());
    for event in events {
        handle(&pool, event);
    }
    // The collector may hold the last reference to the pool.
    contain_drop(pool);
}

/// Handles one event.
pub(super) fn handle(pool: &Pool, event: Event) {
    match event {
        Event::Answered(finalizer) => contain(finalizer),
        Event::Failed(mut entry, error) => {
            if let Some(notification) = entry.failed(error) {
                notification.notify();
            }
            contain_drop(entry);
            pool.settled(1);
        }
        Event::Refused(mut entries, error) => {
            let fail = |entry: &mut Box<QueuedTask>| entry.task.fail(error.clone());
            let notifications: Vec<_> = entries.iter_mut().filter_map(fail).collect();
            run_notifications(notifications);
            contain_drop(entries);
            contain_drop(error);
            pool.settled(1);
        }
        Event::Stale(entry) => contain_drop(entry),
        Event::Unneeded(call) => drop(call),
        Event::Ended => pool.collector_ended(),
    }
}
