//! The number of primes below 200,000, counted by the cores of this machine: `map_with` on a
//! process pool. A chunk of 1,000 numbers travels at once, for one number alone is too little
//! work to be worth the way.
//!
//! ```text
//! cargo run --release --example primes
//! ```

use concurrent_futures::{Error, MapOptions, ProcessPoolExecutor};

fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
}

fn main() -> Result<(), Error> {
    let executor = ProcessPoolExecutor::new()?;
    let chunks = MapOptions::new().chunk_size(1_000);
    let mut count = 0;
    // In the order of the numbers, as the chunks are done.
    for answer in executor.map_with(chunks, is_prime, 0..200_000)? {
        count += u32::from(answer?);
    }
    println!("{count} primes below 200,000");
    assert_eq!(count, 17_984);
    Ok(())
}
