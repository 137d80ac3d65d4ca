//! Tests that change their whole process: each runs in one of its own.

use std::env;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::LIMIT;

/// Holds the name of the test that a process was started for.
const ALONE: &str = "CONCURRENT_FUTURES_TEST_ALONE";

/// The end of a test's process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The signal that ended it, or its exit code.
    pub(crate) by: Result<i32, i32>,
    pub(crate) said: String,
}

/// Leaves so many more bytes of address space to this process. Returns the limit before.
#[cfg(target_os = "linux")]
pub(crate) fn leave_memory(bytes: u64) -> rustix::process::Rlimit {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = sizes.split(' ').next().unwrap().parse().unwrap();
    let before = getrlimit(Resource::As);
    let limit = Rlimit {
        current: Some(pages * 4096 + bytes),
        ..before
    };
    setrlimit(Resource::As, limit).unwrap();
    before
}

/// Runs a test in a process of its own, where this does not return; `None`
/// there if the test passed.
pub(crate) fn end_of(path: &str, test: impl FnOnce()) -> Option<Ended> {
    let (_, name) = path.split_once("::").unwrap();
    if env::var_os(ALONE).is_some_and(|own| own == name) {
        test();
        return None;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.stdin(Stdio::null()).env(ALONE, name);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let (mut out, mut err) = (
        process.stdout.take().unwrap(),
        process.stderr.take().unwrap(),
    );
    // A fork that hangs holds the pipe: then this thread is left behind.
    let out = thread::spawn(move || {
        let mut said = Vec::new();
        out.read_to_end(&mut said).unwrap();
        said
    });
    let err = thread::spawn(move || {
        let mut said = Vec::new();
        err.read_to_end(&mut said).unwrap();
        said
    });
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("{name} hangs");
        }
        thread::sleep(std::time::Duration::from_millis(2));
    };
    let said = [out.join().unwrap(), err.join().unwrap()].concat();
    Some(Ended {
        by: status
            .signal()
            .map_or_else(|| Err(status.code().unwrap()), Ok),
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// Runs a test in a process of its own, which must pass there.
pub(crate) fn passes(path: &str, test: impl FnOnce()) {
    if let Some(ended) = end_of(path, test) {
        let passed = ended.by == Err(0) && ended.said.contains("1 passed");
        assert!(passed, "{:?}:\n{}", ended.by, ended.said);
    }
}

/// The path of a test, from its module and name.
macro_rules! alone {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => { $(
        $(#[$doc])*
        #[test]
        fn $name() {
            crate::alone::passes(concat!(module_path!(), "::", stringify!($name)), || $body);
        }
    )* };
}
pub(crate) use alone;
