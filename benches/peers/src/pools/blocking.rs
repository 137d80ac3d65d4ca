//! `blocking::unblock`: one pool for the whole process.

use std::num::NonZeroUsize;

use blocking::{Task, set_max_blocking_threads, unblock};
use futures::executor::block_on;

use super::{CompletionOrder, Pool, awaited};

#[derive(Debug)]
pub(crate) struct Blocking(());

impl Pool for Blocking {
    const NAME: &'static str = "blocking";

    type Handle = Task<u64>;

    fn new(workers: usize) -> Self {
        set_max_blocking_threads(NonZeroUsize::new(workers).expect("more than none"));
        Self(())
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        unblock(f)
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        unblock(f).detach();
    }

    fn wait(handle: Self::Handle) -> u64 {
        block_on(handle)
    }

    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum(handles)
    }
}

impl CompletionOrder for Blocking {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum_as_completed(handles)
    }
}
