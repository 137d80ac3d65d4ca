//! [`Pool`]: what the executor and its workers share.
//!
//! # The rule
//!
//! A worker is *idle* if a new task can count on it: it waits for the queue, or
//! it is about to, or its thread was just started. Each queued task counts on
//! one idle worker. Whenever more tasks are queued than workers are idle, and
//! fewer than `max_workers` exist, one more is started. There are two such
//! moments: a task comes ([`Pool::submit`]), and a worker that was idle turns
//! to callbacks ([`WorkerLoopHooks::callbacks_started`]).
//!
//! # Why no task is lost
//!
//! A task that a worker runs while it waits for it leaves an entry in the queue
//! that no longer counts; so does one that was cancelled. Whoever pops it passes
//! it over.
//!
//! A task is queued and counted in one step under the state's lock, and only
//! while the state is open; the queue is closed in the same step as the
//! state. Afterwards each queued task is popped by a worker, or by whoever
//! cancels or fails what is pending. There is a worker as long as something is
//! queued: the first submitter cannot queue without one, and a worker leaves
//! only when the queue is closed and empty, or after failing all that is in it.
//!
//! # Breaking
//!
//! A worker whose initializer fails closes the pool with that cause and fails
//! all that is queued, whether or not the pool was shut down before.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::queue::Queue;
use super::worker;
use crate::completion::{
    Completion, Job, Notifications, ScopeTasks, Task, WorkerHooks, is_notifying_for, new_pool_id,
    run_notifications, without_callback_queue,
};
use crate::error::{BrokenPart, Error};
use crate::executor::{ShutdownOptions, ShutdownReport, Stats, TrySubmitError};
use crate::panic::contain_drop;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::sys::fork::{Origin, forget_threads};

/// Prepares a worker for its tasks.
pub(super) type Initializer = Box<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// Runs at the end of a worker.
pub(super) type ExitHook = Box<dyn Fn() + Send + Sync>;

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) thread_name_prefix: String,
    pub(super) stack_size: Option<usize>,
    pub(super) initializer: Option<Initializer>,
    pub(super) on_worker_exit: Option<ExitHook>,
    /// How many tasks may be queued; `None`: as many as there are.
    pub(super) queue_capacity: Option<usize>,
    pub(super) record_timing: bool,
}

pub(super) struct Pool {
    /// What its tasks know it by.
    id: usize,
    /// The process that made it. A fork of that has none of its threads.
    origin: Origin,
    config: Config,
    queue: Queue,
    state: Mutex<PoolState>,
    /// Notified when the last worker ends.
    ended: Condvar,
    /// Notified when a bounded queue has room again, or is closed.
    not_full: Condvar,
    /// Threads that were not joined yet; the lock is held while joining.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct PoolState {
    /// Why tasks are refused.
    closed: Option<Error>,
    /// Whether somebody asked for that.
    shut_down: bool,
    started: usize,
    workers: usize,
    idle: usize,
    queued: usize,
    running: usize,
    finished: u64,
    failed: u64,
    cancelled: u64,
}

impl Pool {
    pub(super) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let origin = Origin::new().map_err(|error| Error::Spawn(Arc::new(error)))?;
        Ok(Arc::new(Self {
            id: new_pool_id(),
            origin,
            config,
            queue: Queue::new(),
            state: Mutex::new(PoolState::default()),
            ended: Condvar::new(),
            not_full: Condvar::new(),
            threads: Mutex::new(Vec::new()),
        }))
    }

    /// Returns `true` if this is the process that made it, and not a fork of that: there a
    /// lock may be held for ever, and no worker comes.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Packs a call as a task and queues it; a full queue is waited for if
    /// `waits`.
    ///
    /// # Errors
    ///
    /// Gives the call back with the reason.
    pub(super) fn submit<F, A, R>(
        self: &Arc<Self>,
        f: F,
        args: A,
        waits: bool,
    ) -> Result<Arc<Completion<R>>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        // SAFETY: nothing borrows.
        unsafe { self.submit_to(None, f, args, waits) }
    }

    /// Like [`submit`](Self::submit), for a scope.
    ///
    /// # Safety
    ///
    /// Without a group, nothing borrows. With one, what is borrowed lives until
    /// [`ScopeTasks::wait`] has returned, and so do the futures at most.
    pub(super) unsafe fn submit_to<F, A, R>(
        self: &Arc<Self>,
        scope_tasks: Option<&Arc<ScopeTasks>>,
        f: F,
        args: A,
        waits: bool,
    ) -> Result<Arc<Completion<R>>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send,
        A: Send,
        R: Send,
    {
        let pool = Arc::clone(self);
        let call = Box::new(Call { pool, f, args });
        // SAFETY: packed for the group below, before it is handed out.
        let completion = unsafe { Completion::borrowing(self.id) };
        if self.config.record_timing {
            completion.record_timing();
        }
        let state = match self.admit(waits) {
            Ok(state) => state,
            Err(error) => {
                let Call { f, args, .. } = *call;
                let call = (f, args);
                return Err(TrySubmitError { error, call });
            }
        };
        // SAFETY: as the caller says.
        let task = unsafe { completion.pack(Some(call), scope_tasks) };
        // Never refused: the queue closes in one step with the state.
        let _ = self.queue.push(task);
        drop(state);
        Ok(completion)
    }

    /// Counts one more task, which the caller queues before it unlocks.
    fn admit(self: &Arc<Self>, waits: bool) -> Result<MutexGuard<'_, PoolState>, Error> {
        if !self.is_here() {
            return Err(Error::forked_pool());
        }
        let mut state = self.state.lock();
        loop {
            if let Some(closed) = &state.closed {
                return Err(closed.clone());
            }
            state.queued += 1;
            let started = self.start_worker_if_needed(&mut state);
            // Without any worker nothing is queued: nobody would come for it.
            let has_place = state.workers > 0
                // Its own code never waits for room: it is what makes it.
                && (!self.is_overfull(&state) || self.is_in_own_code());
            if has_place {
                return Ok(state);
            }
            state.queued -= 1;
            if state.workers == 0 {
                started?;
            }
            if !waits {
                return Err(Error::QueueFull);
            }
            self.not_full.wait(&mut state);
        }
    }

    /// Returns `true` if more tasks are queued than a bounded queue has room for. A task
    /// that counts on an idle worker takes none; a thread that could not be
    /// started is nothing to count on.
    fn is_overfull(&self, state: &PoolState) -> bool {
        let capacity = self.config.queue_capacity;
        capacity.is_some_and(|n| state.queued > n.saturating_add(state.idle))
    }

    /// Tells one who waits for room that there may be some.
    fn notify_room(&self) {
        if self.config.queue_capacity.is_some() {
            self.not_full.notify_one();
        }
    }

    /// The rule of this module.
    fn start_worker_if_needed(self: &Arc<Self>, state: &mut PoolState) -> Result<(), Error> {
        if state.queued <= state.idle || state.workers >= self.config.max_workers {
            return Ok(());
        }
        let number = state.started;
        let name = format!("{}_{number}", self.config.thread_name_prefix);
        let mut thread = thread::Builder::new().name(name.clone());
        if let Some(bytes) = self.config.stack_size {
            thread = thread.stack_size(bytes);
        }
        let pool = Arc::clone(self);
        let thread = thread
            .spawn(move || worker::main(pool, number, &name))
            .map_err(|error| Error::Spawn(Arc::new(error)))?;
        self.threads.lock().push(thread);
        state.started += 1;
        state.workers += 1;
        state.idle += 1;
        Ok(())
    }

    pub(super) fn shutdown(&self, options: ShutdownOptions) -> ShutdownReport {
        if !self.is_here() {
            return ShutdownReport::default();
        }
        // Before anything takes its time.
        let deadline = options
            .limit()
            .and_then(|limit| Instant::now().checked_add(limit));
        self.state.lock().shut_down = true;
        self.close(Error::ShutDown);
        // There it would wait for itself.
        let waits = options.waits() && !self.is_in_own_code();
        if options.cancels_pending() {
            if waits {
                // Not behind the callback that it may be in: a worker that is waited
                // for below may wait until one of them is told.
                without_callback_queue(|| self.clear(Task::cancel));
            } else {
                self.clear(Task::cancel);
            }
        }
        if waits {
            self.join(deadline);
        }
        self.stats().into()
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    /// Whether the current thread is in one of its tasks or callbacks.
    fn is_in_own_code(&self) -> bool {
        worker::is_of(self) || is_notifying_for(self.id)
    }

    pub(super) fn is_shut_down(&self) -> bool {
        !self.is_here() || self.state.lock().shut_down
    }

    /// Refuses tasks from now on; that the pool broke outweighs a shutdown.
    fn close(&self, why: Error) {
        let mut state = self.state.lock();
        if !matches!(state.closed, Some(Error::Broken(_))) {
            state.closed = Some(why);
        }
        self.queue.close();
        self.not_full.notify_all();
    }

    /// Waits until all threads are gone; or, with a deadline, until all workers
    /// have left the pool.
    fn join(&self, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        while state.workers > 0 {
            match deadline {
                None => self.ended.wait(&mut state),
                Some(at) => {
                    if self.ended.wait_until(&mut state, at).timed_out() {
                        return;
                    }
                }
            }
        }
        drop(state);
        if deadline.is_some() {
            // What is left are thread locals, whose `Drop` knows no limit.
            return;
        }
        // The workers have left the pool; their threads are about to end.
        // Another caller that joins them holds the lock meanwhile.
        let mut threads = self.threads.lock();
        for thread in threads.drain(..) {
            // A worker contains every panic: this is no place for one.
            let _ = thread.join();
        }
    }

    pub(super) fn stats(&self) -> Stats {
        if !self.is_here() {
            return Stats::default();
        }
        let state = self.state.lock();
        Stats {
            workers: state.workers,
            idle: state.idle,
            queued: state.queued,
            running: state.running,
            finished: state.finished,
            failed: state.failed,
            cancelled: state.cancelled,
            broken: matches!(state.closed, Some(Error::Broken(_))),
            ..Stats::default()
        }
    }

    // What the workers call, in the order of a worker's life.

    /// The initializer of a worker failed.
    pub(super) fn break_down(&self, cause: Error) {
        let broken = cause.broken(BrokenPart::Initializer);
        self.close(broken.clone());
        self.clear(|task| task.fail(broken.clone()));
        contain_drop(broken);
    }

    /// Ends all queued tasks, and tells when all have ended: a callback may wait
    /// for another of them.
    fn clear(&self, end: impl Fn(Arc<dyn Task>) -> Notifications) {
        let tasks = std::iter::from_fn(|| self.queue.try_pop());
        let notifications: Vec<_> = tasks.map(end).collect();
        run_notifications(notifications);
    }

    /// The next task; `None`: the worker may end, or forked.
    pub(super) fn next_task(&self) -> Option<Arc<dyn Task>> {
        if self.is_here() {
            self.queue.pop()
        } else {
            None
        }
    }

    /// A queued task was started, by a worker that was idle or by one that
    /// waits for it.
    fn begin(&self, was_idle: bool) {
        let mut state = self.state.lock();
        state.idle -= usize::from(was_idle);
        state.running += 1;
        self.unqueue(&mut state);
    }

    /// A queued task is none any more.
    fn unqueue(&self, state: &mut PoolState) {
        state.queued -= 1;
        self.notify_room();
    }

    /// The last thing that a worker does.
    pub(super) fn leave(&self) {
        if !self.is_here() {
            return;
        }
        let mut state = self.state.lock();
        state.idle -= 1;
        state.workers -= 1;
        if state.workers == 0 {
            self.ended.notify_all();
        }
    }
}

/// A worker's accounts while it runs a task; see the rule above.
pub(super) struct WorkerLoopHooks<'a>(pub(super) &'a Arc<Pool>);

impl WorkerHooks for WorkerLoopHooks<'_> {
    fn begin(&self) {
        self.0.begin(true);
    }

    fn call_returned(&self, failed: bool) {
        let mut state = self.0.state.lock();
        state.idle += 1;
        state.end(failed);
        self.0.notify_room();
    }

    fn callbacks_started(&self) {
        let mut state = self.0.state.lock();
        state.idle -= 1;
        // Without another thread, the task waits until this one is free again.
        let _ = self.0.start_worker_if_needed(&mut state);
    }

    fn callbacks_finished(&self) {
        self.0.state.lock().idle += 1;
        self.0.notify_room();
    }
}

/// The accounts of a task that a worker runs while it waits for it, inside the
/// task that it was running anyway: the worker stays as busy as it is.
struct NestedHooks(Arc<Pool>);

impl WorkerHooks for NestedHooks {
    fn begin(&self) {
        self.0.begin(false);
    }

    fn call_returned(&self, failed: bool) {
        self.0.state.lock().end(failed);
    }

    fn callbacks_started(&self) {}

    fn callbacks_finished(&self) {}
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_here() {
            forget_threads(self.threads.get_mut());
        }
        // The user's, which may panic: perhaps while the executor is dropped.
        contain_drop(self.config.initializer.take());
        contain_drop(self.config.on_worker_exit.take());
        contain_drop(self.state.get_mut().closed.take());
    }
}

impl PoolState {
    fn end(&mut self, failed: bool) {
        self.running -= 1;
        if failed {
            self.failed += 1;
        } else {
            self.finished += 1;
        }
    }
}

/// A call of the user's, on its way.
struct Call<F, A> {
    pool: Arc<Pool>,
    f: F,
    args: A,
}

impl<F, A, R> Job<R> for Call<F, A>
where
    F: FnOnce(A) -> R + Send,
    A: Send,
{
    fn call(self: Box<Self>) -> R {
        let Self { f, args, .. } = *self;
        f(args)
    }

    fn on_withdrawn(&self, cancelled: bool) {
        let mut state = self.pool.state.lock();
        self.pool.unqueue(&mut state);
        if cancelled {
            state.cancelled += 1;
        } else {
            state.failed += 1;
        }
    }

    fn drop_contained(self: Box<Self>) {
        let Self { f, args, .. } = *self;
        contain_drop(f);
        contain_drop(args);
    }

    fn inline_hooks(&self) -> Option<Box<dyn WorkerHooks>> {
        worker::is_ready_for(&self.pool).then(|| Box::new(NestedHooks(Arc::clone(&self.pool))) as _)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use crate::completion::Until;

    /// The moment between a result and the callbacks is too short to hit from
    /// outside: here a worker is made of nothing but its accounts.
    #[test]
    fn a_task_that_counted_on_a_worker_that_turns_to_callbacks_gets_another() {
        let pool = Pool::new(Config {
            max_workers: 2,
            thread_name_prefix: "by hand".to_owned(),
            stack_size: None,
            initializer: None,
            on_worker_exit: None,
            queue_capacity: None,
            record_timing: false,
        });
        let pool = pool.expect("there is memory");
        {
            let mut state = pool.state.lock();
            state.workers += 1;
            state.idle += 1;
        }
        let submitted = pool.submit(|n: i32| 2 * n, 21, true);
        let task = submitted.unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(pool.stats().workers, 1, "it counts on the idle one");
        let account = WorkerLoopHooks(&pool);
        account.callbacks_started();
        assert_eq!(pool.stats().workers, 2);
        task.wait(Until::Done, None).expect("the other runs it");
        account.callbacks_finished();
        pool.leave();
        pool.shutdown(ShutdownOptions::new());
        assert_eq!(pool.stats().workers, 0);
    }
}
