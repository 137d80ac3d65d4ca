//! The worker: takes tasks from the queue and runs them, until it is closed.

use std::sync::Arc;

use super::current;
use super::hooks::WorkerLoopHooks;
use super::pool::Pool;
use crate::completion::{NO_POOL, mark_collector_of};
use crate::error::Error;
use crate::panic::{catch, contain, contain_drop};
use crate::worker::{self, PoolKind, Worker};

/// Runs a worker thread, which the pool counts as idle already.
pub(super) fn main(pool: Arc<Pool>, number: usize, name: &str) {
    current::enter(pool.id());
    let leaving = Leaving(&pool);
    let inside = worker::enter(Worker::new(PoolKind::Threads, number, name));
    let initialized = initialize(&pool);
    let is_ready = initialized.is_ok();
    match initialized {
        Ok(()) => current::set_ready(),
        Err(cause) if pool.is_here() => pool.break_down(cause),
        Err(_) => {}
    }
    while let Some(task) = pool.next_task() {
        // `start` fails if the task was cancelled while it was queued, or run inline by a
        // worker that waited for it.
        if task.start() {
            task.run(&WorkerLoopHooks(&pool));
        }
    }
    if !pool.is_here() {
        // A task forked, and this is the fork, which ends with its only thread. The
        // queue's tasks are the parent's: they are not even dropped here.
        #[expect(clippy::mem_forget, reason = "nothing of the pool is the fork's")]
        std::mem::forget(Arc::clone(&pool));
        return;
    }
    if let Some(on_exit) = pool.config().on_worker_exit.as_ref().filter(|_| is_ready) {
        contain(on_exit);
    }
    drop(inside);
    drop(leaving);
    // This may drop the initializer, and what it captured.
    contain_drop(pool);
}

/// Guard: removes the worker from the pool's count on drop, also on unwind, so that
/// `shutdown` never waits for a thread that has ended.
struct Leaving<'a>(&'a Pool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

fn initialize(pool: &Pool) -> Result<(), Error> {
    match &pool.config().initializer {
        Some(initializer) => {
            // None of the pool's tasks ends before this worker is ready, as far as
            // this worker can know; so it must not wait for one.
            mark_collector_of(pool.id());
            let initialized = catch(initializer);
            mark_collector_of(NO_POOL);
            initialized.unwrap_or_else(|panic| Err(Error::Panicked(panic)))
        }
        None => Ok(()),
    }
}
