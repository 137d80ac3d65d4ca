//! Models of the thread pool's queues. `loom` runs each model in every order of the
//! threads' steps that needs at most three preemptions.
//!
//! `ci/loom` runs the models. A model starts no worker threads of the pool: the model's own
//! threads do the steps of workers, and a worker that only sleeps is just a slot
//! (`slots.rs`).

use std::sync::Arc;

use loom::thread;

use super::deque::{Deque, Stolen};
use super::pool::{Config, Pool};
use super::queue::{Gate, Queue, Rest};
use super::slots::{SEARCH, Slots};
use super::worker_thread::{WorkerThread, enter};
use crate::completion::{Completion, Job, NO_POOL, Task, WorkerHooks};
use crate::executor::WhenFull;
use crate::sync::{Ordering, Tracked};

/// A job that no thread calls.
struct Never;

impl Job<()> for Never {
    fn call(self) {}

    fn on_withdrawn(&self, _cancelled: bool) {}
}

/// Creates a task whose job no thread calls.
fn task() -> Task {
    // SAFETY: the job and its value borrow nothing, and both are `Send`.
    let (_, task) = unsafe { Completion::with_job(NO_POOL, Never) };
    task
}

/// Creates a pool with `workers` free workers, whose steps the model's threads do. If
/// `grows` is `true`, the pool may start one more worker.
fn pool_of(workers: usize, grows: bool) -> Arc<Pool> {
    let pool = Pool::new(Config::of_workers(workers + usize::from(grows)));
    let pool = pool.expect("there is memory");
    for index in 0..workers {
        pool.slots.get(index).set_busy(false);
    }
    pool.state.lock().workers = workers;
    // ORDERING: no other thread exists yet.
    pool.started.store(workers, Ordering::Relaxed);
    pool.growth_left
        .store(usize::from(grows), Ordering::Relaxed);
    pool
}

/// Adds a worker, which has a slot but no thread, to the list of sleepers.
fn lie_down(pool: &Pool, index: usize) {
    let rest = pool.queue.rest(index, &pool.slots, &mut false, true);
    assert_eq!(rest, Rest::Sleep);
}

fn steal(deque: &Deque) -> Option<Task> {
    loop {
        match deque.steal() {
            Stolen::Task(task) => return Some(task),
            Stolen::Empty => return None,
            Stolen::Retry => thread::yield_now(),
        }
    }
}

/// Takes a task from a queue that contains at least one task. Tries again if the queue
/// seems empty because another thread is just moving tasks to the queue's front.
fn take(queue: &Queue, slots: &Slots) -> Task {
    loop {
        match queue.take(slots, &mut false) {
            Some(task) => return task,
            None => thread::yield_now(),
        }
    }
}

#[test]
fn each_task_of_a_deque_is_popped_or_stolen_once() {
    loom::model(|| {
        let deque = Arc::new(Deque::new());
        let tasks = [task(), task()];
        let addresses = tasks.each_ref().map(Task::address);
        for task in tasks {
            // SAFETY: this thread is the owner of the deque.
            assert!(unsafe { deque.push(task) }.is_ok());
        }
        let other = Arc::clone(&deque);
        let thief = thread::spawn(move || [(); 2].map(|()| steal(&other)));
        // SAFETY: this thread is the owner of the deque.
        let popped = [(); 2].map(|()| unsafe { deque.pop() });
        let stolen = thief.join().expect("no panic");
        let mut taken: Vec<usize> = popped
            .iter()
            .chain(&stolen)
            .flatten()
            .map(Task::address)
            .collect();
        taken.sort_unstable();
        let mut expected = addresses.to_vec();
        expected.sort_unstable();
        assert_eq!(taken, expected);
    });
}

/// The owner of a full deque pushes a task while a thief takes the oldest task. Both tasks
/// have the same place in the array. The thief must still get the oldest task.
#[test]
fn a_place_is_used_again_behind_its_thief() {
    loom::model(|| {
        let deque = Arc::new(Deque::new());
        let first = task();
        let address = first.address();
        // SAFETY: this thread is the owner of the deque.
        assert!(unsafe { deque.push(first) }.is_ok());
        for _ in 1..super::deque::CAPACITY {
            // SAFETY: this thread is the owner of the deque.
            assert!(unsafe { deque.push(task()) }.is_ok());
        }
        let other = Arc::clone(&deque);
        let thief = thread::spawn(move || steal(&other).map(|task| task.address()));
        // SAFETY: this thread is the owner of the deque. The push fails if the deque is
        // still full.
        drop(unsafe { deque.push(task()) });
        assert_eq!(thief.join().expect("no panic"), Some(address));
    });
}

/// A thief takes the oldest task of a full deque by `take`. The owner may push a task to
/// the same place of the array only after the thief has read the place. (The main thread is
/// the thief, because `loom` overlooks some orders in which a thread reads a word, and
/// another thread then reads and writes this word.)
fn check_that_a_place_is_read_before_it_is_written(take: fn(&Deque) -> Option<Task>) {
    loom::model(move || {
        let deque = Arc::new(Deque::new());
        for _ in 0..super::deque::CAPACITY {
            // SAFETY: this thread is the owner of the deque until it starts the other
            // thread.
            assert!(unsafe { deque.push(task()) }.is_ok());
        }
        let place = Tracked::new();
        let (other, others_place) = (Arc::clone(&deque), Arc::clone(&place));
        let owner = thread::spawn(move || {
            // SAFETY: this thread is the owner of the deque from now on.
            if unsafe { other.push(task()) }.is_ok() {
                others_place.write();
            }
        });
        place.read();
        assert!(take(&deque).is_some());
        owner.join().expect("no panic");
    });
}

#[test]
fn a_place_is_read_by_its_thief_before_it_is_used_again() {
    check_that_a_place_is_read_before_it_is_written(steal);
}

#[test]
fn a_place_of_the_front_is_read_before_it_is_used_again() {
    check_that_a_place_is_read_before_it_is_written(|deque| Some(deque.take_oldest(|| ())?.0));
}

#[test]
fn tasks_of_the_queue_are_taken_in_order_and_once() {
    loom::model(|| {
        let (queue, slots) = (Arc::new(Queue::new()), Arc::new(Slots::new()));
        let tasks = [task(), task(), task()];
        let addresses = tasks.each_ref().map(Task::address);
        for task in tasks {
            assert!(queue.push(task, &slots, false).is_ok());
        }
        let (other, others_slots) = (Arc::clone(&queue), Arc::clone(&slots));
        let taking = thread::spawn(move || take(&other, &others_slots));
        let place = |task: Task| {
            addresses
                .iter()
                .position(|address| *address == task.address())
        };
        let (first, second) = (take(&queue, &slots), take(&queue, &slots));
        let (first, second) = (place(first), place(second));
        assert!(first < second, "each thread sees them in order");
        let third = place(taking.join().expect("no panic"));
        assert!(third != first && third != second);
    });
}

/// Two workers may find the front of the queue empty. The worker that gets the lock second
/// then finds the front filled, and must take the next task from there.
#[test]
fn a_task_is_not_overtaken_by_one_that_was_pushed_later() {
    loom::model(|| {
        let (queue, slots) = (Arc::new(Queue::new()), Arc::new(Slots::new()));
        let last = task();
        let last_address = last.address();
        for task in [task(), task()] {
            assert!(queue.push(task, &slots, false).is_ok());
        }
        let (other, others_slots) = (Arc::clone(&queue), Arc::clone(&slots));
        let taking = thread::spawn(move || take(&other, &others_slots).address());
        drop(take(&queue, &slots));
        assert!(queue.push(last, &slots, false).is_ok());
        // Each of the two workers took one of the first two tasks.
        assert_ne!(taking.join().expect("no panic"), last_address);
    });
}

/// A worker takes a task and moves the other tasks to the front of the queue. A thread that
/// counts the queue's tasks meanwhile must not miss these tasks.
#[test]
fn tasks_that_move_to_the_front_are_counted() {
    loom::model(|| {
        let (queue, slots) = (Arc::new(Queue::new()), Arc::new(Slots::new()));
        for task in [task(), task(), task()] {
            assert!(queue.push(task, &slots, false).is_ok());
        }
        let other = Arc::clone(&queue);
        let counting = thread::spawn(move || assert!(other.len() >= 2));
        drop(take(&queue, &slots));
        counting.join().expect("no panic");
    });
}

/// A thread removes two stale entries from the queue, and then changes the queue's length
/// in each possible way. None of the new lengths includes the stale entries. So another
/// thread that reads such a length must no longer subtract these entries. If it did, it
/// would miss the task that is in the worker's own deque all the time.
#[test]
fn a_stale_entry_that_was_removed_hides_no_task() {
    loom::model(|| {
        let pool = pool_of(1, false);
        for ended in [task(), task()] {
            drop(ended.cancel());
            assert!(pool.queue.push(ended, &pool.slots, false).is_ok());
        }
        pool.count_stale(2);
        WorkerThread::new(Arc::clone(&pool), 0).push(task());
        let other = Arc::clone(&pool);
        let changing = thread::spawn(move || {
            let (queue, slots) = (&other.queue, &other.slots);
            queue.remove_done(|removed| _ = other.count_stale(-(removed as i64)));
            assert!(queue.push(task(), slots, false).is_ok());
            assert!(queue.take(slots, &mut false).is_some());
            assert!(queue.take_all().is_empty());
        });
        assert!(pool.queued() >= 1);
        changing.join().expect("no panic");
    });
}

/// A worker pushes a task to its own deque while another worker goes to sleep. The
/// other worker must find the task, or be woken for it.
#[test]
fn a_task_is_not_slept_past() {
    loom::model(|| {
        let pool = pool_of(2, false);
        let sleeper = WorkerThread::new(Arc::clone(&pool), 1);
        let sleeping = thread::spawn(move || sleeper.next().is_some());
        let pusher = WorkerThread::new(Arc::clone(&pool), 0);
        enter(&pusher, || assert!(pool.push(task()).is_ok()));
        // The pushing worker never takes the task itself.
        assert!(sleeping.join().expect("no panic"));
    });
}

/// A searching worker takes one task and stops searching. If another task was pushed
/// during the search, the searching worker must wake the next worker for that task.
#[test]
fn a_searcher_that_found_a_task_wakes_the_next_worker_for_another() {
    loom::model(|| {
        let pool = pool_of(3, false);
        lie_down(&pool, 2);
        let mut is_searching = false;
        let rest = pool.queue.rest(1, &pool.slots, &mut is_searching, false);
        assert_eq!((rest, is_searching), (Rest::Search, true));
        assert!(pool.push(task()).is_ok());
        let searcher = WorkerThread::new(Arc::clone(&pool), 1);
        let searching = thread::spawn(move || searcher.search(true).is_some());
        let pusher = WorkerThread::new(Arc::clone(&pool), 0);
        enter(&pusher, || assert!(pool.push(task()).is_ok()));
        assert!(searching.join().expect("no panic"));
        assert!(!pool.has_tasks() || pool.slots.get(2).is_woken());
    });
}

/// Two tasks are pushed while a searching worker goes to sleep. If this worker has joined
/// the list of sleepers and then sees a task, it leaves the list and takes one task. It
/// must then wake the next worker for the other task.
#[test]
fn a_searcher_that_gets_up_again_wakes_the_next_worker_for_another() {
    loom::model(|| {
        let pool = pool_of(3, false);
        lie_down(&pool, 2);
        let searcher = WorkerThread::new(Arc::clone(&pool), 1);
        let mut is_searching = false;
        let rest = pool.queue.rest(1, &pool.slots, &mut is_searching, false);
        assert_eq!((rest, is_searching), (Rest::Search, true));
        let searching = thread::spawn(move || searcher.search_on(true, true).is_some());
        let pusher = WorkerThread::new(Arc::clone(&pool), 0);
        enter(&pusher, || {
            assert!(pool.push(task()).is_ok());
            assert!(pool.push(task()).is_ok());
        });
        assert!(searching.join().expect("no panic"));
        assert!(!pool.has_tasks() || pool.slots.get(2).is_woken());
    });
}

/// A worker that is woken for a task finds the task at once, without the queue's lock.
#[test]
fn a_worker_that_is_woken_sees_the_task() {
    loom::model(|| {
        let pool = pool_of(1, false);
        lie_down(&pool, 0);
        let other = Arc::clone(&pool);
        let sleeping = thread::spawn(move || {
            assert_eq!(other.slots.get(0).sleep(), SEARCH);
            other.queue.len()
        });
        assert!(pool.push(task()).is_ok());
        assert_eq!(sleeping.join().expect("no panic"), 1);
    });
}

/// A worker takes the only task and turns busy. A thread that checks meanwhile if a worker
/// is missing must not see the worker busy and still count the task as queued.
#[test]
fn no_worker_is_started_for_a_task_that_was_taken() {
    loom::model(|| {
        let pool = pool_of(1, true);
        assert!(pool.push(task()).is_ok());
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        let working = thread::spawn(move || {
            let task = worker.next();
            worker.begin(false);
            drop(task);
        });
        pool.grow_if_needed();
        working.join().expect("no panic");
        assert_eq!(pool.state.lock().workers, 1);
    });
}

#[test]
fn a_worker_that_is_counted_is_free() {
    loom::model(|| {
        let pool = Pool::new(Config::of_workers(1)).expect("there is memory");
        // Allocate the slot before the other thread exists: `loom` does not see that std's
        // `OnceLock` publishes the slots.
        pool.slots.get(0);
        let other = Arc::clone(&pool);
        let counting = thread::spawn(move || {
            let started = other.started();
            assert!(other.free() >= started);
        });
        assert!(pool.start_first_worker().is_ok());
        counting.join().expect("no panic");
    });
}

/// A thread that sees the end of a task counted also sees the task's begin counted, so that
/// the number of running tasks is never negative.
#[test]
fn a_task_is_counted_as_begun_before_it_is_counted_as_ended() {
    loom::model(|| {
        let slot = Arc::clone(Slots::new().get(0));
        let other = Arc::clone(&slot);
        let counting = thread::spawn(move || {
            let (begun, finished, failed) = other.counts();
            assert!(begun >= finished + failed);
        });
        for failed in [false, true] {
            slot.count_begun();
            slot.count_ended(failed);
        }
        counting.join().expect("no panic");
    });
}

/// A thread that sees that a task is done also sees the task counted.
#[test]
fn a_task_that_is_done_is_counted() {
    loom::model(|| {
        let pool = pool_of(1, false);
        let submitted = pool.submit(|()| (), (), WhenFull::Refuse);
        let Ok(handle) = submitted else {
            panic!("it is open")
        };
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        let working = thread::spawn(move || {
            let task = worker.next().expect("one is queued");
            task.run(&worker);
        });
        if handle.state().done() {
            assert_eq!(pool.slots.get(0).counts(), (1, 1, 0));
        }
        working.join().expect("no panic");
    });
}

/// A worker begins a task while another thread queues a task. At least one of the two
/// threads must see the other thread's change, and start a second worker.
#[test]
fn a_worker_is_started_when_the_last_free_one_turns_busy() {
    loom::model(|| {
        let pool = pool_of(1, true);
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        let beginning = thread::spawn(move || worker.begin(false));
        assert!(pool.push(task()).is_ok());
        beginning.join().expect("no panic");
        assert_eq!(pool.state.lock().workers, 2);
    });
}

/// A loop of `submit` and `result` needs only one worker, because the worker is free again
/// before each `submit`.
#[test]
fn no_worker_is_started_while_one_is_free() {
    loom::model(|| {
        let pool = pool_of(1, true);
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        assert!(pool.push(task()).is_ok());
        let working = thread::spawn(move || {
            let task = worker.next();
            worker.begin(false);
            worker.call_returned(false);
            drop(task);
        });
        working.join().expect("no panic");
        assert!(pool.push(task()).is_ok());
        assert_eq!(pool.state.lock().workers, 1);
    });
}

#[test]
fn a_task_is_refused_or_taken_before_the_worker_leaves() {
    loom::model(|| {
        let pool = pool_of(1, false);
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        let working = thread::spawn(move || std::iter::from_fn(|| worker.next()).count());
        let other = Arc::clone(&pool);
        let closing = thread::spawn(move || other.queue.close(Gate::ShutDown, &other.slots));
        let is_queued = pool.push(task()).is_ok();
        closing.join().expect("no panic");
        assert_eq!(working.join().expect("no panic"), usize::from(is_queued));
    });
}

/// Worker 1 saw no task and leaves, while worker 0 has stolen tasks and begins one of
/// them. The pool must then start a new worker for the task that remains.
#[test]
fn a_stolen_task_is_not_left_alone_when_the_last_free_worker_leaves() {
    loom::model(|| {
        let pool = pool_of(2, false);
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        let beginning = thread::spawn(move || {
            worker.push(task());
            worker.pass_on();
            worker.begin(false);
        });
        pool.leave(1);
        beginning.join().expect("no panic");
        assert_eq!(pool.state.lock().workers, 2);
    });
}

/// A thread takes a stale entry (an entry whose task has ended) out of the queue, and
/// later subtracts it from the count of stale entries. A task that another thread pushes
/// in between must still get a worker.
#[test]
fn a_task_that_is_pushed_while_the_queue_is_cleared_gets_a_worker() {
    loom::model(|| {
        let pool = pool_of(2, false);
        let ended = task();
        drop(ended.cancel());
        assert!(pool.queue.push(ended, &pool.slots, false).is_ok());
        pool.count_stale(1);
        let worker = WorkerThread::new(Arc::clone(&pool), 0);
        worker.slot().set_busy(true);
        pool.queue.close(Gate::ShutDown, &pool.slots);
        let other = Arc::clone(&pool);
        let clearing = thread::spawn(move || drop(other.clear(None, Task::cancel)));
        let pushing = thread::spawn(move || {
            worker.push(task());
            worker.pass_on();
            worker.pool.grow_if_needed();
        });
        pool.leave(1);
        pushing.join().expect("no panic");
        clearing.join().expect("no panic");
        assert!(!pool.has_tasks() || pool.state.lock().workers == 2);
    });
}

/// A *planned* worker counts as free before its thread is started (`growth.rs`). A new
/// thread drops the planned worker while a task is pushed that relies on this worker. The
/// pool must then start another worker.
#[test]
fn a_task_that_counts_on_a_planned_worker_gets_another() {
    loom::model(|| {
        let pool = pool_of(2, true);
        pool.slots.get(0).set_busy(true);
        {
            let mut state = pool.state.lock();
            state.is_starting = true;
            assert!(pool.start_worker(&mut state).is_ok());
            assert_eq!((state.workers, state.planned.len()), (3, 1));
        }
        assert!(pool.push(task()).is_ok());
        let new = Arc::clone(&pool);
        let looking = thread::spawn(move || new.start_planned());
        assert!(pool.push(task()).is_ok());
        looking.join().expect("no panic");
        let state = pool.state.lock();
        assert_eq!((state.workers, state.planned.len()), (3, 0));
    });
}

/// Four tasks are submitted to a pool that may have three workers, and whose queue has room
/// for one task. So the pool must accept all four tasks, although a new thread drops the
/// planned workers, which count as free, while the fourth task is submitted.
#[test]
fn a_task_is_not_refused_while_planned_workers_are_dropped() {
    loom::model(|| {
        let mut config = Config::of_workers(3);
        config.queue_capacity = Some(1);
        let pool = Pool::new(config).expect("there is memory");
        pool.slots.get(0).set_busy(false);
        // ORDERING: no other thread exists yet.
        pool.started.store(1, Ordering::Relaxed);
        pool.growth_left.store(2, Ordering::Relaxed);
        {
            let mut state = pool.state.lock();
            (state.workers, state.is_starting) = (1, true);
        }
        assert!((0..3).all(|_| pool.submit(|()| (), (), WhenFull::Refuse).is_ok()));
        let new = Arc::clone(&pool);
        let looking = thread::spawn(move || new.start_planned());
        assert!(pool.submit(|()| (), (), WhenFull::Refuse).is_ok());
        looking.join().expect("no panic");
    });
}
