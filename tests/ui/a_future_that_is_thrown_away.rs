//! A caller that wants neither the value nor the error says so, with `detach`.
// error: unused `TaskFuture` that must be used

#![deny(unused_must_use)]

use concurrent_futures::{Error, ThreadPoolExecutor};

fn main() -> Result<(), Error> {
    let executor = ThreadPoolExecutor::new()?;
    executor.spawn(|| 1)?;
    executor.spawn(|| 1)?.detach();
    Ok(())
}
