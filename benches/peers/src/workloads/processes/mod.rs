//! The rows of process pools, a file for each workload.
//!
//! Each transport has its own rows, in which it alone is this crate's: the rivals of a row take
//! turns with one of ours.

mod beside_long;
mod burst;
mod bytes;
mod death;
mod growth;
mod makespan;
mod map;
mod memory;
mod round_trip;
mod shared_file;
mod start;
mod throughput;

use crate::contender::{Contender, Kind};
use crate::pools::{OwnThreads, PlainThreads, PoolMaker, Procspawn, Transport};
use crate::row::{Rivals, Row};

pub(crate) use start::has_answered;

/// Returns the rows that have bars.
pub(super) fn checked() -> Vec<Row> {
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        rows.extend([1, 2].map(|workers| burst::row(transport, workers)));
        rows.extend([1, 2].map(|workers| round_trip::row(transport, workers)));
    }
    // Only two rows have bars for the sockets.
    let transport = Transport::Shared;
    rows.push(throughput::row(transport));
    rows.push(makespan::row(transport));
    rows.extend(bytes::SIZES.map(|size| bytes::row(transport, size)));
    rows.extend(start::PARENTS.map(|parent| start::row(transport, parent)));
    rows.push(death::row(transport));
    rows.push(map::row(transport));
    rows.push(beside_long::row(transport));
    rows
}

/// Returns the rows that are measured and have no bar: how it grows.
pub(super) fn reported() -> Vec<Row> {
    vec![growth::tasks(), growth::workers(), memory::row()]
}

/// The work of a row, for any pool that can do it.
trait Workload: Clone + 'static {
    /// Does the work once, and returns a value for each metric of the row.
    fn run<M: PoolMaker>(&self, maker: M) -> Vec<f64>;

    /// Returns that workload on the pools of that party.
    fn on<M: PoolMaker>(&self, maker: M) -> Contender {
        let workload = self.clone();
        Contender::new(maker.name(), maker.kind(), move || workload.run(maker))
    }

    /// Returns this crate's process pool, both thread pools and `procspawn`, with this workload.
    fn on_each(&self, transport: Transport) -> Vec<Contender> {
        vec![
            self.on(transport),
            self.on(OwnThreads),
            self.on(PlainThreads),
            self.on(Procspawn),
        ]
    }
}

/// Returns that number of workers in words.
fn of_workers(workers: usize) -> String {
    match workers {
        1 => "1 worker".into(),
        _ => format!("{workers} workers"),
    }
}

/// This crate's thread pool.
const OWN_THREADS: Rivals = Rivals::Best(|name, _| name == OwnThreads::NAME);

/// The process pools of other people.
const PROCESS_POOLS: Rivals = Rivals::Best(|_, kind| matches!(kind, Kind::Rust | Kind::Python));
