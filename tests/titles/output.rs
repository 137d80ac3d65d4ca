//! The output of the program, where it goes, and its order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::program::{LIMIT, POOLS, command, path, start, start_with, start_with_input, titles};
use crate::server::{Server, html, response, said_of};

fn three_pages() -> Server {
    Server::of_all(vec![
        ("/one", html("<title>One & all</title>")),
        ("/none", html("<p>nothing")),
        ("/gone", response("404 Not Found", "", "")),
    ])
}

fn assert_done(line: &str) {
    let seconds = line.strip_prefix("Done in ").and_then(|rest| {
        rest.strip_suffix(" s)")?
            .split_once(" s (one after the other: ")
    });
    let (all, alone) = seconds.unwrap_or_else(|| panic!("{line}"));
    assert!(
        all.parse::<f64>().is_ok() && alone.parse::<f64>().is_ok(),
        "{line}"
    );
}

#[test]
fn lines_in_their_order() {
    let server = three_pages();
    let urls = ["/gone", "/one", "/none", "/one"].map(|path| server.url(path));
    for pool in POOLS {
        let run = titles(["--pool", pool].map(str::to_owned).iter().chain(&urls));
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(lines[0], format!("Starting 4 downloads on {pool}"));
        assert_eq!(lines[1], "Waiting for downloads...");
        assert_done(lines[2]);
        let [gone, one, none, again] = &urls;
        assert_eq!(
            lines[3..],
            [
                format!("{gone}  error: status 404 Not Found"),
                format!("{one}  One & all"),
                format!("{none}  no title"),
                format!("{again}  One & all"),
            ]
        );
        assert!(run.stdout.ends_with('\n'));
        assert_eq!((run.code(), &*run.stderr), (Some(1), ""));
    }
}

#[test]
fn json_is_one_array_and_nothing_else() {
    let server = three_pages();
    let urls = ["/gone", "/one", "/none"].map(|path| server.url(path));
    for pool in POOLS {
        let run = titles(
            ["--json", "--pool", pool]
                .map(str::to_owned)
                .iter()
                .chain(&urls),
        );
        let expected = [
            (
                serde_json::Value::Null,
                serde_json::json!("status 404 Not Found"),
            ),
            (serde_json::json!("One & all"), serde_json::Value::Null),
            (serde_json::Value::Null, serde_json::Value::Null),
        ];
        let rows = run.rows();
        assert_eq!(rows.len(), 3);
        for ((row, url), (title, error)) in rows.iter().zip(&urls).zip(expected) {
            let ms = row["ms"].as_u64().unwrap();
            let whole = serde_json::json!({ "url": url, "title": title, "error": error, "ms": ms });
            assert_eq!(*row, whole);
        }
        assert_eq!((run.code(), &*run.stderr), (Some(1), ""));
    }
}

#[test]
fn the_status_says_whether_all_went_well() {
    let server = three_pages();
    assert_eq!(
        titles([server.url("/one"), server.url("/none")]).code(),
        Some(0)
    );
    assert_eq!(
        titles([server.url("/one"), server.url("/gone")]).code(),
        Some(1)
    );
    assert_eq!(
        titles(["--json".to_owned(), server.url("/gone")]).code(),
        Some(1)
    );
}

#[test]
fn an_empty_list() {
    for pool in POOLS {
        let mut empty = command(["--from", "-", "--pool", pool]);
        let run = start_with_input(&mut empty, b"# nothing\n").finish();
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(lines[0], format!("Starting 0 downloads on {pool}"));
        assert_eq!((lines.len(), run.code()), (3, Some(0)), "{run:?}");
        let mut empty = command(["--from", "-", "--json", "--pool", pool]);
        let run = start_with_input(&mut empty, b"").finish();
        assert_eq!((&*run.stdout, run.code()), ("[]\n", Some(0)));
    }
}

#[test]
fn what_strangers_write_stays_on_its_line() {
    let title = "a\u{1b}[2Jb\u{7f}c\u{85}d\u{202e}e\u{2028}f\u{2029}g\0h&#x9b;&#27;i";
    let page = html(format!("<meta charset=utf-8><title>{title}</title>"));
    let r = "\u{fffd}";
    let plain = format!("a{r}[2Jb{r}c{r}d{r}e{r}f{r}g{r}h›{r}i");
    assert_eq!(said_of(page.clone()), plain);

    let server = Server::of(page);
    let run = titles(["--json", &server.url("/")]);
    let acts = |c: char| c != '\n' && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
    assert!(!run.stdout.contains(acts), "{run:?}");
    let expected = title
        .replace('\0', r)
        .replace("&#x9b;", "›")
        .replace("&#27;", "\u{1b}");
    assert_eq!(run.rows()[0]["title"], expected);

    // As what they send as an address.
    let run = titles(["http://127.0.0.1:1/\u{1b}[2J\n"]);
    assert_eq!(
        run.pages(),
        [format!(
            "http://127.0.0.1:1/{r}[2J{r}  error: connection refused"
        )]
    );
}

#[test]
fn the_trace_tells_who_gets_what() {
    let server = three_pages();
    let urls = ["/gone", "/one", "/none"].map(|path| server.url(path));
    for (pool, worker) in [("inline", "main"), ("threads", "ThreadPoolExecutor-0_")] {
        let args = ["--trace", "--pool", pool, "not an address"].map(str::to_owned);
        let running = start(&mut command(args.iter().chain(&urls)));
        let process = running.child.id();
        let run = running.finish();
        let mut lines: Vec<&str> = run.stderr.lines().collect();
        lines.sort_unstable();
        let mut expected = urls.to_vec();
        expected.push("not an address".to_owned());
        expected.sort_unstable();
        assert_eq!(lines.len(), expected.len(), "{run:?}");
        for (line, address) in lines.iter().zip(expected) {
            let begin = format!(
                "getting title from {address} (pid {process}, process main, thread {worker}"
            );
            let rest = line
                .strip_prefix(&begin)
                .and_then(|rest| rest.strip_suffix(')'));
            let number = rest.unwrap_or_else(|| panic!("{line} begins with {begin}"));
            assert_eq!(number.parse::<usize>().is_ok(), pool == "threads", "{line}");
        }
    }
}

#[test]
fn the_trace_tells_which_process_gets_what() {
    let server = three_pages();
    let urls = ["/gone", "/one", "/none"].map(|path| server.url(path));
    let args = ["--trace", "--pool=processes", "--workers=2"].map(str::to_owned);
    let running = start(&mut command(args.iter().chain(&urls)));
    let parent = running.child.id();
    let run = running.finish();
    let mut workers = BTreeMap::new();
    let mut addresses = Vec::new();
    for line in run.stderr.lines() {
        let parts = line.strip_prefix("getting title from ").and_then(|rest| {
            let (address, rest) = rest.split_once(" (pid ")?;
            let (process, rest) = rest.split_once(", process worker-")?;
            let (number, thread) = rest.split_once(", thread ")?;
            assert_eq!(thread, format!("ProcessPoolExecutor-0_{number})"));
            Some((address.to_owned(), number, process.parse::<u32>().ok()?))
        });
        let (address, number, process) = parts.unwrap_or_else(|| panic!("{line}"));
        assert_ne!(process, parent, "{line}");
        assert_eq!(
            *workers.entry(number).or_insert(process),
            process,
            "{run:?}"
        );
        addresses.push(address);
    }
    let processes: BTreeSet<u32> = workers.values().copied().collect();
    assert_eq!(processes.len(), workers.len(), "{run:?}");
    assert!((1..=2).contains(&workers.len()), "{run:?}");
    addresses.sort_unstable();
    let mut urls = urls.to_vec();
    urls.sort_unstable();
    assert_eq!(addresses, urls);
}

#[test]
fn a_trace_line_fits_into_a_pipe_whole() {
    let long = format!("ftp://{}", "ä".repeat(5_000));
    let run = titles(["--trace", &long]);
    assert!(
        run.stderr.len() <= 4_096 && run.stderr.ends_with(")\n"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("ää... (pid "), "{}", run.stderr);
}

/// A server that tells when it is asked for a page, and gives it when it is told to.
fn late_page() -> (Server, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (began, begun) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let server = Server::start(move |_, connection| {
        began.send(()).unwrap();
        gone.lock()
            .unwrap()
            .recv_timeout(LIMIT)
            .expect("the test lets it go on");
        connection.write_all(&html("<title>late</title>"))
    });
    (server, begun, go)
}

/// A pipe for standard output whose reading end knows a limit: ours and the program's.
fn pipe() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    (ours, theirs.into())
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn waiting_is_said_while_the_work_is_under_way() {
    let (server, begun, go) = late_page();
    let (ours, theirs) = pipe();
    let mut command = command([server.url("/")]);
    let running = start_with(&mut command, b"", theirs, Stdio::piped());
    begun.recv_timeout(LIMIT).expect("the work begins");
    let mut lines = BufReader::new(ours).lines();
    assert_eq!(
        lines.next().unwrap().unwrap(),
        "Starting 1 downloads on threads"
    );
    assert_eq!(lines.next().unwrap().unwrap(), "Waiting for downloads...");
    go.send(()).unwrap();
    assert_done(&lines.next().unwrap().unwrap());
    assert_eq!(running.finish().code(), Some(0));
}

#[test]
fn a_closed_standard_output_ends_it_quietly() {
    for option in ["--json", "--trace", "--pool=processes"] {
        let (server, begun, go) = late_page();
        let (ours, theirs) = pipe();
        let mut command = command([option, &server.url("/")]);
        let running = start_with(&mut command, b"", theirs, Stdio::piped());
        begun.recv_timeout(LIMIT).expect("the work begins");
        drop(ours);
        go.send(()).unwrap();
        let run = running.finish();
        assert_eq!(run.code(), Some(0), "{run:?}");
        assert!(
            run.stderr
                .lines()
                .all(|line| line.starts_with("getting title from ")),
            "{run:?}"
        );
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let server = three_pages();
    for option in ["--json", "--help", "--pool=inline"] {
        let mut command = command([option, &server.url("/one")]);
        let run = start_with(&mut command, b"", full(), Stdio::piped()).finish();
        assert_eq!(run.code(), Some(1), "{run:?}");
        let begin = "titles: cannot write to standard output: ";
        assert!(
            run.stderr.starts_with(begin) && run.stderr.lines().count() == 1,
            "{run:?}"
        );
    }
}

#[test]
fn a_full_standard_error_harms_no_page() {
    let server = three_pages();
    let mut command = command(["--trace", &server.url("/one")]);
    let run = start_with(&mut command, b"", Stdio::piped(), full()).finish();
    assert_eq!(run.code(), Some(0), "{run:?}");
}

#[test]
fn an_interrupt_ends_it() {
    for option in ["--json", "--trace", "--pool=processes"] {
        let (began, begun) = mpsc::channel();
        let server = Server::start(move |_, connection| {
            began.send(()).unwrap();
            std::io::Read::read(connection, &mut [0]).map(|_| ())
        });
        // A shell that runs the tests in the background may have them ignore the signal.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT")
            .arg(path())
            .args([option, &server.url("/")]);
        let running = start(&mut command);
        begun.recv_timeout(LIMIT).expect("the work begins");
        let process = running.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &process])
                .status()
                .unwrap()
                .success()
        );
        let run = running.finish_within(Duration::from_secs(1));
        assert_eq!(run.status.signal(), Some(2), "{run:?}");
        assert!(!run.stdout.contains('['), "{run:?}");
    }
}
