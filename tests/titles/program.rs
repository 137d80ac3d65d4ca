//! Runs the built example, with a limit.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime};

/// The time that a run may take before it counts as hung.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// Every pool that a run can be asked to use.
pub(crate) const POOLS: [&str; 3] = ["inline", "threads", "processes"];

/// The remains of a run: its output and its end.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The lines after those on how it went: one for each address.
    pub(crate) fn pages(&self) -> Vec<&str> {
        self.stdout.lines().skip(3).collect()
    }

    /// The array of `--json`.
    pub(crate) fn rows(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs the example to its end.
pub(crate) fn titles<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Run {
    start(&mut command(args)).finish()
}

/// The example, without the proxies that the tests' environment names.
pub(crate) fn command<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(path());
    command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    for name in ["all_proxy", "http_proxy", "https_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

/// A run that goes on.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

pub(crate) fn start(command: &mut Command) -> Running {
    start_with_input(command, b"")
}

pub(crate) fn start_with_input(command: &mut Command, input: &[u8]) -> Running {
    start_with(command, input, Stdio::piped(), Stdio::piped())
}

/// With outputs of the test's own; one that is no pipe is empty in the [`Run`].
pub(crate) fn start_with(
    command: &mut Command,
    input: &[u8],
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> Running {
    command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().expect("the example starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    let stdout = all_of(child.stdout.take());
    let stderr = all_of(child.stderr.take());
    Running {
        child,
        stdout,
        stderr,
    }
}

fn all_of(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).unwrap();
        }
        let _ = sender.send(String::from_utf8(bytes).unwrap());
    });
    receiver
}

impl Running {
    pub(crate) fn finish(self) -> Run {
        self.finish_within(LIMIT)
    }

    /// Waits until the program has ended and both its outputs are closed.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Run {
        let (Ok(stdout), Ok(stderr)) = (
            self.stdout.recv_timeout(limit),
            self.stderr.recv_timeout(limit),
        ) else {
            let _ = self.child.kill();
            panic!(
                "still running after {limit:?}; standard error: {:?}",
                self.stderr.recv_timeout(LIMIT)
            );
        };
        // It has closed its outputs, so it is at its end.
        let status = self.child.wait().unwrap();
        Run {
            status,
            stdout,
            stderr,
        }
    }
}

/// The built example. `cargo test` builds examples, other ways of running tests may not.
pub(crate) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        // <target>/<profile>/deps/titles-<hash>
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let example = profile.join("examples").join("titles");
        if is_stale(&example) {
            build(profile);
        }
        example
    })
}

fn is_stale(example: &Path) -> bool {
    let Ok(built) = fs::metadata(example).and_then(|it| it.modified()) else {
        return true;
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["examples/titles", "src", "Cargo.toml", "Cargo.lock"]
        .iter()
        .any(|path| newest(&package.join(path)) > Some(built))
}

/// Returns the time at which the file, or the last file in the folder, was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        entries
            .filter_map(|entry| newest(&entry.unwrap().path()))
            .max()
    } else {
        path.metadata().unwrap().modified().ok()
    }
}

fn build(profile: &Path) {
    let name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        name => name,
    };
    let done = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "titles", "--profile", name])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .status()
        .expect("cargo starts");
    assert!(done.success(), "cargo build --example titles: {done}");
}
