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
use super::frame::{Assembler, Frames, Kind, bare};
use super::message::{Greeting, Request, Work, refused};
use super::program::Program;
use crate::panic::watch_panics;
use crate::sys::channel::Channel;
use crate::sys::own;
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
    let name = greeting.name.clone();
    let thread = thread::Builder::new().name(name).stack_size(stack());
    let started = thread.spawn(move || {
        let _lost = Unwinding;
        serve(way, channel, requests, &greeting)
    });
    if let Err(error) = started {
        refuse(
            channel,
            &format!("the worker cannot start a thread: {error}"),
        );
    }
    parent.wait_until_gone(channel);
    own::end_now(0)
}

/// What the user asked for all threads, if it is more.
fn stack() -> usize {
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
fn serve(way: Way, channel: &Channel, mut requests: Requests<'_>, greeting: &Greeting) -> ! {
    let number = usize::try_from(greeting.number).unwrap_or(usize::MAX);
    let _inside = worker::enter(Worker::new(PoolKind::Processes, number, &greeting.name));
    let mut answers = Answers {
        channel,
        process: id(),
        buffer: Vec::new(),
    };
    answers.send(&bare(Kind::Ready, 0));
    loop {
        match requests.next() {
            Some(Request::Task(task, work)) => {
                answers.send(&bare(Kind::Started, task));
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
    process: u32,
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
        if id() != self.process {
            // The task forked, and this is not the worker.
            own::end_now(0);
        }
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

    /// Waits for the next one; `None` if the parent is gone.
    fn next(&mut self) -> Option<Request> {
        loop {
            let frame = match self.bytes.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => match self.channel.receive(self.bytes.room()) {
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
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::super::call::{Call, initialize_frame, task_frame};
    use super::super::codec;
    use super::super::entry::{marker, way};
    use super::super::frame::set_task;
    use super::super::message::{Answer, Reply, exit};
    use super::*;
    use crate::sys::channel::pair;
    use crate::sys::child::Handle;

    /// How long a test waits for a worker's words.
    const LIMIT: Duration = Duration::from_secs(30);

    /// This test's program as a worker, and the parent's end.
    struct Spoken {
        child: Child,
        channel: Channel,
        replies: Assembler,
    }

    impl Drop for Spoken {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Spoken {
        /// Starts a worker that enters by the hook, and does not greet it.
        fn silent() -> Self {
            let (channel, childs) = pair().unwrap();
            set_socket_timeout(&channel, Timeout::Recv, Some(LIMIT)).unwrap();
            let (name, value) = marker(Way::Hook);
            let child = Command::new("/proc/self/exe")
                .env(name, value)
                // What the program does if it does not become a worker.
                .args(["--exact", "process::worker::tests::is_never_run"])
                .stdin(Stdio::from(childs))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            Self {
                child,
                channel,
                replies: Assembler::new(),
            }
        }

        fn start() -> Self {
            let mut spoken = Self::silent();
            spoken.say(&greeting().frame());
            assert_eq!(spoken.hear(), Some(Reply::Ready));
            spoken
        }

        fn say(&self, frame: &[u8]) {
            self.channel.send_all(frame).unwrap();
        }

        /// The next reply, or `None` if the worker is gone.
        fn hear(&mut self) -> Option<Reply> {
            loop {
                if let Some(frame) = self.replies.next().unwrap() {
                    return Some(Reply::of(frame).unwrap());
                }
                match self.channel.receive(self.replies.room()) {
                    Ok(0) => return None,
                    Ok(count) => self.replies.came(count),
                    Err(error) if is_end(&error) => return None,
                    Err(error) => panic!("{error}"),
                }
            }
        }

        fn ask<A, R>(&mut self, task: u64, f: fn(A) -> R, args: A) -> Option<Answer<Vec<u8>>>
        where
            A: Serialize + DeserializeOwned,
            R: Serialize,
        {
            let mut frame = task_frame(Call::one(f).unwrap(), &args).unwrap();
            set_task(&mut frame, task);
            self.say(&frame);
            assert_eq!(self.hear(), Some(Reply::Started(task)));
            match self.hear()? {
                Reply::Answer(number, answer) if number == task => Some(answer),
                other => panic!("{other:?}"),
            }
        }

        fn value<A, R>(&mut self, f: fn(A) -> R, args: A) -> R
        where
            A: Serialize + DeserializeOwned,
            R: Serialize + DeserializeOwned,
        {
            match self.ask(1, f, args) {
                Some(Answer::Returned(bytes)) => codec::decode(&bytes).unwrap(),
                other => panic!("{other:?}"),
            }
        }

        fn ended(&mut self) -> ExitStatus {
            assert_eq!(self.hear(), None);
            self.wait()
        }

        fn wait(&mut self) -> ExitStatus {
            let handle = Handle::open(self.child.id()).unwrap();
            let limit = Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            };
            let pidfd = handle.pidfd().expect("this system has them");
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "the worker goes on");
            self.child.wait().unwrap()
        }

        /// Closes the parent's end.
        fn close(&mut self) {
            let (other, _) = pair().unwrap();
            drop(std::mem::replace(&mut self.channel, other));
        }
    }

    fn greeting() -> Greeting {
        Greeting {
            program: Program::current(),
            number: 3,
            name: "spoken_3".to_owned(),
        }
    }

    #[test]
    #[ignore = "a worker that became none would run it"]
    fn is_never_run() {
        panic!("this process should be a worker");
    }

    #[test]
    fn a_worker_runs_one_task_after_the_other() {
        let mut worker = Spoken::start();
        assert_eq!(worker.value(|s: String| s.len(), "four".to_owned()), 4);
        assert_eq!(worker.value(|(a, b): (u8, u8)| a * b, (6, 7)), 42);
        let big: Vec<u32> = (0..300_000).collect();
        assert_eq!(worker.value(|v: Vec<u32>| v, big.clone()), big);
        assert_eq!(worker.value(|()| id(), ()), worker.child.id());
        worker.say(&exit());
        assert!(worker.ended().success());
    }

    #[test]
    fn all_may_be_said_at_once() {
        fn initialize(name: String) {
            NAME.set(name).unwrap();
        }
        static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let mut worker = Spoken::silent();
        let call = Call::initializer(initialize).unwrap();
        let mut words = greeting().frame();
        words.extend(initialize_frame(call, &"set before".to_owned()).unwrap());
        let call = Call::one(|()| NAME.get().cloned()).unwrap();
        words.extend(task_frame(call, &()).unwrap());
        words.extend(exit());
        worker.say(&words);
        assert_eq!(worker.hear(), Some(Reply::Ready));
        assert_eq!(worker.hear(), Some(Reply::Initialized));
        assert_eq!(worker.hear(), Some(Reply::Started(0)));
        let Some(Reply::Answer(0, Answer::Returned(bytes))) = worker.hear() else {
            panic!("it returns");
        };
        let name: Option<String> = codec::decode(&bytes).unwrap();
        assert_eq!(name.as_deref(), Some("set before"));
        assert!(worker.ended().success());
    }

    #[test]
    fn a_worker_is_a_worker() {
        let mut worker = Spoken::start();
        let current = worker.value(
            |()| {
                let current = worker::current_worker().unwrap();
                let name = current.name().to_owned();
                (current.number(), name, current.kind().to_string())
            },
            (),
        );
        assert_eq!(current, (3, "spoken_3".to_owned(), "processes".to_owned()));
        let thread = worker.value(|()| thread::current().name().map(str::to_owned), ());
        assert_eq!(thread.as_deref(), Some("spoken_3"));
        // It could have workers of its own.
        assert!(worker.value(|()| way() == Ok(Way::Hook), ()));
        let marked = worker.value(|name: String| std::env::var(name).is_ok(), {
            let (name, _) = marker(Way::Hook);
            name.to_owned()
        });
        assert!(!marked, "tasks would hand the marker on");
    }

    /// The number has LLVM's linker, which is Rust's here, put it behind the
    /// hook; GNU's puts it in front, and then there is nothing to see.
    #[test]
    fn what_runs_before_main_has_run_before_tasks() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static RAN: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn runs() {
            RAN.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the section holds such functions; this one takes no notice of
        // what it is given.
        #[used]
        #[unsafe(link_section = ".init_array.99999")]
        static LATE: extern "C" fn() = runs;
        assert_eq!(RAN.load(Ordering::Relaxed), 1);
        let ran = Spoken::start().value(|()| RAN.load(Ordering::Relaxed), ());
        assert_eq!(ran, 1);
    }

    #[test]
    fn input_is_empty_and_no_descriptor_is_handed_on() {
        let mut worker = Spoken::start();
        let read = worker.value(
            |()| io::read_to_string(io::stdin()).map_err(|e| e.to_string()),
            (),
        );
        assert_eq!(read, Ok(String::new()));
        let handed_on = worker.value(
            |()| {
                let command = "for fd in /proc/self/fd/*; do readlink $fd; done";
                let output = Command::new("sh").args(["-c", command]).output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            },
            (),
        );
        assert!(!handed_on.contains("socket"), "{handed_on}");
    }

    #[test]
    fn a_panic_has_its_place_and_the_worker_goes_on() {
        let mut worker = Spoken::start();
        let panicked = worker.ask(5, |n: u8| -> () { panic!("ouch {n}") }, 7);
        let Some(Answer::Panicked(note)) = panicked else {
            panic!("{panicked:?}");
        };
        assert_eq!(note.message, "ouch 7");
        assert!(note.location.unwrap().contains("worker.rs:"));
        assert_eq!(note.worker.as_deref(), Some("spoken_3"));
        assert_eq!(worker.value(|n: u8| n, 1), 1);
    }

    /// Deep enough for any `main`, and deeper than std's threads allow.
    #[test]
    fn tasks_have_a_stack_of_decent_size() {
        fn deep(levels: u32) -> u64 {
            let block = std::hint::black_box([levels; 256]);
            match levels {
                0 => 0,
                levels => deep(levels - 1) + u64::from(block[0] > 0),
            }
        }
        let mut worker = Spoken::start();
        assert_eq!(worker.value(deep, 2000), 2000);
    }

    #[test]
    fn another_program_is_refused() {
        let mut worker = Spoken::silent();
        let mut greeting = greeting();
        greeting.program.build_id = vec![0xab, 0xcd];
        worker.say(&greeting.frame());
        let Some(Reply::Refused(why)) = worker.hear() else {
            panic!("it is refused");
        };
        assert!(why.contains("build abcd"), "{why}");
        assert!(worker.ended().success());
    }

    #[test]
    fn a_failed_initializer_ends_the_worker() {
        let mut worker = Spoken::start();
        let call = Call::initializer(|()| Err::<(), _>("no paper")).unwrap();
        worker.say(&initialize_frame(call, &()).unwrap());
        let Some(Reply::InitializeFailed(_)) = worker.hear() else {
            panic!("it fails");
        };
        assert!(worker.ended().success());
    }

    #[test]
    fn a_parent_that_closes_ends_idle_and_busy_workers() {
        let mut worker = Spoken::start();
        worker.close();
        assert!(worker.wait().success());

        let mut worker = Spoken::start();
        let call = Call::one(|()| -> () { loop_for_ever() }).unwrap();
        worker.say(&task_frame(call, &()).unwrap());
        assert_eq!(worker.hear(), Some(Reply::Started(0)));
        worker.close();
        assert!(worker.wait().success());
    }

    fn loop_for_ever() -> ! {
        loop {
            thread::park();
        }
    }

    #[test]
    fn nonsense_ends_the_worker_and_nothing_else() {
        let nonsense: [&[u8]; 4] = [
            &[0xff; 64],
            &bare(Kind::Task, 1),
            &bare(Kind::Started, 1),
            &{
                // A call of nothing: the addresses are none of code.
                let mut out = bare(Kind::Task, 1).to_vec();
                out[16] = 16;
                out.extend([0; 16]);
                out
            },
        ];
        for words in nonsense {
            let mut worker = Spoken::start();
            worker.say(words);
            let heard = worker.hear();
            assert!(matches!(heard, None | Some(Reply::Started(1))), "{heard:?}");
            assert_eq!(worker.ended().code(), Some(LOST));
        }
        let mut worker = Spoken::silent();
        worker.say(&exit());
        assert_eq!(worker.ended().code(), Some(LOST));
    }

    #[test]
    fn interrupts_do_nothing_and_are_not_handed_on() {
        let mut worker = Spoken::start();
        let pid = i32::try_from(worker.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(worker.value(|n: u8| n, 1), 1);
        let ends = worker.value(
            |()| {
                let status = Command::new("sh").args(["-c", "kill -INT $$"]).status();
                status.unwrap().signal()
            },
            (),
        );
        assert_eq!(ends, Some(libc::SIGINT));
    }

    #[test]
    fn what_a_fork_returns_nobody_hears() {
        let mut worker = Spoken::start();
        let parent = worker.value(
            |()| {
                // SAFETY: the child goes on with this thread alone, and ends soon.
                let forked = unsafe { libc::fork() };
                assert_ne!(forked, -1);
                if forked > 0 {
                    // SAFETY: a number and a pointer that may be null.
                    unsafe { libc::waitpid(forked, std::ptr::null_mut(), 0) };
                }
                forked > 0
            },
            (),
        );
        assert!(parent);
        assert_eq!(worker.value(|n: u8| n, 2), 2);
    }
}
