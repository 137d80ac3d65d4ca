//! Tests of the supervisor's naps, which are short sleeps. In a *burst*, a thread submits
//! many tasks in a row, and reads the workers' messages itself from time to time.

use std::sync::mpsc;

use super::super::super::by_hand::PoolByHand;
use super::*;
use crate::process::wire::frame::Kind;

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
    pool.with(|state| state.workers.get_mut(&0).unwrap().end.disarm());
    worker.fill_memory();
    assert!(is_over(Rest::Burst));
}

/// The last write of a long call ended because it had sent many bytes, and not because the
/// memory was full. So the worker does not wake the supervisor for the rest of the call.
#[test]
fn no_sleep_begins_while_there_are_bytes_to_send_and_room_for_them() {
    let (pool, [_worker]) = PoolByHand::new();
    let mut watched = watch(&pool.pool.lock());
    let all = [Rest::UntilMessage, Rest::Nap(NAP), Rest::Burst];
    assert!(!all.iter().any(|rest| rest.is_over(&watched)));
    watched[0].can_flush = true;
    assert!(all.iter().all(|rest| rest.is_over(&watched)));
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

/// While more tasks wait than fit into the memory for offers, no worker is soon without a
/// task. So the supervisor must take long naps.
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
        let worker = thread::spawn(move || {
            worker.fill_memory();
            // If the worker were dropped here, the end of its socket would be an event.
            worker
        });
        let mut happened = Vec::new();
        while !worker.is_finished() {
            happened.extend(sleep(&pool.pool, &watched, None, false, Rest::Burst, false));
        }
        happened.extend(sleep(&pool.pool, &watched, None, false, Rest::Burst, false));
        drop(worker.join().unwrap());
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
