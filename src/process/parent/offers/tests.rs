//! Tests of the orders in which a pool and its workers may take their steps for an offer: a
//! task in memory from which all workers take tasks.
//!
//! The *status* of an offer says which worker has taken it. A worker *records* the number
//! of the last offer that it has taken in memory of its own. If a worker has taken an offer
//! and does not begin its task, the worker *declines* the offer.

use rustix::thread::{CpuSet, sched_setaffinity};

use super::super::by_hand::{PoolByHand, WorkerByHand};
use super::super::polling;
use super::super::progress::Progress;
use super::super::supervisor::sleep::{Rest, begin_rest};
use super::super::worker_handle::KillReason;
use super::*;
use crate::error::BrokenPart;
use crate::process::settings::TaskSettings;
use crate::process::wire::frame::{Kind, bare, set_cpu};

/// The state in which a worker that dies leaves its own record of its last offer.
#[derive(Clone, Copy, Debug)]
enum Record {
    Made,
    Missing,
    Overwritten,
}

/// A task that may have begun fails, because it must not run twice. Any other task runs on
/// the other worker.
#[test]
fn a_task_whose_worker_dies_in_silence_runs_elsewhere_unless_it_may_have_begun() {
    use Record::{Made, Missing, Overwritten};

    // For each death: `true` if the status is overwritten, the state of the record, and
    // `true` if the task has begun.
    let deaths = [
        (false, Made, false),
        (false, Made, true),
        (false, Missing, false),
        (false, Overwritten, true),
        (true, Made, false),
        (true, Made, true),
        (true, Missing, false),
        (true, Overwritten, true),
    ];
    for death in deaths {
        let (overwrites_status, record, has_begun) = death;
        let (pool, [mut dies, mut lives]) = PoolByHand::new();
        let task = pool.submit();
        let offer = dies.take().unwrap();
        if has_begun {
            dies.begin_unsaid(dies.task());
        }
        match record {
            Made => {}
            Missing => dies.record(0),
            Overwritten => dies.overwrite_record(),
        }
        if overwrites_status {
            dies.overwrite_status(offer);
        }
        pool.end(&dies);
        if has_begun {
            assert!(task.died(), "{death:?}");
        } else {
            assert_eq!(pool.run_next(&mut lives), 1, "{death:?}");
            pool.assert_ran(&task);
        }
        assert_eq!(lives.take(), None, "{death:?}");
        assert_eq!(pool.kill_reason(&lives), None, "{death:?}");
    }
}

#[test]
fn an_offer_that_is_declined_twice_goes_back_once() {
    let (pool, [mut first, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = first.take().unwrap();
    first.overwrite_status(offer);
    assert!(!first.begin(offer));
    pool.hear(&mut first, Kind::Declined, offer);
    assert_eq!(pool.open(), [(1, 1)]);
    let taken = other.take().unwrap();
    pool.hear(&mut first, Kind::Declined, offer);
    pool.scan();
    assert_eq!(pool.task_of(&other), Some(1));
    assert!(other.begin(taken));
    pool.hear(&mut other, Kind::Returned, 1);
    pool.assert_ran(&task);
    assert_eq!(pool.with(|state| state.idle.len()), 2, "each once");
}

/// A task of the worker has forged the message `Declined`, or has repeated the bytes of an
/// earlier message. The pool must ignore the message.
#[test]
fn a_worker_cannot_decline_what_it_has_not_taken() {
    let (pool, [mut forges, mut other]) = PoolByHand::new();
    let task = pool.submit();
    for offer in [0, 1, 2] {
        forges.say(Kind::Declined, offer);
    }
    pool.read(&forges);
    assert_eq!(pool.open(), [(0, 1)]);
    let offer = other.take().unwrap();
    assert!(other.begin(offer));
    pool.hear(&mut forges, Kind::Declined, offer);
    pool.read(&other);
    assert_eq!(pool.task_of(&other), Some(1));
    assert_eq!(pool.kill_reason(&other), None);
    pool.hear(&mut forges, Kind::Declined, offer);
    pool.hear(&mut other, Kind::Returned, 1);
    pool.assert_ran(&task);
}

#[test]
fn a_worker_that_declines_the_offer_of_another_keeps_its_own() {
    let (pool, [mut first, mut other]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    let offers = [first.take().unwrap(), other.take().unwrap()];
    pool.scan();
    pool.hear(&mut first, Kind::Declined, offers[1]);
    assert_eq!(pool.task_of(&first), Some(1));
    assert_eq!(pool.task_of(&other), Some(2));
    for (worker, offer) in [&mut first, &mut other].into_iter().zip(offers) {
        assert!(worker.begin(offer));
        worker.say(Kind::Returned, worker.task());
        pool.read(worker);
    }
    assert!(tasks.iter().all(|task| task.error().is_none()));
    assert_eq!(pool.with(|state| state.finished), 2);
}

#[test]
fn a_task_that_has_begun_cannot_be_declined() {
    let (pool, [mut worker]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    assert!(worker.begin(offer));
    pool.hear(&mut worker, Kind::Declined, offer);
    assert!(matches!(
        pool.kill_reason(&worker),
        Some(KillReason::Misbehaved(_))
    ));
    pool.end(&worker);
    assert!(task.died());
}

#[test]
fn a_task_whose_call_was_asked_for_cannot_be_declined() {
    let (pool, [mut worker, mut other]) = PoolByHand::new();
    let task = pool.submit_call(100 << 10, None);
    let offer = worker.take().unwrap();
    assert_eq!(worker.request(), (Kind::LongTask, 1));
    pool.scan();
    pool.hear(&mut worker, Kind::Fetch, 1);
    pool.hear(&mut worker, Kind::Declined, offer);
    assert_eq!(other.take(), None);
    assert!(matches!(
        pool.kill_reason(&worker),
        Some(KillReason::Misbehaved(_))
    ));
    pool.end(&worker);
    assert!(!task.is_done());
    assert!(
        other.take().is_some(),
        "its worker has ended, and did not begin it"
    );
}

#[test]
fn a_task_that_the_memory_names_as_begun_cannot_be_declined() {
    let (pool, [mut worker, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    pool.scan();
    worker.begin_unsaid(1);
    pool.hear(&mut worker, Kind::Declined, offer);
    assert_eq!(other.take(), None);
    pool.end(&worker);
    assert!(task.died());
}

/// A task of the worker has forged the message `Declined` for the offer that the worker has
/// taken next.
#[test]
fn an_offer_that_was_declined_in_the_name_of_its_worker_runs_once() {
    let (pool, [mut worker, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    pool.scan();
    pool.hear(&mut worker, Kind::Declined, offer);
    let taken = other.take().unwrap();
    assert!(!worker.begin(offer), "the pool has revoked it");
    assert!(other.begin(taken));
    pool.hear(&mut other, Kind::Returned, 1);
    pool.assert_ran(&task);
}

/// The pool must not rely on a worker's own record of its last offer: a task may have
/// overwritten the record, also with the number of another offer.
#[test]
fn the_status_of_an_offer_says_who_has_taken_it_and_not_the_record() {
    let (pool, [first, mut second, mut third]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    let offers = [second.take().unwrap(), third.take().unwrap()];
    first.record(offers[0] + 1);
    third.overwrite_record();
    pool.scan();
    assert_eq!(pool.task_of(&first), None);
    assert_eq!(pool.task_of(&second), Some(1));
    assert_eq!(pool.task_of(&third), Some(2));
    for worker in [&first, &second, &third] {
        assert_eq!(pool.kill_reason(worker), None);
    }
    pool.end(&second);
    pool.end(&third);
    assert_eq!(pool.open(), [(3, 2), (4, 1)]);
    drop(tasks);
}

#[test]
fn a_long_task_whose_worker_dies_before_it_has_the_call_runs_elsewhere() {
    for asks in [false, true] {
        for length in [100 << 10, 1 << 20] {
            let (pool, [mut dies, mut lives]) = PoolByHand::new();
            let task = pool.submit_call(length, None);
            dies.take().unwrap();
            assert_eq!(dies.request(), (Kind::LongTask, 1));
            if asks {
                dies.say(Kind::Fetch, 1);
            }
            pool.end(&dies);
            lives.take().unwrap();
            assert_eq!(lives.request(), (Kind::LongTask, 1));
            pool.hear(&mut lives, Kind::Fetch, 1);
            let message = loop {
                if let Some(message) = lives.message() {
                    break message;
                }
                pool.with(|state| state.workers.get_mut(&1).unwrap().flush());
            };
            assert_eq!(message, (Kind::Task, 1, length));
            lives.begin_unsaid(1);
            lives.say(Kind::Started, 1);
            pool.hear(&mut lives, Kind::Returned, 1);
            pool.assert_ran(&task);
        }
    }
}

/// The message `Fetch` asks for a call. If the pool accepted a wrong `Fetch`, it would send
/// the call of a task to a worker that does not expect the call.
#[test]
fn a_worker_cannot_ask_twice_for_a_call_or_for_that_of_another() {
    for is_others in [false, true] {
        let (pool, [mut worker, mut other]) = PoolByHand::new();
        let task = pool.submit_call(100 << 10, None);
        let asks = if is_others { &mut other } else { &mut worker };
        asks.take().unwrap();
        pool.scan();
        worker.say(Kind::Fetch, 1);
        pool.hear(&mut worker, Kind::Fetch, 1);
        assert!(matches!(
            pool.kill_reason(&worker),
            Some(KillReason::Misbehaved(_))
        ));
        pool.end(&worker);
        assert_eq!(pool.task_of(&other), is_others.then_some(1));
        assert!(!task.is_done());
    }
}

#[test]
fn a_task_is_cancelled_until_a_worker_takes_it() {
    let (pool, [mut worker]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit(), pool.submit()];
    assert!(tasks[1].cancel());
    let offer = worker.take().unwrap();
    assert_eq!(worker.task(), 1);
    assert!(!tasks[0].cancel());
    assert!(worker.begin(offer), "its offer was not recalled");
    pool.hear(&mut worker, Kind::Returned, 1);
    assert!(tasks[0].error().is_none());
    assert_eq!(pool.run_next(&mut worker), 3);
    assert_eq!(worker.take(), None);
    let counts = pool.with(|state| (state.finished, state.cancelled, state.queued));
    assert_eq!(counts, (2, 1, 0));
}

#[test]
fn a_pool_that_breaks_leaves_the_tasks_that_were_taken() {
    let (pool, [mut worker]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    let offer = worker.take().unwrap();
    pool.with(|state| {
        pool.pool
            .break_down(state, Error::ShutDown, BrokenPart::Policy)
    });
    assert!(matches!(tasks[1].error(), Some(Error::Broken(_))));
    assert!(worker.begin(offer));
    pool.hear(&mut worker, Kind::Returned, 1);
    assert!(tasks[0].error().is_none());
}

/// Before a fix, the number `u64::MAX` made the pool's supervisor panic.
#[test]
fn no_number_of_a_declined_offer_panics() {
    let (pool, [mut forges]) = PoolByHand::new();
    let task = pool.submit();
    pool.hear(&mut forges, Kind::Declined, u64::MAX);
    assert_eq!(pool.run_next(&mut forges), 1);
    pool.assert_ran(&task);
}

/// Before a fix, the pool put another call into the *slot* (the place of a call in memory)
/// while the worker still copied the call of its offer from there.
#[test]
fn the_slot_of_an_offer_is_kept_when_its_worker_has_declined_an_earlier_one() {
    let (pool, [mut worker, _other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    worker.record(0);
    worker.overwrite_status(offer);
    pool.scan();
    worker.record(offer + 1);
    assert!(!worker.begin(offer));
    let next = worker.take().unwrap();
    // The pool sees the status of the second offer before it reads that the worker has
    // declined the first one.
    pool.scan();
    pool.read(&worker);
    assert_eq!(pool.task_of(&worker), Some(1));
    let more: Vec<_> = (0..300).map(|_| pool.submit()).collect();
    let newest = pool.open().last().map(|(offer, _)| *offer);
    assert_eq!(newest, Some(next + 255), "256 slots are in use");
    assert!(worker.begin(next));
    pool.read(&worker);
    let newest = pool.with(|state| {
        pool.pool.dispatch(state);
        state
            .offered
            .as_ref()?
            .tasks
            .back()
            .map(|offer| offer.number)
    });
    assert_eq!(newest, Some(next + 256));
    drop((task, more));
}

/// Before a fix, the declined task waited until its worker was killed: the pool looked only
/// at the worker's own record of its last offer, which already named a later offer.
#[test]
fn an_offer_is_declined_although_its_worker_has_taken_a_later_one_since() {
    let (pool, [mut held, mut other]) = PoolByHand::new();
    let tasks = [pool.submit(), pool.submit()];
    let offer = held.take().unwrap();
    // The worker behaves as if it had received `Hold` (take no offers), and then `Release`.
    held.say(Kind::Declined, offer);
    let next = held.take().unwrap();
    assert!(held.begin(next));
    pool.read(&held);
    assert_eq!(pool.task_of(&held), Some(2));
    assert_eq!(pool.open(), [(2, 1)]);
    pool.hear(&mut held, Kind::Returned, 2);
    pool.scan();
    assert!(pool.is_idle(&held));
    assert_eq!(pool.run_next(&mut other), 1);
    assert!(tasks.iter().all(|task| task.error().is_none()));
}

/// The status of an offer names a worker by a code. Before a fix, the first worker, which
/// still lived, and the worker that the pool started after 65534 others had the same code.
#[test]
fn no_two_living_workers_look_the_same_in_the_offers() {
    let (pool, [first]) = PoolByHand::new();
    let number = pool.with(|state| {
        state.started = 65_534;
        state.to_spawn = 1;
        pool.pool.next_start(state).unwrap().0
    });
    let mut second = pool.add_worker(number);
    let task = pool.submit();
    second.take().unwrap();
    pool.scan();
    assert_eq!(
        (pool.task_of(&first), pool.task_of(&second)),
        (None, Some(1))
    );
    assert!(!task.is_done());
}

/// The worker has taken the offer just before the pool told it to exit. Another worker must
/// run the offer's task.
#[test]
fn a_worker_that_is_told_to_exit_declines_the_offer_that_it_has_taken() {
    let (pool, [mut leaving, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = leaving.take().unwrap();
    pool.with(|state| {
        state.idle.retain(|idle| *idle != leaving.number);
        state.workers.get_mut(&leaving.number).unwrap().send_exit();
    });
    pool.scan();
    assert!(!leaving.begin(offer));
    pool.read(&leaving);
    assert_eq!(pool.kill_reason(&leaving), None);
    assert_eq!(leaving.message(), Some((Kind::Exit, 0, 0)));
    pool.end(&leaving);
    assert_eq!(pool.run_next(&mut other), 1);
    pool.assert_ran(&task);
}

#[test]
fn a_long_task_can_be_killed_whose_worker_asks_for_the_call_behind_the_hold() {
    let (pool, [mut worker]) = PoolByHand::new();
    let task = pool.submit_call(70_000, None);
    worker.take().unwrap();
    assert_eq!(worker.request(), (Kind::LongTask, 1));
    pool.scan();
    pool.with(|state| state.workers.get_mut(&0).unwrap().hold());
    worker.say(Kind::Fetch, 1);
    assert!(pool.pool.kill(task.id));
    pool.end(&worker);
    assert!(matches!(task.error(), Some(Error::Killed(_))));
}

/// The memory of the offers has room for 8 calls of this length. When tasks have begun, the
/// pool must use the memory of their calls for the remaining tasks.
#[test]
fn room_is_used_as_soon_as_the_tasks_before_have_begun() {
    let (pool, mut workers) = PoolByHand::new::<14>();
    let tasks: Vec<_> = (0..14).map(|_| pool.submit_call(60_000, None)).collect();
    let mut begun = 0;
    for worker in &mut workers {
        let Some(offer) = worker.take() else { break };
        assert!(worker.begin(offer));
        begun += 1;
    }
    assert!((2..14).contains(&begun), "{begun}");
    for worker in &workers {
        pool.read(worker);
    }
    assert_eq!(pool.with(|state| state.queue.len()), 0);
    assert_eq!(pool.open().len(), 14 - begun);
    drop(tasks);
}

/// A worker that has declined an offer has copied the call, so the pool can use the *slot*
/// (the place of the call in memory) for another call.
#[test]
fn a_declined_offer_keeps_no_slot() {
    let (pool, [mut worker, mut other]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    pool.scan();
    let keeps = || pool.with(|state| state.offered.as_ref().unwrap().keeps(offer));
    assert!(keeps());
    pool.hear(&mut worker, Kind::Declined, offer);
    assert!(!keeps());
    assert_eq!(pool.run_next(&mut other), 1);
    pool.assert_ran(&task);
}

/// During a burst, in which a thread submits many tasks in a row, the supervisor sleeps and
/// reads no messages. So the submitting thread must read them.
#[test]
fn a_thread_that_submits_a_burst_reads_what_the_workers_have_said() {
    let (pool, [mut worker]) = PoolByHand::new();
    let first = pool.submit();
    let offer = worker.take().unwrap();
    assert!(worker.begin(offer));
    worker.say(Kind::Returned, 1);
    let _others: Vec<_> = (1..BURST).map(|_| pool.submit()).collect();
    assert!(!first.is_done());
    let _last = pool.submit();
    assert!(first.is_done());
    assert_eq!(pool.with(|state| state.submitted), BURST);
}

/// Returns a pool in a burst, in which a thread submits many tasks in a row, and the pool's
/// two workers, which sleep.
fn in_a_burst() -> (PoolByHand, [WorkerByHand; 2]) {
    let (pool, [mut first, mut second]) = PoolByHand::new();
    assert!(first.message().is_none() && second.message().is_none());
    pool.with(|state| state.is_burst = true);
    (pool, [first, second])
}

/// A wake-up takes longer than several tiny tasks, so the pool wakes as few workers as it
/// can.
#[test]
fn a_burst_wakes_a_second_worker_for_many_offers_together() {
    let (pool, [mut first, mut second]) = PoolByHand::new();
    assert!(first.message().is_none() && second.message().is_none());
    let asleep = || {
        pool.with(|state| {
            let workers = state.workers.values();
            workers.filter(|handle| handle.is_asleep()).count()
        })
    };
    assert_eq!(asleep(), 2);
    pool.with(|state| state.is_burst = true);
    let mut tasks = vec![pool.submit()];
    assert_eq!(asleep(), 1, "one worker has to be awake");
    while tasks.len() < BACKLOG - 1 {
        tasks.push(pool.submit());
        assert_eq!(asleep(), 1);
    }
    tasks.push(pool.submit());
    assert_eq!(asleep(), 0);
}

/// The worker that is awake may be busy for long. So the second offer must wait for this
/// worker only until the supervisor's nap (its short sleep during a burst) is over.
#[test]
fn after_a_nap_each_offer_has_a_worker() {
    let (pool, _workers) = in_a_burst();
    let _tasks = [pool.submit(), pool.submit()];
    pool.with(|state| {
        pool.pool.begin_round(state);
        assert!(state.workers.values().all(|handle| !handle.is_asleep()));
    });
}

/// A few large calls fill the memory for offers, long before there are many offers. Then
/// the pool must wake the second worker.
#[test]
fn a_burst_of_large_calls_wakes_a_second_worker() {
    let (pool, _workers) = in_a_burst();
    let mut tasks = Vec::new();
    while pool.with(|state| state.queued == 0) {
        tasks.push(pool.submit_under(TaskSettings::default(), 60 << 10));
        assert!(tasks.len() < BACKLOG / 2);
    }
    pool.with(|state| assert!(!state.workers.values().any(WorkerHandle::is_asleep)));
}

#[test]
fn offers_of_a_burst_do_not_wait_for_the_start_of_a_process() {
    let (pool, _workers) = in_a_burst();
    let _tasks = [pool.submit(), pool.submit()];
    pool.with(|state| {
        assert!(state.workers.values().any(WorkerHandle::is_asleep));
        state.to_spawn = 1;
        assert!(pool.pool.next_start(state).is_some());
        assert!(!state.workers.values().any(WorkerHandle::is_asleep));
        (state.to_spawn, state.starting) = (0, 0);
    });
}

/// While a thread waits and polls, the supervisor takes no naps. So the end of the burst
/// must wake the second worker, because no end of a nap will wake it later.
#[test]
fn a_burst_that_a_waiting_thread_ends_leaves_no_offer_without_a_worker() {
    let (pool, [mut first, mut second]) = PoolByHand::new();
    assert!(first.message().is_none() && second.message().is_none());
    let _tasks: Vec<_> = (0..=BURST)
        .map(|n| {
            pool.with(|state| state.is_burst = n > 0);
            pool.submit()
        })
        .collect();
    pool.with(|state| {
        pool.pool.begin_round(state);
        assert!(state.is_burst, "more tasks have come");
        assert!(state.workers.values().any(WorkerHandle::is_asleep));
        state.pollers = 1;
        begin_rest(state, false);
        assert!(!state.workers.values().any(WorkerHandle::is_asleep));
        state.pollers = 0;
    });
}

/// A thread that waits for a task submits no tasks meanwhile. So it must wake workers for
/// all offers, and not leave this to the end of the supervisor's nap.
#[test]
fn a_thread_that_waits_for_a_task_ends_the_burst() {
    let (pool, _workers) = in_a_burst();
    let _tasks = [pool.submit(), pool.submit()];
    let are_awake = || pool.with(|state| !state.workers.values().any(WorkerHandle::is_asleep));
    assert!(!are_awake());
    pool.with(|state| state.submitted = BURST);
    assert!(polling::poll(pool.pool.id, &are_awake));
    pool.with(|state| assert_ne!(begin_rest(state, false), Rest::Burst));
}

/// A worker that wakes up on the CPU of the submitting thread would keep this thread from
/// running.
#[test]
fn a_worker_that_ran_on_another_cpu_is_woken_first() {
    let (pool, [mut here, mut elsewhere]) = PoolByHand::new();
    // Keeps this thread on its current CPU during the test.
    let cpu = current_process::cpu();
    let mut cpus = CpuSet::new();
    cpus.set(usize::try_from(cpu).unwrap() - 1);
    sched_setaffinity(None, &cpus).unwrap();
    // The worker `here` sends its message last. If the pool ignored the CPUs, it would wake
    // this worker first.
    for (worker, cpu) in [(&mut elsewhere, cpu + 1), (&mut here, cpu)] {
        let task = pool.submit();
        let offer = worker.take().unwrap();
        assert!(worker.begin(offer));
        let mut returned = bare(Kind::Returned, worker.task());
        set_cpu(&mut returned, cpu);
        worker.send(&returned);
        pool.read(worker);
        assert!(task.error().is_none());
        assert!(worker.message().is_none(), "it sleeps");
    }
    let is_asleep =
        |worker: &WorkerByHand| pool.with(|state| state.workers[&worker.number].is_asleep());
    let _task = pool.submit();
    assert!(is_asleep(&here) && !is_asleep(&elsewhere));
    let _task = pool.submit();
    assert!(!is_asleep(&here));
}

/// A stopped worker counts as awake until its time limit shows that it is late. Before a
/// fix, a worker that slept got the time limit in place of the stopped worker, so no worker
/// took the offer.
#[test]
fn each_idle_worker_that_is_awake_has_a_time_limit_to_take_an_offer() {
    for stopped_first in [false, true] {
        let (pool, [mut stopped, mut asleep]) = PoolByHand::new();
        let mut workers = [(&mut stopped, false), (&mut asleep, true)];
        if !stopped_first {
            workers.reverse();
        }
        for (worker, sleeps) in workers {
            let _task = pool.submit();
            pool.run_next(worker);
            assert!(!sleeps || worker.message().is_none());
        }
        let _task = pool.submit();
        let limits = [&stopped, &asleep].map(|worker| {
            let is_limited = |handle: &WorkerHandle| handle.take_limit.is_some();
            pool.with(|state| is_limited(&state.workers[&worker.number]))
        });
        assert_eq!(limits, [true, false], "{stopped_first}");
    }
    // The time limit of a worker that is woken begins anew.
    let (pool, [mut woken]) = PoolByHand::new();
    assert!(woken.message().is_none(), "it sleeps");
    let before = Progress::from(Instant::now());
    let next_check = before.next_check();
    pool.with(|state| state.workers.get_mut(&woken.number).unwrap().take_limit = Some(before));
    let _task = pool.submit();
    pool.with(|state| {
        let limit = state.workers[&woken.number].take_limit.as_ref();
        assert!(limit.is_some_and(|limit| limit.next_check() > next_check));
    });
}

/// Before a fix, a task that waited for a retry might never end: a thread that had seen the
/// task before its first start took the task's new offer back, in order to cancel the task.
#[test]
fn a_task_that_waits_for_a_retry_is_not_recalled() {
    let (pool, [mut dies, mut lives]) = PoolByHand::new();
    let settings = TaskSettings {
        retries: 1,
        ..TaskSettings::default()
    };
    let task = pool.submit_under(settings, 0);
    let offer = dies.take().unwrap();
    assert!(dies.begin(offer));
    pool.end(&dies);
    assert_eq!(pool.open().len(), 1, "it is offered again");
    let stats = pool.pool.stats();
    assert_eq!((stats.queued, stats.running), (0, 1), "it counts once");
    assert!(!recall(pool.pool.id, task.id));
    assert!(!task.cancel());
    assert_eq!(pool.run_next(&mut lives), 1);
    pool.assert_ran(&task);
}

#[test]
fn a_burst_wakes_a_worker_each_time_that_offers_pile_up() {
    let (pool, [mut busy, mut idle]) = PoolByHand::new();
    let _long = pool.submit();
    let offer = busy.take().unwrap();
    assert!(busy.begin(offer));
    pool.read(&busy);
    for _ in 0..2 {
        assert!(idle.message().is_none(), "it sleeps");
        pool.with(|state| state.is_burst = true);
        for _ in 1..BACKLOG {
            let _task = pool.submit();
            assert!(pool.with(|state| state.workers[&idle.number].is_asleep()));
        }
        let _task = pool.submit();
        assert!(!pool.with(|state| state.workers[&idle.number].is_asleep()));
        while idle.take().is_some() {
            let task = idle.task();
            idle.begin_unsaid(task);
            idle.say(Kind::Started, task);
            idle.say(Kind::Returned, task);
        }
        pool.read(&idle);
    }
}

/// The worker may have taken the offer, but it was idle before, so it had started.
#[test]
fn the_death_of_a_worker_that_was_idle_before_an_offer_is_no_failed_start() {
    let (pool, [worker]) = PoolByHand::new();
    let _task = pool.submit();
    pool.end(&worker);
    assert_eq!(pool.with(|state| state.failed_starts), 0);
}

/// The worker became ready while another worker's offer was not assigned yet. Its later
/// death, while it is idle and there is no offer, is no failed start.
#[test]
fn the_death_of_an_idle_worker_that_began_beside_an_offer_is_no_failed_start() {
    let (pool, [mut worker]) = PoolByHand::new();
    let task = pool.submit();
    let offer = worker.take().unwrap();
    let idle = pool.add_worker(1);
    assert!(worker.begin(offer));
    pool.hear(&mut worker, Kind::Returned, 1);
    pool.assert_ran(&task);
    pool.end(&idle);
    assert_eq!(pool.with(|state| state.failed_starts), 0);
}

/// The pool cannot read the worker's messages, for nonsense stands in front of them. The
/// worker's memory says which of its tasks it has begun last. Before a fix, the task that
/// it had only taken failed too.
#[test]
fn a_task_that_a_worker_in_disorder_had_only_taken_runs_elsewhere() {
    let (pool, [mut worker, mut other]) = PoolByHand::new();
    let tasks = [(); 3].map(|()| pool.submit());
    worker.send(&[9; 24]);
    for task in 1..=2 {
        let offer = worker.take().unwrap();
        assert!(worker.begin(offer));
        worker.say(Kind::Returned, task);
    }
    worker.take().unwrap();
    pool.end(&worker);
    assert!(tasks[0].died() && tasks[1].died());
    assert_eq!(pool.run_next(&mut other), 3);
    assert!(tasks[2].error().is_none());
}

/// The first task of each worker destroys the worker's messages before the pool reads any,
/// and ends its process. Before a fix, five such workers in a row broke the pool.
#[test]
fn a_task_that_ends_a_worker_of_which_nothing_is_known_is_no_failed_start() {
    let (pool, []) = PoolByHand::new();
    for number in 0..5 {
        let task = pool.submit();
        let mut worker = pool.add_worker(number);
        pool.with(|state| {
            let handle = state.workers.get_mut(&number).unwrap();
            handle.activity = WorkerState::Starting;
            state.idle.clear();
        });
        worker.take().unwrap();
        worker.begin_unsaid(worker.task());
        pool.end(&worker);
        assert!(task.died());
    }
    assert!(!pool.with(|state| state.is_broken()));
}

/// A worker that the pool is killing says that it begins a task which it has not taken.
/// Before a fix, the task failed with this worker, and yet ran on another one.
#[test]
fn a_worker_that_is_killed_cannot_claim_the_task_of_another() {
    let (pool, [mut liar, mut other]) = PoolByHand::new();
    let task = pool.submit();
    pool.with(|state| {
        let handle = state.workers.get_mut(&liar.number).unwrap();
        handle.kill(KillReason::Misbehaved("it is wrong".to_owned()));
    });
    liar.say(Kind::Started, 1);
    pool.read(&liar);
    assert_eq!(pool.task_of(&liar), None);
    pool.end(&liar);
    assert_eq!(pool.run_next(&mut other), 1);
    pool.assert_ran(&task);
}
