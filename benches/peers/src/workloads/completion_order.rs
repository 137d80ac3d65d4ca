//! W8: results in the order in which their tasks end.

use std::time::Instant;

use crossbeam_channel::unbounded;

use crate::contender::{Contender, Kind};
use crate::pools::{
    AsyncExecutor, Blocking, CompletionOrder, FuturesPool, Own, Plain, Pool, RayonOneshot,
    RustyPool, Threadpool, TokioBlocking, TokioSpawn, warm_up,
};
use crate::row::{Bar, Metric, Rivals, Row};

const TASKS: u64 = 100_000;
const SUM: u64 = TASKS * (TASKS - 1) / 2;
const WORKERS: usize = 2;

/// The results by the handles: `as_completed` here, `FuturesUnordered` elsewhere.
fn over_handles<P: CompletionOrder>(name: &'static str) -> Contender {
    Contender::new(name, P::KIND, || {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let mut handles = Vec::with_capacity(TASKS as usize);
        let start = Instant::now();
        for n in 0..TASKS {
            handles.push(pool.submit(move || n));
        }
        assert_eq!(P::sum_as_completed(handles), SUM);
        let taken = start.elapsed();
        pool.close();
        vec![taken.as_nanos() as f64 / TASKS as f64]
    })
}

/// The results by one channel, to which each task sends: there is no handle. Not what the bar is
/// about, so that its kind is another.
fn over_channel<P: Pool>(name: &'static str) -> Contender {
    Contender::new(name, Kind::Base, || {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let start = Instant::now();
        let (answer, answers) = unbounded();
        for n in 0..TASKS {
            let answer = answer.clone();
            pool.detach(move || answer.send(n).expect("the other end waits for it"));
        }
        drop(answer);
        assert_eq!(answers.iter().sum::<u64>(), SUM);
        let taken = start.elapsed();
        pool.close();
        vec![taken.as_nanos() as f64 / TASKS as f64]
    })
}

/// Returns the row.
pub(super) fn row() -> Row {
    Row {
        id: "W8",
        name: "W8, as completed".into(),
        metrics: &[Metric {
            name: "a task",
            unit: "ns",
        }],
        contenders: vec![
            over_handles::<Own>(Own::NAME),
            over_handles::<RayonOneshot>("rayon + oneshot, handles"),
            over_handles::<RustyPool>("rusty_pool, handles"),
            over_handles::<FuturesPool>("futures ThreadPool, handles"),
            over_handles::<TokioBlocking>("tokio spawn_blocking, handles"),
            over_handles::<TokioSpawn>("tokio spawn, handles"),
            over_handles::<Blocking>("blocking, handles"),
            over_handles::<AsyncExecutor>("async-executor, handles"),
            over_channel::<RayonOneshot>("rayon, one channel"),
            over_channel::<RustyPool>("rusty_pool, one channel"),
            over_channel::<Threadpool>("threadpool, one channel"),
            over_channel::<TokioSpawn>("tokio spawn, one channel"),
            over_channel::<Plain>("plain channels, one channel"),
        ],
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::Best(|_, kind| kind == Kind::Rust),
            firm: Some(0.4),
            aim: Some(0.3),
        }],
    }
}
