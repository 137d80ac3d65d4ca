//! A value that borrows from a scope stays in it.
// error: borrowed data escapes outside of closure

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let text = String::from("one");
    let mut kept = None;
    executor.scope(|scope| kept = Some(scope.spawn(|| text.len()).unwrap()));
}
