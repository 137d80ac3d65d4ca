//! A callback shares the value with the holder of the future.
// error: cannot be shared between threads safely

use std::cell::Cell;

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let future = executor.spawn(|| Cell::new(1)).unwrap();
    future.add_done_callback(|future| future.result().unwrap().set(2));
}
