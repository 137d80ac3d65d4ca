//! The entries at which a process becomes the worker that it was started as.
//!
//! # The marker
//!
//! A parent starts its own program with a *marker* in the environment (`marker.rs`):
//! it names the entry at which the process becomes a worker, and the parent's pid.
//! Descriptor 0 is one end of the channel. There are two *entries*: the *hook*, which
//! runs before `main` (feature `worker-hook`), and [`init`].
//!
//! # The startup role
//!
//! The entry that comes first checks the marker, once, and removes it from the
//! environment, so that no program that a task starts sees it. (Only if the process
//! has one thread then: other threads may be reading the environment.)
//!
//! | role | marker | maker of the socket on descriptor 0 | what happens |
//! |---|---|---|---|
//! | program | none | - | runs as usual |
//! | program | any | none: it is no local socket | runs as usual |
//! | rejected | illegible, or names another than the maker | any | runs as usual, but makes no process pool |
//! | rejected | names the maker | lives, and is not our parent | the same |
//! | orphan | names the maker | has ended | exits at once |
//! | refused | names the maker | our parent, but a check fails | exits with a message |
//! | worker | names the maker | our parent, and all checks pass | becomes a worker at the entry that the marker names |
//!
//! The *checks*: this process has no more rights than its caller (setuid,
//! capabilities); its parent acts for the same user, and runs the very file that
//! this process runs. A check that cannot be made fails. So an attacker cannot have
//! a program call addresses of his choice: to pass the checks he has to run this
//! program as this user already.
//!
//! A copy of this crate in a shared library is no entry, and leaves the marker to
//! the copy in the main program.
//!
//! # Why `main` never works twice
//!
//! A process that our launcher started has the marker and a socket of its parent,
//! which the marker names, as long as that parent lives: it is an orphan, refused, or
//! a worker. The first two exit before `main`, or in [`init`]; the last becomes a
//! worker. A process that never reaches its entry, or is rejected, may run `main`, but
//! [`entry_point`], which is called before a pool is made, ends it with a message. So
//! there is never a second generation.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::serve;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::marker::{EntryPoint, VARIABLE};
use crate::process::wire::message::refused;
use crate::process::wire::program::Program;
use crate::sys::channel::Channel;
use crate::sys::current_process;
use crate::sys::image::Image;
use crate::sys::parent::{Parent, Peer};

/// The reason why this process cannot have workers; the text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEntryPoint(&'static str);

impl fmt::Display for NoEntryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Returns the entry at which workers of this process become workers. To be called
/// before a pool is made.
///
/// Ends the process, with a message, if it was itself started as a worker and
/// did not become one.
///
/// # Errors
///
/// A process that is started as a worker could not find that out.
pub(crate) fn entry_point() -> Result<EntryPoint, NoEntryPoint> {
    if current_process::has_more_rights_than_its_caller() {
        return Err(NoEntryPoint(
            "a program with more rights than its caller (setuid, capabilities) has no pool of \
             processes; start it without them",
        ));
    }
    match startup_role() {
        StartupRole::Program => {}
        // ORDERING: set before any thread of the worker that reads it is started.
        StartupRole::AsWorker(entry_point, _) if IS_WORKER.load(Ordering::Relaxed) => {
            return Ok(*entry_point);
        }
        StartupRole::AsWorker(..) | StartupRole::Rejected => refuse_to_be_a_parent(),
    }
    // ORDERING: a flag that stands alone.
    POOL_WANTED.store(true, Ordering::Relaxed);
    // ORDERING: flags that stand alone; they are set before or first in `main`.
    let (hook_ran, init_called) = (
        HOOK_RAN.load(Ordering::Relaxed),
        INIT_CALLED.load(Ordering::Relaxed),
    );
    if !Program::is_main() {
        Err(NoEntryPoint(
            "this crate is in a shared library, where no other process finds it; link it into \
             the main program",
        ))
    } else if Image::current().is_run_by_loader() {
        Err(NoEntryPoint(
            "the program was started through the loader (as `ld.so ./program`), which would be \
             started once more in its place; start the program itself",
        ))
    } else if init_called {
        Ok(EntryPoint::Init)
    } else if hook_ran {
        Ok(EntryPoint::Hook)
    } else {
        Err(NoEntryPoint(
            "no worker could start: call `concurrent_futures::init()` first in `main`, or turn \
             the feature `worker-hook` on",
        ))
    }
}

fn refuse_to_be_a_parent() -> ! {
    current_process::flush();
    eprintln!(
        "concurrent-futures: this process was started as a worker of a process pool, but \
         came to make such a pool itself before it became one; call \
         `concurrent_futures::init()` first in `main`, and leave {VARIABLE} alone"
    );
    ExitCode::CannotBegin.end()
}

/// Ends a process that was started as a worker and cannot be one. It sends `Refused`
/// to its parent, so that the parent does not start another.
fn refuse(why: &str) -> ! {
    current_process::ensure_stdio_open();
    eprintln!(
        "concurrent-futures: this process was started as a worker of a process pool, but \
         {why}"
    );
    let words = refused(&format!("no worker can begin: {why}"));
    // A parent that is gone needs no answer.
    let _ = Channel::take_stdin().and_then(|channel| channel.send_all(&words));
    ExitCode::CannotBegin.end()
}

/// The entry in `main`.
pub(crate) fn init() {
    // After the first pool it is too late: a worker would run all the code before
    // this call.
    // ORDERING: a flag that stands alone.
    if current_process::is_main_thread() && !POOL_WANTED.load(Ordering::Relaxed) {
        // ORDERING: a flag that stands alone.
        INIT_CALLED.store(true, Ordering::Relaxed);
    }
    // ORDERING: as in `entry_point`. A task in a worker may call a function that
    // calls `init`: return then.
    if IS_WORKER.load(Ordering::Relaxed) {
        return;
    }
    if let StartupRole::AsWorker(_, parent) = enter() {
        become_worker(EntryPoint::Init, parent);
    }
}

fn become_worker(entry_point: EntryPoint, parent: &'static Parent) -> ! {
    // ORDERING: the threads that read it are started after this.
    IS_WORKER.store(true, Ordering::Relaxed);
    serve::run(entry_point, parent)
}

/// `true` once the hook has run: it is part of this program.
static HOOK_RAN: AtomicBool = AtomicBool::new(false);
/// `true` once [`init`] was called on the main thread. A call on another thread (in a
/// libtest test, say) does not count: a worker process would run arbitrary code before
/// it reached that call.
static INIT_CALLED: AtomicBool = AtomicBool::new(false);
/// `true` once a pool was about to be made.
static POOL_WANTED: AtomicBool = AtomicBool::new(false);
/// `true` once this process has become a worker.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// The role that this process was started for.
#[derive(Debug)]
enum StartupRole {
    Program,
    AsWorker(EntryPoint, Parent),
    Rejected,
}

/// Returns the role of this process, found once. The marker stays in the environment:
/// the caller may be any thread.
fn startup_role() -> &'static StartupRole {
    static ROLE: OnceLock<StartupRole> = OnceLock::new();
    ROLE.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(value) if Program::is_main() => role_by(&value),
        _ => StartupRole::Program,
    })
}

/// Returns the role of this process, and removes the marker from the environment.
fn enter() -> &'static StartupRole {
    let role = startup_role();
    if std::env::var_os(VARIABLE).is_some()
        && Program::is_main()
        && current_process::has_one_thread()
    {
        // SAFETY: no other thread is there to read the environment.
        unsafe { std::env::remove_var(VARIABLE) };
    }
    role
}

fn role_by(marker: &OsStr) -> StartupRole {
    let Some(peer) = Peer::of_stdin() else {
        return StartupRole::Program;
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
    // From here on it is certain that the parent started this process as a worker.
    if !parent.die_with_parent() {
        current_process::end_now(0);
    }
    let failed_check = failed_check(peer, &parent);
    // If it has ended, the checks above may have seen another parent.
    if !parent.lives() {
        current_process::end_now(0);
    }
    match failed_check {
        Some(why) => refuse(&why),
        None => StartupRole::AsWorker(entry_point, parent),
    }
}

/// The reason why this process must not be the worker of its parent.
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
        return Some(
            "it was started through the loader (as `ld.so ./program`); start the program itself"
                .to_owned(),
        );
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

/// The entry before `main`.
#[cfg(feature = "worker-hook")]
mod hook {
    use std::ffi::{c_char, c_int};
    use std::sync::atomic::Ordering;

    use super::{EntryPoint, HOOK_RAN, StartupRole, become_worker, enter};
    use crate::sys::constructors::{Constructor, InitArgs, run_after};

    // SAFETY: `.init_array` holds such functions, and this is one.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static HOOK: Constructor = before_main;

    unsafe extern "C" fn before_main(
        count: c_int,
        arguments: *const *const c_char,
        environment: *const *const c_char,
    ) {
        // ORDERING: before `main` there is one thread.
        HOOK_RAN.store(true, Ordering::Relaxed);
        if let StartupRole::AsWorker(EntryPoint::Hook, parent) = enter() {
            let given = InitArgs(count, arguments, environment);
            // Tasks may need what the later constructors set up.
            // SAFETY: the loader calls this, and it never returns there.
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

    /// Only for [`who_was_started_as_a_worker_makes_no_pool`].
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
            // A program that calls no `init`.
            (&*invited, true, Some(ExitCode::CannotBegin as i32)),
            // A process that is rejected.
            ("init 1", true, Some(ExitCode::CannotBegin as i32)),
            // A marker that no launcher of ours has set.
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
