//! The main loop of a worker process. The worker reads requests from the channel and
//! answers them, until the parent sends `Exit` or ends.
//!
//! A worker that its parent process has started has three threads. The main thread reads
//! `Hello`, the parent's first message, and starts the other two threads. The *task thread*
//! has the worker's name and a large stack, and runs one task at a time. The *watcher*
//! waits for the parent to end or to close the channel, and the main thread waits for the
//! task thread to end. The first of these two threads whose wait is over ends the process
//! at once, whatever the other threads do.
//!
//! A task may damage its own process: it may close descriptors, lower limits, or end
//! threads. So the worker checks that the channel's descriptor still refers to the channel
//! before it sends or receives through it. The watcher and the waiting main thread take no
//! lock and allocate no memory, because a thread that a task has ended may still hold the
//! allocator's lock.

use std::io;
use std::os::fd::OwnedFd;
use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use super::answers::{Answers, Output};
use super::ending::{
    cannot_begin, cannot_watch_for_forks, end_after_error, end_at_error, end_saying,
    end_with_channel, end_without_descriptor, lost,
};
use super::remote::Remote;
use super::requests::{Input, Received, Requests};
use crate::panic::watch_panics;
use crate::process::transport::{self, OfferMemory, Rings, WorkerSender};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::{Kind, bare};
use crate::process::wire::marker::EntryPoint;
use crate::process::wire::message::{Hello, ReadyOn, Request, ready_on, refused};
use crate::process::wire::program::Program;
use crate::sys::channel::Channel;
use crate::sys::current_process;
use crate::sys::fork::Origin;
use crate::sys::life::Life;
use crate::sys::parent::Parent;
use crate::sys::signals;
use crate::sys::stack;
use crate::worker::{self, PoolKind, Worker};

/// The default stack size of the task thread, in bytes. The main thread of a program
/// usually has a stack of the same size.
const STACK: usize = 8 << 20;

/// The stack size of the watcher, in bytes. This size is enough to run a signal handler.
const WATCHER_STACK: usize = 256 << 10;

/// Lets the main thread wait for the end of the task thread.
static TASK_THREAD: Life = Life::new();

/// The values that the task thread needs: the connection to the parent and the identity of
/// the worker.
pub(super) struct TaskThread {
    entry_point: EntryPoint,
    /// The parent, or `None` if a command or MPI has started this process.
    parent: Option<&'static Parent>,
    answers: Answers,
    requests: Requests,
    worker: Worker,
    /// The frame with which the worker says that it is ready.
    ready: Vec<u8>,
    takes_offers: bool,
}

/// Runs a worker that its parent process has started, until this process ends.
pub(crate) fn run(entry_point: EntryPoint, parent: &'static Parent) -> ! {
    if !parent.die_with_parent() {
        current_process::end_now(0);
    }
    current_process::ensure_stdio_open();
    signals::ignore_interrupts();
    if entry_point == EntryPoint::Hook {
        signals::ignore_broken_pipes();
    }
    // This call comes after the calls that ignore signals, because a signal that was
    // blocked until now arrives at once.
    signals::unblock_all();
    watch_panics();
    let channel = match Channel::take_stdin() {
        Ok(channel) => Arc::new(channel),
        Err(error) => lost(&format!(
            "the socket to its parent cannot be moved to another descriptor ({error})"
        )),
    };
    if !parent.wait_for_bytes(&channel) {
        current_process::end_now(0);
    }
    let mut bytes = Assembler::new();
    let (hello, files) = match receive_hello(&channel, parent, &mut bytes) {
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
    let (mut sender, receiver) = transport::ends(Arc::clone(&channel), rings, offers, number);
    if let Some(why) = Program::current().mismatch(&hello.program) {
        refuse(&mut sender, &why);
    }
    let origin = Origin::new().unwrap_or_else(|error| cannot_watch_for_forks(&error));
    let mut requests = Requests::new(Some(parent), Input::Direct(receiver, bytes));
    requests.takes_offers = matches!(hello.offers, Some((_, false)));
    let answers = Answers::new(Some(parent), Output::Direct(sender), origin);
    let task_thread = TaskThread {
        entry_point,
        parent: Some(parent),
        answers,
        requests,
        worker: Worker::new(PoolKind::Processes, number, &hello.name),
        ready: bare(Kind::Ready, 0).to_vec(),
        takes_offers: hello.offers.is_some(),
    };
    let watches = move || {
        parent.wait_until_gone(&channel);
        end_with_channel(Some(parent))
    };
    task_thread.run_beside("cf-watcher", WATCHER_STACK, watches)
}

/// The reason why a worker leaves its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    WhenTold,
    /// The initializer has failed, or a rank of MPI cannot be a worker of the pool.
    AfterFailure,
}

impl TaskThread {
    /// Returns the task thread of a worker that a command or MPI has started. `maker` is
    /// that of [`ReadyOn`].
    pub(super) fn elsewhere(
        connection: &'static dyn Remote,
        kind: PoolKind,
        hello: &Hello,
        maker: u32,
        origin: Origin,
    ) -> Self {
        let host = current_process::host();
        let number = usize::try_from(hello.number).unwrap_or(usize::MAX);
        Self {
            entry_point: EntryPoint::Init,
            parent: None,
            answers: Answers::new(None, Output::Elsewhere(connection), origin),
            requests: Requests::new(None, Input::Elsewhere(connection)),
            worker: Worker::new(kind, number, &hello.name).on_host(&host),
            ready: ready_on(&ReadyOn {
                pid: std::process::id(),
                maker,
                host,
            }),
            takes_offers: false,
        }
    }

    /// Starts the task thread, and another thread that watches the connection to the
    /// parent. Waits for the end of the task thread, and ends the process.
    pub(super) fn run_beside(
        self,
        name: &str,
        stack_size: usize,
        watches: impl FnOnce() + Send + 'static,
    ) -> ! {
        // A thread's name must not contain a NUL byte, because the standard library panics
        // on a NUL byte.
        let own_name = self.worker.name().replace('\0', "");
        let thread = thread::Builder::new().name(own_name).stack_size(stack());
        let (is_watched, wait_for_watcher) = mpsc::channel();
        let serves = move || {
            let _lost = Unwinding;
            TASK_THREAD.begin();
            // A worker without a watcher must not begin a task.
            if wait_for_watcher.recv().is_ok() {
                let entry_point = self.entry_point;
                self.serve();
                end(entry_point)
            }
        };
        // The task thread starts first, because the parent waits for its message `Ready`:
        // so the system can start the task thread while this thread starts the watcher.
        let watcher = thread::Builder::new().name(name.to_owned());
        let threads = thread.spawn(serves).and_then(|_| {
            let watcher = watcher.stack_size(stack_size).spawn(watches);
            watcher.map(|_| {
                // An error means that the task thread has ended, which this thread notices
                // below.
                let _ = is_watched.send(());
            })
        });
        if let Err(error) = threads {
            let why = format!(
                "it cannot start a thread ({error}); raise the limits of threads (`ulimit -u`) and \
                 memory"
            );
            cannot_begin(&error, &why);
        }
        TASK_THREAD.wait_until_over();
        ExitCode::NoTaskThread.end()
    }
}

/// Returns the stack size of the task thread, in bytes: the default size, or
/// `RUST_MIN_STACK` if the user has set this variable to a larger size.
pub(crate) fn stack() -> usize {
    stack::asked_size().unwrap_or(0).max(STACK)
}

fn no_file() -> OwnedFd {
    lost("a file of the shared memory is missing in its parent's first message")
}

fn cannot_map<T>(error: &io::Error) -> T {
    let why = format!(
        "it cannot map the memory that it shares with its parent ({error}); raise the limit of \
         memory (`ulimit -v`), or choose `Transport::Socket`"
    );
    cannot_begin(error, &why)
}

/// Waits for the first message, and returns it together with the files that came with its
/// bytes. Returns `None` if the parent has ended or has closed its end of the channel.
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
            Err(error) => end_after_error(&error, Some(parent)),
        }
    }
}

fn refuse(sender: &mut WorkerSender, why: &str) -> ! {
    // An error is ignored, because a parent that has ended needs no answer.
    let _ = sender.send_all(&refused(why));
    current_process::end_now(0)
}

/// Ends the process when the task thread drops this value, because no other thread answers
/// requests.
struct Unwinding;

impl Drop for Unwinding {
    fn drop(&mut self) {
        end_saying(
            ExitCode::NoTaskThread,
            "the thread that runs tasks was ended alone (`pthread_exit`, `pthread_cancel`)",
        );
    }
}

impl TaskThread {
    /// Answers requests, one after the other, until the worker leaves the pool.
    pub(super) fn serve(mut self) -> Left {
        let _inside = worker::enter(self.worker);
        let (answers, requests) = (&mut self.answers, &mut self.requests);
        answers.send(&[&self.ready]);
        loop {
            let request = match requests.next() {
                Some(Received::Request(request)) => request,
                Some(Received::Revoked(offer)) => {
                    answers.send(&[&bare(Kind::Declined, offer)]);
                    continue;
                }
                None => end_with_channel(self.parent),
            };
            match request {
                Request::Task(task, work) => {
                    answers.start(task);
                    let (_, took) = answers.answer(task, work);
                    if !answers.output.is_left_open(took) {
                        // The worker must not begin another task, because it cannot wake
                        // the parent. The parent would learn too late that the next task
                        // has begun, and so that task's time limit would begin too late.
                        // Nor could the worker wait for room if an answer is long.
                        end_without_descriptor();
                    }
                    requests.takes_offers = self.takes_offers;
                }
                Request::LongTask(task) => {
                    answers.send(&[&bare(Kind::Fetch, task)]);
                    // The parent sends the call of this task next. Until then the worker
                    // takes no other call from the shared memory.
                    requests.takes_offers = false;
                }
                Request::Initialize(work) => {
                    // The number 0 says that the initializer is no task.
                    answers.output.begin(0);
                    if answers.answer(0, work).0 == Some(Kind::InitializeFailed) {
                        answers.send(&[]);
                        return Left::AfterFailure;
                    }
                    requests.takes_offers = self.takes_offers;
                }
                Request::Hold => requests.is_held = true,
                Request::Release => requests.is_held = false,
                Request::Exit => {
                    // The connection may have kept an answer in order to send it with the
                    // next message. This call sends the answer.
                    answers.send(&[]);
                    return Left::WhenTold;
                }
                // Only a worker that a command or MPI has started gets these messages, and
                // its `RequestQueue` handles them.
                Request::Ping | Request::Recall(_) => {
                    lost("its parent sent a message for another kind of worker")
                }
                Request::Hello(_) => lost("its parent sent its first message twice"),
            }
        }
    }
}

fn end(entry_point: EntryPoint) -> ! {
    match entry_point {
        // `main` never ran, so the standard library's runtime has nothing to clean up.
        EntryPoint::Hook => {
            current_process::flush();
            current_process::end_now(0)
        }
        EntryPoint::Init => exit(0),
    }
}

#[cfg(test)]
#[cfg(feature = "worker-hook")]
mod tests;
