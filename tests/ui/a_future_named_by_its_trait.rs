//! `Future` is a trait; the type of a pool's future has a name of its own.
// error: expected a type, found a trait

use concurrent_futures::{Future, ThreadPoolExecutor};

fn begin(executor: &ThreadPoolExecutor) -> Future<String> {
    executor.spawn(|| "text".to_owned()).unwrap()
}

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    drop(begin(&executor));
}
