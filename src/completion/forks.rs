//! A fork, in which locks stay as they were at the fork.

use std::task::Waker;
use std::time::Instant;

use super::circle;
use super::*;
use crate::sys::fork::tests::is_true_in_a_fork;

fn watched<T: Send + 'static>() -> Arc<Completion<T>> {
    Origin::new().expect("there is memory");
    Completion::new(new_home())
}

/// A thread of the parent held it, as a settling one does.
#[test]
fn a_record_that_is_locked_for_ever_stops_nothing_in_a_fork() {
    let task = watched::<String>();
    let locked = task.record.lock();
    let answers = is_true_in_a_fork(|| {
        let mut key = WakerKey::default();
        let far_away = Instant::now().checked_add(std::time::Duration::from_secs(3600));
        let _ = Completion::help(&task);
        task.add_callback(Box::new(|_| ()));
        task.set_last(Box::new(|_| ()));
        let is_as_far_as_it_comes = task.poll(Until::Told, &mut key, Waker::noop());
        task.forget(&mut key);
        // SAFETY: the one handle, which lends nothing.
        unsafe { task.disown() };
        is_as_far_as_it_comes
            && task.wait(Until::Done, None).is_err()
            && task.wait(Until::Told, far_away).is_err()
            && task.state() == State::Running
            && !Completion::start(&task)
            && Completion::cancel(&task).is_none()
            && task.timing().is_none()
            && task.settle(Ok(String::new())).is_err()
            && !task.failed()
            && !task.is(Until::Done)
    });
    assert!(answers);
    drop(locked);
    assert_eq!(task.state(), State::Pending);
}

/// A thread of the parent was about to wait.
#[test]
fn a_fork_waits_for_its_own_tasks_though_the_list_of_waits_was_locked() {
    Origin::new().expect("there is memory");
    let locked = circle::lock_for_ever();
    let waits = is_true_in_a_fork(|| {
        let task = Completion::<u8>::new(NO_POOL);
        let worker = Arc::clone(&task);
        let settles = std::thread::spawn(move || {
            // Not before the other one sleeps, most likely.
            std::thread::yield_now();
            worker.settle(Ok(1)).map(Telling::tell).is_ok()
        });
        task.wait(Until::Told, None).is_ok() && settles.join().is_ok_and(|settled| settled)
    });
    assert!(waits);
    drop(locked);
}

/// A thread of the parent entered a task, or ended one.
#[test]
fn a_group_that_is_locked_for_ever_stops_nothing_in_a_fork() {
    Origin::new().expect("there is memory");
    let group = Group::new();
    let task = Completion::<u8>::new(NO_POOL);
    // SAFETY: it borrows nothing.
    let packed = unsafe { task.pack(None, Some(&group)) };
    let locked = group.lock_for_ever();
    let ends = is_true_in_a_fork(|| {
        group.wait();
        let told = task.settle(Ok(1)).map(Telling::tell).is_ok();
        told && group.unread_panic().is_none() && format!("{group:?}").contains("Group")
    });
    assert!(ends);
    drop(locked);
    drop(packed);
    assert!(task.settle(Ok(1)).map(Telling::tell).is_ok());
    group.wait();
}
