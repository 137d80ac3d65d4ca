//! `threadpool`, with `oneshot` for the way back: it has no handles.

use super::Pool;

#[derive(Debug)]
pub(crate) struct Threadpool(threadpool::ThreadPool);

impl Pool for Threadpool {
    const NAME: &'static str = "threadpool";

    type Handle = oneshot::Receiver<u64>;

    fn new(workers: usize) -> Self {
        Self(threadpool::ThreadPool::new(workers))
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        let (answer, result) = oneshot::channel();
        self.0.execute(move || {
            answer.send(f()).expect("the handle is kept");
        });
        result
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.execute(f);
    }

    fn wait(handle: Self::Handle) -> u64 {
        handle.recv().expect("it returns")
    }
}
