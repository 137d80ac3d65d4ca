//! The entries at which a process becomes the worker that it was started as.
//!
//! # The terms
//!
//! A parent starts its own program with the *marker* in the environment
//! ([`marker`](crate::process::wire::marker::marker): at which entry it shall become a worker, and the parent's number)
//! and with one end of its channel as descriptor 0. There are two *entries*: the
//! *hook*, which runs before `main` (feature `worker-hook`), and [`init`].
//!
//! # The steps
//!
//! Whichever entry comes first, the marker is judged, once, and taken out of the
//! environment, so that no program that a task starts sees it (if the process has
//! one thread then: others may be reading the environment).
//!
//! | standing | marker | maker of the socket on descriptor 0 | what happens |
//! |---|---|---|---|
//! | program | none | - | starts as ever |
//! | program | any | none: it is no local socket | starts as ever |
//! | barred | illegible, or names another than the maker | any | starts as ever, but makes no pool of processes |
//! | barred | names the maker | lives, and is not our parent | the same |
//! | orphan | names the maker | is no more | ends at once |
//! | refused | names the maker | our parent, but something is wrong | ends, and says what |
//! | invited | names the maker | our parent, and all is right | becomes a worker at the entry that the marker names |
//!
//! *All is right*: this process has no more rights than its caller (setuid,
//! capabilities); its parent acts for the same user, and runs the very file that
//! this process runs. Something is *wrong* also if that is not to be seen. So no
//! stranger can have a program call addresses that he chose: whoever gets that far
//! runs this program as this user already.
//!
//! A copy of this crate in a shared library is no entry, and leaves the marker to
//! the one in the main program.
//!
//! # Why `main` never works twice
//!
//! A process that our launcher started has the marker and a socket of its parent,
//! who is the one that the marker names, as long as it lives: it is an orphan,
//! refused or invited. The first two end before `main`, or in [`init`]; one that
//! is invited becomes a worker. One that never comes to its entry, or is barred,
//! may run `main`, but [`entry_point`], which is asked before a pool is made, ends it with
//! a message. So there is never a second generation.

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
/// Workers would not know that they are workers.
pub(crate) fn entry_point() -> Result<EntryPoint, NoEntryPoint> {
    if current_process::has_more_rights_than_its_caller() {
        return Err(NoEntryPoint(
            "a program with more rights than its caller (setuid, capabilities) has no pool of \
             processes; start it without them",
        ));
    }
    match startup_role() {
        StartupRole::Program => {}
        // ORDERING: set before any of the worker's threads, which alone ask.
        StartupRole::AsWorker(entry_point, _) if BECAME.load(Ordering::Relaxed) => {
            return Ok(*entry_point);
        }
        StartupRole::AsWorker(..) | StartupRole::Rejected => refuse_to_be_a_parent(),
    }
    // ORDERING: a flag that stands alone.
    ASKED.store(true, Ordering::Relaxed);
    // ORDERING: flags that stand alone; they are set before or first in `main`.
    let (hooked, begun) = (
        HOOKED.load(Ordering::Relaxed),
        BEGUN.load(Ordering::Relaxed),
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
    } else if begun {
        Ok(EntryPoint::Init)
    } else if hooked {
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
        "concurrent-futures: this process was started as a worker of a pool of processes, but \
         came to make such a pool itself before it became one; call \
         `concurrent_futures::init()` first in `main`, and leave {VARIABLE} alone"
    );
    ExitCode::CannotBegin.end()
}

/// Ends a process that was started as a worker and cannot be one. Its parent is
/// told, so that it does not start the next.
fn refuse(why: &str) -> ! {
    current_process::ensure_stdio_open();
    eprintln!(
        "concurrent-futures: this process was started as a worker of a pool of processes, but \
         {why}"
    );
    let words = refused(&format!("no worker can begin: {why}"));
    // A parent that is gone needs no answer.
    let _ = Channel::take_stdin().and_then(|channel| channel.send_all(&words));
    ExitCode::CannotBegin.end()
}

/// The entry in `main`.
pub(crate) fn init() {
    // Behind the first pool it is too late: a worker that came by there would
    // have done all that comes before it.
    // ORDERING: a flag that stands alone.
    if current_process::is_main_thread() && !ASKED.load(Ordering::Relaxed) {
        // ORDERING: a flag that stands alone.
        BEGUN.store(true, Ordering::Relaxed);
    }
    // ORDERING: as in `entry_point`. A worker's task may call `main`'s functions.
    if BECAME.load(Ordering::Relaxed) {
        return;
    }
    if let StartupRole::AsWorker(_, parent) = enter() {
        become_worker(EntryPoint::Init, parent);
    }
}

fn become_worker(entry_point: EntryPoint, parent: &'static Parent) -> ! {
    // ORDERING: the threads that ask are started after this.
    BECAME.store(true, Ordering::Relaxed);
    serve::run(entry_point, parent)
}

/// The hook has run: it is in this program.
static HOOKED: AtomicBool = AtomicBool::new(false);
/// [`init`] was called where `main` runs. Elsewhere, in a test for instance, the
/// next process would not come by before it has done who knows what.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// `true` once a pool was about to be made.
static ASKED: AtomicBool = AtomicBool::new(false);
/// This process is a worker.
static BECAME: AtomicBool = AtomicBool::new(false);

/// The role that this process was started for.
#[derive(Debug)]
enum StartupRole {
    Program,
    AsWorker(EntryPoint, Parent),
    Rejected,
}

/// Judged once. The marker stays: who asks may be any thread.
fn startup_role() -> &'static StartupRole {
    static STANDING: OnceLock<StartupRole> = OnceLock::new();
    STANDING.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(value) if Program::is_main() => judge(&value),
        _ => StartupRole::Program,
    })
}

/// The standing, at an entry.
fn enter() -> &'static StartupRole {
    let startup_role = startup_role();
    if std::env::var_os(VARIABLE).is_some()
        && Program::is_main()
        && current_process::has_one_thread()
    {
        // SAFETY: no other thread is there to read the environment.
        unsafe { std::env::remove_var(VARIABLE) };
    }
    startup_role
}

fn judge(marker: &OsStr) -> StartupRole {
    let Some(peer) = Peer::of_stdin() else {
        return StartupRole::Program;
    };
    let invitation = marker.to_str().and_then(|marker| {
        let (entry_point, parent) = marker.split_once(' ')?;
        let entry_point = [EntryPoint::Hook, EntryPoint::Init]
            .into_iter()
            .find(|w| w.name() == entry_point)?;
        Some((entry_point, parent.parse::<u32>().ok()?))
    });
    let Some((entry_point, pid)) = invitation.filter(|(_, pid)| *pid == peer.pid) else {
        return StartupRole::Rejected;
    };
    let Some(parent) = Parent::with_pid(pid) else {
        if peer.has_ended() {
            current_process::end_now(0);
        }
        return StartupRole::Rejected;
    };
    // From here on it is certain that the parent started this process as a worker.
    if !parent.end_with_it() {
        current_process::end_now(0);
    }
    let unfit = unfit(peer, &parent);
    // What was seen of it may be of the next parent.
    if !parent.lives() {
        current_process::end_now(0);
    }
    match unfit {
        Some(why) => refuse(&why),
        None => StartupRole::AsWorker(entry_point, parent),
    }
}

/// The reason why this process must not be the worker of its parent.
fn unfit(peer: Peer, parent: &Parent) -> Option<String> {
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

    use super::{EntryPoint, HOOKED, StartupRole, become_worker, enter};
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
        HOOKED.store(true, Ordering::Relaxed);
        if let StartupRole::AsWorker(EntryPoint::Hook, parent) = enter() {
            let given = InitArgs(count, arguments, environment);
            // Tasks may need what the others set up, as they do behind `main`.
            // SAFETY: it is the loader that calls this, and it gets no answer.
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
            // Whoever calls no `init`.
            (&*invited, true, Some(ExitCode::CannotBegin as i32)),
            // Whoever is barred.
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
