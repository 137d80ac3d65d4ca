//! Submitting: a call becomes a queued task, and a worker is started for it if
//! needed.

use std::ptr::NonNull;
use std::sync::Arc;

use super::pool::Pool;
use super::worker_thread::with_current;
use crate::completion::{Completion, Job, ScopeTasks, Task};
use crate::error::Error;
use crate::executor::TrySubmitError;
use crate::panic::contain_drop;
use crate::sync::{Ordering, fence};

impl Pool {
    /// Packs a call as a task and queues it; a full queue is waited for if
    /// `waits`.
    ///
    /// # Errors
    ///
    /// Returns the call with the reason.
    #[inline]
    pub(super) fn submit<F, A, R>(
        self: &Arc<Self>,
        f: F,
        args: A,
        waits: bool,
    ) -> Result<Completion<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        if let Err(error) = self.admit(waits) {
            let call = (f, args);
            return Err(TrySubmitError { error, call });
        }
        let pool = NonNull::from(&**self);
        // SAFETY: nothing borrows, and all is `Send`.
        unsafe { self.queue_job(Call { pool, f, args }, None) }.map_err(refused)
    }

    /// Like [`submit`](Self::submit), for a scope.
    ///
    /// # Safety
    ///
    /// All that is borrowed lives until [`ScopeTasks::wait`] has returned, and so do the
    /// futures at most. Until then the scope does not move.
    pub(super) unsafe fn submit_to<F, A, R>(
        self: &Arc<Self>,
        scope_tasks: &ScopeTasks,
        f: F,
        args: A,
        waits: bool,
    ) -> Result<Completion<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send,
        A: Send,
        R: Send,
    {
        if let Err(error) = self.admit(waits) {
            let call = (f, args);
            return Err(TrySubmitError { error, call });
        }
        let pool = NonNull::from(&**self);
        // SAFETY: as the caller says.
        let scoped = unsafe { scope_tasks.enter(Call { pool, f, args }) };
        // SAFETY: it is in the scope, and all is `Send`.
        let queued = unsafe { self.queue_job(scoped, Some(scope_tasks)) };
        queued.map_err(|(error, scoped)| refused((error, scoped.into_job())))
    }

    /// Makes a task of a job that was admitted, and queues it.
    ///
    /// # Errors
    ///
    /// Returns the job, since the pool was closed meanwhile.
    ///
    /// # Safety
    ///
    /// That of [`Completion::with_job`]: without a scope, job and value borrow nothing,
    /// and both are `Send`.
    #[inline]
    unsafe fn queue_job<J: Job<R>, R>(
        self: &Arc<Self>,
        job: J,
        scope_tasks: Option<&ScopeTasks>,
    ) -> Result<Completion<R>, (Error, J)> {
        // SAFETY: as the caller says.
        let (completion, task) = unsafe { Completion::with_job(self.id, job) };
        if self.config.record_timing {
            completion.record_timing();
        }
        if let Some(scope_tasks) = scope_tasks {
            scope_tasks.add(task.clone());
        }
        let Err(error) = self.push(task) else {
            return Ok(completion);
        };
        if matches!(error, Error::Broken(_)) {
            // It was admitted before, perhaps as the first task, for which the worker was
            // started that broke the pool: it fails like all that was queued.
            self.fail_unqueued(completion.task());
            return Ok(completion);
        }
        // SAFETY: such a job it has; and there is no future.
        match unsafe { completion.take_job::<J>() } {
            Some(job) => {
                self.unqueue();
                Err((error, job))
            }
            // A worker that waits for the scope was faster, and counted an entry that it
            // left in no queue.
            None => {
                self.count_stale(-1);
                self.start_if_queued();
                Ok(completion)
            }
        }
    }

    /// Lets a task in: the pool has a worker, and its queue is not full.
    ///
    /// # Errors
    ///
    /// The reason why it is refused.
    #[inline]
    fn admit(self: &Arc<Self>, waits: bool) -> Result<(), Error> {
        if !self.is_here() {
            return Err(Error::forked_pool());
        }
        if !self.queue.is_open() {
            return Err(self.refusal());
        }
        if self.started() == 0 {
            self.start_first_worker()?;
        }
        if self.config.queue_capacity.is_none() {
            return Ok(());
        }
        self.admit_to_bounded_queue(waits)
    }

    #[cold]
    fn admit_to_bounded_queue(self: &Arc<Self>, waits: bool) -> Result<(), Error> {
        let mut admitted = self.admitted.lock();
        loop {
            if let Some(closed) = &self.state.lock().closed {
                return Err(closed.clone());
            }
            *admitted += 1;
            self.start_workers_for(*admitted);
            // A task that counts on a free worker takes no room.
            let is_full = self.capacity.is_exceeded(*admitted, self.free());
            // Its own tasks and callbacks never wait for room: they make it.
            if !is_full || self.is_in_own_code() {
                return Ok(());
            }
            *admitted -= 1;
            self.capacity.wait(&mut admitted, waits)?;
        }
    }

    /// Queues a task: the newest of the worker's own if the current thread is a worker
    /// of this pool, or else the last of the pool's queue.
    ///
    /// # Errors
    ///
    /// The pool is closed.
    #[inline]
    pub(super) fn push(self: &Arc<Self>, task: Task) -> Result<(), Error> {
        let mut task = Some(task);
        let pushed = with_current(self, |worker| {
            if self.queue.is_open() {
                task.take().into_iter().for_each(|task| worker.push(task));
            }
        });
        if pushed.is_some() {
            return if task.is_none() {
                self.announce_own_task();
                Ok(())
            } else {
                Err(self.refusal())
            };
        }
        let Some(task) = task else {
            return Ok(());
        };
        match self.queue.push(task, &self.slots, false) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.grow_if_needed();
                Ok(())
            }
            Err(_) => Err(self.refusal()),
        }
    }

    /// Lets other workers know of a task in a worker's own deque.
    #[inline]
    fn announce_own_task(self: &Arc<Self>) {
        // ORDERING: pairs with the fences of a worker that lies down or ends its search,
        // and of one that looks whether the pool has to grow.
        fence(Ordering::SeqCst);
        self.queue.wake_one(&self.slots);
        self.grow_if_needed();
    }

    pub(super) fn refusal(&self) -> Error {
        self.state.lock().closed.clone().unwrap_or(Error::ShutDown)
    }
}

fn refused<F, A>((error, call): (Error, Call<F, A>)) -> TrySubmitError<F, A> {
    let Call { f, args, .. } = call;
    let call = (f, args);
    TrySubmitError { error, call }
}

/// A call of the user's, on its way.
struct Call<F, A> {
    /// Lives as long as the task may be withdrawn (`pool.rs`).
    pool: NonNull<Pool>,
    f: F,
    args: A,
}

impl<F, A, R> Job<R> for Call<F, A>
where
    F: FnOnce(A) -> R,
{
    fn call(self) -> R {
        let Self { f, args, .. } = self;
        f(args)
    }

    fn on_withdrawn(&self, cancelled: bool) {
        // SAFETY: an entry of the task is in the pool's queues, or in the hands of one of
        // its workers or of a thread that clears it; each of them waits until the task has
        // ended before it lets go of the pool.
        unsafe { self.pool.as_ref() }.on_withdrawn(cancelled);
    }

    fn drop_contained(self) {
        let Self { f, args, .. } = self;
        contain_drop(f);
        contain_drop(args);
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::pool::Config;
    use super::super::queue::Gate;
    use super::super::worker_thread::WorkerThread;
    use super::*;
    use crate::completion::{Until, WorkerHooks};
    use crate::error::BrokenPart;
    use crate::executor::ShutdownOptions;

    /// The moment between a result and the callbacks is too short to hit from
    /// outside: here a worker is made of nothing but its slot.
    #[test]
    fn a_task_that_counted_on_a_worker_that_turns_to_callbacks_gets_another() {
        let pool = Pool::new(Config::of_workers(2));
        let pool = pool.expect("there is memory");
        let by_hand = WorkerThread::new(Arc::clone(&pool), 0);
        {
            let mut state = pool.state.lock();
            state.workers += 1;
            by_hand.slot().set_busy(false);
            // ORDERING: one thread.
            pool.started.store(1, Ordering::Relaxed);
            pool.growth_left.store(1, Ordering::Relaxed);
        }
        let submitted = pool.submit(|n: i32| 2 * n, 21, true);
        let task = submitted.unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(pool.stats().workers, 1, "it counts on the free one");
        by_hand.callbacks_started();
        assert_eq!(pool.stats().workers, 2);
        task.wait(Until::Done, None).expect("the other runs it");
        by_hand.callbacks_finished();
        pool.leave(0);
        pool.shutdown(ShutdownOptions::new());
        assert_eq!(pool.stats().workers, 0);
    }

    /// The pool broke between the two halves of a submit. The others' callbacks may want
    /// a lock that the submitting thread holds.
    #[test]
    fn a_submit_to_a_pool_that_just_broke_ends_its_own_task_alone() {
        let pool = Pool::new(Config::of_workers(1));
        let pool = pool.expect("there is memory");
        let (sender, told) = channel();
        // Queued by hand, since there is no worker.
        let call = |n: i32| Call {
            pool: NonNull::from(&*pool),
            f: move |()| n,
            args: (),
        };
        // SAFETY: nothing borrows, and all is `Send`.
        let other = unsafe { pool.queue_job(call(1), None) };
        let Ok(other) = other else {
            panic!("it is open")
        };
        other.add_callback(Box::new(move |_| {
            sender.send(()).expect("the test listens")
        }));
        let broken = Error::ShutDown.broken(BrokenPart::Initializer);
        pool.state.lock().closed = Some(broken.clone());
        pool.queue.close(Gate::Broken, &pool.slots);
        // SAFETY: as above.
        let own = unsafe { pool.queue_job(call(2), None) };
        assert!(own.is_ok_and(|own| own.failed()));
        assert!(!other.state().done() && told.try_recv().is_err());
        let by_hand = WorkerThread::new(Arc::clone(&pool), 0);
        pool.break_down(&by_hand, Error::ShutDown);
        assert!(other.failed() && told.try_recv().is_ok());
        assert_eq!((pool.stats().queued, pool.stats().failed), (0, 2));
    }

    /// Two workers were planned while the first thread was on its way, which did the tasks
    /// alone.
    #[test]
    fn workers_that_are_not_needed_any_more_are_not_started() {
        let pool = Pool::new(Config::of_workers(3));
        let pool = pool.expect("there is memory");
        {
            // A thread that is on its way: this one.
            let mut state = pool.state.lock();
            pool.slots.get(0).set_busy(false);
            pool.started.store(1, Ordering::Relaxed);
            pool.growth_left.store(2, Ordering::Relaxed);
            (state.workers, state.is_starting) = (1, true);
        }
        let submitted = [1, 2, 3].map(|n: i32| pool.submit(move |()| n, (), true));
        assert_eq!((pool.stats().workers, pool.stats().idle), (3, 3));
        let by_hand = WorkerThread::new(Arc::clone(&pool), 0);
        for _ in 0..3 {
            by_hand.next().expect("one is queued").run(&by_hand);
        }
        pool.start_planned();
        assert_eq!((pool.stats().workers, pool.stats().idle), (1, 1));
        for task in submitted {
            let task = task.unwrap_or_else(|refused| panic!("{refused}"));
            task.wait(Until::Done, None).expect("it has run");
        }
        assert_eq!(pool.state.lock().started, 0, "no thread was started");
        pool.leave(0);
    }
}
