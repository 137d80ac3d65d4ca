//! A task may run longer than the function that submits it.
// error: may outlive the current function

use concurrent_futures::{Error, ThreadFuture, ThreadPoolExecutor};

fn length(executor: &ThreadPoolExecutor, text: String) -> Result<ThreadFuture<usize>, Error> {
    executor.spawn(|| text.len())
}

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    drop(length(&executor, String::new()));
}
