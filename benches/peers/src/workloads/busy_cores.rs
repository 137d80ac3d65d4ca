//! A guard: one task there and back while all cores are busy with other work.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::pools::{Pool, RayonChannel, RayonOneshot, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const TRIPS: u64 = 100;
const WORKERS: usize = 2;

/// In which the others have each got a core, and have used up what they may use at once.
const SETTLE: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct BusyCores;

impl Workload for BusyCores {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let cores = thread::available_parallelism().expect("Linux tells it");
        let over = AtomicBool::new(false);
        let taken = thread::scope(|scope| {
            for _ in 0..cores.get() {
                scope.spawn(|| {
                    // ORDERING: a sign to end, with nothing behind it.
                    while !over.load(Ordering::Relaxed) {
                        spin_loop();
                    }
                });
            }
            thread::sleep(SETTLE);
            let start = Instant::now();
            for n in 0..TRIPS {
                assert_eq!(P::wait(pool.submit(move || n)), n);
            }
            let taken = start.elapsed();
            over.store(true, Ordering::Relaxed);
            taken
        });
        pool.close();
        // The mean: it is the rare long ones that are of interest.
        vec![taken.as_secs_f64() * 1e6 / TRIPS as f64]
    }
}

/// Returns the row. "No worse" leaves a tenth for noise. The two ways back of rayon differ by far
/// here: one yields before it sleeps, and a yield gives the core away for a whole slice.
pub(super) fn row() -> Row {
    let bar = |suffix, is_rival| Bar {
        suffix,
        metric: 0,
        rivals: Rivals::Best(is_rival),
        firm: Some(1.1),
        aim: Some(1.0),
    };
    Row {
        id: "guard",
        name: "guard, all cores busy".into(),
        metrics: &[Metric {
            name: "a task",
            unit: "us",
        }],
        contenders: BusyCores.on_each(),
        bars: vec![
            bar(", channel", |name, _| name == RayonChannel::NAME),
            bar(", oneshot", |name, _| name == RayonOneshot::NAME),
        ],
    }
}
