//! Tasks of a pool inside a tokio program: blocking work on the pool, waiting on
//! the runtime. The library knows nothing of tokio; its futures are awaited like
//! any others, beside timers and in `join!`.

use std::time::Duration;

use concurrent_futures::{Error, ThreadPoolExecutor};

/// Work that would hold up every other task of the runtime.
fn digest(text: String) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let executor = ThreadPoolExecutor::new()?;
    let first = executor.submit(digest, "to be".to_owned())?;
    let second = executor.submit(digest, "or not to be".to_owned())?;

    let (first, second) = tokio::join!(first.into_future(), second.into_future());
    println!("{:x} {:x}", first?, second?);

    // A limit of the runtime's ends the wait and not the task.
    let slow = executor.submit(std::thread::sleep, Duration::from_millis(50))?;
    let early = tokio::time::timeout(Duration::from_millis(1), (&slow).into_future()).await;
    assert!(early.is_err() && !slow.cancelled());
    slow.await
}
