//! The program that the crate is for, in a package of its own, as its users
//! write it: one `use` line says where the work runs, and nothing else changes.

use std::sync::OnceLock;

use crate::package::Package;

/// `POOL` stands for the executor.
const PROGRAM: &str = r#"
#![deny(warnings)]

use concurrent_futures::POOL as PoolExecutor;

type Page = Result<String, String>;
type Work = <PoolExecutor as concurrent_futures::Executor>::Future<Page>;

fn get_title(url: String) -> Page {
    match url.strip_prefix("https://") {
        Some(host) => Ok(format!("the title of {host}")),
        None => Err(format!("{url} has no scheme")),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = ["https://one.example", "two.example", "https://three.example"];
    let urls: Vec<String> = urls.map(String::from).into();

    let mut work: Vec<(String, Work)> = Vec::new();
    {
        let executor = PoolExecutor::new()?;
        for url in urls {
            let f = executor.submit(get_title, url.clone())?; // starts now
            work.push((url, f));
        }
        println!("Waiting for downloads...");
    } // leaving the block waits for all of it
    for (url, f) in &work {
        println!("{url}: {:?}", f.result()?);
    }
    Ok(())
}
"#;

/// A program that sets what all builders have. On threads and inline, a worker's state is in
/// a thread local.
const SETTINGS: &str = r#"
#![deny(warnings)]

use std::cell::Cell;

use concurrent_futures::{Error, POOL as PoolExecutor, as_completed};

thread_local!(static FACTOR: Cell<u64> = const { Cell::new(0) });

fn scaled(n: u64) -> u64 {
    FACTOR.get() * n
}

fn main() -> Result<(), Error> {
    let executor = PoolExecutor::builder()
        .max_workers(2)
        .queue_capacity(4)
        .record_timing(true)
        .initializer(|factor| FACTOR.set(factor), 10)
        .build()?;
    let work = (0..9).map(|n| Ok((n, executor.submit(scaled, n)?)));
    let work: Vec<_> = work.collect::<Result<_, Error>>()?;
    assert!(work.iter().all(|(_, future)| future.timing().is_some()));
    let mut sum = 0;
    for (n, future) in as_completed(work) {
        let value = future.into_result()?;
        assert_eq!(value, 10 * n);
        sum += value;
    }
    assert_eq!(*PoolExecutor::with_max_workers(1)?.submit(u64::count_ones, 7)?.result()?, 3);
    println!("{sum}");
    Ok(())
}
"#;

const OUTPUT: &str = r#"Waiting for downloads...
https://one.example: Ok("the title of one.example")
two.example: Err("two.example has no scheme")
https://three.example: Ok("the title of three.example")
"#;

/// Rust has no exit hook that could wait for a pool, as Python's waits: what an
/// executor has not waited for ends with `main`.
const HURRIED: &str = r#"
#![deny(warnings)]

use concurrent_futures::{ShutdownOptions, ThreadPoolExecutor};
use std::{process, thread, time::Duration};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(60));
        eprintln!("it hangs");
        process::exit(3);
    });
    let executor = ThreadPoolExecutor::with_max_workers(1)?;
    executor.spawn(|| loop { thread::park() })?.detach();
    executor.spawn(|| println!("never"))?.detach();
    executor.shutdown_with(ShutdownOptions::new().wait(false));
    drop(executor);
    println!("the end of main");
    Ok(())
}
"#;

/// `select!` and the channel beside the futures come with the crate: the versions fit.
const SELECTING: &str = r#"
#![deny(warnings)]

use concurrent_futures::crossbeam_channel::{Receiver, RecvError, select, unbounded};
use concurrent_futures::{Completions, Future, ThreadPoolExecutor, completions};

fn next<F: Future + Send + 'static>(futures: &Completions<F>) -> Result<F, RecvError> {
    let channel: &Receiver<F> = futures;
    channel.recv()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = ThreadPoolExecutor::new()?;
    let (_sender, commands) = unbounded::<String>();
    let ended = completions([executor.spawn(|| 42)?]);
    select! {
        recv(ended) -> future => println!("{}", future?.into_result()?),
        recv(commands) -> command => println!("{command:?}"),
    }
    println!("{:?}", next(&ended).map(|future| future.into_result()));
    Ok(())
}
"#;

const POOLS: [&str; 3] = [
    "InlineExecutor",
    "ThreadPoolExecutor",
    "ProcessPoolExecutor",
];

/// All programs; one package, so that the crate is built for them once.
fn package() -> &'static Package {
    static PACKAGE: OnceLock<Package> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let one_line = POOLS.map(|pool| (pool.to_owned(), PROGRAM.replace("POOL", pool)));
        let settings = POOLS.map(|pool| {
            let program = SETTINGS.replace("POOL", pool);
            (format!("{pool}WithSettings"), program)
        });
        let hurried = ("hurried".to_owned(), HURRIED.to_owned());
        let selecting = ("selecting".to_owned(), SELECTING.to_owned());
        let programs = one_line
            .into_iter()
            .chain(settings)
            .chain([hurried, selecting]);
        let programs: Vec<_> = programs.collect();
        Package::write("program", &programs)
    })
}

#[test]
fn one_line_says_where_it_runs_and_the_output_is_the_same() {
    for pool in POOLS {
        let run = package().cargo("run", pool);
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{pool}: {errors}");
        assert_eq!(String::from_utf8_lossy(&run.stdout), OUTPUT, "{pool}");
        assert_eq!(errors, "", "{pool}");
    }
}

#[test]
fn one_line_says_where_it_runs_also_with_settings() {
    for pool in POOLS {
        let run = package().cargo("run", &format!("{pool}WithSettings"));
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{pool}: {errors}");
        assert_eq!(String::from_utf8_lossy(&run.stdout), "360\n", "{pool}");
    }
}

#[test]
fn the_end_of_main_ends_what_was_not_waited_for() {
    let run = package().cargo("run", "hurried");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "the end of main\n");
    assert_eq!(errors, "");
}

#[test]
fn futures_stand_beside_channels_with_no_other_crate_named() {
    let run = package().cargo("run", "selecting");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "42\nErr(RecvError)\n");
    assert_eq!(errors, "");
}
