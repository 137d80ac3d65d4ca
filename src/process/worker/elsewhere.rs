//! The start of a worker that a command such as `ssh` has started.
//!
//! The descriptors 0 and 1 of the process are the connection to the parent, and descriptor
//! 2 is the command's error output. The process knows nothing else about the pool. It has
//! the environment of the program that started it, for example a login shell or the daemon
//! of a batch system. So the pool's first message brings the environment variables and the
//! working folder for the tasks.
//!
//! The worker first moves the connection to other descriptors, so that what a task prints
//! goes to the error output and not between the messages. Then it sends the greeting:
//! fixed bytes that separate its messages from what a login shell has printed.

use std::env::set_current_dir;

use super::connection::{Connection, HELLO_LIMIT};
use super::ending::{cannot_watch_for_forks, end_after_error, end_at_error, lost};
use super::remote::Remote;
use super::serve::TaskThread;
use crate::panic::watch_panics;
use crate::process::wire::assembler::Assembler;
use crate::process::wire::greeting::GREETING;
use crate::process::wire::message::{Elsewhere, Hello, Request, refused};
use crate::process::wire::program::Program;
use crate::sys::channel::Channel;
use crate::sys::current_process;
use crate::sys::fork::Origin;
use crate::sys::parent::Peer;
use crate::sys::signals;
use crate::worker::PoolKind;

/// The stack size of the *reader*, in bytes. The reader is the thread that receives
/// messages while a task runs. This size is enough to run a signal handler.
const READER_STACK: usize = 256 << 10;

pub(super) fn run() -> ! {
    let maker = Peer::of_stdio().map_or(0, |peer| peer.pid);
    let connection = connect();
    let mut bytes = Assembler::new();
    let hello = receive_hello(connection, &mut bytes);
    let Some(elsewhere) = &hello.elsewhere else {
        lost("the first message of its parent is for another kind of worker");
    };
    let (ours, parents) = (Program::current(), &hello.program);
    if ours != *parents {
        refuse(
            connection,
            &format!(
                "it is another build of the program ({ours:?}) than its parent ({parents:?}); copy \
                 the parent's file to its host"
            ),
        );
    }
    if let Err(why) = apply(elsewhere) {
        refuse(connection, &why);
    }
    signals::ignore_interrupts();
    // This call comes last, because a signal that was blocked until now arrives at once.
    signals::unblock_all();
    watch_panics();
    let origin = Origin::new().unwrap_or_else(|error| cannot_watch_for_forks(&error));
    let kind = PoolKind::Processes;
    let task_thread = TaskThread::elsewhere(connection, kind, &hello, maker, origin);
    connection.begin(bytes, elsewhere.silence);
    task_thread.run_beside("cf-reader", READER_STACK, move || connection.read())
}

/// Tells the parent that this process cannot become a worker, and ends the process.
pub(super) fn refuse_to_begin(why: &str) -> ! {
    refuse(connect(), why)
}

/// Moves the connection from the descriptors 0 and 1 to other descriptors, and sends the
/// greeting.
fn connect() -> &'static Connection {
    current_process::ensure_stdio_open();
    let channel = Channel::take_stdio().unwrap_or_else(|error| {
        lost(&format!(
            "the connection to its parent cannot be moved to other descriptors ({error})"
        ))
    });
    // The connection is leaked, because two threads use it until the process ends.
    let connection = &*Box::leak(Box::new(Connection::new(channel)));
    if let Err(error) = connection.send(&[GREETING]) {
        end_after_error(&error, None);
    }
    connection
}

fn receive_hello(connection: &Connection, bytes: &mut Assembler) -> Hello {
    loop {
        if let Some(frame) = bytes.next().unwrap_or_else(end_at_error) {
            return match Request::of(frame).unwrap_or_else(end_at_error) {
                Request::Hello(hello) => hello,
                _ => lost("the first message of its parent is not the one that comes first"),
            };
        }
        if !connection.receive_into(bytes, HELLO_LIMIT) {
            lost(&format!(
                "nothing has arrived from its parent within {HELLO_LIMIT:?}"
            ));
        }
    }
}

/// Applies the parent's settings to this process.
fn apply(elsewhere: &Elsewhere) -> Result<(), String> {
    if let Some(folder) = &elsewhere.folder {
        set_current_dir(folder).map_err(|error| {
            format!(
                "the folder `{}`, which `current_dir` names, cannot be entered on this host \
                 ({error})",
                folder.display()
            )
        })?;
    }
    if current_process::set_variables(&elsewhere.variables) {
        return Ok(());
    }
    Err(
        "a thread ran before `concurrent_futures::init()`, so the variables of `env` cannot be set; \
         call `init` before the program starts threads"
            .to_owned(),
    )
}

fn refuse(connection: &Connection, why: &str) -> ! {
    // An error is ignored, because a parent that has ended needs no answer.
    let _ = connection.send(&[&refused(&format!("no worker can begin: {why}"))]);
    current_process::end_now(0)
}
