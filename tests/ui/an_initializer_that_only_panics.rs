//! What it returns is `!`, which no outcome is.
// error: an initializer cannot return `!`
// error: says what it would return

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let _ = ThreadPoolExecutor::builder().initializer(|()| panic!("no licence"), ());
}
