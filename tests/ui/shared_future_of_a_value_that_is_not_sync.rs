//! A future is `Sync` only if its value is.
// error: cannot be shared between threads safely

use std::cell::Cell;

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let future = executor.spawn(|| Cell::new(1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| future.result().unwrap().set(2));
    });
}
