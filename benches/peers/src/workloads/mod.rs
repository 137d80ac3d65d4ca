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
mod processes;
mod round_trip;
mod scope;
mod short_tasks;
mod spin;
mod submitters;
mod together;
mod tree;

use crate::row::Row;

pub(crate) use processes::has_answered;

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
    rows.extend(processes::checked());
    rows
}

/// The rows that are measured and have no bar.
pub(crate) fn reported() -> Vec<Row> {
    let mut rows = vec![
        submitters::many(),
        pending::row(),
        cancelled::row(),
        scope::row(),
        map::row(),
    ];
    rows.extend(processes::reported());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Kind;
    use crate::row::Rivals;

    #[test]
    fn each_row_has_one_of_our_own_and_each_bar_its_rivals() {
        for row in checked() {
            let own = row.contenders.iter().filter(|own| own.kind == Kind::Own);
            assert_eq!(own.count(), 1, "{}", row.name);
            for bar in &row.bars {
                let Rivals::Best(is_rival) = bar.rivals else {
                    continue;
                };
                // Java may be missing, and has no bar together with a crate.
                let java = is_rival("", Kind::Java);
                let rivals = row.contenders.iter().filter(|c| is_rival(c.name, c.kind));
                assert!(java || rivals.count() > 0, "{}{}", row.name, bar.suffix);
            }
        }
    }
}
