//! The worker: takes requests from the channel and answers them, until the
//! parent says to end, or is gone.
//!
//! Two threads. The one that the process began with makes the acquaintance, and
//! then watches the parent: when that is gone it ends the process at once,
//! whatever the other is doing. The other has a name and a stack of decent size,
//! and runs the tasks, one after the other.

use std::io;
use std::process::{exit, id};
use std::thread;

use super::entry::Way;
use super::frame::{Assembler, Frames, Kind, bare, set_cpu};
use super::looks::{is_elsewhere, look};
use super::message::{Greeting, Request, Work, refused};
use super::program::Program;
use crate::panic::watch_panics;
use crate::sys::channel::Channel;
use crate::sys::own::{self, Origin};
use crate::sys::parent::Parent;
use crate::worker::{self, PoolKind, Worker};

/// The code of a worker that cannot go on: the words of its parent make no
/// sense, or its channel is not there any more.
const LOST: i32 = 71;

/// The stack of the thread that runs tasks: what `main` usually has.
const STACK: usize = 8 << 20;

/// A buffer that grew beyond this for one answer is not kept.
const KEPT: usize = 1 << 20;

/// The life of a worker process.
pub(super) fn run(way: Way, parent: &'static Parent) -> ! {
    own::have_output();
    own::outlive_interrupts();
    if way == Way::Hook {
        own::ignore_broken_pipes();
    }
    watch_panics();
    let channel = match Channel::take_stdin() {
        // Leaked: both threads use it to the end of the process.
        Ok(channel) => &*Box::leak(Box::new(channel)),
        Err(error) => lost(&format!("its channel cannot be moved: {error}")),
    };
    if !parent.wait_for_words(channel) {
        own::end_now(0);
    }
    let mut requests = Requests::of(channel);
    let greeting = match requests.next() {
        Some(Request::Hello(greeting)) => greeting,
        Some(_) => lost("its parent did not greet it"),
        None => own::end_now(0),
    };
    if let Some(why) = Program::current().mismatch(&greeting.program) {
        refuse(channel, &why);
    }
    let origin = match Origin::new() {
        Ok(origin) => origin,
        Err(error) => refuse(channel, &format!("the worker cannot watch forks: {error}")),
    };
    // What no thread's name may hold, or std panics.
    let name = greeting.name.replace('\0', "");
    let thread = thread::Builder::new().name(name).stack_size(stack());
    let started = thread.spawn(move || {
        let _lost = Unwinding;
        serve(way, channel, origin, requests, &greeting)
    });
    if let Err(error) = started {
        // One death of many, perhaps: the next worker may get a thread.
        lost(&format!("it cannot start a thread: {error}"));
    }
    parent.wait_until_gone(channel);
    own::end_now(0)
}

/// The stack of the thread that runs tasks: what the user asked for all threads,
/// if it is more.
pub(super) fn stack() -> usize {
    let asked = std::env::var("RUST_MIN_STACK").ok();
    asked
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0)
        .max(STACK)
}

fn refuse(channel: &Channel, why: &str) -> ! {
    // If the parent is gone, nobody wants to know.
    let _ = channel.send_all(&refused(why));
    own::end_now(0)
}

fn lost(why: &str) -> ! {
    eprintln!("concurrent-futures: worker {} ends: {why}", id());
    own::end_now(LOST)
}

/// No task is to be waited for on a thread that is gone.
struct Unwinding;

impl Drop for Unwinding {
    fn drop(&mut self) {
        lost("its thread unwound");
    }
}

/// Answers requests, one after the other.
fn serve(
    way: Way,
    channel: &Channel,
    origin: Origin,
    mut requests: Requests<'_>,
    greeting: &Greeting,
) -> ! {
    let number = usize::try_from(greeting.number).unwrap_or(usize::MAX);
    let _inside = worker::enter(Worker::new(PoolKind::Processes, number, &greeting.name));
    let mut answers = Answers {
        channel,
        origin,
        buffer: Vec::new(),
    };
    answers.send(&bare(Kind::Ready, 0));
    loop {
        match requests.next() {
            Some(Request::Task(task, work)) => {
                let mut started = bare(Kind::Started, task);
                set_cpu(&mut started, own::cpu());
                answers.send(&started);
                answers.answer(task, work);
            }
            Some(Request::Initialize(work)) => {
                if answers.answer(0, work) == Some(Kind::InitializeFailed) {
                    end(way);
                }
            }
            Some(Request::Exit) => end(way),
            Some(Request::Hello(_)) => lost("its parent greeted it twice"),
            None => own::end_now(0),
        }
    }
}

/// The orderly end: what was printed and kept back is written out.
fn end(way: Way) -> ! {
    match way {
        // What `main` would have set up is not there: nothing to take down.
        Way::Hook => {
            own::flush();
            own::end_now(0)
        }
        Way::Init => exit(0),
    }
}

/// Where answers go.
struct Answers<'a> {
    channel: &'a Channel,
    /// The process that the channel is of.
    origin: Origin,
    buffer: Vec<u8>,
}

impl Answers<'_> {
    /// Runs a call and sends what came of it; says what kind of answer it was.
    fn answer(&mut self, task: u64, work: Work) -> Option<Kind> {
        let mut answer = std::mem::take(&mut self.buffer);
        // SAFETY: the greeting showed that the parent is this very program, and
        // it makes its calls with `Call`'s own functions.
        if !unsafe { work.call.run(task, work.args(), &mut answer) } {
            lost("a task's function is not in this program");
        }
        // Before the parent hears of the end, which may be when it looks.
        drop(work);
        if !self.origin.is_here() {
            // The task forked, and this is not the worker.
            own::end_now(0);
        }
        set_cpu(&mut answer, own::cpu());
        self.send(&answer);
        let kind = Frames::within(&answer).next();
        let kind = kind.and_then(Result::ok).map(|(header, _)| header.kind);
        if answer.capacity() <= KEPT {
            answer.clear();
            self.buffer = answer;
        }
        kind
    }

    fn send(&self, frame: &[u8]) {
        match self.channel.send_all(frame) {
            Ok(()) => {}
            Err(error) if is_end(&error) => own::end_now(0),
            Err(error) => lost(&format!("its channel is closed: {error}")),
        }
    }
}

/// What the parent asks for.
struct Requests<'a> {
    channel: &'a Channel,
    bytes: Assembler,
}

impl<'a> Requests<'a> {
    fn of(channel: &'a Channel) -> Self {
        Self {
            channel,
            bytes: Assembler::new(),
        }
    }

    /// Waits for bytes.
    fn receive(&mut self) -> io::Result<usize> {
        if is_elsewhere(self.bytes.cpu()) {
            let room = self.bytes.room();
            let found = look(|| match self.channel.receive_now(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                received => Some(received),
            });
            if let Some(received) = found {
                return received;
            }
        }
        self.channel.receive(self.bytes.room())
    }

    /// Waits for the next one; `None` if the parent is gone.
    fn next(&mut self) -> Option<Request> {
        loop {
            let frame = match self.bytes.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => match self.receive() {
                    Ok(0) => return None,
                    Ok(count) => {
                        self.bytes.came(count);
                        continue;
                    }
                    Err(error) if is_end(&error) => return None,
                    Err(error) => lost(&format!("its channel is closed: {error}")),
                },
                Err(malformed) => lost(&format!("it was sent {malformed}")),
            };
            match Request::of(frame) {
                Ok(request) => return Some(request),
                Err(malformed) => lost(&format!("it was sent {malformed}")),
            }
        }
    }
}

/// Whether the other end is gone.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

#[cfg(test)]
#[cfg(feature = "worker-hook")]
mod tests;
