//! Fetches web pages and prints their titles, with a pool that is chosen in one line.
//!
//! ```text
//! cargo run --example titles
//! cargo run --example titles -- https://www.rust-lang.org https://www.python.org --trace
//! cargo run --example titles -- --pool processes --trace
//! cargo run --example titles -- --pool processes --launcher "ssh node"
//! cargo build --features mpi --example titles; mpirun -n 3 target/debug/examples/titles --pool mpi
//! cargo run --example titles -- --help
//! ```
//!
//! [`titles`] is the lesson; the other files are what a fetcher of real pages needs besides:
//!
//! ```text
//! options -> main -> fetch -> connection     what is asked, the pool, one page: how it comes,
//!             |       |----> content_type    what it is,
//!             |       |----> body -> gzip    its bytes,
//!             |       |----> page -> charset what they are read as,
//!             |       |       \-> title      what the text says,
//!             |       \----> explain         and what went wrong
//!             |-> demo                       pages for machines without internet
//!             \-> report                     what is said
//! ```
//!
//! It reads pages as browsers do, but for what it leaves out on purpose: it keeps no cookies, runs no
//! scripts, follows no `<meta http-equiv=refresh>`, reads XHTML as HTML, asks for no compression but
//! gzip and for no HTTP but HTTP/1, and guesses no charset by what a text looks like.

mod body;
mod charset;
mod connection;
mod content_type;
mod demo;
mod explain;
mod fetch;
mod gzip;
mod options;
mod page;
mod report;
mod title;

use std::io::{self, Write};
use std::num::NonZero;
use std::process::{self, ExitCode};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Error, Executor, Future, InlineExecutor, Launcher, ProcessPoolExecutor, Stats,
    ThreadPoolExecutor,
};
#[cfg(feature = "mpi")]
use concurrent_futures::{MpiPoolExecutor, TaskOptions};
use indicatif::ProgressBar;

use crate::fetch::{Page, Request, get_title};
use crate::options::{Asked, Options, Pages, Pool};
use crate::report::{Row, one_line};

const WELL_KNOWN: [&str; 5] = [
    "https://talkpython.fm",
    "https://pythonbytes.fm",
    "https://google.com",
    "https://realpython.com",
    "https://training.talkpython.fm",
];

/// The work that is under way for one page, whatever the pool.
type Work<E> = <E as Executor>::Future<Page>;

/// Fetches all addresses. Nothing in it depends on which pool the executor is.
fn titles<E: Executor>(executor: E, addresses: &[String], options: &Options) -> Vec<Row> {
    let bar = progress_bar(addresses.len(), options);
    let start = Instant::now();
    let (count, pool) = (addresses.len(), options.pool.name());
    say(options, &format!("Starting {count} downloads on {pool}\n"));

    let mut works: Vec<(&String, Result<Work<E>, Error>)> = Vec::new();
    for address in addresses {
        let request = Request {
            address: address.clone(),
            timeout: options.timeout,
            trace: options.trace,
        };
        let work = executor.submit(get_title, request); // starts now
        if let Ok(work) = &work {
            let bar = bar.clone();
            work.add_done_callback(move |_| bar.inc(1));
        }
        works.push((address, work));
    }
    bar.suspend(|| say(options, "Waiting for downloads...\n"));
    executor.shutdown(); // waits for all of it

    bar.finish_and_clear();
    complain_of_launchers(&executor.stats());
    let taken = start.elapsed().as_secs_f64();
    let pages = works.iter().filter_map(|(_, work)| page(work).ok());
    let one_by_one = pages.map(|page| page.took).sum::<Duration>().as_secs_f64();
    let done = format!("Done in {taken:.2} s (one after the other: {one_by_one:.2} s)\n");
    say(options, &done);
    let rows = works.iter();
    rows.map(|(address, work)| Row::new(address, page(work)))
        .collect()
}

/// The page, or the error of its call. A pool that has broken takes no more calls.
fn page<F: Future<Output = Page>>(work: &Result<F, Error>) -> Result<&Page, Error> {
    work.as_ref().map_err(Error::clone)?.result()
}

fn main() -> ExitCode {
    concurrent_futures::init(); // a launcher's process becomes a worker here
    let status = match options::parse(lexopt::Parser::from_env()) {
        Ok(Asked::Help) => {
            print(options::HELP);
            0
        }
        Ok(Asked::Titles(options)) => run(&options).map_or_else(
            |error| {
                complain(&error.to_string());
                1
            },
            u8::from,
        ),
        Err(sentence) => {
            complain(&format!("{sentence}; --help says more"));
            2
        }
    };
    ExitCode::from(status)
}

/// Fetches and reports; tells whether any address failed.
fn run(options: &Options) -> Result<bool, Error> {
    match options.pool {
        Pool::Inline => run_on(InlineExecutor::new()?, options),
        Pool::Threads => run_on(threads(options.workers)?, options),
        Pool::Processes => run_on(processes(options)?, options),
        Pool::Mpi => run_on_ranks(options),
    }
}

/// The other ranks come no further than here.
#[cfg(feature = "mpi")]
fn run_on_ranks(options: &Options) -> Result<bool, Error> {
    let builder = MpiPoolExecutor::builder();
    let builder = match options.workers {
        Some(workers) => builder.max_workers(workers),
        None => builder,
    };
    builder.run(|executor| run_on(executor.with(TaskOptions::new()), options))?
}

#[cfg(not(feature = "mpi"))]
fn run_on_ranks(_options: &Options) -> Result<bool, Error> {
    unreachable!("the options refuse it")
}

fn run_on<E: Executor>(executor: E, options: &Options) -> Result<bool, Error> {
    let addresses = addresses(&options.pages);
    let rows = titles(executor, &addresses, options);
    print(&if options.json {
        report::json(&rows)
    } else {
        report::lines(&rows)
    });
    Ok(rows.iter().any(Row::failed))
}

fn threads(workers: Option<usize>) -> Result<ThreadPoolExecutor, Error> {
    workers.map_or_else(
        ThreadPoolExecutor::new,
        ThreadPoolExecutor::with_max_workers,
    )
}

fn processes(options: &Options) -> Result<ProcessPoolExecutor, Error> {
    let launchers = &options.launchers;
    let processors = || available_parallelism().map_or(1, NonZero::get);
    let workers = options.workers;
    let workers = workers.unwrap_or_else(|| processors().max(launchers.len()));
    let mut builder = ProcessPoolExecutor::builder().max_workers(workers);
    for words in launchers {
        // Rounded up, for no launcher has a part of a worker. The pool as a whole keeps its limit.
        let share = workers.div_ceil(launchers.len());
        builder = builder.launcher(Launcher::command(words).workers(share));
    }
    builder.build()
}

/// Names the launchers without which the pages were fetched.
fn complain_of_launchers(stats: &Stats) {
    if stats.broken {
        return; // No launcher is left, and the errors of the pages say so.
    }
    for launcher in &stats.launchers {
        if let Some(why) = &launcher.left_out {
            complain(&format!("no help from `{}`: {why}", launcher.name));
        }
    }
}

fn addresses(pages: &Pages) -> Vec<String> {
    const LIMIT: Duration = Duration::from_millis(1500);
    match pages {
        Pages::Given(addresses) => return addresses.clone(),
        Pages::Own => {}
        Pages::WellKnown => {
            let hosts = WELL_KNOWN.map(|address| address.replace("https://", ""));
            if demo::any_resolves(&hosts, LIMIT) {
                return WELL_KNOWN.map(str::to_owned).into();
            }
            complain("no name resolves here: fetching five pages of its own, as with --offline");
        }
    }
    demo::start().unwrap_or_else(|error| {
        complain(&format!(
            "cannot start a server for pages of its own: {error}"
        ));
        process::exit(1)
    })
}

/// A bar on standard error, if that is a terminal and nothing else is to be written there.
fn progress_bar(length: usize, options: &Options) -> ProgressBar {
    if options.trace {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(length as u64)
    }
}

/// Tells people how far it is; JSON stands alone.
fn say(options: &Options, line: &str) {
    if !options.json {
        print(line);
    }
}

/// As `print!`, but where nothing can be written, which would make that panic, it ends the program
/// at once: no reader is left to fetch pages for.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => {}
        // Who read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            process::exit(1)
        }
    }
}

fn complain(sentence: &str) {
    // There is nowhere left to say that this failed.
    let _ = io::stderr().write_all(format!("titles: {}\n", one_line(sentence)).as_bytes());
}
