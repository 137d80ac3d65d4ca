//! `tokio`: its workers, by `spawn`, and its threads for blocking calls, by `spawn_blocking`.

use futures::executor::block_on;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::{CompletionOrder, Pool, awaited};

async fn value(handle: JoinHandle<u64>) -> u64 {
    handle.await.expect("it returns")
}

#[derive(Debug)]
pub(crate) struct TokioSpawn(pub(crate) Runtime);

impl Pool for TokioSpawn {
    const NAME: &'static str = "tokio spawn";

    type Handle = JoinHandle<u64>;

    fn new(workers: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(workers).build();
        Self(runtime.expect("it starts its threads"))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        self.0.spawn(async move { f() })
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.spawn(async move { f() });
    }

    fn wait(handle: Self::Handle) -> u64 {
        block_on(value(handle))
    }

    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum(handles.into_iter().map(value))
    }
}

impl CompletionOrder for TokioSpawn {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum_as_completed(handles.into_iter().map(value))
    }
}

#[derive(Debug)]
pub(crate) struct TokioBlocking(Runtime);

impl Pool for TokioBlocking {
    const NAME: &'static str = "tokio spawn_blocking";

    type Handle = JoinHandle<u64>;

    fn new(workers: usize) -> Self {
        // This kind of runtime has no workers besides the threads for blocking calls.
        let mut builder = Builder::new_current_thread();
        let runtime = builder.max_blocking_threads(workers).build();
        Self(runtime.expect("it starts no thread yet"))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        self.0.spawn_blocking(f)
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.spawn_blocking(f);
    }

    fn wait(handle: Self::Handle) -> u64 {
        block_on(value(handle))
    }

    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum(handles.into_iter().map(value))
    }
}

impl CompletionOrder for TokioBlocking {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum_as_completed(handles.into_iter().map(value))
    }
}
