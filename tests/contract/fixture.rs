//! The parts that the contract's tests share: the tasks, and the gate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread;

use serde::{Deserialize, Serialize};

use concurrent_futures::{Error, Executor, Future, TaskOptions};

pub(crate) use crate::gate::{Gate, LIMIT, hold, pass};
pub(crate) use crate::quiet::mean_to_panic;

/// Runs a test, and fails if it hangs: the waits without a limit are tested
/// too. Longer than the other waits, which know better where they stood.
pub(crate) fn within_the_limit(test: fn()) {
    let (running, ended) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let body = move || {
        let _running = running;
        test();
    };
    let thread = thread::Builder::new().name(name).spawn(body);
    let thread = thread.expect("a thread can start");
    if ended.recv_timeout(2 * LIMIT) == Err(RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// An executor to hold to the contract.
pub(crate) trait Fixture {
    type Executor: Executor + Send + Sync + 'static;

    /// The number of times that a short time of a test is longer on this executor.
    const SLOWNESS: u32 = 1;

    fn executor(max_workers: usize) -> Self::Executor;

    /// Waits until `executor` may have heard that `running` tasks run, which are at a gate. A
    /// worker on this machine has said so before it is at the gate.
    fn hear(_executor: &Self::Executor, _running: usize) {}

    /// The executor seen through options.
    fn with(executor: &Self::Executor, options: TaskOptions) -> impl Executor;

    /// An executor whose workers panic, with `text`, before their first task.
    fn failing_to_initialize(text: &'static str) -> Self::Executor;

    /// An executor whose workers note their start for [`initialized`].
    fn initializing() -> Self::Executor;
}

thread_local!(static INITIALIZED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });

pub(crate) fn refuse_to_start(text: &str) {
    mean_to_panic();
    panic!("{text}");
}

pub(crate) fn note_start(n: u32) {
    INITIALIZED.set(INITIALIZED.get() + n);
}

/// A task: what the initializer left on this worker.
pub(crate) fn initialized((): ()) -> u32 {
    INITIALIZED.get()
}

/// A task.
pub(crate) fn double(n: i64) -> i64 {
    2 * n
}

/// A task that panics with its argument.
pub(crate) fn fail(text: String) -> i64 {
    mean_to_panic();
    panic!("{text}")
}

/// A task that returns an error of its own.
pub(crate) fn parse(text: String) -> Result<i64, String> {
    text.parse()
        .map_err(|error| format!("{text:?} is no number: {error}"))
}

/// A task that panics if it is to divide by nothing.
pub(crate) fn divide(n: i64) -> i64 {
    if n == 0 {
        mean_to_panic();
    }
    100 / n
}

/// The values of a map that has no failures.
pub(crate) fn values(results: impl Iterator<Item = Result<i64, Error>>) -> Vec<i64> {
    results.map(|result| result.expect("it returns")).collect()
}

/// A portable value that knows how many copies of it there are in this process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tracked {
    #[serde(skip)]
    shared: Arc<()>,
}

impl Tracked {
    pub(crate) fn copies(&self) -> usize {
        Arc::strong_count(&self.shared)
    }
}

/// A portable value that counts its drops, each of which panics.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bomb {
    #[serde(skip)]
    drops: Arc<AtomicUsize>,
}

impl Bomb {
    pub(crate) fn new(drops: &Arc<AtomicUsize>) -> Self {
        let drops = Arc::clone(drops);
        Self { drops }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        mean_to_panic();
        panic!("a bomb in drop");
    }
}

/// A pool of one worker that is held, and a future that pends behind it.
pub(crate) struct Busy<X: Fixture> {
    pub(crate) gate: Gate,
    pub(crate) running: Box<dyn Future<Output = i64> + Send + Sync>,
    pub(crate) executor: X::Executor,
}

impl<X: Fixture> Busy<X> {
    pub(crate) fn new() -> Self {
        let executor = X::executor(1);
        let mut gate = Gate::new();
        let running = executor.submit(hold, (gate.port(), 1)).expect("it is open");
        gate.wait_for(1);
        // A task in another process is at the gate before this one has heard
        // that it runs; this hears it.
        X::hear(&executor, 1);
        let stats = executor.stats();
        assert_eq!(stats.running, 1, "{stats:?}, then {:?}", executor.stats());
        Self {
            gate,
            running: Box::new(running),
            executor,
        }
    }

    /// A future that stays pending until the gate opens.
    pub(crate) fn pending(&self) -> <X::Executor as Executor>::Future<i64> {
        self.executor.submit(double, 21).expect("it is open")
    }

    /// Lets everything run to its end.
    pub(crate) fn finish(self) {
        self.gate.open();
        self.executor.shutdown();
    }
}
