//! The value is given away once.
// error: use of moved value: `future`

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let future = executor.spawn(|| String::from("one")).unwrap();
    let _first = future.into_result();
    let _second = future.into_result();
}
