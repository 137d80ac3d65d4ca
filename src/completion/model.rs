//! Models of the core. `loom` runs each model in every order of the threads' steps that
//! needs at most three preemptions, or two in the models that call `with_two_preemptions`.
//!
//! `ci/loom` runs the models. The models contain no waits with a deadline: a model has no
//! clock, and a wait that times out changes nothing in the task except the flag WAITER.

use std::alloc::Layout;
use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use super::job::Travels;
use super::memory::{Blocks, Memory, free};
use super::waiting::Waiter;
use super::{
    Completion, Finalizer, Job, NO_POOL, Notification, Remote, ScopeTasks, Task, Until, WakerKey,
    WorkerHooks, as_inline_worker, deadlock,
};
use crate::encoded::{Encoded, EncodedCall};
use crate::error::Error;
use crate::state::State;
use crate::sync::thread_id;

/// Checks a model with at most two preemptions. With three preemptions, a model of three
/// threads that wait inside waits has too many orders.
fn with_two_preemptions(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// The memory of a task, which a model may send to another thread to free it.
struct Sent(Memory);

// SAFETY: only the thread that has the `Sent` uses the memory.
unsafe impl Send for Sent {}

impl Sent {
    fn free(self) {
        let Memory { start, place } = self.0;
        // SAFETY: the memory was taken for one unit, and nothing uses it any more.
        unsafe { free(start, place, Layout::new::<u64>()) };
    }
}

fn worker(task: &Completion<usize>, value: usize) {
    if task.start() {
        task.settle(Ok(value))
            .expect("only the one who started it settles it")
            .notify();
    }
}

/// Lends the value and copies it. No thread takes the value meanwhile.
fn read(task: &Completion<usize>) -> Result<usize, Error> {
    // SAFETY: the reference ends with this line, and no other thread of the model takes the
    // value before that.
    unsafe { task.lend() }.copied()
}

/// A log of digits, in the order in which the threads write them.
#[derive(Default)]
struct Log {
    digits: AtomicUsize,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn write(&self, digit: usize) {
        // ORDERING: if two threads write at a time, one digit is lost, and the model fails.
        let before = self.digits.load(Ordering::Acquire);
        self.digits.store(before * 10 + digit, Ordering::Release);
    }

    fn read(&self) -> usize {
        // ORDERING: pairs with the store of `write`.
        self.digits.load(Ordering::Acquire)
    }
}

/// After the wait, this thread sees what the task wrote outside its own memory, and reads
/// the value. Then each of the two threads drops its reference, and the second of them
/// frees the task only after both have used it for the last time.
#[test]
fn a_waiter_wakes_and_reads_the_value() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let written = Arc::new(AtomicUsize::new(0));
        let writer = Arc::clone(&written);
        let running = thread::spawn(move || {
            // ORDERING: relaxed, so that only the task's word makes this store visible to
            // the thread that waits.
            writer.store(1, Ordering::Relaxed);
            worker(&other, 7);
        });
        task.wait(Until::Done, None).expect("it ends");
        // ORDERING: relaxed, as the store.
        assert_eq!(written.load(Ordering::Relaxed), 1);
        assert_eq!(read(&task).expect("it ended well"), 7);
        // Drop the reference before the join, because the join would order the other
        // thread's last use.
        drop(task);
        running.join().expect("no panic");
    });
}

#[test]
fn a_task_is_run_or_cancelled_and_never_both() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let running = thread::spawn(move || worker(&other, 7));
        let cancelled = match task.cancel() {
            Some(notification) => {
                notification.notify();
                true
            }
            None => false,
        };
        task.wait(Until::CallbacksDone, None).expect("it ends");
        match read(&task) {
            Ok(7) => assert!(!cancelled && task.state() == State::Finished),
            Err(Error::Cancelled) => assert!(cancelled && task.state() == State::Cancelled),
            other => panic!("{other:?}"),
        }
        running.join().expect("no panic");
    });
}

/// Creates a task whose worker is another process.
fn remote() -> Completion<usize> {
    let call = EncodedCall::from(Encoded::default());
    // SAFETY: the job borrows nothing.
    unsafe { Completion::with_job(NO_POOL, Travels(Some(call))) }.0
}

/// The pool claims the task for a worker, which dies. The pool releases the task, and
/// claims it again for a second worker. The task can be cancelled only while it is not
/// claimed.
#[test]
fn a_claimed_task_is_not_cancelled_and_a_released_one_may_be() {
    loom::model(|| {
        let task = remote();
        let other = task.clone();
        let pool = thread::spawn(move || {
            if !other.claim() {
                return false;
            }
            assert_eq!(other.state(), State::Pending, "it does not run yet");
            // SAFETY: this thread claimed the task just now.
            assert!(unsafe { other.claimed_call() }.is_some());
            other.release();
            if !other.claim() {
                return false;
            }
            // SAFETY: this thread claimed the task just now.
            assert!(unsafe { other.take_claimed_call() }.is_some());
            worker(&other, 7);
            true
        });
        let cancelled = task.cancel().is_some_and(|notification| {
            notification.notify();
            true
        });
        task.wait(Until::CallbacksDone, None).expect("it ends");
        assert_eq!(pool.join().expect("no panic"), !cancelled);
        assert_eq!(read(&task).is_ok(), !cancelled);
    });
}

#[test]
fn of_two_that_settle_one_is_refused() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let second = thread::spawn(move || other.settle(Ok(2)).is_ok());
        let first = task.settle(Ok(1)).is_ok();
        let second = second.join().expect("no panic");
        assert!(first != second);
        assert_eq!(
            read(&task).expect("it has a value"),
            if first { 1 } else { 2 }
        );
    });
}

/// Ends a task as a process pool does: with `settle_quietly`, which runs no user code, or
/// with `settle` if the task has a callback or a waker.
fn end_quietly(task: &Completion<usize>) {
    assert!(task.claim(), "it is pending");
    task.start();
    match task.settle_quietly(7, thread_id()) {
        Ok(notification) => notification.notify(),
        Err(value) => task.settle(Ok(value)).expect("it runs").notify(),
    }
}

#[test]
fn a_task_that_ends_quietly_misses_no_callback() {
    loom::model(|| {
        let task = remote();
        let other = task.clone();
        let reader = thread::spawn(move || end_quietly(&other));
        let log = Log::new();
        let writer = log.clone();
        task.add_callback(Box::new(move |_| writer.write(1)));
        task.wait(Until::CallbacksDone, None).expect("it ends");
        assert_eq!(read(&task).expect("it has a value"), 7);
        assert_eq!(log.read(), 1);
        reader.join().expect("no panic");
    });
}

#[test]
fn a_task_that_ends_quietly_wakes_its_waiter() {
    loom::model(|| {
        let task = remote();
        let other = task.clone();
        let reader = thread::spawn(move || end_quietly(&other));
        task.wait(Until::Done, None).expect("it ends");
        assert_eq!(read(&task).expect("it has a value"), 7);
        reader.join().expect("no panic");
    });
}

#[test]
fn callbacks_run_once_in_the_order_of_adding() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let running = thread::spawn(move || worker(&other, 7));
        let log = Log::new();
        for digit in [1, 2] {
            let log = Arc::clone(&log);
            task.add_callback(Box::new(move |task| {
                assert_eq!(
                    read(Completion::of_task(task)).expect("done before it tells"),
                    7
                );
                log.write(digit);
            }));
        }
        running.join().expect("no panic");
        assert_eq!(log.read(), 12);
    });
}

#[test]
fn the_value_is_given_away_behind_every_callback() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let running = thread::spawn(move || worker(&other, 7));
        let log = Log::new();
        let writer = Arc::clone(&log);
        task.add_callback(Box::new(move |task| {
            assert_eq!(
                read(Completion::of_task(task)).expect("done before it tells"),
                7
            );
            writer.write(1);
        }));
        task.wait(Until::CallbacksDone, None).expect("it ends");
        // SAFETY: the callbacks are done, and this thread has the only handle. The
        // `UnsafeCell` of loom fails the model if a callback still reads the value.
        let value = unsafe { task.take() };
        assert_eq!(value.expect("it ended well"), 7);
        assert_eq!(log.read(), 1);
        running.join().expect("no panic");
    });
}

#[test]
fn the_last_callback_comes_behind_one_that_a_callback_adds() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let running = thread::spawn(move || worker(&other, 7));
        let log = Log::new();
        let (first, second, last) = (Arc::clone(&log), Arc::clone(&log), Arc::clone(&log));
        task.add_callback(Box::new(move |task| {
            task.add_callback(Box::new(move |_| second.write(2)));
            first.write(1);
        }));
        task.set_last(Box::new(move |task| {
            // SAFETY: this is the last callback, and the handle is not used again.
            let value = unsafe { Completion::<usize>::of_task(task).take() };
            assert_eq!(value.expect("it ended well"), 7);
            last.write(3);
        }));
        running.join().expect("no panic");
        assert_eq!(log.read(), 123);
    });
}

/// A job that counts its calls, for tasks that threads of the model run.
struct CountCalls(Arc<AtomicUsize>);

impl Job<usize> for CountCalls {
    fn call(self) -> usize {
        // ORDERING: the number is read only after a join.
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn on_withdrawn(&self, _cancelled: bool) {}
}

struct AnyWorker;

impl WorkerHooks for AnyWorker {
    fn begin(&self, _leaves_entry: bool) {}
    fn call_returned(&self, _failed: bool) {}
    fn callbacks_started(&self) {}
    fn callbacks_finished(&self) {}
}

/// Starts a thread that runs the task, unless another thread has begun the task.
fn on_a_worker(task: Task) -> JoinHandle<()> {
    thread::spawn(move || {
        task.run(&AnyWorker);
    })
}

/// Runs `f` on the calling thread. A wait inside `f` may run a task of `NO_POOL` inline.
fn waiting_worker<R>(f: impl FnOnce() -> R) -> R {
    as_inline_worker(NO_POOL, &AnyWorker, f)
}

#[test]
fn a_task_is_run_once_by_its_worker_or_by_who_waits_for_it() {
    loom::model(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let job = CountCalls(Arc::clone(&calls));
        // SAFETY: the job borrows nothing.
        let task = unsafe { Completion::with_job(NO_POOL, job) }.0;
        let running = on_a_worker(task.task().clone());
        waiting_worker(|| task.wait(Until::CallbacksDone, None)).expect("it ends");
        assert_eq!(read(&task).expect("it ended well"), 1);
        running.join().expect("no panic");
        // ORDERING: the join orders this load after the writes.
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

/// A job that returns itself as its value. Its drop, as a job or as a value, writes a
/// digit.
struct Drops(Arc<Log>, usize);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.write(self.1);
    }
}

impl Job<Drops> for Drops {
    fn call(self) -> Drops {
        self
    }

    fn on_withdrawn(&self, _cancelled: bool) {}
}

/// Creates a task of a scope. Returns both ends of the task.
fn in_a_scope(scope_tasks: &ScopeTasks, job: Drops) -> (Completion<Drops>, Task) {
    // SAFETY: the scope does not move while the model runs.
    let job = unsafe { scope_tasks.enter(job) };
    // SAFETY: the job borrows nothing.
    let (task, other) = unsafe { Completion::with_job(NO_POOL, job) };
    scope_tasks.add(other.clone());
    (task, other)
}

/// The future is dropped while the task ends. One of the two threads drops the value, and
/// the last of them frees the memory (`loom` reports memory that is never freed).
#[test]
fn a_value_is_dropped_once_with_its_future_or_behind_it() {
    loom::model(|| {
        let log = Log::new();
        let job = Drops(Arc::clone(&log), 1);
        // SAFETY: the job borrows nothing.
        let (task, other) = unsafe { Completion::with_job(NO_POOL, job) };
        let running = on_a_worker(other);
        // SAFETY: `task` is the only handle, and no reference to its value is alive.
        unsafe { task.release_handle() };
        running.join().expect("no panic");
        assert_eq!(log.read(), 1);
    });
}

/// A job that records that it was withdrawn.
struct Told(Arc<AtomicUsize>);

impl Job<usize> for Told {
    fn call(self) -> usize {
        7
    }

    fn on_withdrawn(&self, _cancelled: bool) {
        // ORDERING: relaxed, so that only the task's word makes this store visible to the
        // worker.
        self.0.store(1, Ordering::Relaxed);
    }
}

/// A thread cancels a task while a worker takes the task's queue entry. The cancelling
/// thread tells the pool (`on_withdrawn`) before the worker drops the entry, because the
/// pool may be freed afterwards.
#[test]
fn an_entry_is_let_go_behind_the_last_look_at_its_pool() {
    loom::model(|| {
        let told = Arc::new(AtomicUsize::new(0));
        // SAFETY: the job borrows nothing.
        let (task, entry) = unsafe { Completion::with_job(NO_POOL, Told(Arc::clone(&told))) };
        let cancelling = thread::spawn(move || {
            let cancelled = task.cancel().map(Notification::notify).is_some();
            // SAFETY: `task` is the only handle, and no reference to its value is alive.
            unsafe { task.release_handle() };
            cancelled
        });
        let ran = entry.run(&AnyWorker);
        // ORDERING: relaxed, so that only the task's word makes the store visible to this
        // load.
        assert!(ran || told.load(Ordering::Relaxed) == 1);
        assert_ne!(cancelling.join().expect("no panic"), ran);
    });
}

/// A thread adds a callback while a task without callbacks ends: the callback runs once.
#[test]
fn what_is_attached_while_a_task_ends_is_not_missed() {
    loom::model(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        // SAFETY: the job borrows nothing.
        let (task, entry) =
            unsafe { Completion::with_job(NO_POOL, CountCalls(Arc::clone(&calls))) };
        let running = on_a_worker(entry);
        let log = Log::new();
        let writer = Arc::clone(&log);
        task.add_callback(Box::new(move |_| writer.write(1)));
        running.join().expect("no panic");
        assert_eq!(log.read(), 1);
    });
}

/// Two threads add the first callbacks of a task at the same time, and each of them may
/// create the task's rare box. Both callbacks get into the box that is kept, and each runs
/// once.
#[test]
fn two_that_attach_first_share_one_box() {
    fn count_in(task: &Completion<usize>, calls: Arc<AtomicUsize>) {
        task.add_callback(Box::new(move |_| {
            // ORDERING: the number is read only by the thread that runs the callbacks.
            calls.fetch_add(1, Ordering::Relaxed);
        }));
    }
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let calls = Arc::new(AtomicUsize::new(0));
        let its_calls = Arc::clone(&calls);
        let adding = thread::spawn(move || count_in(&other, its_calls));
        count_in(&task, Arc::clone(&calls));
        adding.join().expect("the other thread ends");
        worker(&task, 7);
        // ORDERING: this thread has run the callbacks.
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    });
}

/// A thread removes its waker while the task ends. Afterwards the task no longer stores the
/// waker.
#[test]
fn an_await_that_is_dropped_leaves_no_waker_behind() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let wakes = Arc::new(CountWakes(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut key = WakerKey::default();
        let ready = task.poll(Until::Done, &mut key, || waker.clone());
        assert!(!ready);
        let running = thread::spawn(move || worker(&other, 7));
        task.forget(&mut key);
        running.join().expect("no panic");
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

#[test]
fn a_scope_ends_behind_the_callbacks_and_the_value_of_its_task() {
    loom::model(|| {
        let (scope_tasks, log) = (ScopeTasks::new(), Log::new());
        let (task, other) = in_a_scope(&scope_tasks, Drops(Arc::clone(&log), 2));
        let running = on_a_worker(other);
        let callback = Arc::clone(&log);
        task.add_callback(Box::new(move |_| callback.write(1)));
        // SAFETY: `task` is the only handle, and no reference to its value is alive.
        unsafe { task.release_handle() };
        waiting_worker(|| scope_tasks.wait(Task::run_inline));
        assert_eq!(log.read(), 12);
        running.join().expect("the other thread ends");
    });
}

#[test]
fn a_scope_ends_after_the_drop_of_the_value_of_a_task_without_a_handle() {
    loom::model(|| {
        let (scope_tasks, log) = (ScopeTasks::new(), Log::new());
        let (task, other) = in_a_scope(&scope_tasks, Drops(Arc::clone(&log), 1));
        let running = on_a_worker(other);
        // SAFETY: `task` is the only handle, and no reference to its value is alive.
        unsafe { task.release_handle() };
        waiting_worker(|| scope_tasks.wait(Task::run_inline));
        assert_eq!(log.read(), 1);
        running.join().expect("the other thread ends");
    });
}

#[test]
fn a_scope_ends_behind_the_function_of_a_cancelled_task() {
    loom::model(|| {
        let (scope_tasks, log) = (ScopeTasks::new(), Log::new());
        let (task, other) = in_a_scope(&scope_tasks, Drops(Arc::clone(&log), 1));
        let cancelling = thread::spawn(move || {
            if let Some(notification) = other.cancel() {
                notification.notify();
            }
        });
        waiting_worker(|| scope_tasks.wait(Task::run_inline));
        // If the waiting thread ran the task, the task's value belongs to the future, which
        // this thread has.
        let is_gone = if task.state() == State::Cancelled {
            1
        } else {
            0
        };
        assert_eq!(log.read(), is_gone);
        cancelling.join().expect("the other thread ends");
        // SAFETY: `task` is the only handle, and no reference to its value is alive.
        unsafe { task.release_handle() };
        assert_eq!(log.read(), 1);
    });
}

/// Another thread enters a second task into the scope, ends it, and then ends the first
/// task. Meanwhile this thread waits for the scope, and so adds up the lines of the scope's
/// count. The wait returns only after both tasks have ended.
#[test]
fn the_end_of_a_scope_counts_each_task_once() {
    fn cancel(task: &Task) {
        let notification = task.cancel().expect("pending");
        notification.notify();
    }
    loom::model(|| {
        let (scope_tasks, log) = (Arc::new(ScopeTasks::new()), Log::new());
        let (outer, other) = in_a_scope(&scope_tasks, Drops(Arc::clone(&log), 1));
        let (its_scope, its_log) = (Arc::clone(&scope_tasks), Arc::clone(&log));
        let cancelling = thread::spawn(move || {
            let (inner, entry) = in_a_scope(&its_scope, Drops(its_log, 2));
            cancel(&entry);
            cancel(&other);
            inner
        });
        scope_tasks.wait(Task::run_inline);
        assert_eq!(log.read(), 21);
        let inner = cancelling.join().expect("the other thread ends");
        for task in [outer, inner] {
            // SAFETY: this is the only handle, and no reference to the value is alive.
            unsafe { task.release_handle() };
        }
    });
}

/// Another thread adds a task to the scope, but does not run it, while this thread waits
/// for the scope. The waiting thread runs the task, even if it had found the scope's lists
/// empty before.
#[test]
fn a_scope_runs_a_task_that_is_added_while_it_waits() {
    loom::model(|| {
        let (scope_tasks, log) = (Arc::new(ScopeTasks::new()), Log::new());
        // SAFETY: the scope does not move while the model runs.
        let job = unsafe { scope_tasks.enter(Drops(Arc::clone(&log), 1)) };
        // This task is in no list, so only the other thread ends it.
        // SAFETY: the job borrows nothing.
        let (outer, entry) = unsafe { Completion::with_job(NO_POOL, job) };
        let (its_scope, its_log) = (Arc::clone(&scope_tasks), Arc::clone(&log));
        let adding = thread::spawn(move || {
            let inner = in_a_scope(&its_scope, Drops(its_log, 2)).0;
            let notification = entry.cancel().expect("pending");
            notification.notify();
            inner
        });
        waiting_worker(|| scope_tasks.wait(Task::run_inline));
        assert_eq!(log.read(), 1);
        let inner = adding.join().expect("the other thread ends");
        assert_eq!(inner.state(), State::Finished);
        for task in [outer, inner] {
            // SAFETY: this is the only handle, and no reference to the value is alive.
            unsafe { task.release_handle() };
        }
        assert_eq!(log.read(), 12);
    });
}

/// Runs the task `ours`, which waits for the task `theirs`, on the calling thread. Returns
/// `true` if the wait succeeded, and `false` if it was refused.
fn run_and_wait(ours: &Completion<usize>, theirs: &Completion<usize>) -> bool {
    ours.start();
    ours.runs_here();
    let waited = theirs.wait(Until::Done, None);
    let settled = ours.settle(Ok(1));
    settled.expect("its runner alone settles it").notify();
    waited.is_ok()
}

#[test]
fn of_two_tasks_that_wait_for_each_other_one_is_refused() {
    loom::model(|| {
        let (first, second) = (Completion::new(NO_POOL), Completion::new(NO_POOL));
        let (one, two) = (first.clone(), second.clone());
        let other = thread::spawn(move || run_and_wait(&two, &one));
        let here = run_and_wait(&first, &second);
        let there = other.join().expect("the other thread ends");
        assert_ne!(here, there);
    });
}

/// Starts a thread that gets the answer of a remote task. The thread runs the closure that
/// ends the task (its [`Finalizer`]), unless a thread that waits for the task runs it.
fn hear_of(task: &Completion<usize>) -> JoinHandle<()> {
    task.start();
    let (task, other) = (task.clone(), task.clone());
    let finalizer: Finalizer = Box::new(move || {
        task.runs_here();
        let settled = task.settle(Ok(7));
        settled.expect("it is done once").notify();
    });
    thread::spawn(move || match other.hand_to_waiter(finalizer) {
        Ok(()) => {}
        Err(finalizer) => finalizer(),
    })
}

#[test]
fn the_rest_of_a_task_is_done_by_one_who_waits_or_by_the_other() {
    loom::model(|| {
        let task = remote();
        let answering = hear_of(&task);
        task.wait(Until::Done, None).expect("it ends");
        assert_eq!(read(&task).expect("it has a value"), 7);
        answering.join().expect("the other thread ends");
    });
}

#[test]
fn a_waiter_that_gives_up_leaves_no_rest_behind() {
    loom::model(|| {
        let task = remote();
        let answering = hear_of(&task);
        drop(Waiter::enter(&task));
        answering.join().expect("the other thread ends");
        assert_eq!(task.state(), State::Finished);
    });
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        // ORDERING: the number is read only after a join.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_poll_is_ready_or_its_waker_is_woken() {
    loom::model(|| {
        let task = Completion::new(NO_POOL);
        let other = task.clone();
        let running = thread::spawn(move || worker(&other, 7));
        let wakes = Arc::new(CountWakes(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&wakes));
        let ready = task.poll(Until::CallbacksDone, &mut WakerKey::default(), || {
            waker.clone()
        });
        running.join().expect("no panic");
        // ORDERING: the join orders this load after the writes.
        let woken = wakes.0.load(Ordering::Relaxed);
        assert!(ready || woken > 0);
        assert!(task.is(Until::CallbacksDone));
    });
}

/// Starts a thread that gets the answer of a remote task. The closure that ends this task
/// (its [`Finalizer`]) first waits for `inner`.
fn answer_that_waits(task: &Completion<usize>, inner: Completion<usize>) -> JoinHandle<()> {
    task.start();
    let (task, other) = (task.clone(), task.clone());
    let finalizer: Finalizer = Box::new(move || {
        task.runs_here();
        let (before, _) = deadlock::entries_of_this_thread(&inner);
        let value = match inner.wait(Until::Done, None) {
            Ok(()) => read(&inner),
            Err(error) => Err(error),
        };
        let (after, is_inner) = deadlock::entries_of_this_thread(&inner);
        assert!(before == after && !is_inner, "it left its own entry");
        let settled = task.settle(value);
        settled.expect("it is done once").notify();
    });
    thread::spawn(move || match other.hand_to_waiter(finalizer) {
        Ok(()) => {}
        Err(finalizer) => finalizer(),
    })
}

#[test]
fn a_wait_inside_a_finalizer_leaves_the_wait_around_it_alone() {
    loom::model(|| {
        let (task, inner) = (remote(), Completion::new(NO_POOL));
        let other = inner.clone();
        let running = thread::spawn(move || worker(&other, 7));
        let answering = answer_that_waits(&task, inner);
        task.wait(Until::Done, None).expect("it ends");
        assert_eq!(read(&task).expect("it has a value"), 7);
        answering.join().expect("the other thread ends");
        running.join().expect("the other thread ends");
    });
}

/// Three tasks wait for each other. The thread that runs the first task waits inside this
/// task for the second, which is remote. The closure that ends the second task (its
/// [`Finalizer`]) waits for the third. The thread that runs the third task waits for the
/// first. One of these waits returns an error, no matter which thread runs the closure.
#[test]
fn a_circle_through_a_finalizer_is_found() {
    with_two_preemptions(|| {
        let [first, third] = [(); 2].map(|()| Completion::new(NO_POOL));
        let remote = remote();
        let answering = answer_that_waits(&remote, third.clone());
        third.start();
        first.start();
        first.runs_here();
        let (own, awaited) = (third.clone(), first.clone());
        let other = thread::spawn(move || {
            own.runs_here();
            let waited = awaited.wait(Until::Done, None);
            let settled = own.settle(waited.map(|()| 1));
            settled.expect("its runner alone settles it").notify();
        });
        let waited = remote.wait(Until::Done, None);
        let is_refused = waited.is_err() || read(&remote).is_err();
        let settled = first.settle(Ok(1));
        settled.expect("its runner alone settles it").notify();
        assert!(is_refused || read(&third).is_err());
        other.join().expect("the other thread ends");
        answering.join().expect("the other thread ends");
    });
}

/// This thread runs a task, for which another thread waits. This thread waits for a remote
/// task, and may run that task's [`Finalizer`] inside the wait. These waits form no cycle,
/// so no wait is refused.
#[test]
fn one_that_does_the_rest_inside_its_wait_closes_no_circle() {
    with_two_preemptions(|| {
        let (task, own) = (remote(), Completion::new(NO_POOL));
        own.start();
        own.runs_here();
        let other = own.clone();
        let watching = thread::spawn(move || other.wait(Until::Done, None).is_ok());
        let answering = hear_of(&task);
        task.wait(Until::Done, None).expect("no circle");
        own.settle(Ok(1)).expect("its runner settles it").notify();
        assert!(watching.join().expect("the other thread ends"));
        answering.join().expect("the other thread ends");
    });
}

/// A callback waits for the callbacks of the tasks `helped` and `promised`. The callback
/// may run `helped` inside its wait, and it completes `promised` itself. Both waits end
/// inside the callback.
#[test]
fn a_wait_inside_a_callback_is_not_for_what_comes_behind_it() {
    loom::model(|| {
        let [first, promised] = [(); 2].map(|()| Completion::new(NO_POOL));
        let job = CountCalls(Arc::new(AtomicUsize::new(0)));
        // SAFETY: the job borrows nothing.
        let helped = unsafe { Completion::with_job(NO_POOL, job) }.0;
        let other = helped.task().clone();
        let log = Log::new();
        let (helped_log, promised_log) = (Arc::clone(&log), Arc::clone(&log));
        helped.add_callback(Box::new(move |_| helped_log.write(1)));
        promised.add_callback(Box::new(move |_| promised_log.write(2)));
        let (awaited, seen) = (helped.clone(), Arc::clone(&log));
        first.add_callback(Box::new(move |_| {
            waiting_worker(|| awaited.wait(Until::CallbacksDone, None)).expect("it ends");
            worker(&promised, 7);
            promised.wait(Until::CallbacksDone, None).expect("it ends");
            assert_eq!(seen.read(), 12);
        }));
        let running = on_a_worker(other);
        worker(&first, 7);
        assert_eq!(log.read(), 12);
        running.join().expect("the other thread ends");
    });
}

/// Two tasks have one callback each, and each callback waits for the callbacks of the other
/// task. One of the waits returns an error, and both callbacks return.
#[test]
fn of_two_callbacks_that_wait_for_each_other_one_is_refused() {
    loom::model(|| {
        let (first, second) = (Completion::new(NO_POOL), Completion::new(NO_POOL));
        let refused = Arc::new(AtomicUsize::new(0));
        for (task, awaited) in [(&first, &second), (&second, &first)] {
            let (awaited, refused) = (awaited.clone(), Arc::clone(&refused));
            task.add_callback(Box::new(move |_| {
                if awaited.wait(Until::CallbacksDone, None).is_err() {
                    // ORDERING: the number is read only after a join.
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let other = second.clone();
        let running = thread::spawn(move || worker(&other, 2));
        worker(&first, 1);
        running.join().expect("the other thread ends");
        assert!(first.is(Until::CallbacksDone) && second.is(Until::CallbacksDone));
        // ORDERING: the join orders this load after the writes.
        assert_eq!(refused.load(Ordering::Relaxed), 1);
    });
}

/// A block has two tasks. Another thread frees one of them, while the owner frees the other
/// and takes memory for a third task, from this block or from a new one. `loom` reports a
/// block that is freed twice or not at all.
#[test]
fn the_last_of_a_block_frees_it() {
    loom::model(|| {
        let blocks = Blocks::new();
        let take = || Sent(blocks.take(size_of::<u64>()).expect("there is memory"));
        let (sent, kept) = (take(), take());
        let running = thread::spawn(move || sent.free());
        kept.free();
        let next = take();
        let last = thread::spawn(move || next.free());
        drop(blocks);
        running.join().expect("the other thread ends");
        last.join().expect("the last thread ends");
    });
}

/// The owner of a block uses the block again only after another thread has freed all the
/// block's tasks.
#[test]
fn a_block_is_used_again_when_its_tasks_are_freed() {
    loom::model(|| {
        let blocks = Blocks::new();
        let take = || Sent(blocks.take(size_of::<u64>()).expect("there is memory"));
        let sent = [take(), take()];
        let first = sent[0].0.start;
        let in_use = Arc::new(AtomicUsize::new(2));
        let users = Arc::clone(&in_use);
        let running = thread::spawn(move || {
            for sent in sent {
                // ORDERING: relaxed, so that only the counter of the block orders the two
                // threads.
                users.fetch_sub(1, Ordering::Relaxed);
                sent.free();
            }
        });
        let next = take();
        // ORDERING: relaxed, so that only the counter of the block orders the two threads.
        let is_in_use = in_use.load(Ordering::Relaxed) > 0;
        assert!(next.0.start != first || !is_in_use);
        next.free();
        drop(blocks);
        running.join().expect("the other thread ends");
    });
}
