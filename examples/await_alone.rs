//! Awaits tasks of a pool with no async runtime at all: `.await` needs nothing
//! but a caller that polls, here twenty lines of a main thread that parks.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use concurrent_futures::{Error, ThreadPoolExecutor};

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
}

async fn count_primes(executor: &ThreadPoolExecutor) -> Result<usize, Error> {
    let mut parts = Vec::new();
    for part in 0..4_u64 {
        let count = move || {
            (part * 5000..(part + 1) * 5000)
                .filter(|n| is_prime(*n))
                .count()
        };
        parts.push(executor.spawn(count)?); // runs now, awaited or not
    }
    let mut primes = 0;
    for part in parts {
        primes += part.await?;
    }
    Ok(primes)
}

fn main() -> Result<(), Error> {
    let executor = ThreadPoolExecutor::new()?;
    let primes = block_on(count_primes(&executor))?;
    println!("{primes} primes below 20,000");
    assert_eq!(primes, 2262);
    Ok(())
}
