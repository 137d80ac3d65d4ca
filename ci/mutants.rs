//! Plants the bugs of `ci/planted.txt`, one after the other, in a copy of the tree, and runs the
//! check of each, which must fail. See `ci/mutants`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

mod planted;

use planted::Planted;

/// Seconds that a check may take: a bug may show as a hang, and the limit is what notices then.
const LIMIT: &str = "90";

/// After this time `--changed` begins no other bug: it is a part of every run of the checks.
const BUDGET: Duration = Duration::from_secs(45);

fn main() -> ExitCode {
    let start = Instant::now();
    let root = std::env::current_dir().expect("there is a current folder");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let table = fs::read_to_string("ci/planted.txt").expect("the table is committed");
    let mut bugs = planted::read(&table).expect("the table can be read");
    let budget = match &arguments[..] {
        [option, base @ ..] if option == "--changed" => {
            let commit = base.first().map_or("HEAD~1", String::as_str);
            let Some(files) = files_that_differ(commit) else {
                println!("{commit} is not here (a clone without history?): no bug is planted");
                return ExitCode::from(u8::from(!base.is_empty()));
            };
            bugs.retain(|bug| files.contains(&bug.file));
            BUDGET
        }
        parts => {
            let is_wanted = |bug: &Planted| parts.iter().any(|part| bug.name.contains(part));
            bugs.retain(|bug| parts.is_empty() || is_wanted(bug));
            Duration::MAX
        }
    };
    if Command::new("mpicc").arg("--version").output().is_err() {
        let all = bugs.len();
        bugs.retain(|bug| !bug.check.contains("--features mpi"));
        println!("without an MPI: {} bugs are left out", all - bugs.len());
    }
    // Neighbours share what was built.
    bugs.sort_by(|a, b| (&a.check, &a.file).cmp(&(&b.check, &b.file)));
    let tree = root.join("target/mutants/tree");
    copy(&root, &tree);
    let (mut missed, mut planted) = (0, 0);
    for (number, bug) in (1..).zip(&bugs) {
        let begin = Instant::now();
        if begin - start > budget {
            println!("left out for want of time: {}", bugs.len() - planted);
            break;
        }
        planted = number;
        let verdict = verdict(bug, &tree);
        let time = begin.elapsed().as_secs();
        let (words, noticed) = match &verdict {
            Ok(words) => (format!("noticed ({words})"), true),
            Err(words) => (words.clone(), false),
        };
        println!("{number}/{} {}: {words}, {time} s", bugs.len(), bug.name);
        missed += usize::from(!noticed);
    }
    println!("{} of {planted} bugs were noticed", planted - missed);
    ExitCode::from(u8::from(missed > 0))
}

/// Returns the files in which the tree differs from a commit; none if there is no such commit.
fn files_that_differ(base: &str) -> Option<Vec<String>> {
    let names = Command::new("git")
        .args(["diff", "--name-only", "--relative", base, "--"])
        .output()
        .expect("git is here");
    let list = String::from_utf8(names.stdout).expect("names are text");
    names
        .status
        .success()
        .then(|| list.lines().map(str::to_owned).collect())
}

/// Has the copy be like the tree, and leaves files alone that are the same: what was built of them
/// stays.
fn copy(root: &Path, tree: &Path) {
    let list = Command::new("git")
        .args(["ls-files", "-co", "--deduplicate", "--exclude-standard"])
        .output()
        .expect("git is here");
    let list = String::from_utf8(list.stdout).expect("names are text");
    let mut wanted: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for name in list.lines() {
        // Deleted in the working tree, but tracked.
        if let Ok(bytes) = fs::read(root.join(name)) {
            wanted.insert(tree.join(name), bytes);
        }
    }
    remove_all_but(&wanted, tree);
    for (path, bytes) in wanted {
        if fs::read(&path).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(path.parent().expect("it is in the tree")).expect("it can be made");
            let from = root.join(path.strip_prefix(tree).expect("it is in the tree"));
            // With its permissions: the checks are programs.
            fs::copy(from, &path).expect("it can be copied");
        }
    }
}

fn remove_all_but(wanted: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_all_but(wanted, &path);
        } else if !wanted.contains_key(&path) {
            fs::remove_file(path).expect("it can be removed");
        }
    }
}

/// Returns the test that noticed; or an error, if none did, or if the bug does not compile.
fn verdict(bug: &Planted, tree: &Path) -> Result<String, String> {
    let path = tree.join(&bug.file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", bug.file))?;
    fs::write(&path, bug.plant(&text)?).expect("the copy can be written");
    let build = bug.check.replacen("cargo test", "cargo test --no-run", 1);
    let build = build.replacen("ci/loom", "ci/loom --no-run", 1);
    let verdict = match run(&build, tree, "600") {
        built if !built.status.success() => Err("the bug DOES NOT COMPILE".to_owned()),
        _ => match run(&bug.check, tree, LIMIT) {
            passed if passed.status.success() => Err(format!("NOT NOTICED by `{}`", bug.check)),
            failed => Ok(first_failure(&failed)),
        },
    };
    fs::write(&path, text).expect("the copy can be written");
    verdict
}

fn run(command: &str, tree: &Path, seconds: &str) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", seconds, "bash", "-c", command])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
        .output()
        .expect("bash is here")
}

fn first_failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut failed = text
        .lines()
        .filter_map(|line| line.strip_suffix(" ... FAILED"));
    let name = failed.find_map(|line| line.strip_prefix("test "));
    name.unwrap_or("a hang or an abort").to_owned()
}
