//! [`run`]: the workers in a rank of an MPI job, one after the other.
//!
//! The main thread of the rank (a process of the job) has started MPI, and runs the
//! tasks. It looks for messages after each task and while it waits for a task. A second
//! thread, the *helper*, looks for messages during a long task, so that the parent can take
//! back the tasks that wait behind the long task (`parent/sent_ahead.rs`). The helper
//! sleeps if no task has run for a while.

use std::io;
use std::thread::{self, JoinHandle, sleep, yield_now};
use std::time::{Duration, Instant};

use super::connection::MOST_KEPT;
use super::ending::{end_at_error, lost};
use super::remote::Remote;
use super::request_queue::RequestQueue;
use super::serve::{Left, TaskThread};
use crate::panic::watch_panics;
use crate::process::transport::Mpi;
use crate::process::wire::assembler::Assembler;
use crate::process::wire::frame::{Frame, Kind};
use crate::process::wire::message::{Hello, Request, refused};
use crate::process::wire::program::Program;
use crate::sync::{Condvar, Mutex};
use crate::sys::current_process;
use crate::sys::fork::Origin;
use crate::sys::patience::Patience;
use crate::worker::PoolKind;

/// The number of the rank that submits the tasks.
const PARENT: usize = 0;

/// The shortest time between two rounds of the helper, the thread that looks for messages
/// once per round during a long task.
const HELPER_INTERVAL: Duration = Duration::from_millis(1);

/// The number of rounds in a row without a running task after which the helper sleeps until
/// a task begins.
const HELPER_LOOKS: u32 = 20;

/// The stack size of the helper, in bytes. This size is enough to run a signal handler.
const HELPER_STACK: usize = 256 << 10;

/// Runs the workers of this rank: one for each pool that takes the rank, one after the
/// other. Ends the process when rank 0 ends the job.
pub(in crate::process) fn run(mpi: &'static Mpi) -> ! {
    // If the call fails, the pauses in which a thread waits for messages are a little
    // longer, which does no harm.
    let _ = current_process::use_short_timer_slack();
    watch_panics();
    // The connection is leaked, because two threads use it until the process ends.
    let connection = &*Box::leak(Box::new(RankConnection::new(mpi)));
    loop {
        match Request::of(connection.wait_for_request()).unwrap_or_else(end_at_error) {
            Request::Hello(hello) => work(connection, &hello),
            Request::Exit => {
                mpi.finish();
                std::process::exit(0)
            }
            _ => lost("its parent sent a task before its first message"),
        }
    }
}

/// Runs the worker of one pool, and tells rank 0 when the worker has left the pool.
///
/// The last message that a pool sends to a worker is `Exit`. A worker that leaves for
/// another reason waits for `Exit` too. Otherwise the rank would take a late message of
/// its old pool for a message of the next pool.
fn work(connection: &'static RankConnection, hello: &Hello) {
    let left = match prepare(connection, hello) {
        Ok(task_thread) => task_thread.serve(),
        Err(why) => {
            let words = refused(&format!("no worker can begin: {why}"));
            connection.mpi.send(PARENT, &[&words]);
            Left::AfterFailure
        }
    };
    connection.end_helper();
    while left == Left::AfterFailure && connection.wait_for_request().kind != Kind::Exit {}
    connection.mpi.end_stream(PARENT);
}

fn prepare(connection: &'static RankConnection, hello: &Hello) -> Result<TaskThread, String> {
    let (ours, parents) = (Program::current(), &hello.program);
    if ours != *parents {
        return Err(format!(
            "it is another build of the program ({ours:?}) than that of rank 0 ({parents:?}); start \
             the same file on each host"
        ));
    }
    let origin = Origin::new()
        .map_err(|error| format!("it cannot watch for forks ({error}); free memory"))?;
    if let Err(error) = connection.start_helper() {
        // The worker does not send `Refused`, because after that message the pool would use
        // no rank any more. Without the helper, this rank handles the messages that arrive
        // during a task only after the task.
        current_process::say(&format!(
            "a rank cannot start a thread ({error}), so it reads no messages during a task; raise \
             the limits of threads (`ulimit -u`) and memory"
        ));
    }
    Ok(TaskThread::elsewhere(
        connection,
        PoolKind::Mpi,
        hello,
        0,
        origin,
    ))
}

/// The messages between this rank and rank 0.
struct RankConnection {
    mpi: &'static Mpi,
    arrived: Mutex<Arrived>,
    /// The answers that this rank will send together with its next message.
    kept: Mutex<Vec<u8>>,
    progress: Mutex<TaskProgress>,
    changed: Condvar,
    helper: Mutex<Option<JoinHandle<()>>>,
}

struct Arrived {
    bytes: Assembler,
    requests: RequestQueue,
}

/// The state that the task thread and the helper share.
#[derive(Default)]
struct TaskProgress {
    begun: u64,
    is_running: bool,
    helper_sleeps: bool,
    is_over: bool,
}

impl RankConnection {
    fn new(mpi: &'static Mpi) -> Self {
        Self {
            mpi,
            arrived: Mutex::new(Arrived {
                bytes: Assembler::new(),
                requests: RequestQueue::default(),
            }),
            kept: Mutex::new(Vec::new()),
            progress: Mutex::new(TaskProgress::default()),
            changed: Condvar::new(),
            helper: Mutex::new(None),
        }
    }

    fn wait_for_request(&self) -> Frame {
        let mut patience = Patience::default();
        loop {
            let request = self.arrived.lock().requests.pop();
            if let Some(request) = request {
                return request;
            }
            if self.look() {
                continue;
            }
            match patience.pause(Instant::now()) {
                Duration::ZERO => yield_now(),
                pause => sleep(pause),
            }
        }
    }

    /// Receives the messages that have arrived. Returns `true` if there were any.
    fn look(&self) -> bool {
        let mut arrived = self.arrived.lock();
        self.mpi.progress();
        let Arrived { bytes, requests } = &mut *arrived;
        let mut is_any = false;
        while let Some(count) = self.receive(bytes) {
            bytes.advance(count);
            is_any = true;
            while let Some(frame) = bytes.next().unwrap_or_else(end_at_error) {
                if let Some(reply) = requests.sort_in(frame) {
                    self.mpi.send(PARENT, &[&reply]);
                }
            }
        }
        is_any
    }

    fn receive(&self, bytes: &mut Assembler) -> Option<usize> {
        let spare = bytes.spare_buffer().unwrap_or_else(end_at_error);
        match self.mpi.receive_now(PARENT, spare) {
            Ok(0) => lost("rank 0 has left the job before this rank"),
            // The only error that `receive_now` returns means that no bytes have arrived.
            received => received.ok(),
        }
    }

    fn start_helper(&'static self) -> io::Result<()> {
        *self.progress.lock() = TaskProgress::default();
        let helper = thread::Builder::new().name("cf-helper".to_owned());
        let helper = helper.stack_size(HELPER_STACK).spawn(|| self.help())?;
        *self.helper.lock() = Some(helper);
        Ok(())
    }

    fn end_helper(&self) {
        self.progress.lock().is_over = true;
        self.changed.notify_one();
        let helper = self.helper.lock().take();
        if let Some(helper) = helper {
            // An error means that the helper has panicked, and so has ended too.
            let _ = helper.join();
        }
    }

    /// Runs the helper: looks for messages during long tasks, until the worker leaves its
    /// pool.
    fn help(&self) {
        let mut last = 0;
        let mut idle = 0;
        let mut patience = Patience::default();
        let mut progress = self.progress.lock();
        while !progress.is_over {
            let is_long = progress.is_running && progress.begun == last;
            last = progress.begun;
            let pause = match is_long {
                true => patience.pause(Instant::now()),
                false => {
                    patience.begin_anew();
                    HELPER_INTERVAL
                }
            };
            idle = if progress.is_running { 0 } else { idle + 1 };
            if idle > HELPER_LOOKS {
                progress.helper_sleeps = true;
                self.changed.wait(&mut progress);
                progress.helper_sleeps = false;
                idle = 0;
                continue;
            }
            drop(progress);
            if is_long {
                self.look();
            }
            progress = self.progress.lock();
            let until = Instant::now() + pause.max(HELPER_INTERVAL);
            while !progress.is_over && !self.changed.wait_until(&mut progress, until).timed_out() {}
        }
    }

    /// Sends the kept answers, and then the parts of a message.
    fn send_with_kept(&self, parts: &[&[u8]]) {
        let mut kept = self.kept.lock();
        let kept_and_parts: Vec<&[u8]> = [&kept[..]]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        self.mpi.send(PARENT, &kept_and_parts);
        kept.clear();
    }
}

impl Remote for RankConnection {
    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.send_with_kept(parts);
        // MPI sends a long answer piece by piece, and only while a thread calls MPI.
        while !self.mpi.has_room(PARENT) {
            self.mpi.progress();
            yield_now();
        }
        Ok(())
    }

    fn send_answer(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.progress.lock().is_running = false;
        self.look();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MOST_KEPT || self.arrived.lock().requests.is_empty() {
            return self.send(parts);
        }
        self.kept.lock().extend(parts.concat());
        Ok(())
    }

    fn next(&self) -> io::Result<Frame> {
        let request = self.arrived.lock().requests.pop();
        if let Some(request) = request {
            return Ok(request);
        }
        // This thread may have kept an answer, in order to send it together with the
        // message `Started` of the next task. If the parent has taken that task back since,
        // there is no such message, and the answer must be sent now.
        self.send_with_kept(&[]);
        Ok(self.wait_for_request())
    }

    fn begin(&self) {
        let mut progress = self.progress.lock();
        progress.begun += 1;
        progress.is_running = true;
        if progress.helper_sleeps {
            self.changed.notify_one();
        }
    }

    fn is_open(&self) -> bool {
        true
    }
}
