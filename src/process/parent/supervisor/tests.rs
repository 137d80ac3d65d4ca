//! Tests of workers that the pool kills, or is about to kill, while they may take an offer:
//! a task in memory from which all workers take tasks. Before a kill, the pool *holds* the
//! worker: the message `Hold` tells the worker to take no offers.
//!
//! Tests of the supervisor's naps, which are short sleeps. In a *burst*, a thread submits
//! many tasks in a row, and reads the workers' messages itself from time to time.

use std::cell::RefCell;
use std::sync::mpsc;

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
        worker.say(Kind::Returned, 1);
        pool.read(&worker);
        assert!(tasks[0].error().is_none() && pool.with(|state| state.finished) == 1);
        assert_eq!(worker.message(), Some((Kind::Hold, 0, 0)));
        assert_eq!(worker.message(), Some((Kind::Release, 0, 0)));
        assert_eq!(pool.run_next(&mut worker), 2);
    }
}

/// No message arrives during these naps, so they must end when their time is over.
#[test]
fn a_nap_is_over_by_itself() {
    for rest in [Rest::Nap(NAP), Rest::Burst] {
        let (pool, []) = PoolByHand::new();
        let (over, is_over) = mpsc::channel();
        let sleeper = Arc::clone(&pool.pool);
        let sleeper = thread::spawn(move || {
            sleep(&sleeper, &[], None, false, rest, false);
            over.send(()).unwrap();
        });
        let is_over = is_over.recv_timeout(Duration::from_secs(30));
        pool.pool.wake_fd.wake();
        sleeper.join().unwrap();
        assert_eq!(is_over, Ok(()), "{rest:?}");
    }
}

/// A worker that filled its memory before the nap began does not wake the supervisor. So
/// the supervisor must notice the full memory when it begins the nap.
#[test]
fn no_nap_in_a_burst_begins_while_a_worker_waits_for_room() {
    let (pool, [mut worker]) = PoolByHand::new();
    let is_over = |rest: Rest| {
        let watched = watch(&pool.pool.lock());
        watched[0].watch.nap(true);
        rest.is_over(&watched)
    };
    assert!(!is_over(Rest::Burst) && !is_over(Rest::Nap(NAP)));
    worker.say(Kind::Returned, 1);
    assert!(
        !is_over(Rest::Burst),
        "the submitting thread reads the message"
    );
    assert!(is_over(Rest::Nap(NAP)));
    pool.with(|state| state.workers.get_mut(&0).unwrap().disarm());
    worker.fill_memory();
    assert!(is_over(Rest::Burst));
}

/// Even if a burst takes long, the supervisor must read the messages after a few naps: the
/// submitting thread may be too slow to read all of them.
#[test]
fn naps_in_a_burst_that_goes_on_are_over_too() {
    for _ in 0..20 {
        let (pool, []) = PoolByHand::new();
        let sleeper = Arc::clone(&pool.pool);
        let sleeper = thread::spawn(move || {
            sleep(&sleeper, &[], None, false, Rest::Burst, false);
        });
        let mut naps = 0;
        while !sleeper.is_finished() && naps <= NAPS_IN_BURST {
            pool.with(|state| {
                naps += usize::from(state.submitted == 0);
                state.submitted = BURST;
            });
        }
        pool.pool.wake_fd.wake();
        sleeper.join().unwrap();
        assert!(naps <= NAPS_IN_BURST);
    }
}

#[test]
fn a_burst_goes_on_while_many_tasks_are_submitted_and_no_thread_polls() {
    let (pool, []) = PoolByHand::new();
    let goes_on = |submitted, pollers| {
        pool.with(|state| (state.submitted, state.pollers) = (submitted, pollers));
        pool.pool.burst_goes_on()
    };
    assert!(goes_on(BURST, 0));
    assert!(
        !pool.pool.burst_goes_on(),
        "each nap needs tasks of its own"
    );
    assert!(!goes_on(BURST, 1) && !goes_on(BURST - 1, 0));
    pool.with(|state| (state.submitted, state.pollers) = (0, 0));
}

/// While so many tasks wait, no worker is soon without a task. So the supervisor must take
/// long naps.
#[test]
fn naps_are_longer_while_the_memory_for_offers_is_full() {
    let (pool, [_worker]) = PoolByHand::new();
    let mut tasks = vec![pool.submit()];
    let nap = || pool.with(|state| begin_rest(state, true));
    assert_eq!(nap(), Rest::Nap(NAP));
    while pool.with(|state| state.queued == 0) {
        tasks.push(pool.submit());
        pool.with(|state| state.submitted = 0);
    }
    assert_eq!(nap(), Rest::Nap(LONG_NAP));
}

/// A large answer fills the shared memory many times. If the worker waited each time until
/// the nap is over, the answer would take several times as long.
#[test]
fn a_worker_without_room_ends_a_nap_in_a_burst() {
    // The worker may send its bytes between two naps, and then need not wake the
    // supervisor. So the test tries several times.
    let is_woken = || {
        let (pool, [mut worker]) = PoolByHand::new();
        let watched = watch(&pool.pool.lock());
        let worker = thread::spawn(move || worker.fill_memory());
        let mut happened = Vec::new();
        while !worker.is_finished() {
            happened.extend(sleep(&pool.pool, &watched, None, false, Rest::Burst, false));
        }
        happened.extend(sleep(&pool.pool, &watched, None, false, Rest::Burst, false));
        worker.join().unwrap();
        happened.iter().any(|happened| happened.socket)
    };
    assert!((0..1000).any(|_| is_woken()));
}

/// A thread *polls* if it reads the workers' messages itself while it waits for a task.
/// Meanwhile the supervisor must take no naps.
#[test]
fn there_is_no_burst_while_a_thread_polls() {
    let (pool, [_worker]) = PoolByHand::new();
    let tasks: Vec<_> = (0..=BURST).map(|_| pool.submit()).collect();
    pool.with(|state| {
        state.pollers = 1;
        assert_eq!(begin_rest(state, false), Rest::UntilPolled);
        assert!(!state.is_burst);
        state.pollers = 0;
        assert_eq!(begin_rest(state, false), Rest::UntilMessage, "it is over");
    });
    let more: Vec<_> = (0..BURST).map(|_| pool.submit()).collect();
    pool.with(|state| {
        assert_eq!(begin_rest(state, false), Rest::Burst);
        assert!(state.is_burst);
        assert_eq!(begin_rest(state, true), Rest::Nap(NAP), "the burst is over");
        assert!(!state.is_burst);
    });
    drop((tasks, more));
}

/// A thread that waits for each of its tasks reads the answers itself. So the supervisor
/// must take no naps for these tasks.
#[test]
fn tasks_one_at_a_time_are_no_burst() {
    let (pool, [mut worker]) = PoolByHand::new();
    for _ in 0..BURST {
        let _task = pool.submit();
        pool.run_next(&mut worker);
    }
    pool.with(|state| assert_eq!(begin_rest(state, false), Rest::UntilMessage));
}
