//! Programs whose workers can hardly see who started them: each has a worker, or
//! says why it has none, and its `main` runs once.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::{env, thread};

use concurrent_futures::ProcessPoolExecutor;

use crate::fixture::*;
use crate::interfering::end_main_thread;

/// Tells the program [`has_a_pool`] what to do first.
const ORDER: &str = "CONCURRENT_FUTURES_TEST_ORDER";

/// The file in which it notes that it runs.
const MAINS: &str = "CONCURRENT_FUTURES_TEST_MAINS";

/// A program that uses a process pool, and says what came of it.
#[test]
fn has_a_pool() {
    let (Ok(order), Some(mains)) = (env::var(ORDER), env::var_os(MAINS)) else {
        return;
    };
    let mut mains = fs::File::options().append(true).open(mains).unwrap();
    mains.write_all(b"main\n").unwrap();
    match &*order {
        "" => {}
        "acts for another" => {
            // SAFETY: takes a number.
            assert_eq!(unsafe { libc::seteuid(65534) }, 0);
        }
        "ends its main thread" => {
            // Another one goes on.
            let goes_on = thread::spawn(|| {
                end_main_thread(());
                say();
                std::process::exit(0);
            });
            goes_on.join().unwrap();
        }
        _ => unreachable!("{order}"),
    }
    say();
}

fn say() {
    let sum = ProcessPoolExecutor::with_max_workers(1)
        .and_then(|executor| executor.submit(double, 21)?.into_result());
    match sum {
        Ok(sum) => println!("sum {sum}"),
        Err(error) => println!("error {error}"),
    }
}

/// The words of a process that is started by that program, which may need rights.
fn said_by(starter: &[&str], order: &str) -> String {
    let mains = scratch_file("mains");
    fs::write(&mains, "").unwrap();
    let own = env::current_exe().unwrap();
    let words: Vec<_> = starter
        .iter()
        .map(AsRef::as_ref)
        .chain([own.as_os_str()])
        .collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .args([
            "--exact",
            "standing::has_a_pool",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ORDER, order)
        .env(MAINS, &mains)
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .unwrap();
    let ran = fs::read_to_string(&mains).unwrap();
    fs::remove_file(&mains).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        ran,
        "main\n",
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Returns `true` if namespaces and users can be changed here.
fn has_rights() -> bool {
    let tried = Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("not shown: only root makes namespaces, by `unshare`");
    }
    works
}

alone! {
    /// Each worker took `main`'s way, up to five times.
    fn a_pool_in_a_new_pid_namespace_over_the_old_proc_has_workers() {
        if has_rights() {
            let said = said_by(&["unshare", "--pid", "--fork"], "");
            assert!(said.contains("sum 42"), "{said}");
        }
    }

    fn a_program_whose_main_thread_has_ended_has_workers() {
        let said = said_by(&[], "ends its main thread");
        assert!(said.contains("sum 42"), "{said}");
    }

    fn a_pool_of_a_process_that_acts_for_another_user_says_why_it_has_no_workers() {
        if has_rights() {
            let said = said_by(&[], "acts for another");
            assert!(said.contains("more rights than its parent"), "{said}");
        }
    }

    /// The advice was to ask for fewer workers.
    fn a_pool_without_proc_says_that_proc_is_missing() {
        if has_rights() {
            let hide = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
            let said = said_by(&["unshare", "--mount", "sh", "-c", hide], "");
            assert!(said.contains("/proc") && said.contains("mount /proc"), "{said}");
            assert!(said.contains("make a new pool") && !said.contains("fewer"), "{said}");
        }
    }

    /// Five workers printed the loader's usage, and the cause was never told.
    fn a_program_that_the_loader_was_told_to_start_says_why_it_has_no_workers() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let Some(loader) = files.into_iter().find(|file| file.contains("/ld-")) else {
            return eprintln!("not shown: the program is linked without a loader");
        };
        let said = said_by(&[loader], "");
        assert!(said.contains("error") && said.contains("ld.so"), "{said}");
    }
}
