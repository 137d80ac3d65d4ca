//! `submit` takes one argument; several go as a tuple.
// error: this method takes 2 arguments but 3 arguments were supplied

use concurrent_futures::ThreadPoolExecutor;

fn power(base: u64, exponent: u32) -> u64 {
    base.pow(exponent)
}

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let _ = executor.submit(power, 2, 10);
}
