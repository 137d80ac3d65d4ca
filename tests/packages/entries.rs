//! The ways into a worker, seen from programs that know nothing of them: whatever
//! they do, no worker does the work of their `main`.
//!
//! Each program notes in a file that its `main` runs, and prints what came of a
//! process pool.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::package::Package;

/// The part that the programs have in common.
const PRELUDE: &str = r#"
use std::io::Write;
use concurrent_futures::{Error, ProcessPoolExecutor};

fn note() {
    let mut file = std::fs::OpenOptions::new();
    let file = file.append(true).create(true).open(std::env::var_os("MAINS").unwrap());
    file.unwrap().write_all(b"main\n").unwrap();
}

fn work() -> Result<u64, Error> {
    let executor = ProcessPoolExecutor::with_max_workers(2)?;
    executor.map(|n: u64| n * n, 1..=4)?.sum()
}

fn say(outcome: Result<u64, Error>) {
    match outcome {
        Ok(sum) => println!("{sum}"),
        Err(error) => println!("{error}"),
    }
}
"#;

const PROGRAMS: [(&str, &str); 5] = [
    ("without_init", "fn main() { note(); say(work()); }"),
    (
        "init_first",
        "fn main() { concurrent_futures::init(); note(); say(work()); }",
    ),
    (
        "init_late",
        "fn main() { note(); say(work()); concurrent_futures::init(); say(work()); }",
    ),
    (
        "patient",
        r#"fn main() {
            note();
            println!("ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            say(work());
        }"#,
    ),
    (
        "marked",
        r#"fn main() {
            let how = std::env::args().nth(1).unwrap();
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            let other = std::thread::spawn(move || receiver.recv());
            if how == "init alone" {
                drop(sender);
                let _ = other.join().unwrap();
                // The system takes a moment longer than `join`.
                while std::fs::read_dir("/proc/self/task").unwrap().count() > 1 {}
            }
            if how == "pool" {
                say(work());
            } else {
                concurrent_futures::init();
            }
            let _ = note;
            println!("marked: {}", std::env::var_os("CONCURRENT_FUTURES_WORKER").is_some());
        }"#,
    ),
];

fn programs(name: &str, dependency: &str) -> Package {
    let named =
        |(program, main): (&str, &str)| (format!("{name}_{program}"), format!("{PRELUDE}{main}"));
    let package = Package::write_with(name, "2021", dependency, &PROGRAMS.map(named));
    let build = package.run(&["build"]);
    assert!(build.status.success(), "{}", texts(&build).1);
    package
}

/// With the hook.
fn hooked() -> &'static Package {
    static PACKAGE: OnceLock<Package> = OnceLock::new();
    PACKAGE.get_or_init(|| programs("hooked", ""))
}

/// Without.
fn unhooked() -> &'static Package {
    static PACKAGE: OnceLock<Package> = OnceLock::new();
    PACKAGE.get_or_init(|| programs("unhooked", ", default-features = false"))
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A file of the test's own, in place of an older one.
fn file(package: &Package, name: &str) -> PathBuf {
    let file = package.target().join(format!("of-{name}"));
    let _ = fs::remove_file(&file);
    file
}

/// Returns the program's output, if its `main` ran once and once only.
fn printed(package: &Package, program: &str) -> String {
    let mains = file(package, program);
    let binary = package.target().join("debug").join(program);
    let run = Command::new(binary).env("MAINS", &mains).output().unwrap();
    let (printed, errors) = texts(&run);
    assert!(run.status.success(), "{program}: {errors}");
    assert_eq!(errors, "", "{program}");
    assert_eq!(fs::read_to_string(mains).unwrap(), "main\n", "{program}");
    printed
}

#[test]
fn with_the_hook_nothing_is_to_be_written() {
    assert_eq!(printed(hooked(), "hooked_without_init"), "30\n");
}

#[test]
fn with_the_hook_init_may_come_first_or_late() {
    assert_eq!(printed(hooked(), "hooked_init_first"), "30\n");
    assert_eq!(printed(hooked(), "hooked_init_late"), "30\n30\n");
}

#[test]
fn without_the_hook_init_is_asked_for() {
    let printed = printed(unhooked(), "unhooked_without_init");
    assert!(
        printed.contains("call `concurrent_futures::init()` first in `main`"),
        "{printed}"
    );
}

#[test]
fn without_the_hook_init_makes_workers() {
    assert_eq!(printed(unhooked(), "unhooked_init_first"), "30\n");
}

#[test]
fn without_the_hook_a_late_init_is_none() {
    let printed = printed(unhooked(), "unhooked_init_late");
    let lines: Vec<_> = printed.lines().collect();
    let [first, second] = lines[..] else {
        panic!("{printed}");
    };
    assert_eq!(first, second);
    assert!(
        first.contains("call `concurrent_futures::init()` first in `main`"),
        "{first}"
    );
}

/// To change the environment while another thread may be reading it is undefined.
#[test]
fn the_marker_goes_at_an_entry_and_never_beside_other_threads() {
    let binary = unhooked().target().join("debug/unhooked_marked");
    for (how, stays) in [("init alone", false), ("init beside", true), ("pool", true)] {
        let run = Command::new(&binary)
            .arg(how)
            .env("CONCURRENT_FUTURES_WORKER", "init 1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (printed, errors) = texts(&run);
        assert!(
            printed.contains(&format!("marked: {stays}")),
            "{how}: {printed}{errors}"
        );
    }
}

/// Starts a copy of the program, changes the file under it, and lets it work.
fn printed_after(change: impl FnOnce(&Path), name: &str) -> String {
    let package = hooked();
    let mains = file(package, &format!("{name}-mains"));
    let copy = file(package, name);
    // By a program of its own: a file that this one has open for writing, and
    // with it any program that another test starts just then, cannot be run.
    let original = package.target().join("debug/hooked_patient");
    let copied = Command::new("cp").arg(original).arg(&copy).status();
    assert!(copied.unwrap().success());
    let mut program = Command::new(&copy)
        .env("MAINS", &mains)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    change(&copy);
    program.stdin.take().unwrap().write_all(b"go\n").unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert!(program.wait().unwrap().success());
    assert_eq!(fs::read_to_string(mains).unwrap(), "main\n");
    line
}

#[test]
fn a_program_whose_file_is_deleted_has_workers() {
    let deleted = |file: &Path| fs::remove_file(file).unwrap();
    assert_eq!(printed_after(deleted, "deleted"), "30\n");
}

#[test]
fn a_program_whose_file_is_replaced_has_workers_of_its_own_kind() {
    let replaced = |file: &Path| {
        fs::remove_file(file).unwrap();
        let copied = Command::new("cp").arg("/bin/false").arg(file).status();
        assert!(copied.unwrap().success());
    };
    assert_eq!(printed_after(replaced, "replaced"), "30\n");
}

#[test]
fn examples_in_documentation_have_workers_in_either_edition() {
    for edition in ["2021", "2024"] {
        let package = Package::write_with(&format!("documented{edition}"), edition, "", &[]);
        let line = "//! let executor = concurrent_futures::ProcessPoolExecutor::new().unwrap();\n\
                    //! let future = executor.submit(|n: i32| n + 1, 1).unwrap();\n\
                    //! assert_eq!(future.into_result().unwrap(), 2);\n";
        let text = format!("//! ```\n{line}//! ```\n//!\n//! ```\n{line}//! ```\n");
        package.add("src/lib.rs", &text);
        let test = package.run(&["test", "--doc"]);
        let (printed, errors) = texts(&test);
        assert!(test.status.success(), "{edition}: {printed}{errors}");
        assert!(printed.contains("2 passed"), "{edition}: {printed}");
    }
}

#[test]
fn benchmarks_without_a_harness_and_tests_have_workers() {
    let package = Package::write_with("benched", "2024", "", &[]);
    package.add(
        "src/lib.rs",
        "#[test]\nfn works() {\n    let executor = concurrent_futures::ProcessPoolExecutor::new().unwrap();\n    \
         assert_eq!(executor.submit(|n: i32| n + 1, 1).unwrap().into_result().unwrap(), 2);\n}\n",
    );
    package.add(
        "own.rs",
        &format!("{PRELUDE}fn main() {{ let _ = note; say(work()); }}"),
    );
    package.append_manifest("\n[[bench]]\nname = \"own\"\npath = \"own.rs\"\nharness = false\n");
    for command in [
        &["test", "--lib"][..],
        &["bench", "--bench", "own", "--profile", "dev"],
    ] {
        let run = package.run(command);
        let (printed, errors) = texts(&run);
        assert!(run.status.success(), "{command:?}: {printed}{errors}");
        let wanted = if command[0] == "test" {
            "1 passed"
        } else {
            "30\n"
        };
        assert!(printed.contains(wanted), "{command:?}: {printed}");
    }
}
