//! Launchers that copy the program to the other side before they start it.

use std::env::{current_exe, temp_dir};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, Launcher, ProcessPoolExecutor};

use crate::by_main::{NamedTest, list, named, wait_until};
use crate::fixture::{Gate, double, hold};
use crate::launcher::{launcher, pool, script};

list! {
    a_program_is_copied_to_where_it_is_not,
}

/// These tests need commands of this host.
pub(crate) fn tests_of_commands() -> Vec<NamedTest> {
    named![
        a_program_is_copied_once,
        the_cache_lies_in_the_home_if_no_variable_names_it,
        the_words_of_a_copy_pass_a_shell,
        what_a_login_shell_prints_comes_before_the_copy,
        the_first_worker_copies_and_the_others_wait,
        a_copy_that_is_cut_off_leaves_no_file,
        a_folder_that_cannot_be_written_is_named,
        a_copy_that_nothing_takes_is_given_up,
        a_command_that_requests_without_end_is_ended,
        a_copy_that_takes_long_is_no_silence,
        a_copy_changes_nothing_else_for_the_tasks,
        a_killed_copy_is_removed_by_a_later_one,
        a_machine_of_another_kind_is_named,
        a_shutdown_does_not_wait_for_a_copy,
        copies_without_use_are_removed_after_a_month,
        a_copy_that_was_damaged_is_replaced_or_named,
    ]
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Returns a launcher whose other side has its cache in this folder.
    fn launcher(&self) -> Launcher {
        Launcher::command(["env", &self.variable("XDG_CACHE_HOME")]).stage(true)
    }

    fn variable(&self, name: &str) -> String {
        format!("{name}={}", self.0.display())
    }

    fn cache(&self) -> PathBuf {
        self.0.join("concurrent-futures")
    }

    /// Returns the files of a cache in this folder, complete or not.
    fn copies(&self) -> Vec<PathBuf> {
        files(&self.cache())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Returns the path of the program that a worker of the pool runs.
fn program(pool: &ProcessPoolExecutor) -> PathBuf {
    let path = pool.submit(|()| current_exe().unwrap(), ()).unwrap();
    path.into_result().unwrap()
}

fn is_this_program(path: &Path) -> bool {
    fs::read(path).unwrap() == fs::read(current_exe().unwrap()).unwrap()
}

fn refusal(pool: &ProcessPoolExecutor) -> String {
    let error = pool.submit(double, 1).unwrap().exception().unwrap();
    assert!(matches!(error, Error::Broken(_)), "{error}");
    error.to_string()
}

/// Tasks have the files of the other side before them, which may be another host.
fn a_program_is_copied_to_where_it_is_not() {
    let folder = temp_dir().join(format!("staged by {}", std::process::id()));
    let wanted = folder.join("it's $HOME");
    let launcher = || launcher().stage(true).program(&wanted);
    let first = pool(launcher());
    let copy = program(&first);
    assert!(
        copy.to_str().unwrap().starts_with(wanted.to_str().unwrap()),
        "{copy:?}"
    );
    let mark = |path: PathBuf| {
        let file = fs::metadata(path).unwrap();
        (file.ino(), file.len())
    };
    let marks = first.submit(mark, copy.clone()).unwrap();
    let marks = marks.into_result().unwrap();
    first.shutdown();

    let second = pool(launcher());
    assert_eq!(program(&second), copy);
    let same = second.submit(mark, copy).unwrap().into_result().unwrap();
    assert_eq!(same, marks, "it was copied again");
    let remove = |folder: PathBuf| fs::remove_dir_all(folder).is_ok();
    assert!(
        second
            .submit(remove, folder)
            .unwrap()
            .into_result()
            .unwrap()
    );
}

fn a_program_is_copied_once() {
    let folder = Folder::new("copied-once");
    for _ in 0..2 {
        let pool = pool(folder.launcher());
        let copy = program(&pool);
        assert_eq!(folder.copies(), std::slice::from_ref(&copy));
        assert_eq!(copy.parent(), Some(&*folder.cache()));
        assert!(is_this_program(&copy));
        for path in [&*copy, &folder.cache()] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{path:?}");
        }
    }
    let name = current_exe().unwrap();
    let name = name.file_name().unwrap().to_str().unwrap();
    let copy = folder.copies().remove(0);
    let hash = copy.file_name().unwrap().to_str().unwrap();
    let hash = hash.strip_prefix(&format!("{name}-")).unwrap();
    assert_eq!(hash.len(), 16, "{hash}");
    // A copy of another build has another name.
    fs::rename(
        &copy,
        folder.cache().join(format!("{name}-0123456789abcdef")),
    )
    .unwrap();
    assert_eq!(program(&pool(folder.launcher())), copy);
    assert_eq!(folder.copies().len(), 2);
}

fn the_cache_lies_in_the_home_if_no_variable_names_it() {
    let folder = Folder::new("home");
    let home = folder.variable("HOME");
    let words = ["env", "-u", "XDG_CACHE_HOME", &home];
    let copy = program(&pool(Launcher::command(words).stage(true)));
    assert_eq!(
        copy.parent(),
        Some(&*folder.0.join(".cache/concurrent-futures"))
    );
    let words = ["env", "-u", "XDG_CACHE_HOME", "-u", "HOME"];
    let text = refusal(&pool(Launcher::command(words).stage(true)));
    assert!(text.contains("HOME: is not set"), "{text}");
}

fn the_words_of_a_copy_pass_a_shell() {
    let folder = Folder::new("passes a shell");
    let shell = folder.0.join("ssh");
    fs::write(&shell, "#!/bin/sh\nshift; exec sh -c \"$*\"\n").unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o700)).unwrap();
    let wanted = folder.0.join("it's a \"program\"; $(false) `false` * =");
    let wrong = Launcher::command([shell.clone(), "node".into()])
        .stage(true)
        .program(&wanted);
    let built = ProcessPoolExecutor::builder().launcher(wrong).build();
    assert!(matches!(built, Err(Error::InvalidArgument(_))), "{built:?}");
    let wanted = folder.0.join("it's a \"program\"; $(false) `false` *");
    let launcher = Launcher::command([shell, "node".into()])
        .stage(true)
        .program(&wanted);
    let copy = program(&pool(launcher));
    let (copy, wanted) = (copy.to_str().unwrap(), wanted.to_str().unwrap());
    assert!(copy.starts_with(wanted), "{copy}");
}

fn what_a_login_shell_prints_comes_before_the_copy() {
    let folder = Folder::new("login");
    let words = "echo Welcome; printf '\\000concurrent-futures co'; exec env";
    let noisy = format!("{words} {} \"$@\"", folder.variable("XDG_CACHE_HOME"));
    for _ in 0..2 {
        let pool = pool(script(&noisy).stage(true));
        assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
    }
}

fn the_first_worker_copies_and_the_others_wait() {
    let folder = Folder::new("alone");
    let log = folder.0.join("log");
    let counts = format!("echo start >>{}; exec \"$@\"", log.display());
    let [sh, c, name] = ["sh", "-c", "sh"];
    let cache = folder.variable("XDG_CACHE_HOME");
    let launcher = Launcher::command([sh, c, &counts, name, "env", &cache]);
    let pool = pool(launcher.workers(3).stage(true));
    let mut gate = Gate::new();
    let held: Vec<_> = (0..3)
        .map(|n| pool.submit(hold, (gate.port(), n)).unwrap())
        .collect();
    gate.wait_for(3);
    assert_eq!(pool.stats().workers, 3);
    assert_eq!(folder.copies().len(), 1);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3);
    gate.open();
    assert!(held.iter().all(|task| task.result().is_ok()));
}

fn a_copy_that_is_cut_off_leaves_no_file() {
    let folder = Folder::new("cut-off");
    let variable = folder.variable("XDG_CACHE_HOME");
    let cut = format!("head -c 100000 | env {variable} \"$@\"");
    let launcher = script(&cut).stage(true).name("cut");
    let text = refusal(&pool(launcher));
    for part in [
        "`cut`: it exited with code 1 while its program was copied",
        "could not be copied to",
        folder.0.to_str().unwrap(),
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(folder.copies().is_empty(), "{:?}", folder.copies());
    // The next one goes on as if nothing had been there.
    assert!(is_this_program(&program(&pool(folder.launcher()))));
}

fn a_folder_that_cannot_be_written_is_named() {
    let folder = Folder::new("unwritable");
    fs::write(folder.cache(), "a file in the place of the folder").unwrap();
    let text = refusal(&pool(folder.launcher()));
    for part in ["before its program began", "could not be copied to"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains(folder.cache().to_str().unwrap()), "{text}");
}

/// A script that requests the program, and takes nothing of it.
const TAKES_NOTHING: &str = "printf '\\000concurrent-futures copier, wire 1\\n'; exec sleep 100";

fn a_copy_that_nothing_takes_is_given_up() {
    let start = Instant::now();
    let launcher = script(TAKES_NOTHING).stage(true);
    let text = refusal(&pool(launcher.start_limit(Duration::from_millis(200))));
    assert!(text.contains("while its program was copied"), "{text}");
    assert!(text.contains("did not go on for 200ms"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(50));
}

fn a_command_that_requests_without_end_is_ended() {
    let requests = "while true; do printf '\\000concurrent-futures copier, wire 1\\n'; done";
    let text = refusal(&pool(script(requests).stage(true)));
    assert!(text.contains("requested more of the program"), "{text}");
}

/// A slow network takes the program bit by bit.
fn a_copy_that_takes_long_is_no_silence() {
    let folder = Folder::new("slow");
    let limit = Duration::from_secs(1);
    // As much as a socket holds, with pauses.
    let slow = format!(
        "{{ for i in $(seq 100); do dd bs=1M count=1 2>/dev/null; sleep 0.02; done; cat; }} | \
         env {} \"$@\"",
        folder.variable("XDG_CACHE_HOME")
    );
    let start = Instant::now();
    let pool = pool(script(&slow).stage(true).start_limit(limit));
    assert!(is_this_program(&program(&pool)));
    assert!(start.elapsed() > 2 * limit, "{:?}", start.elapsed());
}

fn a_copy_changes_nothing_else_for_the_tasks() {
    let folder = Folder::new("changes");
    let words = "umask 027; p=mine; c=mine; f=mine; export p c f; exec env";
    let words = format!("{words} {} \"$@\"", folder.variable("XDG_CACHE_HOME"));
    for stages in [false, true, true] {
        let pool = pool(script(&words).stage(stages));
        let about = |file: PathBuf| {
            let _ = fs::remove_file(&file);
            fs::write(&file, "a result").unwrap();
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            let variables = ["p", "c", "f"].map(|name| std::env::var(name).unwrap());
            (mode & 0o777, variables.concat())
        };
        let about = pool.submit(about, folder.0.join("result")).unwrap();
        let wanted = (0o640, "mineminemine".to_owned());
        assert_eq!(*about.result().unwrap(), wanted, "{stages}");
    }
}

/// A kill of the command may also kill the shell, which then cannot clean up.
fn a_killed_copy_is_removed_by_a_later_one() {
    let folder = Folder::new("killed");
    let copy = program(&pool(folder.launcher()));
    let left = |name: &str| PathBuf::from(format!("{}.{name}", copy.display()));
    let (old, new) = (left("0123"), left("4567"));
    let other = folder.0.join("other");
    for file in [&old, &new, &other] {
        fs::write(file, "a part").unwrap();
    }
    for file in [&old, &other] {
        age(file, "99");
    }
    fs::remove_file(&copy).unwrap();
    // The same with the folder of the user, in which nothing else may be removed.
    let path = copy.to_str().unwrap();
    let wanted = &path[..path.len() - "-0123456789abcdef".len()];
    let other = folder.cache().join("other");
    fs::write(&other, "a file of the user").unwrap();
    age(&other, "99");
    let launcher = Launcher::command(["nice"]).stage(true).program(wanted);
    assert_eq!(program(&pool(launcher)), copy);
    assert_eq!(
        (old.exists(), new.exists(), other.exists()),
        (false, true, true)
    );
}

fn a_machine_of_another_kind_is_named() {
    let folder = Folder::new("another");
    let programs = folder.0.join("programs");
    fs::create_dir(&programs).unwrap();
    let uname = programs.join("uname");
    fs::write(&uname, "#!/bin/sh\necho pdp11\n").unwrap();
    fs::set_permissions(&uname, fs::Permissions::from_mode(0o700)).unwrap();
    let words = format!("PATH={}:$PATH exec env", programs.display());
    let words = format!("{words} {} \"$@\"", folder.variable("XDG_CACHE_HOME"));
    let text = refusal(&pool(script(&words).stage(true)));
    assert!(
        text.contains("this machine is pdp11, and the program is for"),
        "{text}"
    );
    assert!(folder.copies().is_empty());
}

fn a_shutdown_does_not_wait_for_a_copy() {
    let folder = Folder::new("shutdown");
    let begun = folder.0.join("begun");
    let script_text = format!("touch {}; {TAKES_NOTHING}", begun.display());
    let pool = pool(script(&script_text).stage(true));
    let waits = pool.submit(double, 1).unwrap();
    wait_until("the command runs", || begun.exists());
    let start = Instant::now();
    assert!(waits.cancel());
    pool.shutdown();
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

/// Makes a file look as if it had not been used for so many days.
fn age(file: &Path, days: &str) {
    let when = format!("{days} days ago");
    let touched = Command::new("touch").arg("-d").arg(when).arg(file).status();
    assert!(touched.unwrap().success());
}

fn copies_without_use_are_removed_after_a_month() {
    let folder = Folder::new("month");
    fs::create_dir(folder.cache()).unwrap();
    let [old, used, new] = ["old-0", "used-0", "new-0"].map(|name| folder.cache().join(name));
    for file in [&old, &used, &new] {
        fs::write(file, "").unwrap();
    }
    age(&old, "32");
    age(&new, "29");
    let copy = program(&pool(folder.launcher()));
    let mut left = folder.copies();
    left.sort();
    let mut wanted = [copy.clone(), used, new];
    wanted.sort();
    assert_eq!(left, wanted);
    // A start uses the copy.
    age(&copy, "32");
    assert_eq!(program(&pool(folder.launcher())), copy);
    let modified = fs::metadata(&copy).unwrap().modified().unwrap();
    assert!(modified.elapsed().unwrap_or_default() < Duration::from_secs(3600));
}

fn a_copy_that_was_damaged_is_replaced_or_named() {
    let folder = Folder::new("damaged");
    let copy = program(&pool(folder.launcher()));
    fs::write(&copy, "too short").unwrap();
    assert_eq!(program(&pool(folder.launcher())), copy);
    assert!(is_this_program(&copy));
    // What has the right length is run. A program for another processor looks the same.
    let length = fs::metadata(&copy).unwrap().len();
    let damaged = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&copy);
    damaged.unwrap().set_len(length).unwrap();
    let text = refusal(&pool(folder.launcher()));
    assert!(text.contains(copy.to_str().unwrap()), "{text}");
    assert!(text.contains("before its program began"), "{text}");
    fs::remove_file(&copy).unwrap();
    fs::create_dir(&copy).unwrap();
    let text = refusal(&pool(folder.launcher()));
    assert!(text.contains("that is a folder"), "{text}");
}
