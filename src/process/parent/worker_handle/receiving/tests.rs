//! Tests of tasks that a worker begins without the message `Started`, because the pool is
//! awake: the pool learns of them from the worker's memory, or from their answers.

use super::super::super::by_hand::{PoolByHand, WorkerByHand};
use super::super::super::supervisor::sleep::{Rest, watch};
use super::super::{KillReason, WorkerState};
use crate::process::settings::{Config, Transport};
use crate::process::wire::frame::Kind;

/// Lets a worker take the oldest offer and begin its task, and returns the task's number.
fn begin_next(worker: &mut WorkerByHand) -> u64 {
    worker.take().expect("an offer is open");
    worker.begin_unsaid(worker.task());
    worker.task()
}

fn running(pool: &PoolByHand) -> usize {
    pool.with(|state| state.running)
}

/// Returns `true` if the supervisor would sleep now, and not notice what has happened.
fn would_sleep(pool: &PoolByHand) -> bool {
    let watched = pool.with(|state| watch(state));
    Rest::UntilMessage.ask_for_wakeups(&watched);
    let is_over = Rest::UntilMessage.is_over(&watched);
    watched.iter().for_each(|worker| worker.watch.wakes_up());
    !is_over
}

#[test]
fn the_pool_looks_for_begun_tasks_before_it_sleeps_and_after_a_thread_has_polled() {
    for polls in [false, true] {
        let (pool, [mut worker]) = PoolByHand::new();
        assert!(would_sleep(&pool));
        pool.pool.begin_polling();
        let task = pool.submit();
        assert!(would_sleep(&pool));
        begin_next(&mut worker);
        assert!(!would_sleep(&pool));
        assert_eq!(running(&pool), 0);
        if polls {
            pool.pool.end_polling();
        } else {
            pool.scan();
        }
        assert_eq!(running(&pool), 1, "polls: {polls}");
        assert!(would_sleep(&pool));
        pool.hear(&mut worker, Kind::Returned, 1);
        pool.assert_ran(&task);
        assert!(pool.is_idle(&worker) && would_sleep(&pool));
    }
}

/// A worker that is still starting may have taken an offer, like an idle worker. If the
/// supervisor sleeps, it must learn of both.
#[test]
fn a_thread_that_stops_polling_asks_each_worker_to_wake_the_supervisor() {
    for is_starting in [false, true] {
        let (pool, [worker]) = PoolByHand::new();
        pool.with(|state| state.is_asleep = true);
        pool.pool.begin_polling();
        if is_starting {
            pool.with(|state| {
                let handle = state.workers.get_mut(&worker.number).unwrap();
                handle.activity = WorkerState::Starting;
            });
        }
        assert!(!worker.must_wake_the_pool());
        pool.pool.end_polling();
        assert!(worker.must_wake_the_pool(), "{is_starting}");
    }
}

/// Otherwise a task that ends during the poll would seem to have taken no time.
#[test]
fn a_pool_that_records_times_looks_for_begun_tasks_while_a_thread_polls() {
    let mut config = Config::of_played_pool(Transport::Shared, 1);
    config.record_timing = true;
    let (pool, [mut worker]) = PoolByHand::of(config);
    pool.pool.begin_polling();
    let task = pool.submit();
    begin_next(&mut worker);
    pool.pool.read_arrived();
    assert_eq!(running(&pool), 1);
    pool.hear(&mut worker, Kind::Returned, 1);
    pool.assert_ran(&task);
}

/// The supervisor has chosen what it watches while there was no offer, and does not hold the
/// pool's lock when it falls asleep.
#[test]
fn a_task_that_was_offered_just_before_a_sleep_does_not_begin_unnoticed() {
    let (pool, [mut worker]) = PoolByHand::new();
    let watched = pool.with(|state| watch(state));
    let task = pool.submit();
    begin_next(&mut worker);
    Rest::UntilMessage.ask_for_wakeups(&watched);
    assert!(Rest::UntilMessage.is_over(&watched));
    pool.scan();
    pool.hear(&mut worker, Kind::Returned, 1);
    pool.assert_ran(&task);
}

/// The pool sees that the second task has begun while it has not read the answer of the
/// first, so it cannot know yet that the worker has the second task.
#[test]
fn a_task_that_began_behind_an_unread_answer_is_looked_for_again() {
    let (pool, [mut worker]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    begin_next(&mut worker);
    worker.say(Kind::Returned, 1);
    begin_next(&mut worker);
    pool.scan();
    pool.read(&worker);
    assert!(tasks[0].error().is_none());
    assert!(!would_sleep(&pool));
    pool.scan();
    assert_eq!((running(&pool), pool.task_of(&worker)), (1, Some(2)));
    pool.hear(&mut worker, Kind::Returned, 2);
    assert!(tasks[1].error().is_none());
}

/// While an overwritten status keeps the pool from assigning tasks, it sees that a task has
/// begun and cannot know whose it is.
#[test]
fn a_task_that_began_beside_an_overwritten_status_is_looked_for_again() {
    let (pool, [mut first, mut second]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    let offer = first.take().unwrap();
    begin_next(&mut second);
    first.overwrite_status(offer);
    pool.scan();
    assert!(!would_sleep(&pool));
    pool.scan();
    assert_eq!(running(&pool), 1);
    pool.hear(&mut second, Kind::Returned, 2);
    assert!(tasks[1].error().is_none());
}

/// A task has overwritten the word that names the last task. The pool would never sleep
/// again if it took this word for a new task each time.
#[test]
fn a_word_that_names_no_task_keeps_the_pool_awake_only_once() {
    for is_offered in [true, false] {
        let (pool, [mut worker]) = PoolByHand::new();
        let _task = pool.submit();
        if !is_offered {
            worker.take().unwrap();
            pool.scan();
        }
        worker.begin_unsaid(1 << 40);
        assert!(!would_sleep(&pool), "{is_offered}");
        pool.scan();
        assert!(would_sleep(&pool), "{is_offered}");
        assert_eq!(running(&pool), 0);
    }
}

#[test]
fn an_answer_may_be_the_first_message_about_its_task() {
    for is_assigned in [false, true] {
        let (pool, [mut worker, mut other]) = PoolByHand::new();
        let task = pool.submit();
        begin_next(&mut worker);
        if is_assigned {
            worker.begin_unsaid(0);
            pool.scan();
            worker.begin_unsaid(1);
            assert_eq!(running(&pool), 0);
        }
        pool.hear(&mut worker, Kind::Returned, 1);
        pool.assert_ran(&task);
        assert!(pool.is_idle(&worker));
        // The worker has begun no later task, so this one runs elsewhere.
        let next = pool.submit();
        worker.take().unwrap();
        pool.end(&worker);
        assert_eq!(pool.run_next(&mut other), 2);
        assert!(next.error().is_none(), "assigned: {is_assigned}");
    }
}

/// The task of the answer has a worker that has not begun it, or no worker at all.
#[test]
fn an_answer_for_the_task_of_another_worker_or_of_none_ends_its_worker() {
    for is_taken in [false, true] {
        let (pool, [mut liar, mut other]) = PoolByHand::new();
        let task = pool.submit();
        let offer = is_taken.then(|| other.take().unwrap());
        pool.hear(&mut liar, Kind::Returned, 1);
        let reason = pool.kill_reason(&liar);
        assert!(matches!(reason, Some(KillReason::Misbehaved(_))));
        assert!(!task.is_done());
        pool.end(&liar);
        match offer {
            Some(offer) => {
                assert!(other.begin(offer));
                pool.hear(&mut other, Kind::Returned, 1);
            }
            None => assert_eq!(pool.run_next(&mut other), 1),
        }
        pool.assert_ran(&task);
    }
}

/// The worker sends `Started` late: before an answer that arrives in pieces, or because the
/// pool slept for a moment.
#[test]
fn the_message_that_a_task_has_begun_may_follow_once() {
    let (pool, [mut worker]) = PoolByHand::new();
    let task = pool.submit();
    begin_next(&mut worker);
    pool.scan();
    pool.hear(&mut worker, Kind::Started, 1);
    assert_eq!((running(&pool), pool.kill_reason(&worker)), (1, None));
    pool.hear(&mut worker, Kind::Started, 1);
    let reason = pool.kill_reason(&worker);
    assert!(matches!(reason, Some(KillReason::Misbehaved(_))));
    pool.end(&worker);
    assert!(task.died());
}

/// A worker that has begun a task has copied its call, so the memory of the call is free for
/// the next offers.
#[test]
fn a_begun_task_keeps_no_slot_of_the_offers() {
    let (pool, [mut worker]) = PoolByHand::new();
    let _task = pool.submit();
    let offer = worker.take().unwrap();
    pool.scan();
    let keeps = |pool: &PoolByHand| {
        pool.with(|state| state.offered.as_ref().is_some_and(|it| it.keeps(offer)))
    };
    assert!(keeps(&pool));
    worker.begin_unsaid(1);
    pool.scan();
    assert!(!keeps(&pool));
}
