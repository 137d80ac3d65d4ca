//! The mode `threads`: every effect of every task is counted on a card of its own.

use std::future::{Future as _, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use concurrent_futures::*;
use fastrand::Rng;

use crate::watchdog::begin;
use crate::{THREADS, count, fault};

/// The effects of one task.
#[derive(Default, Debug)]
struct Card {
    runs: AtomicU32,
    argument_drops: AtomicU32,
    values: AtomicU32,
    value_drops: AtomicU32,
    callbacks: AtomicU32,
    callback_runs: AtomicU32,
    refused: AtomicU32,
    cancels: AtomicU32,
    ended_well: AtomicU32,
    ended_badly: AtomicU32,
    ended_cancelled: AtomicU32,
}

struct Argument(Arc<Card>, bool);

impl Drop for Argument {
    fn drop(&mut self) {
        self.0.argument_drops.fetch_add(1, SeqCst);
        if self.1 && !std::thread::panicking() {
            panic!("planned: an argument's drop");
        }
    }
}

#[derive(Debug)]
struct Value(Arc<Card>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.value_drops.fetch_add(1, SeqCst);
    }
}

type Pool = Arc<ThreadPoolExecutor>;
type Made = (Arc<Card>, ThreadFuture<Value>);

fn body(argument: Argument, pool: Option<Pool>, mut random: Rng, depth: u32) -> Value {
    argument.0.runs.fetch_add(1, SeqCst);
    match random.u32(..24) {
        0 => panic!("planned: a task"),
        1 => std::thread::sleep(Duration::from_micros(random.u64(..500))),
        2 => std::thread::yield_now(),
        3..10 if depth > 0 => {
            if let Some(pool) = &pool {
                let mut cards = Vec::new();
                let mut made = Vec::new();
                for _ in 0..random.u32(1..4) {
                    made.extend(submit(pool, &mut random, depth - 1, &mut cards));
                }
                for made in made {
                    use_future(made, &mut random, true);
                }
                count("tasks made inside tasks");
            }
        }
        10 if depth > 0 => {
            if let Some(pool) = &pool {
                scope(pool, &mut random);
            }
        }
        11 => {
            if let Ok(own) = ThreadPoolExecutor::with_max_workers(2) {
                let sum: u32 = own
                    .map(|n: u32| n, 0..4)
                    .expect("a new pool")
                    .flatten()
                    .sum();
                assert_eq!(sum, 6, "a pool inside a task");
            }
        }
        12 if random.u32(..40) == 0 => {
            if let Some(pool) = &pool {
                let _ = pool.shutdown();
                count("shutdown inside a task");
            }
        }
        _ => {}
    }
    let card = Arc::clone(&argument.0);
    // It may be the last handle: then the pool is dropped in its own task.
    drop(pool);
    card.values.fetch_add(1, SeqCst);
    let value = Value(card);
    drop(argument);
    value
}

fn note(card: &Card, error: Option<&Error>) {
    let (counter, kind) = match error {
        None => (&card.ended_well, "ended well"),
        Some(Error::Cancelled) => (&card.ended_cancelled, "cancelled"),
        Some(Error::Panicked(_)) => (&card.ended_badly, "panicked"),
        Some(Error::WouldDeadlock) => return count("WouldDeadlock"),
        Some(Error::Timeout { .. }) => return count("waits timed out"),
        Some(other) => return fault(format!("a task ended with {other:?}")),
    };
    counter.fetch_add(1, SeqCst);
    count(kind);
}

fn submit(pool: &Pool, random: &mut Rng, depth: u32, cards: &mut Vec<Arc<Card>>) -> Option<Made> {
    let card = Arc::new(Card::default());
    cards.push(Arc::clone(&card));
    let way = random.u32(..5);
    // What `try_submit` gives back is dropped here, and would panic here.
    let argument = Argument(Arc::clone(&card), way != 1 && random.u32(..50) == 0);
    let inner = (random.u32(..2) == 0).then(|| Arc::clone(pool));
    let task_random = random.fork();
    let call = move |argument| body(argument, inner, task_random, depth);
    let made = match way {
        0 => pool.spawn(move || call(argument)),
        1 => pool
            .try_submit(call, argument)
            .map_err(|refused| refused.error),
        2 => pool
            .with(TaskOptions::new().name("named"))
            .submit(call, argument),
        _ => pool.submit(call, argument),
    };
    match made {
        Ok(future) => {
            count("submitted");
            if random.u32(..2) == 0 {
                note_at_end(&card, &future, random);
            }
            Some((card, future))
        }
        Err(Error::ShutDown | Error::QueueFull) => {
            count("refused");
            card.refused.fetch_add(1, SeqCst);
            None
        }
        Err(other) => {
            fault(format!("submit said {other:?}"));
            None
        }
    }
}

fn note_at_end(card: &Arc<Card>, future: &ThreadFuture<Value>, random: &mut Rng) {
    // `Value` is `Sync`, so a plain callback will do; it must run whatever happens.
    card.callbacks.fetch_add(1, SeqCst);
    let (card, random_panics) = (Arc::clone(card), random.u32(..8) == 0);
    future.add_done_callback(move |future| {
        card.callback_runs.fetch_add(1, SeqCst);
        note(&card, future.exception().as_ref());
        if random_panics {
            panic!("planned: a callback");
        }
    });
}

/// Uses a future up, in one of the ways there are.
fn use_future((card, future): Made, random: &mut Rng, in_task: bool) {
    let short = Duration::from_micros(random.u64(..300));
    match random.u32(..16) {
        0 => note(&card, future.result().err().as_ref()),
        1 => note(&card, future.result_timeout(short).err().as_ref()),
        2 => note(&card, future.into_result().err().as_ref()),
        3 => match future.try_into_result() {
            Ok(result) => note(&card, result.err().as_ref()),
            Err(future) => drop(future),
        },
        4 => note(&card, future.exception().as_ref()),
        5 => drop(future.exception_timeout(short)),
        6 => {
            if future.cancel() {
                card.cancels.fetch_add(1, SeqCst);
            }
            // Done or running: both are asked again, and a cancel stays one.
            if future.cancelled() && !future.done() {
                fault("cancelled, but not done".to_owned());
            }
        }
        7 => {
            card.callbacks.fetch_add(1, SeqCst);
            future.then(move |result| {
                card.callback_runs.fetch_add(1, SeqCst);
                note(&card, result.err().as_ref());
            });
        }
        8 => future.detach(),
        9 => note(
            &card,
            pollster::block_on(future.into_future()).err().as_ref(),
        ),
        10 => {
            let failed = pollster::block_on((&future).into_future()).err();
            note(&card, failed.as_ref());
        }
        11 => {
            let mut half = pin!(future.into_future());
            let _ = half.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        12 => {
            let _ = (future.running(), future.timing());
            drop(Box::new(future).boxed_into_result());
        }
        13 if !in_task => {
            let channel = completions([future]);
            crossbeam_channel::select! {
                recv(*channel) -> got => drop(got),
                default(short) => count("select timed out"),
            }
        }
        _ => drop(future),
    }
}

fn together(made: Vec<Made>, random: &mut Rng) {
    let limit = (random.u32(..2) == 0).then(|| Duration::from_micros(random.u64(..500)));
    let total = made.len();
    match random.u32(..4) {
        0 => {
            let got = wait(made, ReturnWhen::AllCompleted, limit);
            if got.done.len() + got.not_done.len() != total {
                fault("wait lost a future".to_owned());
            }
            if limit.is_none() && !got.not_done.is_empty() {
                fault("an untimed wait for all came back early".to_owned());
            }
        }
        1 => {
            let got = wait(&made, ReturnWhen::FirstException, limit);
            if got.done.len() + got.not_done.len() != total {
                fault("wait lost a future".to_owned());
            }
        }
        2 => drop(wait_until(made, |(_, future)| future.cancelled(), limit)),
        _ => {
            let mut made = made.into_iter();
            let mut ended = as_completed(made.by_ref().take(2));
            made.for_each(|one| ended.add(one));
            if let Some(limit) = limit {
                drop(ended.next_timeout(limit));
            } else if ended.count() != total {
                fault("as_completed lost a future".to_owned());
            }
        }
    }
}

fn scope(pool: &Pool, random: &mut Rng) {
    let sum = AtomicU32::new(0);
    let times = random.u32(..6);
    let begun = AtomicU32::new(0);
    pool.scope(|s| {
        for n in 0..times {
            let (sum, begun) = (&sum, &begun);
            let made = s.spawn(move || {
                begun.fetch_add(1, SeqCst);
                sum.fetch_add(n, SeqCst)
            });
            if let Ok(future) = made {
                if random.u32(..4) == 0 {
                    future.cancel();
                } else if random.u32(..2) == 0 {
                    drop(future.into_result());
                }
            }
        }
    });
    if begun.load(SeqCst) > times {
        fault("a task of a scope ran twice".to_owned());
    }
}

fn map(pool: &Pool, random: &mut Rng) {
    let mut options = MapOptions::new();
    let way = random.u32(..5);
    options = match way {
        0 => options.chunk_size(random.usize(1..9)),
        1 => options.automatic_chunks(),
        2 => options.buffer_size(random.usize(1..9)),
        3 => options.timeout(Duration::from_micros(random.u64(..500))),
        _ => options,
    };
    let number = random.u32(..40);
    let Ok(mut results) = pool.map_with(options, |n: u32| n + 1, 0..number) else {
        return count("map refused");
    };
    match random.u32(..3) {
        0 => drop(results.next()),
        1 => drop(
            results
                .unordered()
                .map(|(_, result)| result)
                .collect::<Vec<_>>(),
        ),
        // A pool that is shut down meanwhile ends a buffered map with errors.
        _ => {
            for (place, result) in results.enumerate() {
                if result.is_ok_and(|n| n as usize != place + 1) {
                    fault("map mixed its results up".to_owned());
                }
            }
        }
    }
}

fn promises(random: &mut Rng) {
    let (promise, future) = promise::<u32>();
    let cancelled = random.bool() && future.cancel();
    match random.u32(..4) {
        0 => drop(promise),
        1 => drop(promise.set_result(7)),
        2 => drop(promise.set_exception(Error::other("planned"))),
        _ => {
            if random.bool() {
                promise.start();
            }
            promise.run(|| 7);
        }
    }
    let ended = future.into_result();
    if cancelled != matches!(ended, Err(Error::Cancelled)) {
        fault(format!(
            "a promise cancelled: {cancelled}, ended with {ended:?}"
        ));
    }
}

fn operate(pool: &Pool, random: &mut Rng, thread: usize, cards: &mut Vec<Arc<Card>>) {
    let mut held = Vec::new();
    for _ in 0..60 {
        match random.u32(..20) {
            0 => {
                begin(thread, "map");
                map(pool, random);
            }
            1 => {
                begin(thread, "scope");
                scope(pool, random);
            }
            2 => {
                begin(thread, "promise");
                promises(random);
            }
            3 => {
                begin(thread, "together");
                together(std::mem::take(&mut held), random);
            }
            4 => {
                begin(thread, "stats");
                let stats = pool.stats();
                if stats.workers > pool.max_workers() || stats.idle > stats.workers {
                    fault(format!("{stats:?} of {}", pool.max_workers()));
                }
            }
            5 if random.u32(..30) == 0 => {
                begin(thread, "shutdown");
                let options = ShutdownOptions::new()
                    .wait(random.bool())
                    .cancel_pending(random.bool())
                    .timeout(Duration::from_millis(random.u64(..5)));
                let _ = pool.shutdown_with(options);
                count("shutdown");
            }
            6..9 if !held.is_empty() => {
                begin(thread, "use a future");
                let made = held.swap_remove(random.usize(..held.len()));
                use_future(made, random, false);
            }
            _ => {
                begin(thread, "submit");
                held.extend(submit(pool, random, 3, cards));
            }
        }
        count("operations");
    }
}

/// One pool from its making to its end.
pub fn round(mut random: Rng) {
    begin(THREADS, "make a pool");
    let mut builder = ThreadPoolExecutor::builder()
        .max_workers(random.usize(1..7))
        .record_timing(random.bool())
        .initializer(|n: u32| assert_eq!(n, 5), 5);
    if random.bool() {
        builder = builder.queue_capacity(random.usize(1..20));
    }
    let pool = Arc::new(builder.build().expect("a pool"));
    let mut cards = Vec::new();
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (pool, mut random) = (Arc::clone(&pool), random.fork());
                s.spawn(move || {
                    let mut cards = Vec::new();
                    // An argument whose drop panics may do so where it is cancelled or refused.
                    let ended = catch_unwind(AssertUnwindSafe(|| {
                        operate(&pool, &mut random, thread, &mut cards);
                    }));
                    if ended.is_err() {
                        fault("a panic came out of an operation".to_owned());
                    }
                    cards
                })
            })
            .collect();
        drop(pool);
        for thread in threads {
            cards.extend(thread.join().expect("its panics are caught"));
        }
    });
    begin(THREADS, "check");
    let end = Instant::now() + Duration::from_secs(30);
    for card in &cards {
        while let Some(wrong) = wrong(card) {
            if Instant::now() > end {
                fault(format!("{wrong}: {card:?}"));
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns what is not yet as it must be in the end.
fn wrong(card: &Card) -> Option<&'static str> {
    let is = |counter: &AtomicU32| counter.load(SeqCst);
    let (runs, values) = (is(&card.runs), is(&card.values));
    let well = is(&card.ended_well) > 0;
    let badly = is(&card.ended_badly) > 0;
    let cancelled = is(&card.ended_cancelled) > 0;
    if is(&card.argument_drops) != 1 {
        Some("an argument was not dropped once")
    } else if is(&card.value_drops) != values {
        Some("a value was not dropped once")
    } else if is(&card.callback_runs) != is(&card.callbacks) {
        Some("a callback did not run once")
    } else if runs > 1 || (is(&card.refused) > 0 && runs > 0) {
        Some("a task ran twice, or though it was refused")
    } else if (is(&card.cancels) > 0 || cancelled) && runs > 0 {
        Some("a cancelled task ran")
    } else if u32::from(well) + u32::from(badly) + u32::from(cancelled) > 1 {
        Some("a task ended in two ways")
    } else if (well || badly) && runs != 1 {
        Some("a task ended without a run")
    } else {
        None
    }
}
