//! The titles of the pages that are given as arguments, all at once. The first `use` says where the
//! work runs: name `ProcessPoolExecutor` or `InlineExecutor` there, and nothing else changes.
//!
//! ```text
//! cargo run --example lesson -- https://www.rust-lang.org https://crates.io
//! ```
//!
//! `titles` is the same for the pages of strangers, which may have no end or steer the terminal.

use concurrent_futures::ThreadPoolExecutor as PoolExecutor;

use concurrent_futures::{Error, Report};
use select::{document::Document, predicate::Name};

/// Any error of the task travels as a `Report`, out of another process too.
fn get_title(url: String) -> Result<String, Report> {
    let page = ureq::get(&url).call()?.body_mut().read_to_string()?;
    let page = Document::from(page.as_str());
    let title = page.find(Name("title")).next().map(|title| title.text());
    Ok(title.map_or("no title".into(), |title| title.trim().to_owned()))
}

fn main() -> Result<(), Error> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    let mut work = Vec::new();
    {
        let executor = PoolExecutor::new()?;
        for url in urls {
            let future = executor.submit(get_title, url.clone())?; // starts now
            work.push((url, future));
        }
        println!("Waiting for downloads...");
    } // leaving the block waits for all of it
    for (url, future) in &work {
        match future.result()? {
            Ok(title) => println!("{url}: {title}"),
            Err(error) => println!("{url}: {error:#}"),
        }
    }
    Ok(())
}
