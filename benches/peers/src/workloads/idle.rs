//! A guard: the processor time that a pool takes for one second in which it has nothing to do.

use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::pools::{Pool, Workload, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

const WORKERS: usize = 8;

#[derive(Clone)]
struct Idle;

impl Workload for Idle {
    fn run<P: Pool>(&self) -> Vec<f64> {
        let pool = P::new(WORKERS);
        warm_up(&pool);
        let before = processor_time();
        thread::sleep(Duration::from_secs(1));
        let used = processor_time() - before;
        pool.close();
        vec![used.as_secs_f64() * 1e3]
    }
}

/// Returns the time that all threads of this process have had a core.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

/// Returns the row. "About 0" is a thousandth of a core, at which the clock's own ticks begin to
/// show.
pub(super) fn row() -> Row {
    Row {
        id: "guard",
        name: "guard, idle for 1 s".into(),
        metrics: &[Metric {
            name: "of a core",
            unit: "ms",
        }],
        contenders: Idle.on_each(),
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::None,
            firm: Some(1.0),
            aim: Some(0.5),
        }],
    }
}
