//! P7: from the death of a worker to the news of it.
//!
//! The task notes the time, which is the same in all processes, and kills its worker. The kernel
//! takes the process apart before anything can be told: that is in the figure.

use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::shared_file::SharedFile;
use crate::contender::{Contender, Kind};
use crate::pools::{PoolMaker, Procspawn, Transport, same};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::scripts;
use crate::statistics::median;

/// Deaths in a round, whose median is its sample.
const DEATHS: usize = 11;
/// CPython needs a new pool for each.
const PYTHON_DEATHS: usize = 5;

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn die(path: String) -> u64 {
    let file = SharedFile::open(&path);
    file.set(now());
    kill_process(getpid(), Signal::KILL).expect("it is this process");
    unreachable!("the signal cannot be caught")
}

/// Returns the microseconds from the death until `news` returns. `news` submits the task, with the
/// path of the file in which the task notes the time.
fn time_news(news: impl FnOnce(String)) -> f64 {
    let file = SharedFile::new();
    news(file.path());
    let seen = now();
    let died = file.get();
    assert!(died > 0, "the task has begun");
    (seen - died) as f64 / 1e3
}

fn of_own(transport: Transport) -> Vec<f64> {
    let pool = transport.executor(1);
    let deaths = (0..DEATHS).map(|_| {
        // A worker that has started and done something.
        let future = pool.submit(same, 1).expect("it is open");
        assert_eq!(future.into_result().expect("it returns"), 1);
        time_news(|path| {
            let future = pool.submit(die, path).expect("it is open");
            assert!(future.exception().is_some());
        })
    });
    vec![median(&deaths.collect::<Vec<_>>())]
}

fn of_procspawn() -> Vec<f64> {
    let pool = Procspawn.pool(1);
    let deaths = (0..DEATHS).map(|_| {
        pool.spawn(1, same).join().expect("it returns");
        time_news(|path| assert!(pool.spawn(path, die).join().is_err()))
    });
    vec![median(&deaths.collect::<Vec<_>>())]
}

/// Returns the row.
pub(super) fn row(transport: Transport) -> Row {
    let mut contenders = vec![
        Contender::new(transport.name(), Kind::Own, move || of_own(transport)),
        Contender::new(Procspawn.name(), Procspawn.kind(), of_procspawn),
    ];
    // `multiprocessing.Pool` never tells.
    let python = scripts::python_executor(format!("death 1 {PYTHON_DEATHS}"));
    contenders.extend(python);
    Row {
        id: "P7",
        name: format!("P7, a death, {}", transport.short_name()),
        metrics: &[Metric {
            name: "until it is known",
            unit: "us",
        }],
        contenders,
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::None,
            firm: Some(2_000.0),
            aim: Some(500.0),
        }],
    }
}
