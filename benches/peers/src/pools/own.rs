//! This crate's thread pool.

use concurrent_futures::{ThreadFuture, ThreadPoolExecutor, as_completed};

use super::{CompletionOrder, Pool};
use crate::contender::Kind;

#[derive(Debug)]
pub(crate) struct Own(pub(crate) ThreadPoolExecutor);

impl Pool for Own {
    const NAME: &'static str = "ThreadPoolExecutor";
    const KIND: Kind = Kind::Own;

    type Handle = ThreadFuture<u64>;

    fn new(workers: usize) -> Self {
        Self(ThreadPoolExecutor::with_max_workers(workers).expect("more than none"))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        self.0.spawn(f).expect("it is open")
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.spawn(f).expect("it is open").detach();
    }

    fn wait(handle: Self::Handle) -> u64 {
        handle.into_result().expect("it returns")
    }
}

impl CompletionOrder for Own {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        as_completed(handles).map(Self::wait).sum()
    }
}
