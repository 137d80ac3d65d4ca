//! Runs the tests of a binary once more, with pools whose messages travel through sockets.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The environment variable that chooses the transport of each pool.
const TRANSPORT: &str = "CONCURRENT_FUTURES_TRANSPORT";

/// The time that all tests of a binary may take.
const LIMIT: Duration = Duration::from_secs(400);

/// Runs the tests of this binary whose names contain `filter`, but not the test `own`, which
/// calls this function. Does nothing in a run by sockets.
pub(crate) fn run_again(own: &str, filter: &str) {
    if env::var_os(TRANSPORT).is_some() {
        return;
    }
    let output = env::temp_dir().join(format!("by-sockets-{}", std::process::id()));
    let file = fs::File::create(&output).expect("there is room");
    let mut tests = Command::new(env::current_exe().expect("it is known"))
        .args([filter, "--skip", own])
        .env(TRANSPORT, "socket")
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("there are descriptors"))
        .stderr(file)
        .spawn()
        .expect("there are processes");
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        match tests.try_wait().expect("it is our child") {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            None => {
                tests.kill().expect("it is our child");
                break tests.wait().expect("it is our child");
            }
            Some(status) => break status,
        }
    };
    let said = fs::read_to_string(&output).unwrap_or_default();
    let _ = fs::remove_file(&output);
    assert!(status.success(), "{status}:\n{said}");
    assert!(!said.contains("running 0 tests"), "{said}");
}
