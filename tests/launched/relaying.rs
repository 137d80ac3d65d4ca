//! Commands that pass the bytes on, as `ssh` does: in pieces, slowly, or not all of them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, Launcher, OnWorkerDeath, ProcessPoolExecutor, TaskOptions};

use crate::by_main::{list, wait_until};
use crate::fixture::double;
use crate::launcher::{pid, pool, script};

list! {
    messages_arrive_in_pieces,
    a_slow_connection_is_no_silence,
    a_task_whose_start_was_lost_does_not_run_twice,
    a_task_whose_start_was_lost_runs_again_if_it_may,
    a_launcher_whose_workers_begin_no_task_is_left_out,
    a_launcher_that_pauses_does_not_hold_up_the_others,
    a_command_that_still_connects_is_ended_when_no_task_is_left,
    what_a_dying_task_has_printed_arrives,
    a_failed_start_is_no_dead_worker,
    a_path_that_env_would_misread_is_refused,
    a_ctrl_c_before_the_worker_begins_does_nothing_to_it,
    a_task_that_asks_to_be_traced_and_aborts_fails_alone,
}

/// The first argument of this program if it is to pass bytes on.
const RELAY: &str = "--relay";

/// Returns a launcher whose command passes the bytes on in a way that `how` names.
fn relay(how: &str) -> Launcher {
    let own: OsString = env::current_exe().unwrap().into();
    Launcher::command([own, RELAY.into(), how.into()])
}

/// Passes bytes on, if this process was started for that.
pub(crate) fn be_a_relay() {
    let mut words = env::args_os().skip(1);
    if words.next().is_none_or(|word| word != RELAY) {
        return;
    }
    let how = words.next().unwrap();
    let how = how.to_str().unwrap();
    if how == "blocks and sends SIGINT" {
        block_and_send_sigint();
        let error = Command::new(words.next().unwrap()).args(words).exec();
        panic!("{error}");
    }
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to_child, mut from_child) =
        (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let down = how.to_owned();
    thread::spawn(move || {
        pass_on(&down, false, &mut io::stdin(), &mut to_child);
        drop(to_child);
    });
    pass_on(how, true, &mut from_child, &mut io::stdout());
    exit(child.wait().unwrap().code().unwrap_or(255));
}

/// Leaves a SIGINT pending, also for the program that takes the place of this one.
fn block_and_send_sigint() {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the function only writes to the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was written.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGINT) };
    // SAFETY: the set was written; null says that the old one is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::raise(libc::SIGINT) }, 0);
}

fn pass_on(how: &str, is_up: bool, from: &mut impl Read, to: &mut impl Write) {
    // No worker has said so much when it is ready, and none says less with a task.
    const READY: usize = 100;
    let mut buffer = vec![0; if how == "in pieces" { 10 } else { 64 << 10 }];
    let mut count = 0;
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        count += size;
        match how {
            "in pieces" => thread::sleep(Duration::from_millis(1)),
            "slowly" => thread::sleep(Duration::from_millis(size as u64 / 2000)),
            _ => {}
        }
        if is_up && how.ends_with("up") && count > READY {
            // What the worker says now is lost, and so is the connection a moment later.
            thread::sleep(Duration::from_millis(300));
            exit(255);
        }
        if to
            .write_all(&buffer[..size])
            .and_then(|()| to.flush())
            .is_err()
        {
            return;
        }
    }
}

const SHORT: Duration = Duration::from_secs(1);

fn messages_arrive_in_pieces() {
    let builder = ProcessPoolExecutor::builder()
        .launcher(relay("in pieces").silence_limit(SHORT))
        .on_worker_death(OnWorkerDeath::BreakPool);
    let pool = builder.build().unwrap();
    let first = pid(&pool);
    // The answers to pings come in pieces too, while the worker has no task.
    thread::sleep(2 * SHORT);
    assert_eq!(pid(&pool), first);
}

fn a_slow_connection_is_no_silence() {
    let pool = pool(relay("slowly").silence_limit(SHORT));
    let bytes = vec![1_u8; 5 << 20];
    let start = Instant::now();
    let echoed = pool.submit(|bytes: Vec<u8>| bytes, bytes.clone()).unwrap();
    assert!(echoed.into_result().unwrap() == bytes);
    assert!(start.elapsed() > 3 * SHORT, "the connection is slow");
}

/// A file in which tasks note that they run.
pub(crate) fn notes(name: &str) -> String {
    let file = env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_file(&file);
    file.into_os_string().into_string().unwrap()
}

/// A task.
pub(crate) fn note(file: String) {
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(file)
        .unwrap();
    file.write_all(b"x").unwrap();
}

fn a_task_whose_start_was_lost_does_not_run_twice() {
    let pool = pool(relay("but loses what goes up"));
    let file = notes("runs-once");
    let error = pool
        .submit(note, file.clone())
        .unwrap()
        .exception()
        .unwrap();
    let Error::WorkerDied(death) = &error else {
        panic!("{error}");
    };
    assert_eq!(death.times_begun(), 0);
    assert!(
        error
            .to_string()
            .contains("it is not known if the task began"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    fs::remove_file(file).unwrap();
}

fn a_task_whose_start_was_lost_runs_again_if_it_may() {
    let pool = pool(relay("but loses what goes up"));
    let file = notes("runs-again");
    let retried = pool.with(TaskOptions::new().retries(1));
    let error = retried
        .submit(note, file.clone())
        .unwrap()
        .exception()
        .unwrap();
    assert!(matches!(error, Error::WorkerDied(_)), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "xx");
    fs::remove_file(file).unwrap();
}

fn a_launcher_whose_workers_begin_no_task_is_left_out() {
    let pool = pool(relay("but loses what goes up"));
    for _ in 0..3 {
        let error = pool.submit(double, 1).unwrap().exception().unwrap();
        assert!(
            matches!(error, Error::WorkerDied(_) | Error::Broken(_)),
            "{error}"
        );
    }
    wait_until("it is left out", || {
        pool.stats().launchers[0].left_out.is_some()
    });
    assert!(pool.stats().broken);
}

fn a_launcher_that_pauses_does_not_hold_up_the_others() {
    // The first pauses are short, so the launcher fails often enough to pause for seconds.
    let pool = ProcessPoolExecutor::builder()
        .launcher(script("exit 1").name("down").start_limit(SHORT))
        .launcher(Launcher::command(["nice"]).name("up"))
        .max_tasks_per_child(1)
        .build()
        .unwrap();
    for n in 0..20 {
        assert_eq!(*pool.submit(double, n).unwrap().result().unwrap(), 2 * n);
    }
    assert!(pool.stats().launchers[1].left_out.is_none());
}

fn a_command_that_still_connects_is_ended_when_no_task_is_left() {
    let start = Instant::now();
    let pool = pool(script("exec sleep 1000"));
    let task = pool.submit(double, 1).unwrap();
    wait_until("it starts", || pool.stats().workers == 1);
    assert!(task.cancel());
    pool.shutdown();
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// The variable that makes this program print, instead of running tests.
const PRINTER: &str = "CONCURRENT_FUTURES_TEST_PRINTER";

const LINES: usize = 2000;

/// Has a worker print lines and end, if this process was started for that.
pub(crate) fn be_a_printer() {
    if env::var_os(PRINTER).is_none() {
        return;
    }
    let pool = pool(Launcher::command(["nice"]));
    let prints = |()| -> () {
        (0..LINES).for_each(|n| println!("line {n}"));
        exit(3);
    };
    assert!(pool.submit(prints, ()).unwrap().exception().is_some());
    drop(pool);
    exit(0);
}

fn what_a_dying_task_has_printed_arrives() {
    for _ in 0..5 {
        let mut printer = Command::new(env::current_exe().unwrap());
        let output = printer.env(PRINTER, "yes").output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{printed}");
        let lines = printed
            .lines()
            .filter(|line| line.starts_with("line "))
            .count();
        assert_eq!(lines, LINES);
    }
}

fn a_failed_start_is_no_dead_worker() {
    let builder = ProcessPoolExecutor::builder()
        .launcher(script("exit 1"))
        .launcher(Launcher::command(["nice"]))
        .on_worker_death(OnWorkerDeath::BreakPool);
    let pool = builder.build().unwrap();
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
    assert!(!pool.stats().broken);
}

fn a_path_that_env_would_misread_is_refused() {
    let launcher = Launcher::command(["nice"]).program("/a=b/program");
    let built = ProcessPoolExecutor::builder().launcher(launcher).build();
    assert!(matches!(built, Err(Error::InvalidArgument(_))));
}

fn a_ctrl_c_before_the_worker_begins_does_nothing_to_it() {
    let pool = pool(relay("blocks and sends SIGINT"));
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
}

/// The worker is a child of this process: `nice` becomes the worker.
fn a_task_that_asks_to_be_traced_and_aborts_fails_alone() {
    let aborts = |()| -> () {
        // SAFETY: asks the parent to trace this thread; the other arguments are not read.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }, 0);
        std::process::abort()
    };
    let pool = pool(Launcher::command(["nice"]));
    let end = pool.submit(aborts, ()).unwrap().exception().unwrap();
    assert!(
        matches!(&end, Error::WorkerDied(death) if death.signal() == Some("SIGABRT")),
        "{end}"
    );
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
}
