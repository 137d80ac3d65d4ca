//! Tests of tasks that overwrite the statuses of offers, and their own worker's record of
//! its last offer.
//!
//! An *offer* is a task in memory from which all workers take tasks. Its *status* says
//! which worker has taken it. A worker that takes an offer *records* the offer's number in
//! memory of its own. The pool *revokes* an offer whose status was overwritten. A worker
//! that finds its offer revoked before it begins the task *declines* the offer: it does not
//! run the task, and says so to the pool (`transport/offers.rs`).

use super::super::super::by_hand::{PoolByHand, Task, WorkerByHand};
use super::*;
use crate::error::{BrokenPart, Error};
use crate::process::wire::frame::Kind;

/// The worker's own record of its last offer does not name the revoked offer. So the worker
/// has not taken this offer, or will decline it, and the pool must offer the task again.
#[test]
fn a_worker_declines_an_offer_that_was_revoked_before_it_has_recorded_it() {
    let (pool, [mut late, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = late.take().unwrap();
    late.record(0);
    late.overwrite_status(offer);
    pool.scan();
    assert_eq!(pool.open(), [(1, 1)], "it is offered again");
    late.record(offer + 1);
    assert!(!late.begin(offer));
    pool.read(&late);
    assert!(pool.is_idle(&late));
    assert_eq!(pool.open(), [(1, 1)]);
    assert_eq!(pool.run_next(&mut other), 1);
    pool.assert_ran(&task);
}

/// The worker's own record of its last offer names the revoked offer. So the pool must
/// assign the task to the worker, and wait for the worker's message about the task.
#[test]
fn a_worker_declines_an_offer_that_was_revoked_after_it_has_recorded_it() {
    let (pool, [mut late, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = late.take().unwrap();
    late.overwrite_status(offer);
    pool.scan();
    assert_eq!(pool.task_of(&late), Some(1));
    assert_eq!(other.take(), None, "it may have begun");
    assert!(!late.begin(offer));
    pool.read(&late);
    assert!(pool.is_idle(&late));
    assert_eq!(pool.run_next(&mut other), 1);
    pool.assert_ran(&task);
}

#[test]
fn a_worker_declines_an_offer_before_the_pool_sees_that_its_status_was_overwritten() {
    let (pool, [mut first, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = first.take().unwrap();
    first.overwrite_status(offer);
    assert!(!first.begin(offer));
    pool.read(&first);
    assert_eq!(pool.open(), [(1, 1)]);
    pool.scan();
    assert!(pool.is_idle(&first));
    assert_eq!(pool.run_next(&mut other), 1);
    pool.assert_ran(&task);
}

/// One worker has taken the oldest of the offers whose statuses were overwritten. The pool
/// must offer the other tasks again in their old order.
#[test]
fn offers_whose_statuses_were_overwritten_keep_their_order() {
    let (pool, [mut taker, mut other]) = PoolByHand::new();
    let tasks: Vec<_> = (0..4).map(|_| pool.submit()).collect();
    assert_eq!(pool.run_next(&mut other), 1);
    let offer = taker.take().unwrap();
    (1..4).for_each(|offer| taker.overwrite_status(offer));
    pool.scan();
    assert_eq!(pool.task_of(&taker), Some(2));
    assert_eq!(pool.run_next(&mut other), 3);
    assert_eq!(pool.run_next(&mut other), 4);
    assert!(!taker.begin(offer));
    pool.read(&taker);
    assert_eq!(pool.run_next(&mut other), 2);
    assert!(tasks.iter().all(|task| task.error().is_none()));
}

/// The pool cannot know if this worker has taken the offer, because neither the offer's
/// status nor the worker's record of its last offer says so. So it must kill the worker.
#[test]
fn a_worker_whose_record_was_overwritten_with_the_status_of_an_offer_is_killed() {
    let (pool, [mut guilty, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = guilty.take().unwrap();
    guilty.begin_unsaid(1);
    guilty.overwrite_record();
    guilty.overwrite_status(offer);
    // The pool must not reset the record, because the only offer is not open: the worker
    // may be running the task of this offer.
    pool.read(&guilty);
    pool.scan();
    assert!(matches!(
        pool.kill_reason(&guilty),
        Some(KillReason::Misbehaved(_))
    ));
    assert_eq!(pool.kill_reason(&other), None);
    assert_eq!(other.take(), None);
    pool.end(&guilty);
    assert_eq!(other.take(), None);
    assert!(task.died());
}

/// The first task overwrote its worker's record of the last offer, and ended. The pool
/// reset this record. So it must not kill this worker when a task overwrites the record of
/// another worker.
#[test]
fn a_worker_whose_record_was_reset_is_not_killed_for_the_task_of_another() {
    let (pool, [mut early, mut guilty]) = PoolByHand::new();
    let first = pool.submit();
    let offer = early.take().unwrap();
    assert!(early.begin(offer));
    early.overwrite_record();
    early.begin_unsaid(1 << 40);
    pool.hear(&mut early, Kind::Returned, 1);
    assert!(first.error().is_none());
    let second = pool.submit();
    let offer = guilty.take().unwrap();
    guilty.begin_unsaid(2);
    guilty.overwrite_record();
    guilty.overwrite_status(offer);
    pool.scan();
    assert_eq!(pool.kill_reason(&early), None);
    assert!(pool.kill_reason(&guilty).is_some());
    pool.end(&guilty);
    assert!(second.died());
}

/// Returns a pool, two workers whose records of their last offers were overwritten, and the
/// second task with its offer. The first worker has ended the first task. The second worker
/// has begun the second task, and has sent no message about that.
fn with_an_overwritten_record() -> (PoolByHand, [WorkerByHand; 2], Task, u64) {
    let (pool, [mut early, mut guilty]) = PoolByHand::new();
    let first = pool.submit();
    let offer = early.take().unwrap();
    assert!(early.begin(offer));
    let second = pool.submit();
    let offer = guilty.take().unwrap();
    early.overwrite_record();
    early.say(Kind::Returned, 1);
    // The pool does not reset the overwritten record, because the second offer is not open.
    pool.read(&early);
    assert!(first.error().is_none());
    guilty.begin_unsaid(2);
    guilty.overwrite_record();
    (pool, [early, guilty], second, offer)
}

/// Before a fix, the pool killed only one of the two workers, the wrong one. The guilty
/// worker then took the next task, and the pool could not read its messages, because
/// earlier messages were destroyed.
#[test]
fn all_workers_whose_records_were_overwritten_are_killed_for_a_task() {
    let (pool, [early, guilty], second, offer) = with_an_overwritten_record();
    early.begin_unsaid(1 << 40);
    guilty.overwrite_status(offer);
    pool.scan();
    for worker in [&early, &guilty] {
        let reason = pool.kill_reason(worker);
        assert!(
            matches!(reason, Some(KillReason::Misbehaved(_))),
            "{reason:?}"
        );
        pool.end(worker);
    }
    assert!(second.died());
    assert_eq!(pool.open(), [], "it may have begun");
}

/// Both workers' records of their last offers were overwritten. The pool must not kill the
/// first worker, because it knows of all tasks that this worker has begun.
#[test]
fn a_worker_that_has_begun_nothing_is_not_killed_for_a_task() {
    let (pool, [early, guilty], second, offer) = with_an_overwritten_record();
    guilty.overwrite_status(offer);
    pool.scan();
    assert_eq!(pool.kill_reason(&early), None);
    pool.end(&guilty);
    assert!(second.died());
    assert_eq!(pool.open(), [], "it may have begun");
}

/// Before a fix, a worker's overwritten record of its last offer stayed overwritten. The
/// pool then killed this worker when a later task of another worker overwrote the status of
/// an offer.
#[test]
fn a_record_that_a_task_has_overwritten_is_mended_after_it() {
    let (pool, [mut mended, mut other]) = PoolByHand::new();
    let first = pool.submit();
    let offer = mended.take().unwrap();
    assert!(mended.begin(offer));
    mended.overwrite_record();
    pool.hear(&mut mended, Kind::Returned, 1);
    assert_eq!(first.error().map(|error| error.to_string()), None);
    let second = pool.submit();
    other.overwrite_status(1);
    pool.scan();
    assert_eq!(pool.kill_reason(&mended), None);
    assert_eq!(pool.run_next(&mut other), 2);
    assert!(second.error().is_none());
}

/// A worker may have taken an offer whose status was overwritten. So its task can be
/// cancelled only after the pool has found the wrong status and has revoked the offer.
#[test]
fn a_task_whose_status_was_overwritten_is_cancelled_only_after_a_look() {
    let (pool, [mut worker]) = PoolByHand::new();
    let task = pool.submit();
    worker.overwrite_status(0);
    assert!(!task.cancel());
    pool.scan();
    assert!(task.cancel());
    assert_eq!(worker.take(), None);
    assert_eq!(pool.with(|state| state.count_waiting()), 0);
}

/// Before a fix, the pool killed the idle worker for a task that another worker had begun.
#[test]
fn an_idle_worker_is_not_killed_for_an_offer_whose_worker_is_known() {
    let (pool, [idle, mut guilty]) = PoolByHand::new();
    let task = pool.submit();
    let offer = guilty.take().unwrap();
    assert!(guilty.begin(offer));
    guilty.overwrite_record();
    guilty.overwrite_status(offer);
    // The next two steps make the memory of the idle worker say that it may have begun a
    // task.
    idle.overwrite_record();
    idle.begin_unsaid(1 << 40);
    pool.scan();
    assert_eq!(pool.kill_reason(&idle), None);
    assert_eq!(pool.task_of(&guilty), Some(1));
    pool.hear(&mut guilty, Kind::Returned, 1);
    pool.assert_ran(&task);
}

/// Before a fix, the second task ran twice: it had overwritten all messages, so the pool
/// took its worker to be busy with the first task.
#[test]
fn a_task_that_wipes_the_answer_of_the_task_before_does_not_run_again() {
    let (pool, [mut guilty, mut other]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    let offer = guilty.take().unwrap();
    assert!(guilty.begin(offer));
    pool.read(&guilty);
    // The worker has answered, and begins the next task, but these messages are lost.
    let offer = guilty.take().unwrap();
    guilty.begin_unsaid(2);
    guilty.overwrite_status(offer);
    for _ in 0..2 {
        pool.scan();
        assert_eq!(other.take(), None);
    }
    assert!(pool.kill_reason(&guilty).is_some());
    pool.end(&guilty);
    assert_eq!(other.take(), None);
    assert!(tasks.iter().all(Task::died));
    assert_eq!(pool.with(|state| state.failed), 2);
}

/// Before a fix, the pool never ended: it offered the task again, and had no worker for it.
#[test]
fn a_pool_that_is_killed_ends_a_task_whose_status_was_overwritten() {
    for at_once in [false, true] {
        let (pool, [worker]) = PoolByHand::new();
        let task = pool.submit();
        worker.overwrite_status(0);
        pool.pool.stop_workers(at_once);
        pool.end(&worker);
        assert!(pool.with(|state| pool.pool.is_finished(state)));
        assert!(matches!(task.error(), Some(Error::Killed(_))));
    }
}

#[test]
fn a_task_that_is_declined_after_the_pool_has_broken_fails() {
    let (pool, [mut worker]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    worker.overwrite_status(offer);
    assert!(!worker.begin(offer));
    pool.with(|state| {
        pool.pool
            .break_down(state, Error::ShutDown, BrokenPart::Policy)
    });
    pool.read(&worker);
    assert_eq!(worker.message(), Some((Kind::Exit, 0, 0)));
    assert!(matches!(task.error(), Some(Error::Broken(_))));
}
