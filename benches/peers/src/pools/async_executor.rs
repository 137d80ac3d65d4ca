//! `async-executor`, run by threads of the benchmark's own, as its documentation shows.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_executor::{Executor, Task};
use futures::channel::oneshot;
use futures::executor::block_on;

use super::{CompletionOrder, Pool, awaited};

#[derive(Debug)]
pub(crate) struct AsyncExecutor {
    executor: Arc<Executor<'static>>,
    /// The threads, each with what stops it when it is dropped.
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Pool for AsyncExecutor {
    const NAME: &'static str = "async-executor";

    type Handle = Task<u64>;

    fn new(workers: usize) -> Self {
        let executor = Arc::new(Executor::new());
        let start = |_| {
            let (stop, stopped) = oneshot::channel::<()>();
            let executor = Arc::clone(&executor);
            let thread = thread::spawn(move || {
                // The error says that the sender is gone: that is the sign.
                let _ = block_on(executor.run(stopped));
            });
            (stop, thread)
        };
        Self {
            threads: (0..workers).map(start).collect(),
            executor,
        }
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        self.executor.spawn(async move { f() })
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.executor.spawn(async move { f() }).detach();
    }

    fn wait(handle: Self::Handle) -> u64 {
        block_on(handle)
    }

    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum(handles)
    }
}

impl CompletionOrder for AsyncExecutor {
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64 {
        awaited::sum_as_completed(handles)
    }
}

impl Drop for AsyncExecutor {
    fn drop(&mut self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.threads.drain(..).unzip();
        drop(stops);
        for thread in threads {
            thread.join().expect("a benchmark does not panic");
        }
    }
}
