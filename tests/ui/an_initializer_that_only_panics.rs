//! It returns `!`, which is no outcome.
// error: an initializer cannot return `!`
// error: says what it would return

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let _ = ThreadPoolExecutor::builder().initializer(|()| panic!("no licence"), ());
}
