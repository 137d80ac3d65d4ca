//! The uses of a future of a process: waits, ends, callbacks.

use std::future::{Future as _, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use concurrent_futures::*;
use fastrand::Rng;

use super::task::Answer;
use super::{Made, Place, submit};
use crate::{count, fault};

/// Uses a future in one of the ways there are; `other` for what takes two.
/// Gives back what is not used up.
pub fn use_future(
    (number, future): Made,
    other: Option<Made>,
    place: &Place,
    random: &mut Rng,
) -> Option<Made> {
    let short = Duration::from_millis(random.u64(..5));
    let round = &place.round;
    match random.u32(..20) {
        0 => look(future.result().err()),
        1 => look_timed(future.result_timeout(short).err()),
        2 => look(future.into_result().err()),
        3 => {
            let done = future.done();
            match future.try_into_result() {
                Ok(result) => look(result.err()),
                // Done, but its callbacks may still run.
                Err(future) if done && !future.done() => fault("done no more".to_owned()),
                Err(_) => {}
            }
        }
        4 => look(future.exception()),
        5 => look_timed(future.exception_timeout(short).err()),
        6 => {
            let cancelled = future.cancel();
            if cancelled && !(future.done() && future.cancelled()) {
                fault("cancelled, but not done".to_owned());
            }
            round.change(number, |fate| fate.cancelled |= cancelled);
        }
        7 => kill((number, future), place),
        8 => look(pollster::block_on(future.into_future()).err()),
        9 => look(pollster::block_on((&future).into_future()).err()),
        10 => {
            let mut half = pin!(future.into_future());
            let _ = half.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        11 => {
            let own = round.callback(number);
            let round = Arc::clone(round);
            future.then(move |result| {
                round.callback_ran(number, own);
                look(result.err());
                assert!(!number.is_multiple_of(8), "planned: a callback");
            });
        }
        12..15 => {
            add_callback(&(number, future), other, place, random);
            return None;
        }
        15 => {
            check_timing(&future);
            look(Box::new(future).boxed_into_result().err());
        }
        16 => future.detach(),
        17 => drop(future),
        _ => return other,
    }
    other
}

/// A wait without a limit has an answer, and on the program's own threads never
/// `WouldDeadlock`.
fn look(error: Option<Error>) {
    if let Some(error @ (Error::Timeout { .. } | Error::WouldDeadlock)) = error {
        fault(format!("a wait said {error:?}"));
    }
}

fn look_timed(error: Option<Error>) {
    match error {
        Some(Error::Timeout {
            unfinished: 1,
            total: 1,
        }) => count("waits timed out"),
        error => look(error),
    }
}

fn check_timing(future: &ProcessFuture<Answer>) {
    let _ = future.running();
    if let Some(timing) = future.timing() {
        let times = [Some(timing.queued()), timing.started(), timing.finished()];
        if !times.into_iter().flatten().is_sorted() {
            fault(format!("{timing:?}"));
        }
    }
}

fn kill((number, future): Made, place: &Place) {
    // Noted first: its end may be seen before `kill` returns.
    place.round.change(number, |fate| fate.killed = true);
    // A pending one is cancelled; it is the running ones that are killed.
    if future.kill() {
        count("kills of a task");
        if future.cancelled() {
            place.round.change(number, |fate| fate.cancelled = true);
        }
    }
}

/// Adds a callback that does something with the pool, or with another future.
fn add_callback((number, future): &Made, other: Option<Made>, place: &Place, random: &mut Rng) {
    let number = *number;
    let own = place.round.callback(number);
    let (place, mut random) = (place.clone(), random.fork());
    let way = random.u32(..6);
    future.add_done_callback(move |future| {
        place.round.callback_ran(number, own);
        if !future.done() {
            fault("a callback before the end".to_owned());
        }
        match (way, place.pool.upgrade()) {
            // It may exceed the capacity, so it never waits.
            (0, Some(pool)) => {
                drop(submit(&pool, &place, &mut random));
                count("submits in a callback");
            }
            (1, Some(pool)) => drop(pool.stats()),
            (2, _) => panic!("planned: a callback"),
            (3.., _) => {
                if let Some((_, other)) = other {
                    wait_in_callback(&other, way);
                }
            }
            _ => {}
        }
    });
}

/// Checks that a wait that would hang is refused: the pool runs all callbacks on
/// one thread.
fn wait_in_callback(other: &ProcessFuture<Answer>, way: u32) {
    count("waits in a callback");
    match way {
        3 => match other.result() {
            Err(Error::WouldDeadlock) => count("WouldDeadlock in a callback"),
            Err(Error::Timeout { .. }) => fault("an untimed wait timed out".to_owned()),
            _ if !other.done() => fault("a result before the end".to_owned()),
            _ => {}
        },
        4 => {
            let got = wait([other], ReturnWhen::AllCompleted, None);
            if got.done.len() + got.not_done.len() != 1 {
                fault("wait lost a future in a callback".to_owned());
            }
        }
        _ => {
            if as_completed([other]).count() != 1 {
                fault("as_completed lost a future in a callback".to_owned());
            }
        }
    }
}

pub fn together(made: Vec<Made>, random: &mut Rng) {
    let limit = random
        .bool()
        .then(|| Duration::from_millis(random.u64(..20)));
    crate::together::together(made, limit, random);
}
