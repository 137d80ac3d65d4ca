//! The uses of a future of a thread: waits, ends, callbacks.

use std::future::{Future as _, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Waker};
use std::time::Duration;

use concurrent_futures::*;
use fastrand::Rng;

use super::card::{Bomb, Card, Value};
use super::{Made, Pool, wait_for_more};
use crate::{count, fault};

/// Uses a future up, in one of the ways there are.
pub fn use_future((card, future): Made, pool: &Pool, random: &mut Rng) {
    let short = Duration::from_micros(random.u64(..300));
    match random.u32(..18) {
        0 => card.note(future.result().err().as_ref()),
        1 => card.note_timed(future.result_timeout(short).err().as_ref()),
        2 => card.received(future.into_result()),
        3 => match future.try_into_result() {
            Ok(result) => card.received(result),
            Err(future) => drop(future),
        },
        4 => card.note(future.exception().as_ref()),
        5 => match future.exception_timeout(short) {
            Ok(error) => card.note(error.as_ref()),
            Err(error) => card.note_timed(Some(&error)),
        },
        6 => cancel(&card, &future),
        7 => {
            card.callbacks.fetch_add(1, SeqCst);
            let bomb = Bomb(random.u32(..8) == 0);
            future.then(move |result| {
                let _bomb = bomb;
                card.callback_runs.fetch_add(1, SeqCst);
                card.received(result);
            });
        }
        8 => future.detach(),
        9 => card.received(pollster::block_on(future.into_future())),
        10 => {
            let failed = pollster::block_on((&future).into_future()).err();
            card.note(failed.as_ref());
        }
        11 => {
            let mut half = pin!(future.into_future());
            if let std::task::Poll::Ready(result) =
                half.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                card.received(result);
            }
        }
        12 => {
            check_timing(&future);
            card.received(Box::new(future).boxed_into_result());
        }
        13..16 => {
            add_callback(&card, &future, pool, random);
            card.received(future.into_result());
        }
        _ => drop(future),
    }
}

fn cancel(card: &Card, future: &ThreadFuture<Value>) {
    if future.cancel() {
        card.cancels.fetch_add(1, SeqCst);
        if !(future.cancelled() && future.done()) {
            fault("cancelled, but not done".to_owned());
        }
    }
}

fn check_timing(future: &ThreadFuture<Value>) {
    let _ = future.running();
    if let Some(timing) = future.timing() {
        let times = [Some(timing.queued()), timing.started(), timing.finished()];
        if !times.into_iter().flatten().is_sorted() {
            fault(format!("{timing:?}"));
        }
    }
}

/// Adds a callback, which must run whatever happens, and may wait for other tasks.
pub fn add_callback(card: &Arc<Card>, future: &ThreadFuture<Value>, pool: &Pool, random: &mut Rng) {
    card.callbacks.fetch_add(1, SeqCst);
    let (card, pool) = (Arc::clone(card), Arc::downgrade(pool));
    let (way, mut random) = (random.u32(..8), random.fork());
    let bomb = Bomb(way == 0);
    future.add_done_callback(move |future| {
        let _bomb = bomb;
        card.callback_runs.fetch_add(1, SeqCst);
        card.note(future.exception().as_ref());
        if !future.done() {
            fault("a callback before the end".to_owned());
        }
        match (way, pool.upgrade()) {
            (1, _) => panic!("planned: a callback"),
            (2, Some(pool)) => {
                wait_for_more(&pool, &mut random, 0);
                count("waits inside callbacks");
            }
            _ => {}
        }
    });
}
