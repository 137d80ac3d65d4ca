//! It returns `!`, which is no outcome.
// error: an initializer cannot return `!`
// error: write the return type

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let _ = ThreadPoolExecutor::builder().initializer(|()| panic!("no licence"), ());
}
