//! The hook before `main`, and who may not make a worker of a program.
//!
//! Each test runs this test's own program once more, with the marker in its
//! environment and something on descriptor 0. The program, [`main_runs`], says
//! that it ran. What a worker does when it is one is tested beside its source.

#![cfg(all(feature = "worker-hook", not(concurrent_futures_loom)))]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::{env, fs};

/// The environment variable that names a worker's entry and its parent.
const MARKER: &str = "CONCURRENT_FUTURES_WORKER";

/// The output of [`main_runs`].
const RAN: &str = "main ran, unmarked";

/// The program that the others start. It is nothing special: it only says that
/// it runs, and whether it still sees the marker.
#[test]
fn main_runs() {
    let sees = env::var_os(MARKER).is_some();
    println!("main ran, {}", if sees { "marked" } else { "unmarked" });
}

/// A program that calls `init`.
#[test]
fn main_begins_with_init() {
    concurrent_futures::init();
    println!("{RAN}");
}

/// A program that starts another as a worker is started; its own parent tells
/// which, and waits for it.
#[test]
fn main_launches() {
    let Some(program) = env::var_os("LAUNCHED") else {
        return;
    };
    let program = Path::new(&program);
    let right = marker("hook", id());
    if env::var_os("LENDS_RIGHTS").is_some() {
        const UNPRIVILEGED: u32 = 65534;
        std::os::unix::fs::chown(program, None, Some(UNPRIVILEGED)).expect("this is root");
        let mode = fs::Permissions::from_mode(0o2755);
        fs::set_permissions(program, mode).expect("this is root");
    }
    if env::var_os("HIDES").is_some() {
        // SAFETY: it takes numbers only.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
    }
    let child = if env::var_os("HANDS_ON_ITS_INPUT").is_some() {
        run(program, "main_runs", &right, Stdio::inherit())
    } else {
        // A worker would end at once, with its channel.
        let (_ours, theirs) = UnixStream::pair().expect("there are descriptors");
        let child = run(program, "main_runs", &right, OwnedFd::from(theirs));
        println!("{}", outcome(child));
        return;
    };
    print!("{}", output(child));
}

/// The code with which it ended, and what it printed.
fn outcome(child: Child) -> String {
    let output = child.wait_with_output().expect("it is our child");
    let printed = String::from_utf8_lossy(&output.stdout);
    format!("{:?}: {printed:?}", output.status.code())
}

/// The outcome of a refusal: a code and silence.
const REFUSED: &str = "Some(70): \"\"";

fn marker(way: &str, pid: u32) -> String {
    format!("{way} {pid}")
}

fn own_program() -> PathBuf {
    env::current_exe().expect("/proc is there")
}

/// The arguments that have a test's program run one test of this file.
fn only(test: &str) -> [String; 3] {
    let (_, module) = module_path!().split_once("::").expect("it is a module");
    ["--exact", "--nocapture", &format!("{module}::{test}")].map(String::from)
}

fn run(program: &Path, test: &str, marker: &str, input: impl Into<Stdio>) -> Child {
    Command::new(program)
        .args(only(test))
        .env(MARKER, marker)
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is a program")
}

/// Returns the output of the program, which ended well.
fn output(child: Child) -> String {
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

fn starts_normally(child: Child) {
    let output = output(child);
    assert!(output.contains(RAN), "{output}");
}

/// A marker that says what one of a worker says.
fn right() -> String {
    marker("hook", id())
}

#[test]
fn a_marker_with_nothing_starts_the_program() {
    let program = own_program();
    starts_normally(run(&program, "main_runs", &right(), Stdio::null()));
    starts_normally(run(&program, "main_runs", "", Stdio::null()));
}

#[test]
fn a_marker_with_a_closed_input_starts_the_program() {
    let program = own_program();
    let child = Command::new("sh")
        .args(["-c", "exec \"$@\" <&-", "sh"])
        .arg(program)
        .args(only("main_runs"))
        .env(MARKER, right())
        .stdout(Stdio::piped())
        .spawn();
    starts_normally(child.expect("every system has sh"));
}

#[test]
fn a_marker_with_a_pipe_starts_the_program() {
    starts_normally(run(&own_program(), "main_runs", &right(), Stdio::piped()));
}

#[test]
fn a_marker_with_a_socket_of_the_net_starts_the_program() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
    let input = OwnedFd::from(listener);
    starts_normally(run(&own_program(), "main_runs", &right(), input));
}

#[test]
fn a_marker_that_names_another_parent_starts_the_program() {
    for wrong in [marker("hook", 1), marker("hook", 0), marker("walk", id())] {
        let (_ours, theirs) = UnixStream::pair().expect("there are descriptors");
        starts_normally(run(
            &own_program(),
            "main_runs",
            &wrong,
            OwnedFd::from(theirs),
        ));
    }
}

/// A socket that is not connected has no process at its other end.
#[test]
fn a_marker_with_an_unconnected_socket_starts_the_program() {
    for named in [id(), 0] {
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("there are descriptors");
        let input = OwnedFd::from(socket);
        let child = run(&own_program(), "main_runs", &marker("hook", named), input);
        starts_normally(child);
    }
}

/// Our user's, and alive, but not the one who started the program.
#[test]
fn a_socket_of_a_process_that_is_not_the_parent_starts_the_program() {
    for named in ["hook $PPID", "hook $$"] {
        let (_ours, theirs) = UnixStream::pair().expect("there are descriptors");
        // With more to do after it, the shell does not become the program.
        let script = format!("{MARKER}=\"{named}\" \"$@\"; code=$?; exit $code");
        let child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(own_program())
            .args(only("main_runs"))
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .spawn();
        starts_normally(child.expect("every system has sh"));
    }
}

/// Its parent is right in everything, but the socket is not its own.
#[test]
fn a_socket_that_the_parent_was_given_starts_the_program() {
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let child = Command::new(own_program())
        .args(only("main_launches"))
        .env("LAUNCHED", own_program())
        .env("HANDS_ON_ITS_INPUT", "yes")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn();
    // A worker would end at once, with its channel.
    drop(ours);
    starts_normally(child.expect("it is a program"));
}

/// A copy of this program, which is another file. Removed when dropped.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", id()));
        // By another process: a file that is open for writing cannot be run,
        // and whatever another test starts meanwhile might have it open.
        let copied = Command::new("cp").arg(own_program()).arg(&path).status();
        assert!(copied.expect("every system has cp").success());
        Self(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Has `launcher` start `program` as if it were its worker.
fn launched_by(launcher: &Path, program: &Path) -> String {
    let child = Command::new(launcher)
        .args(only("main_launches"))
        .env("LAUNCHED", program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    output(child.expect("it is a program"))
}

/// The one who started it so has written a marker and made a socket for it: `main` is
/// not what he wants, and addresses he is not to give.
#[test]
fn a_parent_that_is_another_program_gets_no_worker() {
    let copy = Copy::new("another");
    let output = launched_by(&copy.0, &own_program());
    assert!(output.contains(REFUSED), "{output}");
    // The same by the same program makes a worker: the test can tell.
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let child = run(&own_program(), "main_runs", &right(), OwnedFd::from(theirs));
    drop(ours);
    assert_eq!(outcome(child), "Some(0): \"\"", "it ends with its channel");
}

/// The parent is told, so that it does not start the next.
#[test]
fn who_is_refused_says_why_to_its_parent() {
    let copy = Copy::new("told");
    let (mut ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let child = run(&copy.0, "main_runs", &right(), OwnedFd::from(theirs));
    let mut told = Vec::new();
    ours.read_to_end(&mut told).expect("it ends");
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("its parent runs another program"), "{told}");
    assert_eq!(outcome(child), REFUSED);
}

/// Its words would end it by a signal otherwise, before it has told its parent why.
#[test]
fn who_is_refused_says_why_though_the_reader_of_its_error_output_has_gone() {
    let copy = Copy::new("unheard");
    let (mut ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let (reader, unheard) = rustix::pipe::pipe().expect("there are descriptors");
    drop(reader);
    let child = Command::new(&copy.0)
        .args(only("main_runs"))
        .env(MARKER, right())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(unheard)
        .spawn()
        .expect("it is a program");
    let mut told = String::new();
    let ended = ours.read_to_string(&mut told);
    assert!(told.contains("runs another program"), "{ended:?} {told}");
    assert_eq!(outcome(child), REFUSED);
}

/// Only root can start programs as another user; others see nothing here.
#[test]
fn a_parent_of_another_user_gets_no_worker() {
    if fs::metadata("/proc/self").expect("/proc is there").uid() != 0 {
        eprintln!("not shown: only root starts programs as another user");
        return;
    }
    let (_ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let child = Command::new(own_program())
        .args(only("main_runs"))
        .env(MARKER, right())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .uid(65534)
        .spawn();
    match child {
        Ok(child) => assert_eq!(outcome(child), REFUSED),
        Err(error) => eprintln!("not shown: only root may run this program: {error}"),
    }
}

/// As daemons do that change their user: `main` ran once more for each worker.
#[test]
fn a_parent_that_cannot_be_seen_leaves_no_second_main() {
    let mut launcher = Command::new(own_program());
    launcher.args(only("main_launches"));
    launcher.env("LAUNCHED", own_program()).env("HIDES", "yes");
    launcher.stdin(Stdio::null()).stdout(Stdio::piped());
    if fs::metadata("/proc/self").expect("/proc is there").uid() == 0 {
        // Root sees everything.
        launcher.uid(65534);
    }
    match launcher.spawn() {
        Ok(child) => {
            let output = output(child);
            assert!(output.contains(REFUSED), "{output}");
        }
        Err(error) => eprintln!("not shown: only root may run this program: {error}"),
    }
}

#[test]
fn a_parent_that_is_gone_leaves_no_second_main() {
    let fifo = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fifo-{}", id()));
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("every system has mkfifo").success());
    // It waits for a word with the worker's socket, and then becomes it.
    let mut launcher = Command::new(own_program())
        .args(only("main_leaves_a_child"))
        .env("LEFT_WAITING_FOR", &fifo)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is a program");
    let mut prints = launcher.stdout.take().expect("it is piped");
    assert!(launcher.wait().expect("it is our child").success());
    let mut word = fs::File::options()
        .write(true)
        .open(&fifo)
        .expect("it reads");
    word.write_all(b"now\n").expect("it reads");
    let mut output = String::new();
    prints.read_to_string(&mut output).expect("both print text");
    let _ = fs::remove_file(&fifo);
    assert!(output.contains("left"), "{output}");
    assert!(!output.contains(RAN), "{output}");
}

/// A program whose child is still about to become its worker when it ends.
#[test]
fn main_leaves_a_child() {
    let Some(fifo) = env::var_os("LEFT_WAITING_FOR") else {
        return;
    };
    let (_ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let child = Command::new("sh")
        .args([
            "-c",
            "fifo=$1; shift; read word < \"$fifo\"; exec \"$@\"",
            "sh",
        ])
        .arg(fifo)
        .arg(own_program())
        .args(only("main_runs"))
        .env(MARKER, right())
        .stdin(OwnedFd::from(theirs))
        .spawn();
    drop(child.expect("every system has sh"));
    println!("left");
}

/// All is right, but the file lends its group's rights since its parent runs it.
/// Only root can give files to other groups; others see nothing here.
#[test]
fn a_program_with_more_rights_than_its_caller_is_no_worker() {
    let myself = fs::metadata("/proc/self").expect("/proc is there");
    if myself.uid() != 0 {
        eprintln!("not shown: only root gives files away");
        return;
    }
    let copy = Copy::new("setgid");
    let child = Command::new(&copy.0)
        .args(only("main_launches"))
        .env("LAUNCHED", &copy.0)
        .env("LENDS_RIGHTS", "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let output = output(child.expect("it is a program"));
    assert!(output.contains(REFUSED), "{output}");
}

#[test]
fn init_makes_a_worker_in_main() {
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let marker = marker("init", id());
    let child = run(
        &own_program(),
        "main_begins_with_init",
        &marker,
        OwnedFd::from(theirs),
    );
    drop(ours);
    let output = output(child);
    assert!(output.contains("running 1 test"), "main begins: {output}");
    assert!(!output.contains(RAN), "and ends as a worker: {output}");
    // In an ordinary program it does nothing.
    let child = run(
        &own_program(),
        "main_begins_with_init",
        &marker,
        Stdio::null(),
    );
    starts_normally(child);
}
