//! A guard: 64 threads that wait at once, each for a task of its own.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded};

use super::gate::Gate;
use crate::pools::{Pool, RayonChannel, RayonOneshot, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::statistics::median;

const WAITERS: u64 = 64;
const WORKERS: usize = 2;
/// Times in a round, whose median is its sample.
const TIMES: usize = 25;

/// In which the waiters fall asleep. Were one still awake, it would only be faster.
const FALL_ASLEEP: Duration = Duration::from_millis(2);

#[derive(Clone)]
struct ManyWaiters;

impl Workload for ManyWaiters {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let times = thread::scope(|scope| {
            let (give, given) = bounded::<P::Handle>(0);
            let (answer, answers) = unbounded();
            for _ in 0..WAITERS {
                let (given, answer) = (given.clone(), answer.clone());
                scope.spawn(move || {
                    for handle in given {
                        answer.send(P::wait(handle)).expect("it is received");
                    }
                });
            }
            let time = |_| {
                let gate = Gate::close(&pool, WORKERS);
                for n in 0..WAITERS {
                    let handle = pool.submit(move || n);
                    give.send(handle).expect("they wait for handles");
                }
                thread::sleep(FALL_ASLEEP);
                let start = Instant::now();
                gate.open();
                let sum: u64 = answers.iter().take(WAITERS as usize).sum();
                let taken = start.elapsed();
                assert_eq!(sum, WAITERS * (WAITERS - 1) / 2);
                taken.as_secs_f64() * 1e6
            };
            let times: Vec<f64> = (0..TIMES).map(time).collect();
            drop(give);
            times
        });
        pool.close();
        vec![median(&times)]
    }
}

/// Returns the row. "No worse" leaves a tenth for noise.
pub(super) fn row() -> Row {
    Row {
        id: "guard",
        name: format!("guard, {WAITERS} waiters"),
        metrics: &[Metric {
            name: "for all",
            unit: "us",
        }],
        contenders: ManyWaiters.on_each(),
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::Best(|name, _| {
                name == RayonChannel::NAME || name == RayonOneshot::NAME
            }),
            firm: Some(1.1),
            aim: Some(1.0),
        }],
    }
}
