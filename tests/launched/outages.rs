//! A network that is down for half a minute: a worker beyond it is given up after the
//! silence limit, and no sooner. These tests run alone, by `ci/cluster far`.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, Launcher, ProcessFuture, ProcessPoolExecutor};

use crate::by_main::{NamedTest, named, wait_until};
use crate::engines::{
    Parent, SOON, children, engine, marked, run, sleep_long, variables, wait_for_ends,
};
use crate::fixture::{Gate, LIMIT, double, hold};
use crate::launcher::{pool, words};

/// Returns the tests, if the network can be cut.
pub(crate) fn tests() -> Vec<NamedTest> {
    if engine().as_deref() != Some("far") {
        return Vec::new();
    }
    named![
        a_network_that_is_down_past_the_limit_fails_the_begun_task_alone,
        a_network_that_is_down_for_a_part_of_the_limit_fails_nothing,
        nothing_is_left_of_a_parent_that_was_killed_without_a_network,
    ]
}

/// The time for which the network is down.
const OUTAGE: Duration = Duration::from_secs(30);

/// A silence limit.
const SHORT: Duration = Duration::from_secs(3);

/// The network is down while this exists.
struct Cut {
    begin: Instant,
}

impl Cut {
    fn new() -> Self {
        run(&env::var("CONCURRENT_FUTURES_TEST_CUT").expect("the engine has a network"));
        Self {
            begin: Instant::now(),
        }
    }

    /// Waits until the network has been down for as long as it should be, and mends it.
    fn end(self) {
        thread::sleep(OUTAGE.saturating_sub(self.begin.elapsed()));
    }
}

impl Drop for Cut {
    /// Mends the network, also if the test has failed.
    fn drop(&mut self) {
        run(&env::var("CONCURRENT_FUTURES_TEST_JOIN").expect("the engine has a network"));
    }
}

/// A pool whose one worker has begun a task that does not end, while another one waits.
struct Lone {
    pool: ProcessPoolExecutor,
    begun: ProcessFuture<()>,
    next: ProcessFuture<i64>,
    /// The command and the worker.
    processes: Vec<u32>,
}

impl Lone {
    fn new((launcher, mark): (Launcher, String)) -> Self {
        let pool = pool(launcher);
        let begun = pool.submit(sleep_long, ()).unwrap();
        let next = pool.submit(double, 4).unwrap();
        wait_until("it runs", || pool.stats().running == 1);
        let mut processes = children(std::process::id());
        processes.retain(|pid| variables(*pid).contains(&mark));
        assert_eq!(processes.len(), 1, "{processes:?}");
        processes.extend(pool.stats().pids);
        Self {
            pool,
            begun,
            next,
            processes,
        }
    }

    /// Checks that the task fails after the limit and not before, and that nothing is left
    /// then.
    fn fails_after(&self, limit: Duration, cut: &Cut) {
        let error = self.begun.exception_timeout(limit + SOON);
        let error = error.expect("it does not hang").expect("it fails");
        // What was heard last may be as old as a ping, a fifth of the limit.
        let elapsed = cut.begin.elapsed();
        assert!(limit / 2 < elapsed && elapsed < limit + SOON, "{elapsed:?}");
        assert!(matches!(error, Error::WorkerDied(_)), "{error}");
        let wanted = format!("nothing has arrived from it for {limit:?}");
        assert!(error.to_string().contains(&wanted), "{error}");
        wait_for_ends(cut.begin + limit + SOON, &self.processes);
    }
}

impl Drop for Lone {
    /// Ends the task, which a test that has failed must not wait for.
    fn drop(&mut self) {
        self.pool.kill_workers();
    }
}

fn a_network_that_is_down_past_the_limit_fails_the_begun_task_alone() {
    let (launcher, mark) = marked();
    let short = Lone::new((launcher.silence_limit(SHORT), mark));
    // The default, which is as long as the network is down.
    let usual = Lone::new(marked());
    let cut = Cut::new();
    short.fails_after(SHORT, &cut);
    usual.fails_after(Duration::from_secs(30), &cut);
    cut.end();
    for lone in [short, usual] {
        assert_eq!(lone.next.result_timeout(LIMIT).unwrap(), &8);
        let stats = lone.pool.stats();
        assert_eq!((stats.failed, stats.finished), (1, 1), "{stats:?}");
    }
}

fn a_network_that_is_down_for_a_part_of_the_limit_fails_nothing() {
    let (launcher, _) = marked();
    // TCP tries again after pauses that double, so bytes may arrive only when the network
    // was down for twice as long. The last bytes before that are as old as a ping.
    let launcher = launcher.silence_limit(OUTAGE * 5 / 2);
    let pool = pool(launcher.workers(3));
    let mut gate = Gate::new();
    let tasks = [0; 3].map(|n| pool.submit(hold, (gate.port(), n)).unwrap());
    gate.wait_for(3);
    gate.open();
    for task in tasks {
        assert_eq!(task.result_timeout(LIMIT).unwrap(), &0);
    }
    let sleeps = |seconds| {
        thread::sleep(Duration::from_secs(seconds));
        seconds
    };
    // One ends without the network, the other one after it is back.
    let tasks = [10, 35].map(|seconds| pool.submit(sleeps, seconds).unwrap());
    wait_until("they run", || pool.stats().running == 2);
    let pids = pool.stats().pids;
    let cut = Cut::new();
    // For the idle worker.
    let next = pool.submit(double, 4).unwrap();
    cut.end();
    for (task, seconds) in tasks.iter().zip([10, 35]) {
        assert_eq!(task.result_timeout(LIMIT).unwrap(), &seconds);
    }
    assert_eq!(next.result_timeout(LIMIT).unwrap(), &8);
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.replaced), (0, 0), "{stats:?}");
    assert_eq!(stats.pids, pids);
}

fn nothing_is_left_of_a_parent_that_was_killed_without_a_network() {
    let mut parent = Parent::new(&words(), SHORT);
    let cut = Cut::new();
    parent.kill();
    wait_for_ends(cut.begin + SHORT + SOON, &parent.offspring);
}
