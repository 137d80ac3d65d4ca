//! The plainest pool that does the same: threads that receive boxed closures over a channel, and
//! answer over one more.

use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use concurrent_futures::Portable;

use super::{Pool, PoolMaker, PortablePool};
use crate::contender::Kind;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Plain {
    /// Taken by `drop` alone.
    sender: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Plain {
    /// Submits any closure.
    fn send<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Receiver<R> {
        let (answer, result) = bounded(1);
        self.detach(move || answer.send(f()).expect("the handle is kept"));
        result
    }
}

impl Pool for Plain {
    const NAME: &'static str = "plain channels";

    type Handle = Receiver<u64>;

    fn new(workers: usize) -> Self {
        let (sender, receiver) = unbounded::<Work>();
        let start = |_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().for_each(|work| work()))
        };
        Self {
            sender: Some(sender),
            threads: (0..workers).map(start).collect(),
        }
    }

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle {
        self.send(f)
    }

    fn detach<F: FnOnce() + Send + 'static>(&self, f: F) {
        let sender = self.sender.as_ref().expect("taken by drop alone");
        let sent = sender.send(Box::new(f));
        sent.expect("the threads live as long as the pool");
    }

    fn wait(handle: Self::Handle) -> u64 {
        handle.recv().expect("it returns")
    }
}

/// The same pool under the calls of the process rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainThreads;

impl PoolMaker for PlainThreads {
    type Pool = Plain;

    fn name(self) -> &'static str {
        Plain::NAME
    }

    fn kind(self) -> Kind {
        Kind::Base
    }

    fn pool(self, workers: usize) -> Self::Pool {
        Plain::new(workers)
    }
}

impl PortablePool for Plain {
    type Handle<R: Portable + Sync> = Receiver<R>;

    fn submit<A: Portable, R: Portable + Sync>(&self, f: fn(A) -> R, args: A) -> Self::Handle<R> {
        self.send(move || f(args))
    }

    fn wait<R: Portable + Sync>(handle: Self::Handle<R>) -> R {
        handle.recv().expect("it returns")
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("a benchmark does not panic");
        }
    }
}
