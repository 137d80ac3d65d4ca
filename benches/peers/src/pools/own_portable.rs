//! This crate's executors under calls that any of them takes.

use concurrent_futures::{Executor, Future, Portable, ProcessPoolExecutor, ThreadPoolExecutor};

use super::{PoolMaker, PortablePool};
use crate::contender::Kind;

/// An executor of this crate.
#[derive(Debug)]
pub(crate) struct OwnExecutor<E>(pub(crate) E);

impl<E: Executor> PortablePool for OwnExecutor<E> {
    type Handle<R: Portable + Sync> = E::Future<R>;

    fn submit<A: Portable, R: Portable + Sync>(&self, f: fn(A) -> R, args: A) -> Self::Handle<R> {
        self.0.submit(f, args).expect("it is open")
    }

    fn wait<R: Portable + Sync>(handle: Self::Handle<R>) -> R {
        handle.into_result().expect("it returns")
    }
}

/// The way by which calls reach the workers of a [`ProcessPoolExecutor`]. Each transport has the
/// process rows for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Memory that each worker shares with the parent.
    Shared,
    /// A socket to each worker.
    Socket,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Shared, Self::Socket];

    /// Returns the transport's name, which stands behind the name of a row.
    pub(crate) const fn short_name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Socket => "socket",
        }
    }

    /// Makes a process pool that has this transport. The process rows make all pools of this crate
    /// here.
    pub(crate) fn executor(self, workers: usize) -> ProcessPoolExecutor {
        let builder = ProcessPoolExecutor::builder().max_workers(workers);
        let transport = match self {
            Self::Shared => concurrent_futures::Transport::Shared,
            Self::Socket => concurrent_futures::Transport::Socket,
        };
        builder
            .transport(transport)
            .build()
            .expect("more than none")
    }
}

impl PoolMaker for Transport {
    type Pool = OwnExecutor<ProcessPoolExecutor>;

    fn name(self) -> &'static str {
        match self {
            Self::Shared => SharedRival::NAME,
            Self::Socket => "ProcessPoolExecutor, socket",
        }
    }

    fn kind(self) -> Kind {
        Kind::Own
    }

    fn pool(self, workers: usize) -> Self::Pool {
        OwnExecutor(self.executor(workers))
    }
}

/// The process pool with shared memory, which is a rival in the rows of the other transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedRival;

impl SharedRival {
    pub(crate) const NAME: &'static str = "ProcessPoolExecutor, shared";
}

impl PoolMaker for SharedRival {
    type Pool = OwnExecutor<ProcessPoolExecutor>;

    fn name(self) -> &'static str {
        Self::NAME
    }

    fn kind(self) -> Kind {
        Kind::Base
    }

    fn pool(self, workers: usize) -> Self::Pool {
        Transport::Shared.pool(workers)
    }
}

/// This crate's thread pool, which is a rival in the process rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnThreads;

impl OwnThreads {
    pub(crate) const NAME: &'static str = "ThreadPoolExecutor";
}

impl PoolMaker for OwnThreads {
    type Pool = OwnExecutor<ThreadPoolExecutor>;

    fn name(self) -> &'static str {
        Self::NAME
    }

    fn kind(self) -> Kind {
        Kind::Base
    }

    fn pool(self, workers: usize) -> Self::Pool {
        let pool = ThreadPoolExecutor::with_max_workers(workers);
        OwnExecutor(pool.expect("more than none"))
    }
}
