//! Pages fetched side by side.

use std::io::Write;
use std::sync::{Condvar, Mutex};
use std::thread::available_parallelism;

use crate::file::File;
use crate::program::{LIMIT, titles};
use crate::server::{Server, html};

const WORKERS: usize = 50;
const PAGES: usize = 200;

/// Lets no caller through until `width` wait.
struct Gate {
    width: usize,
    came: Mutex<usize>,
    more: Condvar,
}

impl Gate {
    fn new(width: usize) -> Self {
        Self {
            width,
            came: Mutex::default(),
            more: Condvar::new(),
        }
    }

    fn pass(&self) {
        let mut came = self.came.lock().unwrap();
        *came += 1;
        self.more.notify_all();
        let full = came.div_ceil(self.width) * self.width;
        let (came, timed_out) = self
            .more
            .wait_timeout_while(came, LIMIT, |came| *came < full)
            .unwrap();
        assert!(!timed_out.timed_out(), "{came} requests came, not {full}");
    }
}

/// Pages that are sent once `width` of them have been asked for.
fn pages_behind_a_gate(width: usize) -> Server {
    let gate = Gate::new(width);
    Server::start(move |path, connection| {
        gate.pass();
        connection.write_all(&html(format!("<title>page {path}</title>")))
    })
}

#[test]
fn fifty_workers_fetch_fifty_pages_at_once() {
    let server = pages_behind_a_gate(WORKERS);
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

/// Fetches pages, `at_once` at the same time, by launchers that are called 0, 1 and so on. Returns
/// the number of workers that each one has started.
fn starts_by_launcher(launchers: usize, options: &[&str], at_once: usize) -> Vec<usize> {
    let script = File::new("launcher", b"echo by $1 >&2; shift; exec \"$@\"");
    let server = pages_behind_a_gate(at_once);
    let urls = (0..2 * at_once).map(|n| server.url(&format!("/{n}")));
    let launcher = |n| format!("--launcher=sh {} {n}", script.path());
    let args = ["--pool=processes"].iter().chain(options);
    let args = args.map(|arg| arg.to_string());
    let run = titles(args.chain((0..launchers).map(launcher)).chain(urls));
    assert_eq!(run.code(), Some(0), "{run:?}");
    let starts = |n| {
        let line = format!("by {n}");
        run.stderr.lines().filter(|it| **it == line).count()
    };
    (0..launchers).map(starts).collect()
}

#[test]
fn launchers_share_the_workers_evenly() {
    assert_eq!(starts_by_launcher(2, &["--workers=4"], 4), [2, 2]);
    assert_eq!(starts_by_launcher(1, &["--workers=2"], 2), [2]);
    // Shares that are not whole do not add up to more.
    let starts = starts_by_launcher(2, &["--workers=3"], 3);
    assert!(matches!(starts[..], [2, 1] | [1, 2]), "{starts:?}");
    let starts = starts_by_launcher(3, &["--workers=1"], 1);
    assert_eq!(starts.iter().sum::<usize>(), 1, "{starts:?}");
}

#[test]
fn each_launcher_starts_a_worker_if_the_number_is_not_given() {
    let launchers = available_parallelism().unwrap().get() + 1;
    assert_eq!(
        starts_by_launcher(launchers, &[], launchers),
        vec![1; launchers]
    );
}

#[test]
fn a_launcher_that_is_not_there_is_named_by_an_error() {
    for option in ["--offline", "--json"] {
        let run = titles([
            "--pool=processes",
            "--launcher=/no/such/command",
            "--offline",
            option,
        ]);
        assert_eq!(run.code(), Some(1), "{run:?}");
        assert!(run.stdout.contains("`/no/such/command`"), "{run:?}");
        assert!(!run.stdout.contains("Chips"), "{run:?}");
    }
}

/// The pool breaks while pages are still being submitted.
#[test]
fn each_address_has_its_line_although_the_pool_breaks() {
    let list = "http://127.0.0.1:9/\n".repeat(20_000);
    let file = File::new("many", list.as_bytes());
    let options = [
        "--pool=processes",
        "--launcher=false",
        "--from",
        file.path(),
    ];
    let run = titles(options);
    assert_eq!(run.code(), Some(1), "{}", run.stderr);
    assert_eq!(run.pages().len(), 20_000);
    assert!(run.pages().iter().all(|line| line.contains("  error: ")));
}

#[test]
fn the_other_launchers_go_on_with_their_own_shares() {
    let options = ["--workers=4", "--launcher=/no/such/command"];
    assert_eq!(starts_by_launcher(1, &options, 2), [2]);
}

#[test]
fn a_launcher_that_gave_no_help_is_named() {
    let server = Server::of(html("<title>here</title>"));
    let url = server.url("/");
    let launchers = ["--launcher=/no/such/command", "--launcher=nice"];
    let run = titles(["--pool=processes", launchers[0], launchers[1], &url]);
    assert_eq!(run.pages(), [format!("{url}  here")]);
    assert_eq!(run.code(), Some(0), "{run:?}");
    let begin = "titles: no help from `/no/such/command`: ";
    assert!(
        run.stderr.starts_with(begin) && run.stderr.lines().count() == 1,
        "{run:?}"
    );
}
