//! The entries at which a process becomes a worker if a process pool has started this
//! process.
//!
//! # The marker
//!
//! A parent starts its own program with a *marker* in the environment (`marker.rs`). The
//! marker names the entry at which the process becomes a worker, and the parent's pid.
//! Descriptor 0 of the new process is its end of the channel to the parent. There are two
//! *entries*: the *hook*, which runs before `main` (feature `worker-hook`), and [`init`].
//!
//! # The startup role
//!
//! The entry that runs first checks the marker. The entry then removes the marker from the
//! environment, so that the programs that a task starts do not see it. (The entry removes
//! the marker only if the process has one thread, because another thread might read the
//! environment.)
//!
//! | role | marker | maker of the socket on descriptor 0 | what happens |
//! |---|---|---|---|
//! | program | none | - | runs as usual |
//! | program | any except `elsewhere` | none: descriptor 0 is no Unix socket | runs as usual |
//! | rejected | malformed, or does not name the maker | any | runs as usual, but ends with a message if it makes a process pool |
//! | rejected | names the maker | lives, and is not our parent | the same |
//! | orphan | names the maker | has ended | exits at once |
//! | refused | names the maker | our parent, but a check fails | exits with a message |
//! | worker | names the maker | our parent, and all checks pass | becomes a worker at the entry that the marker names |
//! | refused | says `elsewhere` | any, or no socket | exits in [`init`] with a message, if a check fails |
//! | elsewhere | says `elsewhere` | any, or no socket | becomes a worker in [`init`] |
//!
//! A command such as `ssh` starts a process with the role *elsewhere* (`elsewhere.rs`).
//! This process cannot see the process of its parent, and so cannot make the checks below.
//! It becomes a worker only if its program calls [`init`]. It checks only that it has no
//! more rights than its caller, that it was not started through the loader, and that
//! descriptor 0 is no terminal. The marker is an environment variable and not an argument,
//! so that a stranger can seldom choose it. Many programs start other programs with
//! arguments that a stranger has chosen, but few with variables that a stranger has chosen.
//!
//! If the marker names the parent, the process becomes a worker only if it passes four
//! *checks*:
//!
//! * This process has no more rights than its caller (setuid, capabilities).
//! * The parent runs as the same user as this process.
//! * This process was not started through the loader (`ld.so ./program`).
//! * The parent runs the same executable file as this process.
//!
//! A check whose data cannot be read counts as failed. So an attacker cannot make a
//! program call addresses that the attacker has chosen: an attacker who passes the checks
//! already runs this program as this user.
//!
//! If a shared library contains a copy of this crate, this copy ignores the marker: it
//! makes no process a worker, and does not remove the marker. Only the copy in the main
//! program acts on the marker.
//!
//! # Why `main` never works twice
//!
//! A process that a pool has started without a launcher has the marker, and a socket of its
//! parent as descriptor 0. The marker names the parent. So the role of the process is
//! orphan, refused, or worker. At its entry, an orphan or a refused process exits, and a
//! process with the role worker becomes a worker. So a process that a pool has started
//! without a launcher runs all of `main` only if it never reaches its entry. Neither such a
//! process nor a process with the role rejected can start workers: a pool calls
//! [`entry_point`] before it starts workers, and this call ends the process with a message.
//! So a process that was started as a worker never starts another process that runs `main`.
//!
//! A process that a launcher's command has started runs `main` as usual if its program
//! never calls [`init`]. This program is not the program of the pool, because only a
//! program that has called `init` can have a pool with launchers.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, stdin};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{elsewhere, serve};
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::marker::{ELSEWHERE, EntryPoint, VARIABLE};
use crate::process::wire::message::refused;
use crate::process::wire::program::Program;
use crate::sys::channel::Channel;
use crate::sys::current_process;
use crate::sys::image::Image;
use crate::sys::parent::{Parent, Peer};
use crate::sys::signals;

/// Returns the entry at which the processes that this process starts become workers. A pool
/// must call this function before it starts workers.
///
/// If this process was started as a worker but has not become a worker, this function ends
/// it with a message.
///
/// # Errors
///
/// Returns a text, which tells the user how to solve the problem, if a child process of
/// this program could not become a worker.
pub(crate) fn entry_point() -> Result<EntryPoint, &'static str> {
    if current_process::has_more_rights_than_its_caller() {
        return Err(
            "a program with more rights than its caller (setuid, capabilities) has no pool of \
             processes; start it without them",
        );
    }
    match startup_role() {
        StartupRole::Program => {}
        // ORDERING: `Relaxed` is enough, because `IS_WORKER` is set before the worker's
        // threads are started.
        StartupRole::AsWorker(entry_point, _) if IS_WORKER.load(Ordering::Relaxed) => {
            return Ok(*entry_point);
        }
        // ORDERING: `Relaxed` is enough, as in the arm above.
        StartupRole::Elsewhere(_) if IS_WORKER.load(Ordering::Relaxed) => {
            return Ok(EntryPoint::Init);
        }
        StartupRole::AsWorker(..) | StartupRole::Elsewhere(_) | StartupRole::Rejected => {
            refuse_to_be_a_parent()
        }
    }
    // ORDERING: `Relaxed` is enough, because `POOL_WANTED` publishes no other data.
    POOL_WANTED.store(true, Ordering::Relaxed);
    // ORDERING: `Relaxed` is enough, because `HOOK_RAN` and `INIT_CALLED` publish no other
    // data. The hook sets `HOOK_RAN` before `main`, and `init` sets `INIT_CALLED` on the
    // main thread.
    let (hook_ran, init_called) = (
        HOOK_RAN.load(Ordering::Relaxed),
        INIT_CALLED.load(Ordering::Relaxed),
    );
    if !Program::is_main() {
        Err(
            "this crate is in a shared library, where no other process finds it; link it into \
             the main program",
        )
    } else if Image::current().is_run_by_loader() {
        Err(
            "the program was started through the loader (as `ld.so ./program`), which would be \
             started once more in its place; start the program itself",
        )
    } else if init_called {
        Ok(EntryPoint::Init)
    } else if hook_ran {
        Ok(EntryPoint::Hook)
    } else {
        Err(
            "no worker could start: call `concurrent_futures::init()` first in `main`, or turn \
             the feature `worker-hook` on",
        )
    }
}

fn refuse_to_be_a_parent() -> ! {
    current_process::flush();
    report(&format!(
        "came to make such a pool itself before it became one; call \
         `concurrent_futures::init()` first in `main`, and leave {VARIABLE} alone"
    ));
    ExitCode::CannotBegin.end()
}

/// Ends a process that was started as a worker but cannot become a worker. The process
/// sends `Refused` to its parent, so that the parent does not start another worker.
fn refuse(why: &str) -> ! {
    current_process::ensure_stdio_open();
    let words = refused(&format!("no worker can begin: {why}"));
    // An error is ignored, because a parent that has ended needs no answer.
    let _ = Channel::take_stdin().and_then(|channel| channel.send_all(&words));
    // Without this call, a write to an error output that no process reads would end this
    // process by a signal.
    signals::ignore_broken_pipes();
    report(why);
    ExitCode::CannotBegin.end()
}

fn report(why: &str) {
    current_process::say(&format!(
        "this process was started as a worker of a process pool, but {why}"
    ));
}

/// Makes this process a worker if a process pool has started it as a worker. A program
/// calls `init` at the start of `main`.
pub(crate) fn init() {
    // `INIT_CALLED` stays `false` if this process has already tried to make a process pool.
    // A worker of that pool would run the same `main`. It would try to make the pool before
    // it reached this call, and would end there.
    // ORDERING: `Relaxed` is enough, because `POOL_WANTED` publishes no other data.
    if current_process::is_main_thread() && !POOL_WANTED.load(Ordering::Relaxed) {
        // ORDERING: `Relaxed` is enough, because `INIT_CALLED` publishes no other data.
        INIT_CALLED.store(true, Ordering::Relaxed);
    }
    // In a worker `init` does nothing, because a task may call a function that calls
    // `init`.
    // ORDERING: `Relaxed` is enough, because `IS_WORKER` is set before the worker's threads
    // are started.
    if IS_WORKER.load(Ordering::Relaxed) {
        return;
    }
    match enter() {
        StartupRole::AsWorker(_, parent) => become_worker(EntryPoint::Init, parent),
        StartupRole::Elsewhere(None) => become_worker_elsewhere(),
        StartupRole::Elsewhere(Some(why)) => {
            report(why);
            elsewhere::refuse_to_begin(why)
        }
        StartupRole::Program | StartupRole::Rejected => {}
    }
}

fn become_worker(entry_point: EntryPoint, parent: &'static Parent) -> ! {
    // ORDERING: `Relaxed` is enough, because the worker's threads are started after this
    // store. A thread that the program has started earlier may miss the store. If this
    // thread makes a pool, that ends the process.
    IS_WORKER.store(true, Ordering::Relaxed);
    serve::run(entry_point, parent)
}

fn become_worker_elsewhere() -> ! {
    // ORDERING: `Relaxed` is enough, as in `become_worker`.
    IS_WORKER.store(true, Ordering::Relaxed);
    elsewhere::run()
}

/// `true` once the hook has run. So it is `true` in `main` if the hook is part of this
/// program.
static HOOK_RAN: AtomicBool = AtomicBool::new(false);
/// `true` once [`init`] was called on the main thread, unless the process tried to make a
/// pool before this call. A call on another thread (in a libtest test, for example) does
/// not count, because a worker process would run much other code before it reached that
/// call.
static INIT_CALLED: AtomicBool = AtomicBool::new(false);
/// `true` once this process, if it is no worker, has called [`entry_point`] in order to
/// make a pool.
static POOL_WANTED: AtomicBool = AtomicBool::new(false);
/// `true` once this process has become a worker.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
enum StartupRole {
    Program,
    AsWorker(EntryPoint, Parent),
    /// A command such as `ssh` has started this process as a worker. The text, if there is
    /// one, says why the process cannot become a worker.
    Elsewhere(Option<&'static str>),
    Rejected,
}

/// Returns the role of this process. The first call determines the role. This function
/// leaves the marker in the environment, because any thread may call this function.
fn startup_role() -> &'static StartupRole {
    static ROLE: OnceLock<StartupRole> = OnceLock::new();
    ROLE.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(value) if Program::is_main() => role_by(&value),
        _ => StartupRole::Program,
    })
}

/// Returns the role of this process. Removes the marker from the environment if the process
/// has one thread.
fn enter() -> &'static StartupRole {
    let role = startup_role();
    if std::env::var_os(VARIABLE).is_some()
        && Program::is_main()
        && current_process::has_one_thread()
    {
        // SAFETY: this process has one thread, so no other thread reads the environment.
        unsafe { std::env::remove_var(VARIABLE) };
    }
    role
}

fn role_by(marker: &OsStr) -> StartupRole {
    if marker == ELSEWHERE {
        return StartupRole::Elsewhere(failed_check_elsewhere());
    }
    let peer = match Peer::of_stdin() {
        Ok(Some(peer)) => peer,
        Ok(None) => return StartupRole::Program,
        // This process may be a worker. If it went on as the program, it would make a pool
        // of its own, and so would each worker of that pool.
        Err(error) => refuse(&format!(
            "the system does not say what its descriptor 0 is ({error}); allow `getsockopt`"
        )),
    };
    let named = marker.to_str().and_then(|marker| {
        let (entry_point, parent) = marker.split_once(' ')?;
        let entry_point = [EntryPoint::Hook, EntryPoint::Init]
            .into_iter()
            .find(|known| known.name() == entry_point)?;
        Some((entry_point, parent.parse::<u32>().ok()?))
    });
    let Some((entry_point, pid)) = named.filter(|(_, pid)| *pid == peer.pid) else {
        return StartupRole::Rejected;
    };
    let Some(parent) = Parent::with_pid(pid) else {
        if peer.has_ended() {
            current_process::end_now(0);
        }
        return StartupRole::Rejected;
    };
    // The marker names the maker of the socket, which is the parent. So the parent has
    // started this process as a worker.
    if !parent.die_with_parent() {
        current_process::end_now(0);
    }
    let failed_check = failed_check(peer, &parent);
    // If the parent has ended, another process may have got its pid, and the checks above
    // may have read the data of that process.
    if !parent.lives() {
        current_process::end_now(0);
    }
    match failed_check {
        Some(why) => refuse(&why),
        None => StartupRole::AsWorker(entry_point, parent),
    }
}

/// Returns the reason why this process, which a command such as `ssh` has started, must not
/// become a worker, or `None` if all checks pass.
fn failed_check_elsewhere() -> Option<&'static str> {
    if current_process::has_more_rights_than_its_caller() {
        return Some("it has more rights than its caller (setuid, capabilities)");
    }
    if Image::current().is_run_by_loader() {
        return Some(RUN_BY_LOADER);
    }
    stdin().is_terminal().then_some(
        "its standard input is a terminal and not the connection to a pool; let a `Launcher` start \
         it, and leave the variable of the marker alone",
    )
}

const RUN_BY_LOADER: &str =
    "it was started through the loader (as `ld.so ./program`); start the program itself";

/// Returns the reason why this process must not become a worker of its parent, or `None` if
/// all checks pass.
fn failed_check(peer: Peer, parent: &Parent) -> Option<String> {
    if current_process::has_more_rights_than_its_caller() {
        let why = "it has more rights than its parent (setuid, capabilities): the parent's file \
                   got them since it was started, or its real and effective user differ; give \
                   both the same rights";
        return Some(why.to_owned());
    }
    if !peer.is_our_user() {
        return Some(
            "its parent acts for another user; keep to one user while workers are started"
                .to_owned(),
        );
    }
    if Image::current().is_run_by_loader() {
        return Some(RUN_BY_LOADER.to_owned());
    }
    match parent.runs_our_program() {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "its parent runs another program; leave the variable {VARIABLE} to a pool of this \
             program"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(
            "it may not see which program its parent runs; if that has changed its user or \
             group, have it make itself visible again: prctl(PR_SET_DUMPABLE, 1)"
                .to_owned(),
        ),
        Err(error) => Some(format!(
            "it cannot see in /proc which program its parent runs ({error}); mount /proc so \
             that it shows all processes of a user"
        )),
    }
}

#[cfg(feature = "worker-hook")]
mod hook {
    use std::ffi::{c_char, c_int};
    use std::sync::atomic::Ordering;

    use super::{EntryPoint, HOOK_RAN, StartupRole, become_worker, enter};
    use crate::sys::constructors::{Constructor, InitArgs, run_after};

    // SAFETY: the section `.init_array` holds pointers to functions of the type
    // `Constructor`.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static HOOK: Constructor = before_main;

    unsafe extern "C" fn before_main(
        count: c_int,
        arguments: *const *const c_char,
        environment: *const *const c_char,
    ) {
        // ORDERING: `Relaxed` is enough, because `HOOK_RAN` publishes no other data.
        HOOK_RAN.store(true, Ordering::Relaxed);
        if let StartupRole::AsWorker(EntryPoint::Hook, parent) = enter() {
            let given = InitArgs(count, arguments, environment);
            // The constructors (functions that run before `main`) behind this hook run now,
            // because tasks may need data that these constructors set up.
            // SAFETY: the startup code has called `before_main` with these arguments, and
            // `before_main` does not return to that code after this call.
            unsafe { run_after(before_main, given) };
            become_worker(EntryPoint::Hook, parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::sys::channel::pair;

    /// Checks the result of `entry_point`, also in the processes that
    /// [`who_was_started_as_a_worker_makes_no_pool`] starts.
    #[test]
    fn asks_for_a_way() {
        let entry_point = entry_point();
        if cfg!(feature = "worker-hook") {
            assert_eq!(entry_point, Ok(EntryPoint::Hook));
        } else {
            assert!(entry_point.is_err_and(|why| why.to_string().contains("init")));
        }
        println!("found a way");
    }

    #[test]
    fn workers_do_not_begin_at_an_init_outside_of_main() {
        init();
        if !current_process::is_main_thread() {
            asks_for_a_way();
        }
    }

    #[test]
    fn who_was_started_as_a_worker_makes_no_pool() {
        let invited = crate::process::wire::marker::marker(EntryPoint::Init).1;
        let runs = [
            // The marker and the channel are valid, but the program calls no `init`.
            (&*invited, true, Some(ExitCode::CannotBegin as i32)),
            // The process is rejected, because its marker names another parent.
            ("init 1", true, Some(ExitCode::CannotBegin as i32)),
            // The process ignores its marker, because descriptor 0 is not a channel.
            (&*invited, false, Some(0)),
        ];
        for (marker, with_channel, code) in runs {
            let (_ours, childs) = pair().unwrap();
            let input = if with_channel {
                Stdio::from(childs)
            } else {
                Stdio::null()
            };
            let output = Command::new("/proc/self/exe")
                .args([
                    "--exact",
                    "--nocapture",
                    "process::worker::entry::tests::asks_for_a_way",
                ])
                .env(VARIABLE, marker)
                .stdin(input)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), code, "{marker}: {errors}");
            let told = errors.contains("call `concurrent_futures::init()` first");
            assert_eq!(told, code == Some(ExitCode::CannotBegin as i32), "{errors}");
            let printed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(printed.contains("found a way"), code == Some(0));
        }
    }
}
