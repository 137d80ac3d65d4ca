//! The addresses that are given as arguments and answer, the fastest first, with ten seconds
//! for all together: `as_completed` with keys, and a timeout.
//!
//! ```text
//! cargo run --example urls -- https://www.rust-lang.org https://crates.io
//! ```

use std::process::exit;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, Report, ThreadPoolExecutor, as_completed};

fn status(url: String) -> Result<u16, Report> {
    Ok(ureq::get(&url).call()?.status().as_u16())
}

fn main() -> Result<(), Error> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    // A thread for each, so that none waits for another's answer.
    let executor = ThreadPoolExecutor::with_max_workers(urls.len().max(1))?;
    let begin = Instant::now();
    let mut work = Vec::new();
    for url in urls {
        // The key tells which answer is the answer to which question.
        work.push((url.clone(), executor.submit(status, url)?));
    }
    for next in as_completed(&work).timeout(Duration::from_secs(10)) {
        let Ok((url, future)) = next else {
            for (url, _) in work.iter().filter(|(_, future)| !future.done()) {
                println!("{url}: no answer after ten seconds");
            }
            // Leaving `main` would wait for them: a thread cannot be stopped.
            exit(1);
        };
        let time = begin.elapsed().as_millis();
        match future.result()? {
            Ok(status) => println!("{url}: {status} after {time} ms"),
            Err(error) => println!("{url}: {error:#} after {time} ms"),
        }
    }
    Ok(())
}
