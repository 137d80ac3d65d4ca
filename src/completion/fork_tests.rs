//! Tests that nothing hangs in a forked child, where a lock that was held at the fork stays
//! locked.

use std::task::Waker;
use std::time::Instant;

use super::deadlock;
use super::*;
use crate::sys::fork::Origin;
use crate::sys::fork::tests::is_true_in_a_fork;

fn watched<T: Send + 'static>() -> Completion<T> {
    Origin::new().expect("there is memory");
    Completion::new(new_pool_id())
}

/// A thread of the parent process holds the lock of the task's rare box at the fork. In the
/// child no operation on the task hangs.
#[test]
fn a_task_that_is_locked_for_ever_stops_nothing_in_a_fork() {
    let task = watched::<String>();
    let locked = task.rare();
    let answers = is_true_in_a_fork(|| {
        let mut key = WakerKey::default();
        let far_away = Instant::now().checked_add(std::time::Duration::from_secs(3600));
        let _ = task.run_inline();
        task.add_callback(Box::new(|_| ()));
        task.set_last(Box::new(|_| ()));
        let is_as_far_as_it_comes =
            task.poll(Until::CallbacksDone, &mut key, || Waker::noop().clone());
        task.forget(&mut key);
        // SAFETY: `task` is the only handle, and no reference to its value is alive.
        unsafe { task.clone().release_handle() };
        is_as_far_as_it_comes
            && task.wait(Until::Done, None).is_err()
            && task.wait(Until::CallbacksDone, far_away).is_err()
            && task.state() == State::Pending
            && !task.start()
            && task.cancel().is_none()
            && task.timing().is_none()
            && task.settle(Ok(String::new())).is_err()
            && !task.failed()
            && !task.is(Until::Done)
    });
    assert!(answers);
    drop(locked);
    assert_eq!(task.state(), State::Pending);
}

/// A thread of the parent process holds the lock of the list of waits at the fork. In the
/// child a wait for a task of the child still ends.
#[test]
fn a_fork_waits_for_its_own_tasks_though_the_list_of_waits_was_locked() {
    Origin::new().expect("there is memory");
    let locked = deadlock::lock_for_ever();
    let waits = is_true_in_a_fork(|| {
        let task = Completion::<u8>::new(NO_POOL);
        let worker = task.clone();
        let settles = std::thread::spawn(move || {
            // Give the waiting thread time to begin its wait.
            std::thread::yield_now();
            worker.settle(Ok(1)).map(Notification::notify).is_ok()
        });
        task.wait(Until::CallbacksDone, None).is_ok() && settles.join().is_ok_and(|settled| settled)
    });
    assert!(waits);
    drop(locked);
}

/// A thread of the parent process holds the lock of a scope's list at the fork. In the
/// child the wait for the scope's end returns.
#[test]
fn a_group_that_is_locked_for_ever_stops_nothing_in_a_fork() {
    Origin::new().expect("there is memory");
    let scope_tasks = ScopeTasks::new();
    // SAFETY: `scope_tasks` does not move before `wait` has returned.
    let job = unsafe { scope_tasks.enter(NoJob) };
    // SAFETY: the job borrows nothing.
    let (task, worker) = unsafe { Completion::<u8>::with_job(NO_POOL, job) };
    scope_tasks.add(worker);
    let locked = scope_tasks.lock_for_ever();
    let ends = is_true_in_a_fork(|| {
        scope_tasks.wait(Task::run_inline);
        let callbacks_done = task.settle(Ok(1)).map(Notification::notify).is_ok();
        callbacks_done
            && scope_tasks.unread_panic().is_none()
            && format!("{scope_tasks:?}").contains("ScopeTasks")
    });
    assert!(ends);
    drop(locked);
    assert!(task.settle(Ok(1)).map(Notification::notify).is_ok());
    scope_tasks.wait(Task::run_inline);
}

/// A scope of the parent process has stored a panic. The child drops the scope, but not the
/// payload of the panic, which belongs to the parent.
#[test]
fn the_panics_of_a_scope_are_not_dropped_in_a_fork() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static IS_DROPPED: AtomicBool = AtomicBool::new(false);
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            IS_DROPPED.store(true, Ordering::Relaxed);
        }
    }
    Origin::new().expect("there is memory");
    let count = super::scope_count::ScopeCount::new();
    count.keep_panic(crate::panic::Panic::from_payload(Box::new(Payload)));
    let count = std::cell::Cell::new(Some(count));
    let keeps = is_true_in_a_fork(|| {
        drop(count.take());
        !IS_DROPPED.load(Ordering::Relaxed)
    });
    assert!(keeps);
}
