//! `rusty_pool`, with its own handles.

use std::time::Duration;

use rusty_pool::{JoinHandle, ThreadPool};

use super::{CompletionOrder, Pool, awaited};

pub(crate) struct RustyPool(ThreadPool);

impl Pool for RustyPool {
    const NAME: &'static str = "rusty_pool";

    type Handle = JoinHandle<u64>;

    fn new(workers: usize) -> Self {
        Self(ThreadPool::new(workers, workers, Duration::from_secs(60)))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        self.0.evaluate(f)
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.execute(f);
    }

    fn wait(handle: Self::Handle) -> u64 {
        handle.await_complete()
    }

    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum(handles.into_iter().map(value))
    }

    fn close(self) {
        self.0.shutdown_join();
    }
}

async fn value(handle: JoinHandle<u64>) -> u64 {
    handle.receiver.await.expect("it returns")
}

impl CompletionOrder for RustyPool {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum_as_completed(handles.into_iter().map(value))
    }
}
