//! Tests of workers that the pool kills, or is about to kill, while they may take an offer:
//! a task in memory from which all workers take tasks. Before a kill, the pool *holds* the
//! worker: the message `Hold` tells the worker to take no offers.

use std::cell::RefCell;

use super::super::by_hand::{PoolByHand, Task, WorkerByHand};
use super::*;
use crate::error::Error;
use crate::process::wire::frame::{Kind, bare};

/// Returns a pool whose first worker runs a task longer than the task's time limit, while a
/// second task is offered.
fn pool_with_a_late_task() -> (PoolByHand, [WorkerByHand; 2], [Task; 2]) {
    let (pool, [mut late, other]) = PoolByHand::new();
    let limited = pool.submit_call(0, Some(Duration::from_secs(3600)));
    let offer = late.take().unwrap();
    assert!(late.begin(offer));
    pool.read(&late);
    let next = pool.submit();
    pool.with(|state| {
        let handle = state.workers.get_mut(&late.number).unwrap();
        assert!(handle.deadline.is_some());
        handle.deadline = Some(Instant::now());
    });
    (pool, [late, other], [limited, next])
}

/// Kills a worker in the same steps as the pool. After the pool has read all messages, and
/// before the kill, the worker does what `step` says.
fn kill_late(pool: &PoolByHand, late: WorkerByHand, step: impl Fn(&mut WorkerByHand)) {
    let number = late.number;
    let late = RefCell::new(late);
    pool.with(|state| {
        let is_late = |handle: &WorkerHandle| {
            step(&mut late.borrow_mut());
            handle.deadline.is_some()
        };
        assert!(pool.pool.hold_if(state, number, is_late));
        let handle = state.workers.get_mut(&number).unwrap();
        handle.kill(KillReason::TimedOut);
    });
    pool.end(&late.borrow());
}

fn assert_next_runs(pool: &PoolByHand, other: &mut WorkerByHand, tasks: &[Task; 2]) {
    assert_eq!(pool.run_next(other), 2);
    assert!(tasks[1].error().is_none());
    assert_eq!(other.take(), None);
    let counts = pool.with(|state| (state.finished, state.running, state.count_waiting()));
    assert_eq!(counts, (1, 0, 0));
}

/// The worker ends its task after the pool has decided to kill the worker. Without `Hold`
/// the worker would take the next task.
#[test]
fn a_worker_that_is_held_reads_this_before_it_takes_an_offer() {
    let (pool, [late, mut other], tasks) = pool_with_a_late_task();
    kill_late(&pool, late, |late| {
        late.say(Kind::Returned, 1);
        assert_eq!(late.message(), Some((Kind::Hold, 0, 0)));
    });
    assert!(matches!(tasks[0].error(), Some(Error::TimeLimit(_))));
    assert_next_runs(&pool, &mut other, &tasks);
}

/// The worker has looked for messages just before `Hold` arrives, and then takes the offer.
/// It must give the offer back when it finds `Hold`.
#[test]
fn an_offer_that_a_held_worker_has_taken_is_declined() {
    let (pool, [mut late, mut other], tasks) = pool_with_a_late_task();
    late.say(Kind::Returned, 1);
    let offer = late.take().unwrap();
    pool.with(|state| pool.pool.kill_overdue(state));
    assert!(tasks[0].error().is_none(), "it ended before it was killed");
    assert_eq!(pool.kill_reason(&late), None);
    assert!(!late.begin(offer));
    pool.read(&late);
    assert_eq!(late.message(), Some((Kind::Hold, 0, 0)));
    assert_eq!(late.message(), Some((Kind::Release, 0, 0)));
    assert_eq!(pool.run_next(&mut other), 2);
    assert!(tasks[1].error().is_none());
    assert_eq!(pool.with(|state| state.finished), 2);
    drop(pool.submit());
    assert_eq!(pool.run_next(&mut late), 3);
}

/// Before a fix, the second task failed because of the first task's time limit.
#[test]
fn a_task_that_a_held_worker_has_taken_runs_elsewhere_after_the_kill() {
    for declines in [false, true] {
        let (pool, [mut late, mut other], tasks) = pool_with_a_late_task();
        let offer = late.take().unwrap();
        kill_late(&pool, late, |late| {
            late.say(Kind::Returned, 1);
            if declines {
                assert!(!late.begin(offer));
            }
        });
        assert!(matches!(tasks[0].error(), Some(Error::TimeLimit(_))));
        assert_next_runs(&pool, &mut other, &tasks);
    }
}

/// The worker has taken the first task, and has sent no message about it. The pool must
/// find out which task the worker has taken.
#[test]
fn a_task_that_was_taken_in_silence_can_be_killed_and_only_it() {
    let (pool, [mut first, mut other]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    first.take().unwrap();
    assert!(pool.pool.kill(tasks[0].id));
    assert_eq!(pool.kill_reason(&first), Some(KillReason::Killed));
    assert!(!pool.pool.kill(tasks[1].id), "it is pending");
    pool.end(&first);
    assert!(matches!(tasks[0].error(), Some(Error::Killed(_))));
    assert_eq!(pool.run_next(&mut other), 2);
    assert!(tasks[1].error().is_none());
}

/// Both workers were awake when the pool made the offer, so both have a time limit to take
/// it. The pool must not kill a worker for this limit if the other worker has taken the
/// offer.
#[test]
fn a_worker_that_takes_no_offer_is_killed_only_while_one_is_open() {
    for is_taken in [false, true] {
        let (pool, [mut takes, stopped]) = PoolByHand::new();
        let task = pool.submit();
        if is_taken {
            takes.take().unwrap();
        }
        pool.with(|state| {
            let handle = state.workers.get_mut(&stopped.number).unwrap();
            let limit = handle.take_limit.as_mut();
            limit.expect("it may take the offer").hurry();
            pool.pool.kill_overdue(state);
        });
        assert_eq!(pool.kill_reason(&stopped).is_some(), !is_taken);
        assert_eq!(pool.kill_reason(&takes), None);
        if !is_taken {
            pool.end(&stopped);
            assert_eq!(pool.run_next(&mut takes), 1);
            pool.assert_ran(&task);
        }
    }
}

/// Before a fix, the first task failed, because its worker was slow to send the answer
/// while many tasks waited.
#[test]
fn a_worker_that_keeps_no_slot_of_the_offers_has_its_whole_time_limit() {
    let (pool, [mut answers, mut stopped]) = PoolByHand::new();
    let task = pool.submit();
    let offer = answers.take().unwrap();
    assert!(answers.begin(offer));
    answers.send(&bare(Kind::Returned, 1)[..10]);
    pool.read(&answers);
    let taken = pool.submit();
    stopped.take().unwrap();
    pool.scan();
    let more: Vec<_> = (0..300).map(|_| pool.submit()).collect();
    pool.with(|state| {
        assert!(!state.offered.as_ref().unwrap().has_room());
        for handle in state.workers.values_mut() {
            handle.progress.as_mut().unwrap().miss_a_check();
        }
        pool.pool.kill_overdue(state);
    });
    assert_eq!(pool.kill_reason(&answers), None);
    assert!(
        pool.kill_reason(&stopped).is_some(),
        "it holds up all offers"
    );
    answers.send(&bare(Kind::Returned, 1)[10..]);
    pool.read(&answers);
    assert!(task.error().is_none());
    drop((taken, more));
}

/// The pool has not yet read the worker's `Started` when the time limit is over. It must
/// read this message before it decides to kill the worker.
#[test]
fn a_worker_that_begins_a_task_at_the_last_moment_is_not_killed() {
    for is_assigned in [false, true] {
        let (pool, [mut worker]) = PoolByHand::new();
        let tasks = [pool.submit(), pool.submit()];
        let offer = worker.take().unwrap();
        if is_assigned {
            pool.scan();
        }
        assert!(worker.begin(offer));
        pool.with(|state| {
            let handle = state.workers.get_mut(&worker.number).unwrap();
            let limit = match is_assigned {
                false => handle.take_limit.as_mut(),
                true => handle.progress.as_mut(),
            };
            limit.expect("it has to take or begin the task").hurry();
            pool.pool.kill_overdue(state);
        });
        assert_eq!(pool.kill_reason(&worker), None, "{is_assigned}");
        pool.hear(&mut worker, Kind::Returned, 1);
        assert!(tasks[0].error().is_none() && pool.with(|state| state.finished) == 1);
        assert_eq!(worker.message(), Some((Kind::Hold, 0, 0)));
        assert_eq!(worker.message(), Some((Kind::Release, 0, 0)));
        assert_eq!(pool.run_next(&mut worker), 2);
    }
}
