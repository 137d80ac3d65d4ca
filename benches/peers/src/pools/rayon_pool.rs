//! `rayon`, with two ways back for a result: it has none of its own.

use crossbeam_channel::{Receiver, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{CompletionOrder, Pool, awaited};

fn build(workers: usize) -> ThreadPool {
    let builder = ThreadPoolBuilder::new().num_threads(workers);
    builder.build().expect("it starts its threads")
}

#[derive(Debug)]
pub(crate) struct RayonOneshot(ThreadPool);

impl Pool for RayonOneshot {
    const NAME: &'static str = "rayon + oneshot";

    type Handle = oneshot::Receiver<u64>;

    fn new(workers: usize) -> Self {
        Self(build(workers))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        let (answer, result) = oneshot::channel();
        self.0.spawn(move || {
            answer.send(f()).expect("the handle is kept");
        });
        result
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.spawn(f);
    }

    fn wait(handle: Self::Handle) -> u64 {
        handle.recv().expect("it returns")
    }
}

impl CompletionOrder for RayonOneshot {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        let value = async |handle: Self::Handle| handle.await.expect("it returns");
        awaited::sum_as_completed(handles.into_iter().map(value))
    }
}

#[derive(Debug)]
pub(crate) struct RayonChannel(ThreadPool);

impl Pool for RayonChannel {
    const NAME: &'static str = "rayon + channel";

    type Handle = Receiver<u64>;

    fn new(workers: usize) -> Self {
        Self(build(workers))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        let (answer, result) = bounded(1);
        self.0.spawn(move || {
            answer.send(f()).expect("the handle is kept");
        });
        result
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.spawn(f);
    }

    fn wait(handle: Self::Handle) -> u64 {
        handle.recv().expect("it returns")
    }
}
