//! The data that a task borrows outlives the scope, not just the closure.
// error: may outlive the current function, but it borrows `text`

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    executor.scope(|scope| {
        let text = String::from("one");
        scope.spawn(|| text.len()).unwrap().detach();
    });
}
