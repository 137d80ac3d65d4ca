//! Tests of a worker process, in which the test plays the parent.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::ending::is_end;
use super::super::entry::entry_point;
use super::*;
use crate::encoded::Encoded;
use crate::process::wire::answer::Answer;
use crate::process::wire::call::{Call, initialize_frame, task_frame};
use crate::process::wire::codec;
use crate::process::wire::frame::set_task;
use crate::process::wire::marker::marker;
use crate::process::wire::message::{Hello, ReadyOn, Reply, exit};
use crate::sys::channel::pair;
use crate::sys::child::Handle;
use crate::sys::constructors::are_known;

/// The time that a test waits for a worker's message.
const LIMIT: Duration = Duration::from_secs(30);

/// A worker process that runs this test's program, and the parent's end of its channel.
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
    /// Starts a worker that begins before `main` (in the hook), without sending `Hello` to
    /// it.
    fn silent() -> Self {
        Self::silent_by(EntryPoint::Hook)
    }

    fn silent_by(entry_point: EntryPoint) -> Self {
        let (channel, childs) = pair().unwrap();
        set_socket_timeout(&channel, Timeout::Recv, Some(LIMIT)).unwrap();
        let (name, value) = marker(entry_point);
        let main = match entry_point {
            EntryPoint::Hook => "process::worker::serve::tests::is_never_run",
            EntryPoint::Init => "process::worker::serve::tests::begins_with_init",
        };
        let child = Command::new("/proc/self/exe")
            .env(name, value)
            .args(["--exact", "--nocapture", "--include-ignored", main])
            .stdin(Stdio::from(childs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            channel,
            replies: Assembler::new(),
        }
    }

    fn start() -> Self {
        Self::start_by(EntryPoint::Hook)
    }

    fn start_by(entry_point: EntryPoint) -> Self {
        let mut spoken = Self::silent_by(entry_point);
        spoken.say(&hello().frame());
        assert_eq!(
            spoken.read_replies(),
            Some(Reply::Ready(ReadyOn::default()))
        );
        spoken
    }

    fn say(&self, frame: &[u8]) {
        self.channel.send_all(frame).unwrap();
    }

    /// Returns the next reply of the worker, or `None` if the worker has ended.
    fn read_replies(&mut self) -> Option<Reply> {
        loop {
            if let Some(frame) = self.replies.next().unwrap() {
                return Some(Reply::of(frame).unwrap());
            }
            match self.channel.receive(self.replies.spare_buffer().unwrap()) {
                Ok(0) => return None,
                Ok(count) => self.replies.advance(count),
                Err(error) if is_end(&error) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn ask<A, R>(&mut self, task: u64, f: fn(A) -> R, args: A) -> Option<Answer<Encoded>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let mut frame = task_frame(Call::one(f).unwrap(), &args).unwrap();
        set_task(&mut frame, task);
        self.say(&frame);
        assert_eq!(self.read_replies(), Some(Reply::Started(task)));
        match self.read_replies()? {
            Reply::Answer(number, answer) if number == task => Some(answer),
            other => panic!("{other:?}"),
        }
    }

    fn value<A, R>(&mut self, f: fn(A) -> R, args: A) -> R
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        match self.ask(1, f, args) {
            Some(Answer::Returned(bytes)) => {
                codec::decode_moved(&bytes.bytes, bytes.numbers).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn ended(&mut self) -> ExitStatus {
        assert_eq!(self.read_replies(), None);
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

    /// Returns the texts that the worker printed on its standard output and standard
    /// error.
    fn printed(&mut self) -> [String; 2] {
        let out = self.child.stdout.take().unwrap();
        let err = self.child.stderr.take().unwrap();
        [
            io::read_to_string(out).unwrap(),
            io::read_to_string(err).unwrap(),
        ]
    }

    fn close(&mut self) {
        let (other, _) = pair().unwrap();
        drop(std::mem::replace(&mut self.channel, other));
    }
}

fn hello() -> Hello {
    Hello {
        program: Program::current(),
        number: 3,
        name: "spoken_3".to_owned(),
        rings: None,
        offers: None,
        elsewhere: None,
    }
}

#[test]
#[ignore = "a worker that became none would run it"]
fn is_never_run() {
    panic!("this process should be a worker");
}

/// Calls `init`, as a program does at the start of `main`. In a process that was started as
/// a worker, this call does not return.
#[test]
fn begins_with_init() {
    crate::process::init();
}

#[test]
fn a_worker_that_enters_by_init_does_the_same() {
    let mut worker = Spoken::start_by(EntryPoint::Init);
    assert_eq!(worker.value(|s: String| s.len(), "four".to_owned()), 4);
    let thread = worker.value(|()| thread::current().name().map(str::to_owned), ());
    assert_eq!(thread.as_deref(), Some("spoken_3"));
    assert!(worker.value(|()| entry_point() == Ok(EntryPoint::Init), ()));
    worker.value(|()| print!("no end of line"), ());
    worker.say(&exit());
    assert!(worker.ended().success());
    let [out, _] = worker.printed();
    assert!(out.ends_with("no end of line"), "{out}");
}

#[test]
fn what_was_printed_is_written_out_at_the_end() {
    let mut worker = Spoken::start();
    worker.value(|()| print!("rust "), ());
    worker.value(
        |()| {
            // SAFETY: the argument is a C string without directives.
            unsafe { libc::printf(c"and c".as_ptr()) };
        },
        (),
    );
    worker.say(&exit());
    assert!(worker.ended().success());
    assert_eq!(worker.printed(), ["rust and c", ""]);
}

/// A worker that began in `main` ends with a message of the standard library about the
/// overflow. A worker that began before `main` ends without this message.
#[test]
fn an_overflow_of_the_stack_ends_the_worker() {
    fn for_ever(n: u64) -> u64 {
        match std::hint::black_box(n) {
            0 => 0,
            n => for_ever(n + 1) + 1,
        }
    }
    for (entry_point, signal) in [
        (EntryPoint::Hook, libc::SIGSEGV),
        (EntryPoint::Init, libc::SIGABRT),
    ] {
        let mut worker = Spoken::start_by(entry_point);
        assert_eq!(worker.ask(1, for_ever, 1), None);
        assert_eq!(worker.ended().signal(), Some(signal), "{entry_point:?}");
        let [_, errors] = worker.printed();
        let says = errors.contains("'spoken_3' (") && errors.contains("overflowed its stack")
            || errors.contains("thread 'spoken_3' has overflowed its stack");
        assert_eq!(says, entry_point == EntryPoint::Init, "{errors}");
    }
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
    let mut words = hello().frame();
    words.extend(initialize_frame(call, &"set before".to_owned()).unwrap());
    let call = Call::one(|()| NAME.get().cloned()).unwrap();
    words.extend(task_frame(call, &()).unwrap());
    words.extend(exit());
    worker.say(&words);
    assert_eq!(
        worker.read_replies(),
        Some(Reply::Ready(ReadyOn::default()))
    );
    assert_eq!(worker.read_replies(), Some(Reply::Initialized));
    assert_eq!(worker.read_replies(), Some(Reply::Started(0)));
    let Some(Reply::Answer(0, Answer::Returned(bytes))) = worker.read_replies() else {
        panic!("it returns");
    };
    let name: Option<String> = codec::decode(&bytes.bytes).unwrap();
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
    // The worker process can make a process pool of its own.
    assert!(worker.value(|()| entry_point() == Ok(EntryPoint::Hook), ()));
    let marked = worker.value(|name: String| std::env::var(name).is_ok(), {
        let (name, _) = marker(EntryPoint::Hook);
        name.to_owned()
    });
    assert!(!marked, "tasks would hand the marker on");
}

/// Because of the number in the section's name, LLVM's linker puts the function `runs`
/// behind the hook, so that the hook itself has to run it. GNU's linker puts `runs` in
/// front of the hook, and then this test always passes.
#[test]
fn what_runs_before_main_has_run_before_tasks() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static RAN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn runs() {
        RAN.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the section `.init_array` holds pointers to functions, and `runs` ignores
    // the arguments that the loader passes.
    #[used]
    #[unsafe(link_section = ".init_array.99999")]
    static LATE: extern "C" fn() = runs;
    assert_eq!(RAN.load(Ordering::Relaxed), 1);
    let ran = Spoken::start().value(|()| RAN.load(Ordering::Relaxed), ());
    assert_eq!(ran, usize::from(are_known()));
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
    assert!(note.location.unwrap().contains("tests.rs:"));
    assert_eq!(note.worker.as_deref(), Some("spoken_3"));
    assert_eq!(worker.value(|n: u8| n, 1), 1);
}

/// The recursion fits into the usual stack of `main`, but not into the default stack of
/// the standard library's threads. So the test passes only if the stack of a task is larger
/// than that default.
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
    let mut hello = hello();
    hello.program.build_id = vec![0xab, 0xcd];
    worker.say(&hello.frame());
    let Some(Reply::Refused(why)) = worker.read_replies() else {
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
    let Some(Reply::InitializeFailed(_)) = worker.read_replies() else {
        panic!("it fails");
    };
    assert!(worker.ended().success());
}

#[test]
fn a_parent_that_closes_ends_idle_and_busy_workers() {
    let mut worker = Spoken::start();
    worker.close();
    assert_eq!(worker.wait().code(), Some(ExitCode::Closed as i32));

    let mut worker = Spoken::start();
    let call = Call::one(|()| -> () { loop_for_ever() }).unwrap();
    worker.say(&task_frame(call, &()).unwrap());
    assert_eq!(worker.read_replies(), Some(Reply::Started(0)));
    worker.close();
    assert_eq!(worker.wait().code(), Some(ExitCode::Closed as i32));
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
            // The call is invalid, because its addresses are not addresses of the program's
            // code.
            let mut out = bare(Kind::Task, 1).to_vec();
            out[16] = 16;
            out.extend([0; 16]);
            out
        },
    ];
    for words in nonsense {
        let mut worker = Spoken::start();
        worker.say(words);
        let on_reply = worker.read_replies();
        assert!(
            matches!(on_reply, None | Some(Reply::Started(1))),
            "{on_reply:?}"
        );
        assert_eq!(worker.ended().code(), Some(ExitCode::CannotGoOn as i32));
    }
    let mut worker = Spoken::silent();
    worker.say(&exit());
    assert_eq!(worker.ended().code(), Some(ExitCode::CannotGoOn as i32));
    let [_, said] = worker.printed();
    let whole = format!(
        "concurrent-futures: the worker process {} ends: the first message of its parent is not \
         the one that comes first",
        worker.child.id()
    );
    assert!(said.contains(&whole), "{said}");
}

#[test]
fn interrupts_do_nothing_and_are_not_handed_on() {
    // A shell that runs this program in the background lets it ignore interrupts.
    // SAFETY: the default action of a signal is no function.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
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
fn the_answer_of_a_fork_is_not_sent() {
    let mut worker = Spoken::start();
    let parent = worker.value(
        |()| {
            // SAFETY: the child process continues with this thread alone, and ends soon.
            let forked = unsafe { libc::fork() };
            assert_ne!(forked, -1);
            if forked > 0 {
                // SAFETY: the arguments are a pid, a pointer that may be null, and flags.
                unsafe { libc::waitpid(forked, std::ptr::null_mut(), 0) };
            }
            forked > 0
        },
        (),
    );
    assert!(parent);
    assert_eq!(worker.value(|n: u8| n, 2), 2);
}
