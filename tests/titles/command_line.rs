//! The command line: its options, and their errors.

use crate::file::File;
use crate::program::{POOLS, Run, command, start, start_with_input, titles};
use crate::server::{Server, html};

#[track_caller]
fn is_wrong_usage(args: &[&str]) {
    let run = titles(args);
    assert_eq!(
        (run.code(), &*run.stdout),
        (Some(2), ""),
        "{args:?} {run:?}"
    );
    assert_eq!(run.stderr.lines().count(), 1, "{args:?} {run:?}");
    assert!(run.stderr.starts_with("titles: "), "{args:?} {run:?}");
}

#[test]
fn wrong_usage_is_status_2_and_a_sentence() {
    for seconds in [
        "0", "-1", "-0", "nan", "inf", "-inf", "infinity", "", "soon", "1s",
    ] {
        is_wrong_usage(&["--timeout", seconds, "http://127.0.0.1:1/"]);
        is_wrong_usage(&[&format!("--timeout={seconds}"), "http://127.0.0.1:1/"]);
    }
    for workers in ["0", "-1", "1.5", "many", "", "99999999999999999999999"] {
        is_wrong_usage(&["--workers", workers, "http://127.0.0.1:1/"]);
    }
    is_wrong_usage(&["--pool", "swimming"]);
    is_wrong_usage(&["--pool", "Threads"]);
    for pool in ["inline", "threads", "mpi"] {
        is_wrong_usage(&["--launcher", "nice", "--pool", pool]);
    }
    if !cfg!(feature = "mpi") {
        is_wrong_usage(&["--pool", "mpi"]);
    }
    is_wrong_usage(&["--launcher", "nice"]);
    for words in ["", " "] {
        is_wrong_usage(&["--pool", "processes", "--launcher", words]);
        is_wrong_usage(&["--launcher=nice", "--launcher", words, "--pool=processes"]);
    }
    for option in ["--pool", "--workers", "--launcher", "--timeout", "--from"] {
        is_wrong_usage(&[option]);
    }
    is_wrong_usage(&["--no-such-option"]);
    is_wrong_usage(&["-x"]);
    is_wrong_usage(&["--json=yes"]);
    is_wrong_usage(&["--offline", "http://127.0.0.1:1/"]);
    is_wrong_usage(&["--offline", "--from", "/dev/null"]);
    is_wrong_usage(&["--from", "/no/such/file"]);
    is_wrong_usage(&["--from", "/no/such\nfile"]);
    is_wrong_usage(&["--from", "/"]);
}

#[test]
fn help_goes_to_standard_output() {
    for args in [&["--help"][..], &["-h"], &["--json", "--help"]] {
        let run = titles(args);
        assert_eq!((run.code(), &*run.stderr), (Some(0), ""));
        for option in [
            "--from",
            "--offline",
            "--pool",
            "--workers",
            "--launcher",
            "--timeout",
            "--trace",
            "--json",
        ] {
            assert!(run.stdout.contains(option), "{option} in {}", run.stdout);
        }
    }
}

#[test]
fn help_names_what_is_left_out_on_purpose() {
    let help = titles(["--help"]).stdout;
    for left_out in ["cookies", "refresh", "XHTML", "gzip", "scripts"] {
        assert!(help.contains(left_out), "{left_out} in {help}");
    }
}

#[test]
fn options_in_any_form_and_place() {
    let server = Server::of(html("<title>here</title>"));
    let url = server.url("/");
    let line = format!("{url}  here");
    for args in [
        &["--timeout=2.5", &url, "--pool=inline"][..],
        &[&url, "--pool", "inline", "--timeout", "1e1"],
        &["--workers", "3", "--timeout", "1e300", "--", &url],
        &["--trace", &url, "--workers=1", "--timeout", ".5e2"],
    ] {
        let run = titles(args);
        assert_eq!(
            (run.pages(), run.code()),
            (vec![&*line], Some(0)),
            "{args:?} {run:?}"
        );
    }
}

/// The addresses that a run was about.
fn addresses(run: &Run) -> Vec<&str> {
    run.pages()
        .into_iter()
        .map(|line| line.split_once("  ").unwrap().0)
        .collect()
}

const LIST: &[u8] =
    b"\xef\xbb\xbf# a list\r\none\r\n\r\n  two\t\r\n   # more\r\n \xff \r\nthree # four";

#[test]
fn addresses_from_a_file() {
    let file = File::new("list", LIST);
    let other = File::new("other", b"five");
    let run = titles(["--from", file.path()]);
    assert_eq!(addresses(&run), ["one", "two", "\u{fffd}", "three # four"]);
    let run = titles([
        "--from",
        other.path(),
        "zero",
        "--from",
        file.path(),
        "half",
    ]);
    assert_eq!(
        addresses(&run),
        [
            "zero",
            "half",
            "five",
            "one",
            "two",
            "\u{fffd}",
            "three # four"
        ]
    );
    assert_eq!(run.code(), Some(1));
}

/// Some programs save text so.
#[test]
fn addresses_from_a_file_of_utf_16() {
    let little = "\u{feff}one\r\ntwo\r\n".encode_utf16();
    let big = little
        .clone()
        .flat_map(u16::to_be_bytes)
        .collect::<Vec<_>>();
    let little = little.flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    for bytes in [little, big] {
        let file = File::new("utf-16", &bytes);
        assert_eq!(addresses(&titles(["--from", file.path()])), ["one", "two"]);
    }
}

/// Another page would be asked for.
#[test]
fn an_address_with_bytes_that_are_not_utf_8_is_not_asked_for() {
    let server = Server::of(html("<title>another</title>"));
    let mut list = server.url("/caf").into_bytes();
    list.push(0xe9);
    let run = start_with_input(&mut command(["--from", "-"]), &list).finish();
    let said = "error: the address has U+FFFD, which stands for bytes that are not UTF-8";
    assert!(run.pages()[0].ends_with(said), "{run:?}");
}

#[test]
fn addresses_from_standard_input() {
    let run = start_with_input(&mut command(["--from", "-"]), LIST).finish();
    assert_eq!(addresses(&run), ["one", "two", "\u{fffd}", "three # four"]);
    let run = start_with_input(&mut command(["zero", "--from", "-"]), b"one\n").finish();
    assert_eq!(addresses(&run), ["zero", "one"]);
}

#[test]
fn bad_addresses_are_errors_of_their_own() {
    for (address, error) in [
        (
            "talkpython.fm",
            "the address has no scheme: write https://talkpython.fm",
        ),
        (
            "127.0.0.1:80/x",
            "the address has no scheme: write https://127.0.0.1:80/x",
        ),
        (
            "localhost:8000",
            "the address has no scheme: write https://localhost:8000",
        ),
        (
            "example.com:80/x",
            "the address has no scheme: write https://example.com:80/x",
        ),
        (
            "//example.com/",
            "the address has no scheme: write https://example.com/",
        ),
        (
            "ftp://example.com/",
            "the scheme ftp is neither http nor https",
        ),
        (
            "file:///etc/passwd",
            "the scheme file is neither http nor https",
        ),
        (
            "data:text/html,<title>x</title>",
            "the scheme data is neither http nor https",
        ),
        (
            "mailto:a@example.com",
            "the scheme mailto is neither http nor https",
        ),
        // Begins as a port does.
        ("data:1,2", "the scheme data is neither http nor https"),
        ("tel:5550100", "the scheme tel is neither http nor https"),
        ("", "the address is empty"),
        (" ", "the address is empty"),
        (
            " example.com ",
            "the address has no scheme: write https://example.com",
        ),
        ("http://", "not an address: empty host"),
        (
            "http://a b/",
            "not an address: invalid international domain name",
        ),
        (
            "http://127.0.0.1:99999/",
            "not an address: invalid port number",
        ),
        ("http://1.2.3.456/", "not an address: invalid IPv4 address"),
    ] {
        let run = titles([address]);
        assert_eq!(run.pages(), [format!("{address}  error: {error}")]);
        assert_eq!((run.code(), &*run.stderr), (Some(1), ""), "{address}");
    }
}

#[test]
fn a_bad_address_harms_no_other() {
    let server = Server::of(html("<title>here</title>"));
    let run = titles(["nonsense", &server.url("/"), "ftp://x/"]);
    assert_eq!(run.pages()[1], format!("{}  here", server.url("/")));
}

/// Five lines about pages on loopback, one of them without a title.
fn is_demonstration(run: &Run, pool: &str) {
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], format!("Starting 5 downloads on {pool}"));
    let pages = run.pages();
    assert_eq!(pages.len(), 5, "{run:?}");
    assert!(
        pages
            .iter()
            .all(|line| line.starts_with("http://127.0.0.1:")),
        "{run:?}"
    );
    assert!(
        pages.iter().all(|line| !line.contains("  error: ")),
        "{run:?}"
    );
    let untitled = pages
        .iter()
        .filter(|line| line.ends_with("  no title"))
        .count();
    assert_eq!((untitled, run.code()), (1, Some(0)), "{run:?}");
}

/// The lines about pages on loopback, without the hosts and ports of their addresses: each run has a
/// server of its own, at a port of its own.
fn paths_and_titles(run: &Run) -> Vec<String> {
    let path = |line: &str| line.splitn(4, '/').nth(3).unwrap().to_owned();
    run.pages().into_iter().map(path).collect()
}

#[test]
fn offline_pages() {
    let pages = POOLS.map(|pool| {
        let run = titles(["--offline", "--pool", pool]);
        is_demonstration(&run, pool);
        assert_eq!(run.stderr, "");
        paths_and_titles(&run)
    });
    assert_eq!(pages[0], pages[1]);
    assert_eq!(pages[0], pages[2]);
    assert_eq!(titles(["--offline", "--json"]).rows().len(), 5);
    for launchers in [
        &["--launcher", "nice"][..],
        &["--launcher=nice -n 1", "--launcher= nice "],
    ] {
        let run = titles([&["--offline", "--pool", "processes"], launchers].concat());
        is_demonstration(&run, "processes");
        assert_eq!(run.stderr, "");
        assert_eq!(paths_and_titles(&run), pages[1], "{launchers:?}");
    }
}

#[test]
fn without_addresses() {
    // What it does depends on where the tests run: with names, or without.
    let mut bare = command::<&str>([]);
    let run = start(bare.env("ALL_PROXY", "http://127.0.0.1:1/")).finish();
    if run.stderr.is_empty() {
        let pages = run.pages();
        assert_eq!(pages.len(), 5, "{run:?}");
        assert!(pages[0].starts_with("https://talkpython.fm  "), "{run:?}");
    } else {
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        assert!(
            run.stderr.starts_with("titles: no name resolves here"),
            "{run:?}"
        );
        is_demonstration(&run, "threads");
    }
}
