//! Submitting: the pool makes a queued task of a call, and starts a worker for the task if
//! needed.

use std::ptr::NonNull;
use std::sync::Arc;

use super::pool::Pool;
use super::worker_thread::with_current;
use crate::completion::{Completion, Job, ScopeTasks, Task};
use crate::error::Error;
use crate::executor::{TrySubmitError, WhenFull};
use crate::panic::contain_drop;
use crate::sync::{Ordering, fence};

impl Pool {
    /// Creates a task for a call and queues the task. If the queue is full, does what
    /// `when_full` says, unless the caller is a task of the pool or a callback of such a
    /// task.
    #[inline]
    pub(super) fn submit<F, A, R>(
        self: &Arc<Self>,
        f: F,
        args: A,
        when_full: WhenFull,
    ) -> Result<Completion<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        if let Err(error) = self.admit(when_full) {
            return Err(TrySubmitError::new(error, f, args));
        }
        let pool = NonNull::from(&**self);
        // SAFETY: `f`, `args` and the value are `'static` and `Send`.
        unsafe { self.queue_job(Call { pool, f, args }, None) }.map_err(refused)
    }

    /// Like [`submit`](Self::submit), for a task of a scope.
    ///
    /// # Safety
    ///
    /// The data that `f`, `args` and the task's value borrow lives until
    /// [`ScopeTasks::wait`] has returned. No future of the scope outlives that call. The
    /// scope does not move before `wait` has returned.
    pub(super) unsafe fn submit_to<F, A, R>(
        self: &Arc<Self>,
        scope_tasks: &ScopeTasks,
        f: F,
        args: A,
        when_full: WhenFull,
    ) -> Result<Completion<R>, TrySubmitError<F, A>>
    where
        F: FnOnce(A) -> R + Send,
        A: Send,
        R: Send,
    {
        if let Err(error) = self.admit(when_full) {
            return Err(TrySubmitError::new(error, f, args));
        }
        let pool = NonNull::from(&**self);
        // SAFETY: the caller promises that the scope does not move.
        let scoped = unsafe { scope_tasks.enter(Call { pool, f, args }) };
        // SAFETY: the job was entered into the scope, and job and value are `Send`.
        let queued = unsafe { self.queue_job(scoped, Some(scope_tasks)) };
        queued.map_err(|(error, scoped)| refused((error, scoped.into_job())))
    }

    /// Creates a task for a job (a function with its arguments) that [`admit`](Self::admit)
    /// has admitted, and queues the task.
    ///
    /// # Errors
    ///
    /// Returns the job, with the reason, if the pool was shut down meanwhile.
    ///
    /// # Safety
    ///
    /// The caller keeps the promise of [`Completion::with_job`]: job and value are `Send`,
    /// and borrow nothing unless the job was entered into a scope.
    #[inline]
    unsafe fn queue_job<J: Job<R>, R>(
        self: &Arc<Self>,
        job: J,
        scope_tasks: Option<&ScopeTasks>,
    ) -> Result<Completion<R>, (Error, J)> {
        // Allocates the task and moves the job into it (`cell.rs`, `memory.rs`).
        // SAFETY: the caller keeps the promise of `with_job`.
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
            // The pool broke after it had admitted the task. The worker whose initializer
            // broke the pool may even have been started for this task. So the task fails
            // like the queued tasks.
            self.fail_unqueued(completion.task());
            return Ok(completion);
        }
        // SAFETY: the task's job is a `J`, and the task gets no future if `take_job`
        // returns the job.
        match unsafe { completion.take_job::<J>() } {
            Some(job) => {
                self.unqueue();
                Err((error, job))
            }
            // A worker that waits for the scope has begun the task, and counts the task's
            // queue entry as stale (left behind). But the task has no queue entry, so
            // subtract one from the count of stale entries.
            None => {
                self.count_stale(-1);
                self.start_if_queued();
                Ok(completion)
            }
        }
    }

    /// Admits one task: makes sure that the pool is open and has a worker, and that the
    /// queue is not full.
    #[inline]
    fn admit(self: &Arc<Self>, when_full: WhenFull) -> Result<(), Error> {
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
        self.admit_to_bounded_queue(when_full)
    }

    #[cold]
    fn admit_to_bounded_queue(self: &Arc<Self>, when_full: WhenFull) -> Result<(), Error> {
        let mut admitted = self.admitted.lock();
        loop {
            let mut state = self.state.lock();
            if let Some(closed) = &state.closed {
                return Err(closed.clone());
            }
            *admitted += 1;
            let free = self.start_workers_for(&mut state, *admitted);
            drop(state);
            // A task that a free worker will take needs no room in the queue.
            let is_full = self.capacity.is_exceeded(*admitted, || free);
            // The pool's own tasks, and callbacks of these tasks, never wait for room in
            // the queue. The queue may have no room until they return, so the wait could
            // last for ever.
            if !is_full || self.is_in_own_code() {
                return Ok(());
            }
            *admitted -= 1;
            self.capacity.wait(&mut admitted, when_full)?;
        }
    }

    /// Queues a task. A worker of this pool pushes the task to its own deque. Any other
    /// thread appends the task to the pool's queue.
    #[inline]
    pub(super) fn push(self: &Arc<Self>, task: Task) -> Result<(), Error> {
        let mut task = Some(task);
        let is_own_worker = with_current(self, |worker| {
            if let Some(task) = task.take_if(|_| self.queue.is_open()) {
                worker.push(task);
            }
        });
        let Some(task) = task else {
            self.announce_own_task();
            return Ok(());
        };
        if is_own_worker.is_some() {
            return Err(self.refusal());
        }
        match self.queue.push(task, &self.slots, false) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.grow_if_needed();
                Ok(())
            }
            Err(_) => Err(self.refusal()),
        }
    }

    /// Wakes or starts another worker for a task in the current worker's own deque.
    #[inline]
    fn announce_own_task(self: &Arc<Self>) {
        // ORDERING: pairs with the fences of a worker that goes to sleep (`search_on`),
        // ends its search (`pass_on`), or checks if the pool must grow (`grow_if_needed`).
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

/// A call that the user submitted. The task of the call stores the `Call` as its [`Job`].
struct Call<F, A> {
    /// The task's pool, which exists as long as a thread may end the task without a call
    /// (`pool.rs`).
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
        // SAFETY: the task's entry is in a queue of the pool, or is held by a thread that
        // waits until the task has ended before it releases the pool. If the task was not
        // queued, the submitting thread borrows the pool until the task has ended.
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
    use crate::state::State;

    /// A queued task relies on a free worker, which then begins to run callbacks. The pool
    /// must start another worker. This moment is too short for a test from outside, so the
    /// test creates a worker without a thread and calls the worker's hooks itself.
    #[test]
    fn a_task_that_counted_on_a_worker_that_turns_to_callbacks_gets_another() {
        let pool = Pool::new(Config::of_workers(2));
        let pool = pool.expect("there is memory");
        let by_hand = WorkerThread::new(Arc::clone(&pool), 0);
        {
            let mut state = pool.state.lock();
            state.workers += 1;
            by_hand.slot().set_busy(false);
            // ORDERING: the test uses only one thread here.
            pool.started.store(1, Ordering::Relaxed);
            pool.growth_left.store(1, Ordering::Relaxed);
        }
        let submitted = pool.submit(|n: i32| 2 * n, 21, WhenFull::Wait);
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

    /// The pool breaks after a task was admitted and before the task is queued. The
    /// submitting thread must not run callbacks of other tasks, because these callbacks may
    /// want a lock that the submitting thread holds.
    #[test]
    fn a_submit_to_a_pool_that_just_broke_ends_its_own_task_alone() {
        let pool = Pool::new(Config::of_workers(1));
        let pool = pool.expect("there is memory");
        let (sender, told) = channel();
        // The pool has no worker, and may not start a worker. The test queues the tasks
        // itself.
        // ORDERING: the test uses only one thread here.
        pool.growth_left.store(0, Ordering::Relaxed);
        let call = |n: i32| Call {
            pool: NonNull::from(&*pool),
            f: move |()| n,
            args: (),
        };
        // SAFETY: job and value borrow nothing, and both are `Send`.
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
        // SAFETY: job and value borrow nothing, and both are `Send`.
        let own = unsafe { pool.queue_job(call(2), None) };
        assert!(own.is_ok_and(|own| own.failed()));
        assert!(!other.state().done() && told.try_recv().is_err());
        let by_hand = WorkerThread::new(Arc::clone(&pool), 0);
        pool.break_down(&by_hand, Error::ShutDown);
        assert!(other.failed() && told.try_recv().is_ok());
        assert_eq!((pool.stats().queued, pool.stats().failed), (0, 2));
    }

    /// A worker takes a task, as a thief does, and pushes it to its own deque only after a
    /// shutdown has cancelled all queued tasks. The worker must then cancel this task too.
    #[test]
    fn a_task_that_was_on_its_way_when_the_tasks_were_cancelled_is_cancelled_too() {
        let pool = Pool::new(Config::of_workers(1));
        let pool = pool.expect("there is memory");
        // ORDERING: the test uses only one thread here.
        pool.growth_left.store(0, Ordering::Relaxed);
        let by_hand = WorkerThread::new(Arc::clone(&pool), 0);
        let task = |n: i32| {
            let call = Call {
                pool: NonNull::from(&*pool),
                f: move |()| n,
                args: (),
            };
            // SAFETY: job and value borrow nothing, and both are `Send`.
            let queued = unsafe { pool.queue_job(call, None) };
            queued.unwrap_or_else(|_| panic!("it is open"))
        };
        let tasks = [1, 2].map(task);
        let in_its_hands = by_hand.next().expect("two are queued");
        let cancels = ShutdownOptions::new().cancel_pending(true);
        pool.shutdown(cancels.wait(false));
        // After a later shutdown without `cancel_pending`, the pool still cancels its
        // queued tasks.
        pool.shutdown(ShutdownOptions::new().wait(false));
        by_hand.push(in_its_hands);
        let next = by_hand.next().expect("it has pushed one");
        by_hand.run_or_end(next);
        assert!(tasks.iter().all(|task| task.state() == State::Cancelled));
        assert_eq!((pool.stats().queued, pool.stats().cancelled), (0, 2));
    }

    /// The pool plans two more workers while the first thread is starting, but the first
    /// worker then runs all tasks alone. When the pool then drops the planned workers
    /// (`growth.rs`), no task is queued, so it starts none of them.
    #[test]
    fn workers_that_are_not_needed_any_more_are_not_started() {
        let pool = Pool::new(Config::of_workers(3));
        let pool = pool.expect("there is memory");
        {
            // The test's thread takes the place of the first worker, which is starting.
            let mut state = pool.state.lock();
            pool.slots.get(0).set_busy(false);
            // ORDERING: the test uses only one thread here.
            pool.started.store(1, Ordering::Relaxed);
            pool.growth_left.store(2, Ordering::Relaxed);
            (state.workers, state.is_starting) = (1, true);
        }
        let submitted = [1, 2, 3].map(|n: i32| pool.submit(move |()| n, (), WhenFull::Wait));
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
