//! It returns `!`, for which the bound of the trait says what it asks for.
// error: `!` cannot travel to another process

use concurrent_futures::{Executor, ThreadPoolExecutor};

fn failing<E: Executor>(executor: &E) {
    let _ = executor.submit(|()| panic!("out of paper"), ());
}

fn main() {
    failing(&ThreadPoolExecutor::new().unwrap());
}
