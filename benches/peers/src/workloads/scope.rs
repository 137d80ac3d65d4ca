//! Fork-join over the tasks of a scope, beside the same with `spawn`.

use concurrent_futures::Scope;

use super::fork_join::{own_contender, size, time};
use crate::contender::{Contender, Kind};
use crate::pools::{Own, Pool, warm_up};
use crate::row::{Bar, Metric, Rivals, Row};

fn fib<'scope>(scope: &'scope Scope<'scope, '_>, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let first = scope.spawn(move || fib(scope, n - 1)).expect("it is open");
    let second = fib(scope, n - 2);
    first.into_result().expect("it returns") + second
}

fn run() -> Vec<f64> {
    let (n, workers) = size();
    let pool = Own::new(workers);
    warm_up(&pool);
    time(|| {
        pool.0.scope(|scope| {
            let root = scope.spawn(move || fib(scope, n)).expect("it is open");
            root.into_result().expect("it returns")
        })
    })
}

/// Returns the row.
pub(super) fn row() -> Row {
    let mut spawn = own_contender();
    spawn.name = "spawn";
    spawn.kind = Kind::Base;
    Row {
        id: "scope",
        name: "fork-join over a scope".into(),
        metrics: &[Metric {
            name: "a spawn",
            unit: "ns",
        }],
        contenders: vec![Contender::new("scope", Kind::Own, run), spawn],
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::Best(|_, kind| kind == Kind::Base),
            firm: Some(1.5),
            aim: Some(1.5),
        }],
    }
}
