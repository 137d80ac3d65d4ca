//! Checks that no compiler makes: layers, circles, words, the list of behaviours.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

mod imports;
mod map;
#[path = "../../ci/planted.rs"]
mod planted;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The layer of each module: one imports from lower layers only, and from
/// below its own folder. `lib.rs` sees all.
const LAYERS: &[(&str, u8)] = &[
    ("sys", 0),
    ("state", 0),
    ("report", 0),
    ("submit", 0),
    ("timing", 0),
    ("worker", 0),
    ("json", 1),
    ("sync", 1),
    ("encoded", 1),
    ("panic", 2),
    ("error", 3),
    ("completion", 4),
    ("waitable", 5),
    ("future", 6),
    ("completion_set", 6),
    ("wait", 7),
    ("as_completed", 7),
    ("completions", 7),
    ("map", 7),
    ("executor", 8),
    ("inline", 9),
    ("process", 9),
    ("thread", 9),
    ("promise", 10),
];

/// Python's own tests, by the numbers that they have here: those of futures and
/// threads, of initializers, and of executors that are like one of threads.
const PYTHONS: RangeInclusive<u32> = 1..=154;

/// Behaviours that the tests of other libraries show beyond Python's.
const NEIGHBOURS: &[&str] = &[
    "loky idle-timeout",
    "loky memory-growth",
    "loky nesting-depth",
    "loky submit-in-callback",
    "loky submit-in-callback-while-crashing",
    "loky crash-together",
    "loky queue-full",
    "loky crash-in-argument-drop",
    "loky kill-in-shutdown",
    "loky stdin-and-env",
    "pebble task-timeout",
    "pebble cancel-running",
    "pebble ignores-sigterm",
    "pebble failing-iterable",
    "pebble exception-isolated",
    "pebble stop-with-large-data",
    "pebble deadlock-new-futures-results-cancels",
    "pebble map-timeout-per-chunk",
    "pebble pool-in-worker",
    "mpi4py bootup",
    "mpi4py unordered",
    "mpi4py starmap",
    "mpi4py collect",
    "mpi4py compose",
    "mpi4py then-chain",
    "mpi4py initializer-failing-then-drop",
    "threadpool recovery-after-panic",
    "threadpool panic-after-drop",
    "threadpool shrink-and-grow",
    "threadpool repeated-join",
    "threadpool multi-threaded-join",
    "rusty_pool wave-join",
    "rusty_pool join-timeout",
    "rusty_pool handle-drop",
    "procspawn kill",
    "procspawn nested",
    "procspawn overload",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below `folder`, with their texts; not those that cargo makes.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The module of the crate's root that a source file belongs to.
fn module_of(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str();
    Path::new(first)
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// The largest number of lines from a comment `ORDERING` to the access that it is about:
/// one comment may stand above a loop.
const FROM_ORDERING: usize = 14;

#[test]
fn each_ordering_has_a_comment_that_argues_it() {
    const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let name = path.to_str().unwrap();
        if ["tests", "model", "fuzz"]
            .iter()
            .any(|part| name.contains(part))
        {
            continue;
        }
        let lines: Vec<&str> = imports::before_tests(&text).lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let has = |ordering| line.contains(&format!("Ordering::{ordering}"));
            let above = &lines[at.saturating_sub(FROM_ORDERING)..at];
            if !line.trim_start().starts_with("//")
                && ORDERINGS.into_iter().any(has)
                && !above.iter().any(|line| line.contains("// ORDERING: "))
            {
                faults.push(format!("{name}:{}: {line}", at + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The code of a file without its comments and documentation.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn modules_import_from_lower_layers_only() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let Some(own) = layers.get(&*module) else {
            faults.push(format!("{}: no layer for it in tests/tidy", path.display()));
            continue;
        };
        for line in code(&text) {
            for used in line.split("crate::").skip(1) {
                let end = used.find(|c: char| !c.is_alphanumeric() && c != '_');
                let used = &used[..end.unwrap_or(used.len())];
                if used == module || used.is_empty() {
                    continue;
                }
                match layers.get(used) {
                    Some(layer) if layer < own => {}
                    Some(_) => faults.push(format!("{}: {module} uses {used}", path.display())),
                    None => faults.push(format!(
                        "{}: name the module, not the re-export `crate::{used}`",
                        path.display()
                    )),
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_files_import_in_a_circle() {
    let graph = imports::graph();
    let imports: usize = graph.values().map(BTreeSet::len).sum();
    assert!(
        graph.len() > 50 && imports > 200,
        "it has found the sources"
    );
    assert_eq!(imports::circle(&graph), None);
}

#[test]
fn no_file_has_500_lines_without_its_tests() {
    let mut sources = sources("src");
    sources.retain(|(path, _)| !imports::is_test(path));
    assert!(sources.len() > 100, "it has found the sources");
    let lines = |text: &str| imports::before_tests(text).lines().count();
    let is_long = |(_, text): &(PathBuf, String)| lines(text) >= 500;
    let long: Vec<_> = sources.into_iter().filter(is_long).collect();
    let long: Vec<_> = long.iter().map(|(path, _)| path).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn each_file_says_what_it_is() {
    for folder in ["src", "tests", "examples", "benches"] {
        for (path, text) in sources(folder) {
            assert!(
                text.starts_with("//!"),
                "{} opens with `//!`",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_lives_in_few_files() {
    let homes = [
        "src/completion/callbacks.rs",
        "src/completion/cell.rs",
        "src/completion/deadlock.rs",
        "src/completion/fork_tests.rs",
        "src/completion/inline_worker.rs",
        "src/completion/memory.rs",
        "src/completion/mod.rs",
        "src/completion/model.rs",
        "src/completion/notification.rs",
        "src/completion/rare.rs",
        "src/completion/remote_end.rs",
        "src/completion/running.rs",
        "src/completion/scope_count.rs",
        "src/completion/scope_end.rs",
        "src/completion/scope_guard.rs",
        "src/completion/storage.rs",
        "src/completion/transitions.rs",
        "src/future/awaiting.rs",
        "src/future/handle.rs",
        "src/process/wire/call.rs",
        "src/process/wire/call/tests.rs",
        "src/process/wire/codec/block.rs",
        "src/process/parent/worker_replies/tests.rs",
        "src/process/transport/mpi.rs",
        "src/process/transport/mpi/messages.rs",
        "src/process/worker/answers.rs",
        "src/process/worker/entry.rs",
        "src/process/parent/submit.rs",
        "src/process/worker/serve/tests.rs",
        "src/sys/child.rs",
        "src/sys/constructors.rs",
        "src/sys/dynamic_section.rs",
        "src/sys/fork.rs",
        "src/sys/image.rs",
        "src/sys/numbers.rs",
        "src/sys/life.rs",
        "src/sys/current_process.rs",
        "src/sys/parent.rs",
        "src/sys/shared_memory.rs",
        "src/sys/signals.rs",
        "src/sync.rs",
        "src/thread/deque.rs",
        "src/thread/model.rs",
        "src/thread/queue.rs",
        "src/thread/submit.rs",
        "src/thread/scope.rs",
        "src/thread/worker_thread.rs",
    ];
    for (path, text) in sources("src") {
        let name = path.to_str().unwrap();
        let has = code(&text).any(|line| line.contains("unsafe "));
        assert!(!has || homes.contains(&name), "{name} has unsafe code");
    }
}

#[test]
fn each_behaviour_has_a_test_or_a_reason_and_each_test_exists() {
    let list = fs::read_to_string(root().join("tests/behaviours.tsv")).unwrap();
    let expected: Vec<String> = PYTHONS
        .map(|number| number.to_string())
        .chain(NEIGHBOURS.iter().map(ToString::to_string))
        .collect();
    let place = |name: &str| expected.iter().position(|expected| expected == name);
    let (mut shown, mut left_out) = (Vec::new(), Vec::new());
    let mut last = None;
    for row in list.lines().filter(|line| !line.starts_with("# ")) {
        let columns: Vec<&str> = row.split('\t').collect();
        let name = columns[0].trim_start_matches('#');
        let place = place(name).unwrap_or_else(|| panic!("no such behaviour: {row}"));
        assert!(last <= Some(place), "in the order of tests/tidy: {row}");
        last = Some(place);
        match columns[..] {
            [_, behaviour, executors, test] if !row.starts_with('#') => {
                assert!(!behaviour.is_empty(), "{row}");
                assert_test_exists(test, executors, row);
                shown.push(name.to_owned());
            }
            [_, reason] if row.starts_with('#') && reason.len() > 10 => {
                left_out.push(name.to_owned());
            }
            _ => panic!("four columns, or a name and a reason: {row}"),
        }
    }
    for name in &expected {
        let has = (shown.contains(name), left_out.contains(name));
        assert_ne!(
            has,
            (false, false),
            "{name} has neither a test nor a reason"
        );
        assert_ne!(
            has,
            (true, true),
            "{name} has a test, and a reason to have none"
        );
    }
}

/// A test is named `binary::modules::function`; those of
/// `contract` run on the executors of their list, and those of
/// `processes` are in a macro that gives each a process. `ui::case` is a program
/// that does not compile.
fn assert_test_exists(test: &str, executors: &str, row: &str) {
    let parts: Vec<&str> = test.split("::").collect();
    if let ["ui", case] = parts[..] {
        let file = root().join(format!("tests/ui/{case}.rs"));
        assert!(file.exists(), "no such program: {row}");
        return;
    }
    let [modules @ .., function] = &parts[..] else {
        panic!("no such test: {row}");
    };
    let file = format!("tests/{}.rs", modules.join("/"));
    let text = fs::read_to_string(root().join(&file)).unwrap();
    if !text.contains(&format!("\nfn {function}<X: Fixture>() {{")) {
        let plain = format!("#[test]\nfn {function}()");
        let alone = format!("\n    fn {function}() {{");
        let is_alone = file.starts_with("tests/processes/") && text.contains(&alone);
        assert!(
            is_alone || text.contains(&plain),
            "{file} has no test {function}: {row}"
        );
        return;
    }
    let (above, _) = text
        .split_once(&format!("\n        {function},\n"))
        .unwrap_or_else(|| panic!("no list of {file} has {function}: {row}"));
    let (_, list) = above.rsplit_once("\n    [").unwrap();
    let (runs_on, _) = list.split_once("] {").unwrap();
    assert_eq!(executors, runs_on.replace(", ", ","), "{row}");
}

#[test]
fn texts_speak_of_the_project_alone() {
    // Put together here, so that this file does not hold them itself.
    let forbidden =
        [["/wo", "rk/"], ["/ro", "ot/"], ["TO", "DO"], ["FIX", "ME"]].map(|s| s.concat());
    let mut texts: Vec<(PathBuf, String)> = ["src", "tests", "examples", "benches"]
        .iter()
        .flat_map(|folder| sources(folder))
        .collect();
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "md" || e == "toml") {
            let text = fs::read_to_string(&path).unwrap();
            texts.push((path, text));
        }
    }
    for (path, text) in texts {
        for word in &forbidden {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

/// So that a change of the sources shows at once which bug is to be written anew.
#[test]
fn each_planted_bug_fits_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("ci/planted.txt")).unwrap();
    let bugs = planted::read(&table).unwrap();
    let names: BTreeSet<&str> = bugs.iter().map(|bug| &*bug.name).collect();
    assert_eq!(names.len(), bugs.len(), "each has a name of its own");
    let plant = |bug: &planted::Planted| {
        let text = fs::read_to_string(root.join(&bug.file))
            .map_err(|error| format!("{}: {error}", bug.file))?;
        let changed = bug.plant(&text)? != text;
        (changed && has_tests(&bug.check))
            .then_some(())
            .ok_or_else(|| format!("{} changes nothing, or nothing checks it", bug.name))
    };
    let faults: Vec<String> = bugs.iter().filter_map(|bug| plant(bug).err()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Returns whether a check has something to run: one that names a test binary that is
/// not there fails without a bug as well.
fn has_tests(check: &str) -> bool {
    let mut words = check
        .split(' ')
        .skip_while(|word| *word != "--test")
        .skip(1);
    let is_binary = |name: &str| {
        let tests = root().join("tests");
        tests.join(name).join("main.rs").exists() || tests.join(format!("{name}.rs")).exists()
    };
    !check.is_empty() && words.next().is_none_or(is_binary)
}
