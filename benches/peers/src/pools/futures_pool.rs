//! `ThreadPool` of `futures`.

use futures::executor::{ThreadPool, ThreadPoolBuilder, block_on};
use futures::future::RemoteHandle;
use futures::task::SpawnExt;

use super::{CompletionOrder, Pool, awaited};

#[derive(Debug)]
pub(crate) struct FuturesPool(ThreadPool);

impl Pool for FuturesPool {
    const NAME: &'static str = "futures ThreadPool";

    type Handle = RemoteHandle<u64>;

    fn new(workers: usize) -> Self {
        let pool = ThreadPoolBuilder::new().pool_size(workers).create();
        Self(pool.expect("it starts its threads"))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        let handle = self.0.spawn_with_handle(async move { f() });
        handle.expect("it takes all")
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.spawn_ok(async move { f() });
    }

    fn wait(handle: Self::Handle) -> u64 {
        block_on(handle)
    }

    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum(handles)
    }
}

impl CompletionOrder for FuturesPool {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum_as_completed(handles)
    }
}
