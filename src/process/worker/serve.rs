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
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::encoded::Encoded;
use crate::panic::watch_panics;
use crate::process::transport::{
    self, OfferMemory, Rings, SCRIBBLED, WorkerReceiver, WorkerSender,
};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::{Frame, Header, Kind, ProtocolError, bare, set_cpu};
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
    let (hello, files) = match receive_hello(channel, parent, &mut bytes) {
        Some((Request::Hello(hello), files)) => (hello, files),
        Some(_) => lost("the first message of its parent is not the one that comes first"),
        None => current_process::end_now(0),
    };
    let mut files = files.into_iter();
    let rings = hello.rings.map(|key| {
        let file = files.next().unwrap_or_else(no_file);
        Rings::open(&file, key).unwrap_or_else(|error| cannot_map(&error))
    });
    let offers = hello.offers.map(|(key, _)| {
        let files = [(); 2].map(|()| files.next().unwrap_or_else(no_file));
        OfferMemory::open(&files, key).unwrap_or_else(|error| cannot_map(&error))
    });
    let number = usize::try_from(hello.number).unwrap_or(usize::MAX);
    let (mut sender, receiver) = transport::ends(channel, rings, offers, number);
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
    let requests = Requests {
        parent,
        receiver,
        bytes,
        call: Vec::new(),
        takes_offers: matches!(hello.offers, Some((_, false))),
        is_held: false,
        cpu: 0,
    };
    // A thread's name must not contain a NUL byte, because the standard library panics on
    // a NUL byte.
    let name = hello.name.replace('\0', "");
    let thread = thread::Builder::new().name(name).stack_size(stack());
    let (is_watched, wait_for_watcher) = mpsc::channel();
    let serves = move || {
        let _lost = Unwinding;
        TASK_THREAD.begin();
        // A worker without a watcher must not begin a task.
        if wait_for_watcher.recv().is_ok() {
            serve(entry_point, parent, sender, origin, requests, &hello);
        }
    };
    // The watcher comes second, because the parent waits for the task thread.
    let watcher = thread::Builder::new().name("cf-watcher".to_owned());
    let watches = move || {
        parent.wait_until_gone(channel);
        end_with_channel(parent)
    };
    let threads = thread.spawn(serves).and_then(|_| {
        let watcher = watcher.stack_size(WATCHER_STACK).spawn(watches);
        watcher.map(|_| {
            // An error means that the task thread has ended, and this thread sees that.
            let _ = is_watched.send(());
        })
    });
    if let Err(error) = threads {
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

fn no_file() -> OwnedFd {
    lost("a file of the shared memory is missing in its parent's first message")
}

fn cannot_map<T>(error: &io::Error) -> T {
    lost(&format!(
        "it cannot map the memory that it shares with its parent ({error}); raise the limit of \
         memory (`ulimit -v`), or choose `Transport::Socket`"
    ))
}

/// Waits for the first message, and returns it with the files that came with it. Returns
/// `None` if the parent has ended.
fn receive_hello(
    channel: &Channel,
    parent: &Parent,
    bytes: &mut Assembler,
) -> Option<(Request, Vec<OwnedFd>)> {
    let mut files = Vec::new();
    loop {
        match bytes
            .next()
            .and_then(|frame| frame.map(Request::of).transpose())
        {
            Ok(Some(request)) => return Some((request, files)),
            Ok(None) => {}
            Err(malformed) => end_at_error(malformed),
        }
        match channel.receive_with_files(bytes.spare_buffer().unwrap_or_else(end_at_error)) {
            Ok((0, _)) => return None,
            Ok((count, received)) => {
                bytes.advance(count);
                files.extend(received);
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
    let takes_offers = hello.offers.is_some();
    loop {
        let Some(Received { request, offer }) = requests.next() else {
            end_with_channel(parent);
        };
        if let Some(offer) = offer.filter(|offer| !requests.receiver.is_still_taken(*offer)) {
            answers.send(&bare(Kind::Declined, offer));
            continue;
        }
        match request {
            Request::Task(task, work) => {
                answers.sender.begin(task);
                let mut started = bare(Kind::Started, task);
                set_cpu(&mut started, current_process::cpu());
                // A task before may have closed the socket. The parent reads the message all
                // the same, at the latest when the answer ends this worker.
                let _ = answers.sender.send_all(&started);
                let (_, took) = answers.answer(task, work);
                if !answers.sender.can_wake_after(took) {
                    // The worker must not begin another task. The parent would learn its start
                    // too late for a time limit, and a long answer could not wait for room.
                    end_without_descriptor();
                }
                requests.takes_offers = takes_offers;
            }
            Request::LongTask(task) => {
                answers.send(&bare(Kind::Fetch, task));
                // The call of this task comes next.
                requests.takes_offers = false;
            }
            Request::Initialize(work) => {
                if answers.answer(0, work).0 == Some(Kind::InitializeFailed) {
                    end(entry_point);
                }
                requests.takes_offers = takes_offers;
            }
            Request::Hold => requests.is_held = true,
            Request::Release => requests.is_held = false,
            Request::Exit => end(entry_point),
            Request::Hello(_) => lost("its parent sent its first message twice"),
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
    /// Runs a call, and sends its answer. Returns the kind of the answer, and the time that
    /// the call took.
    fn answer(&mut self, task: u64, mut work: Work) -> (Option<Kind>, Duration) {
        let mut answer = Encoded::from(std::mem::take(&mut self.buffer));
        let call = work.call;
        let begun = Instant::now();
        // SAFETY: `Hello` showed that the parent runs this very program, and the parent
        // makes its calls with the functions of `Call`.
        if !unsafe { call.run(task, work.args(), &mut answer) } {
            lost("the function that it is to call is not in this program");
        }
        let took = begun.elapsed();
        // The request is freed before the answer is sent, because the parent may measure
        // this process's memory after the answer.
        drop(work);
        if !self.origin.is_here() {
            // The task has forked, and this process is the forked child, which must not
            // send an answer.
            current_process::end_now(0);
        }
        let Encoded { mut bytes, numbers } = answer;
        set_cpu(&mut bytes, current_process::cpu());
        self.send(&bytes);
        if let Some(numbers) = numbers {
            self.send(numbers.bytes());
        }
        let kind = Header::of(&bytes).map(|header| header.kind);
        if bytes.capacity() <= KEPT {
            bytes.clear();
            self.buffer = bytes;
        }
        (kind, took)
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
    /// The bytes of the offer that the worker has taken last.
    call: Vec<u8>,
    takes_offers: bool,
    /// `true` if the parent is about to kill this process.
    is_held: bool,
    /// The number of the CPU on which the last request was sent, plus one, or 0.
    cpu: u32,
}

/// A request from the parent.
struct Received {
    request: Request,
    /// The number of the offer, if the request was an offer to all workers.
    offer: Option<u64>,
}

impl Requests<'_> {
    /// Waits for the next request. Returns `None` if the parent has ended.
    fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.bytes.next().unwrap_or_else(end_at_error) {
                self.cpu = self.bytes.cpu();
                return Some(Received::of(frame, None));
            }
            // The rest of a message is on its way.
            let is_inside = !self.bytes.is_between_frames();
            let spins = is_inside || is_elsewhere(self.cpu);
            let spare_buffer = self.bytes.spare_buffer().unwrap_or_else(end_at_error);
            let call = &mut self.call;
            let takes_offers = self.takes_offers && !self.is_held;
            let received = self
                .receiver
                .receive(spare_buffer, call, takes_offers, spins);
            match received {
                Ok(transport::Received::Bytes(0)) => return None,
                Ok(transport::Received::Bytes(count)) => self.bytes.advance(count),
                Ok(transport::Received::Offer(offer)) => {
                    let (header, frame) = Frame::only(call).unwrap_or_else(end_at_error);
                    self.cpu = header.cpu;
                    return Some(Received::of(frame, Some(offer)));
                }
                Err(error) => end_after_error(&error, self.parent),
            }
        }
    }
}

impl Received {
    fn of(frame: Frame, offer: Option<u64>) -> Self {
        let request = Request::of(frame).unwrap_or_else(end_at_error);
        Self { request, offer }
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
