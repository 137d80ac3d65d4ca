//! The main loop of a worker process. The worker reads requests from the channel and
//! answers them, until the parent sends `Exit` or ends.
//!
//! A worker has three threads. The main thread reads `Hello`, and starts the other two
//! threads. The *task thread* has the worker's name and a large stack, and runs one task at
//! a time. The *watcher* waits for the parent to end, and the main thread waits for the
//! task thread to end. When the wait of the watcher or of the main thread is over, that
//! thread ends the process at once, whatever the other threads do.
//!
//! A task may damage its own process: it may close descriptors, lower limits, or end
//! threads. So the worker checks before each use of the channel that the descriptor still
//! refers to the channel. The watcher and the waiting main thread take no lock and allocate
//! no memory, because a killed thread may still hold the allocator's lock.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{exit, id};
use std::thread;

use crate::panic::watch_panics;
use crate::process::transport::{self, Rings, SCRIBBLED, WorkerReceiver, WorkerSender};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::{Frames, Kind, ProtocolError, bare, set_cpu};
use crate::process::wire::marker::EntryPoint;
use crate::process::wire::message::{Hello, Request, Work, refused};
use crate::process::wire::program::Program;
use crate::sys::channel::Channel;
use crate::sys::current_process;
use crate::sys::fork::Origin;
use crate::sys::life::Life;
use crate::sys::parent::Parent;
use crate::sys::signals;
use crate::sys::spin::is_elsewhere;
use crate::worker::{self, PoolKind, Worker};

/// The default stack size of the task thread, in bytes. The main thread of a program
/// usually has a stack of the same size.
const STACK: usize = 8 << 20;

/// The stack size of the watcher, in bytes. This size is enough to run a signal handler.
const WATCHER_STACK: usize = 256 << 10;

/// The state of the task thread. The main thread waits until this state shows the end of
/// the task thread.
static TASK_THREAD: Life = Life::new();

/// The largest answer buffer, in bytes, that the worker keeps for the next answer.
const KEPT: usize = 1 << 20;

/// Runs a worker process to its end.
pub(crate) fn run(entry_point: EntryPoint, parent: &'static Parent) -> ! {
    if !parent.die_with_parent() {
        current_process::end_now(0);
    }
    current_process::ensure_stdio_open();
    signals::ignore_interrupts();
    if entry_point == EntryPoint::Hook {
        signals::ignore_broken_pipes();
    }
    watch_panics();
    let channel = match Channel::take_stdin() {
        // The channel is leaked, because the task thread and the watcher use the channel
        // until the process ends.
        Ok(channel) => &*Box::leak(Box::new(channel)),
        Err(error) => lost(&format!(
            "the socket to its parent cannot be moved to another descriptor ({error})"
        )),
    };
    if !parent.wait_for_bytes(channel) {
        current_process::end_now(0);
    }
    let mut bytes = Assembler::new();
    let (hello, file) = match receive_hello(channel, parent, &mut bytes) {
        Some((Request::Hello(hello), file)) => (hello, file),
        Some(_) => lost("the first message of its parent is not the one that comes first"),
        None => current_process::end_now(0),
    };
    let rings = hello.rings.map(|key| match file.map(|file| Rings::open(&file, key)) {
        Some(Ok(rings)) => rings,
        Some(Err(error)) => lost(&format!(
            "it cannot map the memory that it shares with its parent ({error}); raise the limit of \
             memory (`ulimit -v`), or choose `Transport::Socket`"
        )),
        None => lost("the file of the shared memory is missing in its parent's first message"),
    });
    let (mut sender, receiver) = transport::ends(channel, rings);
    if let Some(why) = Program::current().mismatch(&hello.program) {
        refuse(&mut sender, &why);
    }
    let origin = match Origin::new() {
        Ok(origin) => origin,
        Err(error) => refuse(
            &mut sender,
            &format!("no worker can begin: it cannot watch for forks ({error}); free memory"),
        ),
    };
    let watcher = thread::Builder::new().name("cf-watcher".to_owned());
    let watches = move || {
        parent.wait_until_gone(channel);
        end_with_channel(parent)
    };
    let watcher = watcher.stack_size(WATCHER_STACK).spawn(watches);
    let requests = Requests {
        parent,
        receiver,
        bytes,
    };
    // A thread's name must not contain a NUL byte, because the standard library panics on
    // a NUL byte.
    let name = hello.name.replace('\0', "");
    let thread = thread::Builder::new().name(name).stack_size(stack());
    let serves = move || {
        let _lost = Unwinding;
        TASK_THREAD.begin();
        serve(entry_point, parent, sender, origin, requests, &hello)
    };
    if let Err(error) = watcher.and_then(|_| thread.spawn(serves)) {
        // The worker does not send `Refused`, because `Refused` would break the pool. The
        // system may have enough threads for the next worker.
        lost(&format!(
            "it cannot start a thread ({error}); raise the limits of threads (`ulimit -u`) and memory"
        ));
    }
    TASK_THREAD.wait_until_over();
    ExitCode::NoTaskThread.end()
}

/// Returns the stack size of the task thread, in bytes. The size is larger than the
/// default if the user has set a larger `RUST_MIN_STACK`.
pub(crate) fn stack() -> usize {
    let asked = std::env::var("RUST_MIN_STACK").ok();
    asked
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0)
        .max(STACK)
}

/// Waits for the first message, and returns it with the file that came with it. Returns
/// `None` if the parent has ended.
fn receive_hello(
    channel: &Channel,
    parent: &Parent,
    bytes: &mut Assembler,
) -> Option<(Request, Option<OwnedFd>)> {
    let mut file = None;
    loop {
        match bytes
            .next()
            .and_then(|frame| frame.map(Request::of).transpose())
        {
            Ok(Some(request)) => return Some((request, file)),
            Ok(None) => {}
            Err(malformed) => end_at_error(malformed),
        }
        match channel.receive_with_file(bytes.spare_buffer().unwrap_or_else(end_at_error)) {
            Ok((0, _)) => return None,
            Ok((count, received)) => {
                bytes.advance(count);
                file = file.or(received);
            }
            Err(error) => end_after_error(&error, parent),
        }
    }
}

fn refuse(sender: &mut WorkerSender, why: &str) -> ! {
    // An error is ignored, because a parent that has ended needs no answer.
    let _ = sender.send_all(&refused(why));
    current_process::end_now(0)
}

fn lost(why: &str) -> ! {
    end_saying(ExitCode::CannotGoOn, why)
}

fn end_saying(code: ExitCode, why: &str) -> ! {
    eprintln!(
        "concurrent-futures: the worker process {} ends: {why}",
        id()
    );
    code.end()
}

/// Ends the process after one end of the channel was closed. Either the parent has closed
/// its end or has ended, or a task has closed the worker's end.
fn end_with_channel(parent: &Parent) -> ! {
    if parent.lives() {
        // The worker prints no message, because the parent may be about to end.
        ExitCode::Closed.end();
    }
    current_process::end_now(0)
}

/// Ends the process after a task has closed the channel's descriptor.
fn end_without_descriptor() -> ! {
    end_saying(
        ExitCode::Closed,
        "its task closed the descriptor that answers go by; a task may close only what it has \
         opened itself",
    )
}

/// Ends the process after an I/O error on the channel.
fn end_after_error(error: &io::Error, parent: &Parent) -> ! {
    match error.raw_os_error() {
        Some(libc::EBADF | libc::ENOTSOCK) => end_without_descriptor(),
        _ if is_end(error) => end_with_channel(parent),
        _ if error.kind() == io::ErrorKind::InvalidData => lost(SCRIBBLED),
        _ => lost(&format!("the socket to its parent does not work ({error})")),
    }
}

/// Ends the process if the task thread unwinds, because no other thread answers requests.
struct Unwinding;

impl Drop for Unwinding {
    fn drop(&mut self) {
        end_saying(
            ExitCode::NoTaskThread,
            "the thread that runs tasks was ended alone (`pthread_exit`, `pthread_cancel`)",
        );
    }
}

/// Answers requests, one after the other, until the process ends.
fn serve(
    entry_point: EntryPoint,
    parent: &Parent,
    sender: WorkerSender,
    origin: Origin,
    mut requests: Requests<'_>,
    hello: &Hello,
) -> ! {
    let number = usize::try_from(hello.number).unwrap_or(usize::MAX);
    let _inside = worker::enter(Worker::new(PoolKind::Processes, number, &hello.name));
    let mut answers = Answers {
        parent,
        sender,
        origin,
        buffer: Vec::new(),
    };
    answers.send(&bare(Kind::Ready, 0));
    loop {
        match requests.next() {
            Some(Request::Task(task, _)) if !answers.sender.begin(task) => {}
            Some(Request::Task(task, work)) => {
                let mut started = bare(Kind::Started, task);
                set_cpu(&mut started, current_process::cpu());
                answers.send(&started);
                answers.answer(task, work);
                if !answers.sender.can_wake() {
                    // The worker must not begin another task, whose answer might need a
                    // wake-up.
                    end_without_descriptor();
                }
            }
            Some(Request::Initialize(work)) => {
                if answers.answer(0, work) == Some(Kind::InitializeFailed) {
                    end(entry_point);
                }
            }
            Some(Request::Exit) => end(entry_point),
            Some(Request::Hello(_)) => lost("its parent sent its first message twice"),
            None => end_with_channel(parent),
        }
    }
}

/// Ends the process after writing out the buffered output.
fn end(entry_point: EntryPoint) -> ! {
    match entry_point {
        // `main` never ran, so the standard library has nothing to clean up.
        EntryPoint::Hook => {
            current_process::flush();
            current_process::end_now(0)
        }
        EntryPoint::Init => exit(0),
    }
}

/// The worker's sending side.
struct Answers<'a> {
    parent: &'a Parent,
    sender: WorkerSender,
    /// The identity of the worker process. A child that a task has forked compares its own
    /// identity with this one, and ends.
    origin: Origin,
    buffer: Vec<u8>,
}

impl Answers<'_> {
    /// Runs a call, sends its answer, and returns the kind of the answer.
    fn answer(&mut self, task: u64, work: Work) -> Option<Kind> {
        let mut answer = std::mem::take(&mut self.buffer);
        // SAFETY: `Hello` showed that the parent runs this very program, and the parent
        // makes its calls with the functions of `Call`.
        if !unsafe { work.call.run(task, work.args(), &mut answer) } {
            lost("the function that it is to call is not in this program");
        }
        // The request is freed before the answer is sent, because the parent may measure
        // this process's memory after the answer.
        drop(work);
        if !self.origin.is_here() {
            // The task has forked, and this process is the forked child, which must not
            // send an answer.
            current_process::end_now(0);
        }
        set_cpu(&mut answer, current_process::cpu());
        self.send(&answer);
        let kind = Frames::within(&answer).next();
        let kind = kind.and_then(Result::ok).map(|(header, _)| header.kind);
        if answer.capacity() <= KEPT {
            answer.clear();
            self.buffer = answer;
        }
        kind
    }

    fn send(&mut self, frame: &[u8]) {
        if let Err(error) = self.sender.send_all(frame) {
            end_after_error(&error, self.parent);
        }
    }
}

/// The worker's receiving side.
struct Requests<'a> {
    parent: &'a Parent,
    receiver: WorkerReceiver,
    bytes: Assembler,
}

impl Requests<'_> {
    /// Waits for bytes from the parent, reads them, and returns the number of bytes read.
    fn receive(&mut self) -> io::Result<usize> {
        let spins = is_elsewhere(self.bytes.cpu());
        let spare_buffer = self.bytes.spare_buffer().unwrap_or_else(end_at_error);
        self.receiver.receive(spare_buffer, spins)
    }

    /// Waits for the next request. Returns `None` if the parent has ended.
    fn next(&mut self) -> Option<Request> {
        loop {
            let frame = match self.bytes.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => match self.receive() {
                    Ok(0) => return None,
                    Ok(count) => {
                        self.bytes.advance(count);
                        continue;
                    }
                    Err(error) => end_after_error(&error, self.parent),
                },
                Err(malformed) => end_at_error(malformed),
            };
            match Request::of(frame) {
                Ok(request) => return Some(request),
                Err(malformed) => end_at_error(malformed),
            }
        }
    }
}

fn end_at_error<T>(frame: ProtocolError) -> T {
    lost(&format!("it cannot read what it was sent: {frame}"))
}

/// Returns `true` if the error says that the other end of the channel is closed.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

#[cfg(test)]
#[cfg(feature = "worker-hook")]
mod tests;
