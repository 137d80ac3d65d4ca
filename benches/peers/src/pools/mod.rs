//! [`Pool`]: what all pools of threads can do, and [`PortablePool`]: what those of processes can do
//! too. A file for each pool.

mod async_executor;
mod awaited;
mod blocking;
mod futures_pool;
mod own;
mod own_portable;
mod plain;
mod portable;
mod procspawn_pool;
mod rayon_pool;
mod rusty;
mod threadpool;
mod tokio_pool;

use crate::contender::{Contender, Kind};

pub(crate) use async_executor::AsyncExecutor;
pub(crate) use blocking::Blocking;
pub(crate) use futures_pool::FuturesPool;
pub(crate) use own::Own;
pub(crate) use own_portable::{OwnExecutor, OwnThreads, SharedRival, Transport};
pub(crate) use plain::{Plain, PlainThreads};
pub(crate) use portable::{PoolMaker, PortablePool, same, time_burst};
pub(crate) use procspawn_pool::Procspawn;
pub(crate) use rayon_pool::{RayonChannel, RayonOneshot};
pub(crate) use rusty::RustyPool;
pub(crate) use threadpool::Threadpool;
pub(crate) use tokio_pool::{TokioBlocking, TokioSpawn};

/// A pool of exactly as many threads as it is asked for.
pub(crate) trait Pool: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const KIND: Kind = Kind::Rust;

    /// The way back of a result.
    type Handle: Send + 'static;

    fn new(workers: usize) -> Self;

    fn submit<F: FnOnce() -> u64 + Send + 'static>(&self, f: F) -> Self::Handle;

    /// Submits a task whose result is not asked for.
    fn detach<F: FnOnce() + Send + 'static>(&self, f: F);

    fn wait(handle: Self::Handle) -> u64;

    /// Waits for all, in their order, and adds up the results.
    fn wait_all(handles: Vec<Self::Handle>) -> u64 {
        handles.into_iter().map(Self::wait).sum()
    }

    /// Has the threads end; they may outlast it for a little.
    fn close(self) {}
}

/// A pool whose handles can be taken in the order in which their tasks end.
pub(crate) trait CompletionOrder: Pool {
    /// Waits for all, whichever ends next, and adds up the results.
    fn sum_as_completed(handles: Vec<Self::Handle>) -> u64;
}

/// The work of a row, for any pool.
pub(crate) trait Workload: Clone + 'static {
    /// Does the work once, and returns a value for each metric of the row.
    fn run<P: Pool>(&self) -> Vec<f64>;

    /// Returns that workload on that pool.
    fn on<P: Pool>(&self) -> Contender {
        let workload = self.clone();
        Contender::new(P::NAME, P::KIND, move || workload.run::<P>())
    }

    /// Returns this crate's pool and all others, with this workload.
    fn on_each(&self) -> Vec<Contender> {
        vec![
            self.on::<Own>(),
            self.on::<RayonOneshot>(),
            self.on::<RayonChannel>(),
            self.on::<Threadpool>(),
            self.on::<RustyPool>(),
            self.on::<FuturesPool>(),
            self.on::<TokioBlocking>(),
            self.on::<TokioSpawn>(),
            self.on::<Blocking>(),
            self.on::<AsyncExecutor>(),
            self.on::<Plain>(),
        ]
    }
}

/// Has each worker of the pool run something, so that all threads have started.
pub(crate) fn warm_up<P: Pool>(pool: &P) {
    let handles = (0..WARM_UP).map(|n| pool.submit(move || n)).collect();
    P::wait_all(handles);
}

/// Tasks before a measurement: so many that a pool which starts threads on demand wants them all.
const WARM_UP: u64 = 10_000;
