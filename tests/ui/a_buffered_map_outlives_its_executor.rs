//! A map with a buffer submits while it is read, so it borrows the executor; one
//! without borrows nothing.
// error: cannot move out of `executor` because it is borrowed
// error: due to 1 previous error

use concurrent_futures::{Error, InlineExecutor, MapOptions};

fn main() -> Result<(), Error> {
    let executor = InlineExecutor::new()?;
    let eager = executor.map(|n: i32| n, [1, 2])?;
    drop(executor);
    assert_eq!(eager.count(), 2);

    let executor = InlineExecutor::new()?;
    let lazy = executor.map_with(MapOptions::new().buffer_size(1), |n: i32| n, [1, 2])?;
    drop(executor);
    assert_eq!(lazy.count(), 2);
    Ok(())
}
