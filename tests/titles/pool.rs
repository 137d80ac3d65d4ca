//! Pages fetched side by side.

use std::io::Write;
use std::sync::{Condvar, Mutex};

use crate::program::{LIMIT, titles};
use crate::server::{Server, html};

const WORKERS: usize = 50;
const PAGES: usize = 200;

/// Lets nobody through until [`WORKERS`] wait.
#[derive(Default)]
struct Gate {
    came: Mutex<usize>,
    more: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut came = self.came.lock().unwrap();
        *came += 1;
        self.more.notify_all();
        let full = came.div_ceil(WORKERS) * WORKERS;
        let (came, timed_out) = self
            .more
            .wait_timeout_while(came, LIMIT, |came| *came < full)
            .unwrap();
        assert!(!timed_out.timed_out(), "{came} requests came, not {full}");
    }
}

#[test]
fn fifty_workers_fetch_fifty_pages_at_once() {
    let gate = Gate::default();
    let server = Server::start(move |path, connection| {
        gate.pass();
        connection.write_all(&html(format!("<title>page {path}</title>")))
    });
    let urls: Vec<String> = (0..PAGES).map(|n| server.url(&format!("/{n}"))).collect();
    let workers = WORKERS.to_string();
    let options = ["--workers", &workers, "--trace", "--timeout", "100"].map(str::to_owned);
    let run = titles(options.iter().chain(&urls));
    assert_eq!(run.code(), Some(0), "{run:?}");
    let expected: Vec<String> = urls
        .iter()
        .enumerate()
        .map(|(n, url)| format!("{url}  page /{n}"))
        .collect();
    assert_eq!(run.pages(), expected);

    // Fifty threads that write at once tear no line.
    let mut traced: Vec<&str> = run
        .stderr
        .lines()
        .map(|line| {
            let rest = line
                .strip_prefix("getting title from ")
                .expect("a whole line");
            let (url, rest) = rest.split_once(" (pid ").expect("a whole line");
            let (_, thread) = rest
                .split_once(", process main, thread ")
                .expect("a whole line");
            let number = thread
                .strip_prefix("ThreadPoolExecutor-0_")
                .expect("a whole line");
            let number: usize = number
                .strip_suffix(')')
                .expect("a whole line")
                .parse()
                .unwrap();
            assert!(number < WORKERS, "{line}");
            url
        })
        .collect();
    traced.sort_unstable();
    let mut urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    assert_eq!(traced, urls);
}

#[test]
fn workers_is_an_upper_limit() {
    let server = Server::of(html("<title>here</title>"));
    let urls = vec![server.url("/"); 20];
    for (options, thread) in [
        (
            ["--workers=1", "--pool=threads"],
            "thread ThreadPoolExecutor-0_0)",
        ),
        (
            ["--workers=1", "--pool=processes"],
            "process worker-0, thread ProcessPoolExecutor-0_0)",
        ),
        (["--workers=4", "--pool=inline"], "thread main)"),
    ] {
        let options = options.map(str::to_owned);
        let run = titles(
            options
                .iter()
                .chain(["--trace".to_owned()].iter())
                .chain(&urls),
        );
        assert_eq!(run.stderr.lines().count(), 20);
        assert!(
            run.stderr.lines().all(|line| line.ends_with(thread)),
            "{run:?}"
        );
    }
}
