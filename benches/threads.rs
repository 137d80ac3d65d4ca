//! The thread pool beside the plainest pool that does the same: threads
//! that receive boxed closures over a `crossbeam-channel` and answer over one
//! more. Read the ratios, not the times.

use std::thread::{self, JoinHandle};

use concurrent_futures::ThreadPoolExecutor;
use criterion::Criterion;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

const WORKERS: usize = 2;
const BURST: u64 = 10_000;

type Work = Box<dyn FnOnce() + Send>;

struct PlainPool {
    sender: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl PlainPool {
    fn new() -> Self {
        let (sender, receiver) = unbounded::<Work>();
        let worker = |receiver: Receiver<Work>| move || receiver.iter().for_each(|work| work());
        let start = |_| thread::spawn(worker(receiver.clone()));
        Self {
            sender: Some(sender),
            threads: (0..WORKERS).map(start).collect(),
        }
    }

    fn submit<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Receiver<R> {
        let (answer, result) = bounded(1);
        let work = Box::new(move || {
            // The receiver may be gone.
            let _ = answer.send(f());
        });
        let sender = self.sender.as_ref().expect("taken by drop alone");
        sender
            .send(work)
            .expect("the threads live as long as the pool");
        result
    }
}

impl Drop for PlainPool {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("a benchmark does not panic");
        }
    }
}

/// Many empty tasks from one thread, then all results.
fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst of 10,000 empty tasks");
    let pool = ThreadPoolExecutor::with_max_workers(WORKERS).expect("more than none");
    group.bench_function("ThreadPoolExecutor", |bencher| {
        bencher.iter(|| {
            let submit = |n| pool.spawn(move || n).expect("it is open");
            let futures: Vec<_> = (0..BURST).map(submit).collect();
            let results = futures.into_iter().map(|future| future.into_result());
            assert_eq!(
                results.map(|n| n.expect("it returns")).sum::<u64>(),
                BURST * (BURST - 1) / 2
            );
        });
    });
    let pool = PlainPool::new();
    group.bench_function("plain channels", |bencher| {
        bencher.iter(|| {
            let results: Vec<_> = (0..BURST).map(|n| pool.submit(move || n)).collect();
            let results = results.into_iter().map(|result| result.recv());
            assert_eq!(
                results.map(|n| n.expect("it returns")).sum::<u64>(),
                BURST * (BURST - 1) / 2
            );
        });
    });
    group.finish();
}

/// One empty task there and back.
fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one task there and back");
    let pool = ThreadPoolExecutor::with_max_workers(WORKERS).expect("more than none");
    group.bench_function("ThreadPoolExecutor", |bencher| {
        bencher.iter(|| pool.spawn(|| 1).expect("it is open").into_result());
    });
    let pool = PlainPool::new();
    group.bench_function("plain channels", |bencher| {
        bencher.iter(|| pool.submit(|| 1).recv());
    });
    group.finish();
}

/// Making a pool and dropping it, unused.
fn create(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make and drop a pool");
    group.bench_function("ThreadPoolExecutor", |bencher| {
        bencher.iter(|| ThreadPoolExecutor::with_max_workers(WORKERS));
    });
    group.bench_function("plain channels", |bencher| {
        bencher.iter(PlainPool::new);
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    burst(&mut criterion);
    round_trip(&mut criterion);
    create(&mut criterion);
    criterion.final_summary();
}
