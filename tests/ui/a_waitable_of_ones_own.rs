//! The traits of futures are sealed, so that they can grow: wrap a future in a
//! pair, a box or a reference, or make one with `promise`.
// error: Sealed` is not satisfied

use concurrent_futures::{ThreadFuture, Waitable};

struct Mine(ThreadFuture<i32>);

impl Waitable for Mine {}

fn main() {}
