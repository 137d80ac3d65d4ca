//! Only a function travels to every executor; its data comes as arguments.
// error: expected fn pointer, found closure
// error: `factor` captured here

use concurrent_futures::{Error, Executor};

fn scaled<E: Executor>(executor: &E, factor: i64) -> Result<E::Future<i64>, Error> {
    executor.submit(|n: i64| factor * n, 3)
}

fn main() {
    let executor = concurrent_futures::ThreadPoolExecutor::new().unwrap();
    drop(scaled(&executor, 2));
}
