//! An `Arc` of an executor is none itself, so that the inherent methods with
//! their looser bounds are what is found: lend what is in it.
// error: the trait bound `Arc<InlineExecutor>: Executor` is not satisfied
// error: lend what it points to, as in `&*executor`

use std::sync::Arc;

use concurrent_futures::{Executor, InlineExecutor};

fn shut_down(executor: impl Executor) {
    executor.shutdown();
}

fn main() {
    let executor = Arc::new(InlineExecutor::new().unwrap());
    shut_down(&*executor);
    shut_down(executor);
}
