//! Where a process finds out that it was started as a worker.
//!
//! # The terms
//!
//! A parent starts its own program with the *marker* in the environment
//! ([`marker`]: at which entry it shall become a worker, and the parent's number)
//! and with one end of its channel as descriptor 0. There are two *entries*: the
//! *hook*, which runs before `main` (feature `worker-hook`), and [`init`].
//!
//! # The steps
//!
//! Whichever entry comes first, the marker is taken out of the environment, so
//! that no program that a task starts sees it, and is judged, once:
//!
//! | standing | when | what happens |
//! |---|---|---|
//! | program | no marker; or descriptor 0 is no local socket | starts as ever |
//! | orphan | the marker is right, but that parent is no more | ends at once |
//! | blind | all is right, but the parent's program is not to be seen | ends, with a message |
//! | invited | all is right | becomes a worker at the entry that the marker names |
//! | barred | anything else | starts as ever, but makes no pool of processes |
//!
//! *All is right*: nobody lent this process more rights than its caller has
//! (setuid, capabilities); the kernel says that the socket on descriptor 0 was
//! made by our parent, who is our user and the process that the marker names;
//! that parent runs the very file that this process runs; and this crate is in
//! the main program. So no stranger can have a program call addresses that he
//! chose: whoever gets that far runs this program as this user already.
//!
//! # Why `main` never works twice
//!
//! A process that our launcher started has the marker and a socket of its
//! parent, so it is an orphan, blind, invited or barred. The first two end. One that is
//! barred, or invited and past its entry, may run `main` for a while, but
//! [`way`], which everyone asks before making a pool, ends it with a message. So
//! there is never a second generation.

use std::ffi::OsStr;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::program::Program;
use super::worker;
use crate::sys::own;
use crate::sys::parent::{Parent, Peer, runs_our_program};

/// The environment variable that holds the marker.
const VARIABLE: &str = "CONCURRENT_FUTURES_WORKER";

/// The code with which a process ends that was started as a worker and behaves
/// like a parent: that of "internal software error" in `sysexits.h`.
const MISLED: i32 = 70;

/// The entry at which a process becomes a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Before `main`.
    Hook,
    /// In [`init`].
    Init,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Init => "init",
        }
    }
}

/// The name and the value of the variable that a worker is started with.
pub(crate) fn marker(way: Way) -> (&'static str, String) {
    (VARIABLE, format!("{} {}", way.name(), std::process::id()))
}

/// Why this process cannot have workers; the text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoWay(&'static str);

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How workers of this process are to start. To be asked before a pool is made.
///
/// Ends the process, with a message, if it was itself started as a worker and
/// did not become one.
///
/// # Errors
///
/// Workers would not know that they are workers.
pub(crate) fn way() -> Result<Way, NoWay> {
    if own::has_more_rights_than_its_caller() {
        return Err(NoWay(
            "a program with more rights than its caller (setuid, capabilities) has no pool of \
             processes; start it without them",
        ));
    }
    match standing() {
        Standing::Program => {}
        // ORDERING: set before any of the worker's threads, which alone ask.
        Standing::Invited(way, _) if BECAME.load(Ordering::Relaxed) => return Ok(*way),
        Standing::Invited(..) | Standing::Barred => refuse_to_be_a_parent(),
    }
    // ORDERING: a flag that stands alone.
    ASKED.store(true, Ordering::Relaxed);
    // ORDERING: flags that stand alone; they are set before or first in `main`.
    let (hooked, begun) = (
        HOOKED.load(Ordering::Relaxed),
        BEGUN.load(Ordering::Relaxed),
    );
    if !Program::is_main() {
        Err(NoWay(
            "this crate is in a shared library, where no other process finds it; link it into \
             the main program",
        ))
    } else if begun {
        Ok(Way::Init)
    } else if hooked {
        Ok(Way::Hook)
    } else {
        Err(NoWay(
            "no worker could start: call `concurrent_futures::init()` first in `main`, or turn \
             the feature `worker-hook` on",
        ))
    }
}

fn refuse_to_be_a_parent() -> ! {
    own::flush();
    eprintln!(
        "concurrent-futures: this process was started as a worker of a pool of processes, but \
         came to make such a pool itself before it became one; call \
         `concurrent_futures::init()` first in `main`, and leave {VARIABLE} alone"
    );
    own::end_now(MISLED)
}

/// A parent of ours would have `main` run in each worker that it starts.
fn refuse_to_be_blind() -> ! {
    eprintln!(
        "concurrent-futures: this process was started as a worker of a pool of processes, but \
         may not see which program its parent runs; if that has changed its user or group, it \
         has to make itself visible again: prctl(PR_SET_DUMPABLE, 1)"
    );
    own::end_now(MISLED)
}

/// The entry in `main`.
pub(super) fn init() {
    // Behind the first pool it is too late: a worker that came by there would
    // have done all that comes before it.
    // ORDERING: a flag that stands alone.
    if own::is_main_thread() && !ASKED.load(Ordering::Relaxed) {
        // ORDERING: a flag that stands alone.
        BEGUN.store(true, Ordering::Relaxed);
    }
    // ORDERING: as in `way`. A worker's task may call `main`'s functions.
    if BECAME.load(Ordering::Relaxed) {
        return;
    }
    if let Standing::Invited(_, parent) = standing() {
        become_worker(Way::Init, parent);
    }
}

fn become_worker(way: Way, parent: &'static Parent) -> ! {
    // ORDERING: the threads that ask are started after this.
    BECAME.store(true, Ordering::Relaxed);
    worker::run(way, parent)
}

/// The hook has run: it is in this program.
static HOOKED: AtomicBool = AtomicBool::new(false);
/// [`init`] was called where `main` runs. Elsewhere, in a test for instance, the
/// next process would not come by before it has done who knows what.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// Somebody was about to make a pool.
static ASKED: AtomicBool = AtomicBool::new(false);
/// This process is a worker.
static BECAME: AtomicBool = AtomicBool::new(false);

/// What this process was started as.
#[derive(Debug)]
enum Standing {
    Program,
    Invited(Way, Parent),
    Barred,
}

fn standing() -> &'static Standing {
    static STANDING: OnceLock<Standing> = OnceLock::new();
    STANDING.get_or_init(|| {
        let Some(value) = std::env::var_os(VARIABLE) else {
            return Standing::Program;
        };
        let standing = judge(&value);
        // SAFETY: at an entry, before this program has threads, if `init` is
        // called when it must be; if not, a process that is started wrongly
        // might at worst read its environment wrongly.
        unsafe { std::env::remove_var(VARIABLE) };
        standing
    })
}

fn judge(marker: &OsStr) -> Standing {
    let Some(peer) = Peer::of_stdin() else {
        return Standing::Program;
    };
    let invitation = marker.to_str().and_then(|marker| {
        let (way, parent) = marker.split_once(' ')?;
        let way = [Way::Hook, Way::Init]
            .into_iter()
            .find(|w| w.name() == way)?;
        Some((way, parent.parse::<u32>().ok()?))
    });
    let Some((way, pid)) = invitation.filter(|(_, pid)| *pid == peer.pid) else {
        return Standing::Barred;
    };
    if !peer.is_our_user() || own::has_more_rights_than_its_caller() {
        return Standing::Barred;
    }
    match Parent::with_pid(pid) {
        Some(parent) if Program::is_main() => match runs_our_program(pid) {
            Some(true) => Standing::Invited(way, parent),
            Some(false) => Standing::Barred,
            None => refuse_to_be_blind(),
        },
        None if peer.has_ended() => own::end_now(0),
        _ => Standing::Barred,
    }
}

/// The entry before `main`.
#[cfg(feature = "worker-hook")]
mod hook {
    use std::ffi::{c_char, c_int};
    use std::sync::atomic::Ordering;

    use super::{HOOKED, Standing, Way, become_worker, standing};
    use crate::sys::constructors::{Constructor, Given, run_after};

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
        if let Standing::Invited(Way::Hook, parent) = standing() {
            let given = Given(count, arguments, environment);
            // Tasks may need what the others set up, as they do behind `main`.
            // SAFETY: it is the loader that calls this, and it gets no answer.
            unsafe { run_after(before_main, given) };
            become_worker(Way::Hook, parent);
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
        let way = way();
        if cfg!(feature = "worker-hook") {
            assert_eq!(way, Ok(Way::Hook));
        } else {
            assert!(way.is_err_and(|why| why.to_string().contains("init")));
        }
        println!("found a way");
    }

    #[test]
    fn workers_do_not_begin_at_an_init_outside_of_main() {
        init();
        if !own::is_main_thread() {
            asks_for_a_way();
        }
    }

    #[test]
    fn who_was_started_as_a_worker_makes_no_pool() {
        let invited = marker(Way::Init).1;
        let runs = [
            // Whoever calls no `init`.
            (&*invited, true, Some(MISLED)),
            // Whoever is barred.
            ("init 1", true, Some(MISLED)),
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
                    "process::entry::tests::asks_for_a_way",
                ])
                .env(VARIABLE, marker)
                .stdin(input)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), code, "{marker}: {errors}");
            let told = errors.contains("call `concurrent_futures::init()` first");
            assert_eq!(told, code == Some(MISLED), "{errors}");
            let printed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(printed.contains("found a way"), code == Some(0));
        }
    }
}
