//! Submitting: a call becomes a queued task, and a worker is started for it if
//! needed.

use std::sync::Arc;
use std::thread;

use super::current;
use super::hooks::NestedHooks;
use super::pool::{Pool, PoolState};
use super::worker;
use crate::completion::{Completion, Job, ScopeTasks, WorkerHooks};
use crate::error::Error;
use crate::executor::TrySubmitError;
use crate::panic::contain_drop;
use crate::sync::MutexGuard;

impl Pool {
    /// Packs a call as a task and queues it; a full queue is waited for if
    /// `waits`.
    ///
    /// # Errors
    ///
    /// Returns the call with the reason.
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
    /// Without a scope, nothing borrows. With one, what is borrowed lives until
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
        // SAFETY: packed for the scope below, before any other thread has it.
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

    /// Counts one more task in the queue; the caller pushes it before it unlocks.
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
            // Without any worker nothing is queued: no thread would run it.
            let has_place = state.workers > 0
                // Its own tasks and callbacks never wait for room: they make it.
                && (!self.is_overfull(&state) || self.is_in_own_code());
            if has_place {
                return Ok(state);
            }
            state.queued -= 1;
            if state.workers == 0 {
                started?;
            }
            self.capacity.wait(&mut state, waits)?;
        }
    }

    /// Returns `true` if more tasks are queued than a bounded queue has room for. A task
    /// that counts on an idle worker takes none; a thread that could not be
    /// started is nothing to count on.
    fn is_overfull(&self, state: &PoolState) -> bool {
        self.capacity.is_exceeded(state.queued, state.idle)
    }

    /// Starts a worker if more tasks are queued than workers are idle: the rule of
    /// `pool.rs`.
    pub(super) fn start_worker_if_needed(
        self: &Arc<Self>,
        state: &mut PoolState,
    ) -> Result<(), Error> {
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
        current::is_ready_for(self.pool.id())
            .then(|| Box::new(NestedHooks(Arc::clone(&self.pool))) as _)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::super::hooks::WorkerLoopHooks;
    use super::super::pool::Config;
    use super::*;
    use crate::completion::Until;
    use crate::executor::ShutdownOptions;

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
