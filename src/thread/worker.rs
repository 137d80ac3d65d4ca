//! The worker: takes tasks from the queues and runs them, until the pool is closed and no
//! task is left.

use std::sync::Arc;

use super::hooks::NestedHooks;
use super::pool::Pool;
use super::queue::Gate;
use super::worker_thread::{WorkerThread, enter, mark_worker_of};
use crate::completion::{NO_POOL, Task, as_inline_worker, mark_collector_of};
use crate::error::Error;
use crate::panic::{catch, contain, contain_drop};
use crate::worker::{self, PoolKind, Worker};

/// The main function of a worker thread. The pool already counts the worker as free.
pub(super) fn main(pool: Arc<Pool>, index: usize, number: usize, name: &str) {
    pool.start_planned();
    mark_worker_of(&pool);
    let this = WorkerThread::new(pool, index);
    let leaving = Leaving(&this);
    let inside = worker::enter_of_pool(Worker::new(PoolKind::Threads, number, name));
    enter(&this, || run(&this));
    let pool = Arc::clone(&this.pool);
    if !pool.is_here() {
        // Code of the user on this thread forked the process, and this is the child, which
        // ends when its last thread ends. The queued tasks belong to the parent process, so
        // the child does not drop them.
        #[expect(clippy::mem_forget, reason = "nothing of the pool is the fork's")]
        std::mem::forget(pool);
        return;
    }
    drop(inside);
    drop(leaving);
    drop(this);
    // Dropping the last reference to the pool also drops the initializer and the exit hook,
    // whose `Drop` is user code.
    contain_drop(pool);
}

fn run(this: &WorkerThread) {
    let pool = &this.pool;
    match initialize(pool) {
        Ok(()) => {
            as_inline_worker(pool.id(), &NestedHooks(this), || work(this));
            if let Some(on_exit) = pool
                .config()
                .on_worker_exit
                .as_ref()
                .filter(|_| pool.is_here())
            {
                contain(on_exit);
            }
        }
        Err(cause) if pool.is_here() => {
            pool.break_down(this, cause);
            work(this);
        }
        Err(_) => {}
    }
}

fn work(this: &WorkerThread) {
    while this.pool.is_here() {
        match this.next() {
            Some(task) => this.run_or_end(task),
            None => return,
        }
    }
}

impl WorkerThread {
    /// Runs a task that this worker took from a queue, or ends the task without a call if
    /// the pool cancels or fails its queued tasks.
    pub(super) fn run_or_end(&self, task: Task) {
        match self.pool.queue.gate() {
            // `run` returns `false` if another thread has ended the task without a call, or
            // is ending it so, or if a waiting worker has begun the task inline. In these
            // cases `run` has only dropped the queue's entry.
            Gate::Open | Gate::ShutDown => _ = task.run(self),
            Gate::Cancelled => self.pool.cancel_queued(self, task),
            Gate::Broken => self.pool.fail_queued(self, task),
        }
    }
}

/// A guard whose drop removes the worker from the pool's count, even if the thread
/// unwinds. So `shutdown` never waits for a thread that has ended.
struct Leaving<'a>(&'a WorkerThread);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.pool.leave(self.0.index);
    }
}

fn initialize(pool: &Pool) -> Result<(), Error> {
    match &pool.config().initializer {
        Some(initializer) => {
            // This may be the pool's only worker. Then no task of the pool can run before
            // the initializer returns, so the initializer must not wait for a task. After
            // `mark_collector_of`, a wait without a limit for a future of the pool does not
            // block. Waits through the end of a scope, a channel or a lock still block.
            mark_collector_of(pool.id());
            let initialized = catch(initializer);
            mark_collector_of(NO_POOL);
            initialized.unwrap_or_else(|panic| Err(Error::Panicked(panic)))
        }
        None => Ok(()),
    }
}
