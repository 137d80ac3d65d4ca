//! Starts that fail: each error names the launcher, the stage, and what the command said.

use std::env::{self, current_exe};
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, Launcher, ProcessPoolExecutor, Transport};

use crate::by_main::{list, wait_until};
use crate::fixture::double;
use crate::launcher::{pool, script};

list! {
    the_builder_refuses_a_launcher_that_starts_nothing,
    a_command_that_is_not_there_breaks_the_pool_at_once,
    a_command_that_ends_is_quoted_with_its_last_lines,
    a_program_that_is_not_there_is_named_by_the_command,
    a_command_that_says_nothing_is_given_up,
    a_program_that_is_no_worker_is_quoted,
    a_worker_of_another_version_is_recognized_at_once,
    another_build_of_the_program_says_so,
    what_a_login_shell_prints_comes_before_the_worker,
    a_launcher_that_fails_is_left_out_and_the_others_go_on,
    a_launcher_that_has_worked_is_tried_again,
    a_launcher_with_workers_is_not_left_out,
    a_folder_that_is_not_there_is_named,
    a_path_is_quoted_for_a_shell,
    a_worker_without_a_parent_ends,
    a_worker_that_a_terminal_starts_says_so,
}

/// Returns the text of the error of a pool's first task.
fn refusal(pool: &ProcessPoolExecutor) -> String {
    let error = pool.submit(double, 1).unwrap().exception().unwrap();
    assert!(matches!(error, Error::Broken(_)), "{error}");
    assert!(matches!(pool.submit(double, 1), Err(Error::Broken(_))));
    error.to_string()
}

fn the_builder_refuses_a_launcher_that_starts_nothing() {
    let nice = || Launcher::command(["nice"]);
    let wrong = [
        Launcher::command([""; 0]),
        Launcher::command([""]),
        Launcher::command(["a\0b"]),
        nice().workers(0),
        nice().program(""),
        nice().program("a\0b"),
        nice().start_limit(Duration::ZERO),
        nice().silence_limit(Duration::from_millis(999)),
    ];
    for launcher in wrong {
        let built = ProcessPoolExecutor::builder()
            .launcher(launcher.clone())
            .build();
        assert!(
            matches!(built, Err(Error::InvalidArgument(_))),
            "{launcher:?}"
        );
    }
    let shared = ProcessPoolExecutor::builder()
        .launcher(nice())
        .transport(Transport::Shared);
    assert!(matches!(shared.build(), Err(Error::InvalidArgument(_))));
}

fn a_command_that_is_not_there_breaks_the_pool_at_once() {
    let pool = pool(Launcher::command(["/no/such/command", "node"]));
    let text = refusal(&pool);
    assert!(
        text.contains("the command `/no/such/command` of a launcher"),
        "{text}"
    );
    assert_eq!(pool.stats().launchers[0].failed_starts, 1);
}

fn a_command_that_ends_is_quoted_with_its_last_lines() {
    let pool = pool(script("echo one >&2; echo no route to host >&2; exit 255").name("far away"));
    let text = refusal(&pool);
    for part in [
        "`far away`",
        "exited with code 255",
        "before its program",
        "no route to host",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let launcher = &pool.stats().launchers[0];
    assert_eq!(launcher.failed_starts, 3);
    assert!(
        launcher
            .left_out
            .as_ref()
            .is_some_and(|why| why.contains("no route to host"))
    );
}

fn a_program_that_is_not_there_is_named_by_the_command() {
    let pool = pool(Launcher::command(["nice"]).program("/no/such/program"));
    let text = refusal(&pool);
    assert!(
        text.contains("/no/such/program") && text.contains("code 127"),
        "{text}"
    );
}

fn a_command_that_says_nothing_is_given_up() {
    let start = Instant::now();
    let launcher = script("echo waiting for a node >&2; exec sleep 100");
    let pool = pool(launcher.start_limit(Duration::from_millis(100)));
    let text = refusal(&pool);
    assert!(
        text.contains("did not start the program within 100ms"),
        "{text}"
    );
    assert!(text.contains("waiting for a node"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(50));
}

fn a_program_that_is_no_worker_is_quoted() {
    let cases = [
        ("echo hello", "hello"),
        // A program that never ends and prints much.
        ("exec yes hello", "hello"),
    ];
    for (program, said) in cases {
        let text = refusal(&pool(script(program)));
        assert!(text.contains(said), "{text}");
        assert!(text.len() < 2000, "{text}");
    }
}

/// Also a worker behind a terminal, which changes the end of a line.
fn a_worker_of_another_version_is_recognized_at_once() {
    for (rest, stages) in [
        ("worker, wire 2\\n", false),
        ("worker, wire 1\\r\\n", false),
        ("worker, wire 2\\n", true),
        ("copier, wire 1\\r\\n", true),
    ] {
        let start = Instant::now();
        let greeting = format!("printf '\\0concurrent-futures {rest}'");
        let launcher = script(&format!("{greeting}; exec sleep 100"));
        let text = refusal(&pool(launcher.stage(stages)));
        assert!(
            text.contains("its greeting is not that of this version"),
            "{text}"
        );
        assert!(start.elapsed() < Duration::from_secs(50));
    }
}

/// A file that is removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn another_build_of_the_program_says_so() {
    let mut bytes = fs::read(current_exe().unwrap()).unwrap();
    // The note of the build id: the lengths of name and id, the type 3, the name, the id.
    let head = [
        &4_u32.to_ne_bytes(),
        &20_u32.to_ne_bytes(),
        &3_u32.to_ne_bytes(),
        b"GNU\0",
    ];
    let head = head.map(|part| &part[..]).concat();
    let at = bytes.windows(head.len()).position(|bytes| bytes == head);
    let at = at.expect("the linker writes a build id") + head.len();
    bytes[at] ^= 1;
    let other = File::new("another-build", &bytes);
    let start = Instant::now();
    let pool = pool(Launcher::command(["nice"]).program(&other.0));
    let text = refusal(&pool);
    assert!(text.contains("another build of the program"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(50));
    // Another try would not help.
    assert!(pool.stats().launchers[0].failed_starts <= 1);
}

fn what_a_login_shell_prints_comes_before_the_worker() {
    let pool = pool(script("echo Welcome to node1; echo; exec \"$@\""));
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
}

fn a_launcher_that_fails_is_left_out_and_the_others_go_on() {
    let pool = ProcessPoolExecutor::builder()
        .launcher(script("echo I am down >&2; exit 1").name("down").workers(2))
        .launcher(Launcher::command(["nice"]).name("up"))
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..100).map(|n| pool.submit(double, n).unwrap()).collect();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(*task.result().unwrap(), 2 * n);
    }
    let mut gate = crate::fixture::Gate::new();
    // While a task waits, the pool tries to start a worker for it.
    let held: Vec<_> = (0..2)
        .map(|n| pool.submit(crate::fixture::hold, (gate.port(), n)).unwrap())
        .collect();
    gate.wait_for(1);
    wait_until("the launcher is left out", || {
        pool.stats().launchers[0].left_out.is_some()
    });
    let stats = pool.stats();
    assert_eq!(
        (stats.launchers[1].left_out.as_ref(), stats.broken),
        (None, false)
    );
    gate.open();
    assert!(held.iter().all(|task| task.result().is_ok()));
}

/// A launcher whose command works as long as a file exists.
fn while_exists(file: &File) -> Launcher {
    let script = format!("test -e {} && exec \"$@\"", file.0.display());
    crate::launcher::script(&script)
}

fn a_launcher_that_has_worked_is_tried_again() {
    let up = File::new("tried-again", b"");
    let pool = pool(while_exists(&up));
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
    fs::remove_file(&up.0).unwrap();
    let dies = pool
        .submit(|()| -> () { std::process::abort() }, ())
        .unwrap();
    assert!(dies.exception().is_some());
    let waits = pool.submit(double, 5).unwrap();
    wait_until("the starts fail", || {
        pool.stats().launchers[0].failed_starts > 4
    });
    assert_eq!(pool.stats().launchers[0].left_out, None);
    assert!(!waits.done());
    fs::write(&up.0, b"").unwrap();
    assert_eq!(*waits.result().unwrap(), 10);
    assert_eq!(pool.stats().launchers[0].failed_starts, 0);
}

fn a_launcher_with_workers_is_not_left_out() {
    let up = File::new("with-workers", b"");
    let pool = pool(while_exists(&up).workers(2));
    let mut gate = crate::fixture::Gate::new();
    let held = pool.submit(crate::fixture::hold, (gate.port(), 1)).unwrap();
    gate.wait_for(1);
    fs::remove_file(&up.0).unwrap();
    let waits = pool.submit(double, 5).unwrap();
    wait_until("the starts fail", || {
        pool.stats().launchers[0].failed_starts > 4
    });
    assert_eq!(pool.stats().launchers[0].left_out, None);
    gate.open();
    assert_eq!((*held.result().unwrap(), *waits.result().unwrap()), (1, 10));
}

fn a_folder_that_is_not_there_is_named() {
    let pool = ProcessPoolExecutor::builder()
        .launcher(Launcher::command(["nice"]))
        .current_dir("/no/such/folder")
        .build()
        .unwrap();
    let text = refusal(&pool);
    assert!(
        text.contains("`/no/such/folder`, which `current_dir` names"),
        "{text}"
    );
}

fn a_path_is_quoted_for_a_shell() {
    let program = fs::read(current_exe().unwrap()).unwrap();
    let odd = File::new("it's a $program", &program);
    // As `ssh` does: one line, which a shell reads.
    let launcher = script("exec sh -c \"$*\"").through_shell(true);
    let pool = pool(launcher.program(&odd.0));
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
}

fn by_hand() -> Command {
    let mut program = Command::new(current_exe().unwrap());
    program.env("CONCURRENT_FUTURES_WORKER", "elsewhere");
    program
}

fn a_worker_without_a_parent_ends() {
    let output = by_hand().stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout.starts_with(b"\0concurrent-futures worker"));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("running"));
}

fn a_worker_that_a_terminal_starts_says_so() {
    let (mut ours, mut terminal) = (0, 0);
    // SAFETY: `openpty` writes two descriptors, and accepts null pointers for the rest.
    let failed =
        unsafe { libc::openpty(&mut ours, &mut terminal, null_mut(), null_mut(), null_mut()) };
    assert_eq!(failed, 0);
    let [_ours, terminal] = [ours, terminal].map(|descriptor| {
        // SAFETY: `openpty` has opened the descriptor, and nothing else has it.
        unsafe { OwnedFd::from_raw_fd(descriptor) }
    });
    let output = by_hand().stdin(Stdio::from(terminal)).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("its standard input is a terminal"),
        "{errors}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("running"));
}
