//! The rows, a file for each workload.

mod burst;
mod busy_cores;
mod cancelled;
mod completion_order;
mod fork_join;
mod gate;
mod idle;
mod lifetime;
mod many_waiters;
mod map;
mod memory;
mod pending;
mod round_trip;
mod scope;
mod short_tasks;
mod spin;
mod submitters;
mod together;
mod tree;

use crate::row::Row;

/// The rows that have bars.
pub(crate) fn checked() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend([2, 4, 8].map(burst::row));
    rows.extend([2, 4, 8].map(round_trip::row));
    rows.push(submitters::row());
    rows.push(short_tasks::row());
    rows.push(tree::row());
    rows.push(fork_join::row());
    rows.push(memory::row());
    rows.push(lifetime::row());
    rows.push(completion_order::row());
    rows.push(idle::row());
    rows.push(busy_cores::row());
    rows.push(many_waiters::row());
    rows
}

/// The rows that are measured and have no bar.
pub(crate) fn reported() -> Vec<Row> {
    vec![
        submitters::many(),
        pending::row(),
        cancelled::row(),
        scope::row(),
        map::row(),
    ]
}
