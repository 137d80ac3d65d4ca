//! `submit` is generic: take `&impl Executor`, or choose by `match`.
// error: the trait `Executor` is not dyn compatible

use concurrent_futures::Executor;

fn shut_down(executor: &dyn Executor) {
    executor.shutdown();
}

fn main() {
    shut_down(&concurrent_futures::InlineExecutor::new().unwrap());
}
