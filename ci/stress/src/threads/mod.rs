//! The mode `threads`: every effect of every task is counted on a card of its own.

mod card;
mod pools;
mod uses;

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use concurrent_futures::*;
use fastrand::Rng;

use self::card::{Argument, Card, Value};
use crate::watchdog::begin;
use crate::{THREADS, count, fault};

/// The things that outlive the pool of a round.
#[derive(Default)]
struct Books {
    cards: Mutex<Vec<Arc<Card>>>,
    initialized: AtomicU32,
    exited: AtomicU32,
    /// It was shut down, in any way.
    is_closed: AtomicBool,
}

struct Round {
    executor: ThreadPoolExecutor,
    books: Arc<Books>,
}

impl Deref for Round {
    type Target = ThreadPoolExecutor;

    fn deref(&self) -> &ThreadPoolExecutor {
        &self.executor
    }
}

impl Round {
    fn is_calm(&self) -> bool {
        !self.books.is_closed.load(SeqCst)
    }
}

type Pool = Arc<Round>;
type Made = (Arc<Card>, ThreadFuture<Value>);

/// A task.
fn body(argument: Argument, pool: Option<Pool>, mut random: Rng, depth: u32) -> Value {
    argument.0.runs.fetch_add(1, SeqCst);
    match (random.u32(..24), &pool) {
        (0, _) => panic!("planned: a task"),
        (1, _) => std::thread::sleep(Duration::from_micros(random.u64(..500))),
        (2, _) => std::thread::yield_now(),
        (3..10, Some(pool)) if depth > 0 => wait_for_more(pool, &mut random, depth - 1),
        (10, Some(pool)) if depth > 0 => pools::scope(pool, &mut random),
        (11, _) => {
            if let Ok(own) = ThreadPoolExecutor::with_max_workers(2) {
                crate::maps::map(&own, || true, &mut random);
            }
        }
        (12, Some(pool)) if random.u32(..40) == 0 => {
            pool.books.is_closed.store(true, SeqCst);
            let _ = pool.shutdown();
            count("shutdown inside a task");
        }
        (13, Some(pool)) if depth > 0 => {
            crate::maps::map(&pool.executor, || pool.is_calm(), &mut random);
        }
        _ => {}
    }
    let card = Arc::clone(&argument.0);
    // It may be the last handle: then the pool is dropped in its own task.
    drop(pool);
    card.values.fetch_add(1, SeqCst);
    let value = Value(card, random.u32(..16) == 0);
    drop(argument);
    value
}

/// Submits tasks inside a task or a callback, and waits for them there.
fn wait_for_more(pool: &Pool, random: &mut Rng, depth: u32) {
    // The program's own threads run no tasks while they wait: what they wait for in a
    // callback may be queued behind tasks that wait for this very callback.
    let is_worker = current_worker().is_some();
    let made: Vec<Made> = (0..random.u32(1..4))
        .filter_map(|_| submit(pool, random, depth))
        .collect();
    if random.bool() {
        let limit = Duration::from_micros(random.u64(..300));
        let limit = (!is_worker || random.bool()).then_some(limit);
        crate::together::together(made, limit, random);
    } else if is_worker {
        for made in made {
            uses::use_future(made, pool, random);
        }
    } else {
        for (card, future) in made {
            let limit = Duration::from_micros(random.u64(..300));
            card.note_timed(future.result_timeout(limit).err().as_ref());
        }
    }
    count("waits inside tasks and callbacks");
}

fn submit(pool: &Pool, random: &mut Rng, depth: u32) -> Option<Made> {
    let card = Arc::new(Card::default());
    let lock = || pool.books.cards.lock().expect("nothing panics under it");
    lock().push(Arc::clone(&card));
    let way = random.u32(..6);
    // What `try_submit` gives back is dropped here, and would panic here.
    let argument = Argument(
        Arc::clone(&card),
        !matches!(way, 1 | 3) && random.u32(..50) == 0,
    );
    let inner = (random.u32(..2) == 0).then(|| Arc::clone(pool));
    let task_random = random.fork();
    let call = move |argument| body(argument, inner, task_random, depth);
    let mut options = TaskOptions::new().name("named");
    let is_impossible = way == 2 && random.u32(..8) == 0;
    if is_impossible {
        options = options.time_limit(Duration::from_secs(1));
    }
    let made = match way {
        0 => pool.spawn(move || call(argument)),
        1 => pool
            .try_submit(call, argument)
            .map_err(|refused| refused.error),
        2 => pool.with(options).submit(call, argument),
        3 => pool
            .with(options)
            .try_submit(call, argument)
            .map_err(|refused| refused.error),
        _ => pool.submit(call, argument),
    };
    match made {
        Ok(future) => {
            count("submitted");
            if is_impossible {
                fault("a task of a thread has a time limit".to_owned());
            }
            if random.u32(..2) == 0 {
                uses::add_callback(&card, &future, pool, random);
            }
            Some((card, future))
        }
        Err(error) => {
            count("refused");
            card.refused.fetch_add(1, SeqCst);
            let may_be = match &error {
                Error::QueueFull => matches!(way, 1 | 3),
                Error::ShutDown => !pool.is_calm(),
                Error::InvalidArgument(_) => is_impossible,
                _ => false,
            };
            if !may_be {
                fault(format!("submit said {error:?}"));
            }
            None
        }
    }
}

fn operate(pool: &Pool, random: &mut Rng, thread: usize) {
    let mut held = Vec::new();
    for _ in 0..60 {
        match random.u32(..22) {
            0 => {
                begin(thread, "map");
                crate::maps::map(&pool.executor, || pool.is_calm(), random);
            }
            1 => {
                begin(thread, "scope");
                pools::scope(pool, random);
            }
            2 => {
                begin(thread, "promise");
                pools::promises(random);
            }
            3 => {
                begin(thread, "together");
                let limit = Duration::from_micros(random.u64(..500));
                let limit = random.bool().then_some(limit);
                crate::together::together(std::mem::take(&mut held), limit, random);
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
                pool.books.is_closed.store(true, SeqCst);
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
                uses::use_future(made, pool, random);
            }
            9 if random.u32(..4) == 0 => {
                begin(thread, "a pool whose initializer fails");
                pools::failing_initializer(random);
            }
            10 if random.u32(..4) == 0 => {
                begin(thread, "a chain of waits");
                pools::chain(random);
            }
            _ => {
                begin(thread, "submit");
                held.extend(submit(pool, random, 3));
            }
        }
        count("operations");
    }
}

fn make(random: &mut Rng) -> Pool {
    let books = Arc::<Books>::default();
    let exits = Arc::clone(&books);
    let initialize = |books: Arc<Books>| {
        books.initialized.fetch_add(1, SeqCst);
    };
    let mut builder = ThreadPoolExecutor::builder()
        .max_workers(random.usize(1..7))
        .record_timing(random.bool())
        .initializer(initialize, Arc::clone(&books))
        .on_worker_exit(move || {
            exits.exited.fetch_add(1, SeqCst);
        });
    if random.bool() {
        builder = builder.queue_capacity(random.usize(1..20));
    }
    if random.bool() {
        builder = builder.stack_size(random.usize(256..1024) << 10);
    }
    let executor = builder.build().expect("a pool");
    Arc::new(Round { executor, books })
}

/// One pool from its making to its end.
pub fn round(mut random: Rng) {
    begin(THREADS, "make a pool");
    let pool = make(&mut random);
    let books = Arc::clone(&pool.books);
    std::thread::scope(|s| {
        for thread in 0..THREADS {
            let (pool, mut random) = (Arc::clone(&pool), random.fork());
            s.spawn(move || {
                // No drop and no callback that panics may reach the program's threads.
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    operate(&pool, &mut random, thread);
                }));
                if let Err(payload) = ended {
                    let panic = Panic::from_payload(payload);
                    fault(format!("a panic came out of an operation: {panic}"));
                }
            });
        }
        drop(pool);
    });
    begin(THREADS, "check");
    let end = Instant::now() + Duration::from_secs(30);
    // The last tasks may end behind the pool's drop, and submit more.
    let settles = |wrong: &dyn Fn() -> Option<String>| {
        while let Some(wrong) = wrong() {
            if Instant::now() > end {
                return fault(wrong);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    settles(&|| {
        let (begun, ended) = (books.initialized.load(SeqCst), books.exited.load(SeqCst));
        (begun != ended).then(|| format!("{begun} workers began, {ended} ended"))
    });
    let cards = std::mem::take(&mut *books.cards.lock().expect("nothing panics under it"));
    for card in &cards {
        settles(&|| card.wrong().map(|wrong| format!("{wrong}: {card:?}")));
    }
}
