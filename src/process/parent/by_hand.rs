//! [`PoolByHand`] and [`WorkerByHand`]: a pool and workers whose steps a test takes itself,
//! one after the other, so that each race has a known order.
//!
//! The pool has no supervisor thread (`supervisor.rs`). Instead, the test makes the pool
//! read messages, find the offers (tasks in shared memory, `offers.rs`) that were taken,
//! and handle the end of a worker. The collector (`collector.rs`) runs in a thread of its
//! own. The process of a worker only sleeps: the test itself sends and receives at the
//! worker's end of the transport. No method of the two types waits for a message.

use std::array;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use super::collector;
use super::pool::Pool;
use super::pool_state::{PoolState, Threads};
use super::process_handle::Process;
use super::task::One;
use super::worker_handle::{KillReason, WorkerHandle};
use crate::error::{End, Error};
use crate::executor::WhenFull;
use crate::future::TaskFuture;
use crate::process::settings::{Config, TaskSettings, Transport};
use crate::process::transport::{
    OfferMemory, ParentEnd, Received, Rings, WorkerReceiver, WorkerSender, ends,
};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::frame::{Frame, Kind, bare};
use crate::sys::channel::{self, Channel};

/// The longest time for which a test waits for the end of a task or a process.
const LIMIT: Duration = Duration::from_secs(30);

/// A word with which a test overwrites shared memory, as a task may do by mistake.
const NONSENSE: u64 = 0x5ca1_ab1e;

/// Returns a pool that starts no thread and no worker before a task is submitted.
pub(super) fn pool_without_threads(transport: Transport, max_workers: usize) -> Arc<Pool> {
    Pool::new(Config::of_played_pool(transport, max_workers)).unwrap()
}

/// Starts a process that only sleeps, in place of the process of a worker.
pub(super) fn waiting_process() -> Process {
    Process::new(Command::new("sleep").arg("60").spawn().unwrap()).unwrap()
}

pub(super) struct Task {
    future: TaskFuture<(), ()>,
    /// The id with which [`Pool::kill`] finds the task.
    pub(super) id: usize,
}

impl Task {
    /// Waits for the task's end. Returns its error, or `None` if the task has a value.
    pub(super) fn error(&self) -> Option<Error> {
        self.future.exception_timeout(LIMIT).expect("it ends")
    }

    pub(super) fn died(&self) -> bool {
        matches!(self.error(), Some(Error::WorkerDied(_)))
    }

    pub(super) fn is_done(&self) -> bool {
        self.future.done()
    }

    pub(super) fn cancel(&self) -> bool {
        self.future.cancel()
    }
}

pub(super) struct PoolByHand {
    pub(super) pool: Arc<Pool>,
    collector: Option<JoinHandle<()>>,
}

impl PoolByHand {
    /// Returns a pool and its `N` idle workers.
    pub(super) fn new<const N: usize>() -> (Self, [WorkerByHand; N]) {
        Self::of(Config::of_played_pool(Transport::Shared, N))
    }

    pub(super) fn of<const N: usize>(config: Config) -> (Self, [WorkerByHand; N]) {
        let pool = Pool::new(config).unwrap();
        let (sender, events) = unbounded();
        let mut state = pool.lock();
        state.collector = Some(sender);
        state.threads = Threads::Up;
        drop(state);
        let collects = Arc::clone(&pool);
        let collector = thread::spawn(move || collector::main(collects, &events));
        while pool.lock().collector_thread.is_none() {
            thread::yield_now();
        }
        let pool = Self {
            pool,
            collector: Some(collector),
        };
        let workers = array::from_fn(|number| pool.add_worker(number));
        (pool, workers)
    }

    pub(super) fn add_worker(&self, number: usize) -> WorkerByHand {
        let process = waiting_process();
        let (rings, file) = Rings::create().unwrap();
        let (ours, theirs) = channel::pair().unwrap();
        let mut worker = WorkerByHand::new(number, theirs, &rings, &file, self);
        let mut handle = WorkerHandle::new(process, ParentEnd::new(ours, Some(rings)));
        handle.read_wakeups();
        self.pool.lock().workers.insert(number, handle);
        self.hear(&mut worker, Kind::Ready, 0);
        assert!(self.with(|state| state.idle.contains(&number)));
        worker
    }

    fn offer_memory(&self) -> OfferMemory {
        let (key, files) = self.pool.starter.offers.as_ref().expect("it has offers");
        OfferMemory::open(files, *key).unwrap()
    }

    /// Submits a task. Tasks are numbered from 1, and offers from 0.
    pub(super) fn submit(&self) -> Task {
        self.submit_call(0, None)
    }

    /// Submits a task whose encoded call has `bytes` bytes after its header.
    pub(super) fn submit_call(&self, bytes: usize, time_limit: Option<Duration>) -> Task {
        let settings = TaskSettings {
            time_limit,
            ..TaskSettings::default()
        };
        self.submit_under(settings, bytes)
    }

    pub(super) fn submit_under(&self, settings: TaskSettings, bytes: usize) -> Task {
        let mut call = bare(Kind::Task, 0).to_vec();
        call[16..24].copy_from_slice(&(bytes as u64).to_le_bytes());
        call.resize(call.len() + bytes, 7);
        let completion = self
            .pool
            .queue::<(), _>(call.into(), settings, One, WhenFull::Wait);
        let completion = completion.unwrap();
        Task {
            id: completion.address(),
            future: TaskFuture::new(completion),
        }
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut PoolState) -> R) -> R {
        f(&mut self.pool.lock())
    }

    pub(super) fn read(&self, worker: &WorkerByHand) {
        self.with(|state| self.pool.read_replies(state, worker.number));
    }

    /// Lets a worker send a message without a payload, and makes the pool read it.
    pub(super) fn hear(&self, worker: &mut WorkerByHand, kind: Kind, number: u64) {
        worker.say(kind, number);
        self.read(worker);
    }

    /// Makes the pool check its offers: it assigns the tasks of taken offers to the workers
    /// that have taken them, and revokes offers whose statuses were overwritten.
    pub(super) fn scan(&self) {
        self.with(|state| self.pool.assign_taken(state));
    }

    /// Kills a worker's process if it still runs, and makes the pool handle the end of the
    /// worker.
    pub(super) fn end(&self, worker: &WorkerByHand) {
        let mut state = self.pool.lock();
        let end = wait_for_end(&state.workers[&worker.number].process);
        let handle = state.workers.get_mut(&worker.number);
        handle.expect("it is there").read_wakeups();
        self.pool.read_replies(&mut state, worker.number);
        self.pool.worker_ended(&mut state, worker.number, end);
    }

    /// Returns two numbers for each open offer, which no worker has taken and whose status
    /// was not overwritten: the number of the offer, and the number of its task.
    pub(super) fn open(&self) -> Vec<(u64, u64)> {
        self.with(|state| {
            let offered = state.offered.as_ref().expect("it has offers");
            let tasks = offered.tasks.iter();
            let open = tasks.filter(|offer| offered.offers.is_open(offer.number));
            open.map(|offer| (offer.number, offer.task.entry.number))
                .collect()
        })
    }

    pub(super) fn task_of(&self, worker: &WorkerByHand) -> Option<u64> {
        let of = |handle: &WorkerHandle| Some(handle.in_flight()?.entry.number);
        self.with(|state| of(&state.workers[&worker.number]))
    }

    /// Returns the reason why the pool kills or terminates the worker, or `None` if the
    /// pool does neither.
    pub(super) fn kill_reason(&self, worker: &WorkerByHand) -> Option<KillReason> {
        self.with(|state| state.workers[&worker.number].kill_reason.clone())
    }

    pub(super) fn is_idle(&self, worker: &WorkerByHand) -> bool {
        self.with(|state| state.idle.contains(&worker.number))
    }

    /// Checks that this task has succeeded, that the pool has finished no other task, and
    /// that no task runs or waits.
    pub(super) fn assert_ran(&self, task: &Task) {
        assert_eq!(task.error().map(|error| error.to_string()), None);
        let counts = self.with(|state| (state.finished, state.running, state.count_waiting()));
        assert_eq!(counts, (1, 0, 0));
    }

    /// Lets a worker take the oldest open offer and run the offer's task. Returns the
    /// task's number.
    pub(super) fn run_next(&self, worker: &mut WorkerByHand) -> u64 {
        let offer = worker.take().expect("an offer is open");
        let task = worker.task();
        assert!(worker.begin(offer));
        self.hear(worker, Kind::Returned, task);
        task
    }
}

/// Kills a process, waits for its end, and returns the way in which it has ended.
fn wait_for_end(process: &Process) -> End {
    let since = Instant::now();
    process.kill().unwrap();
    loop {
        if let Some(end) = process.try_wait().unwrap() {
            return end;
        }
        assert!(since.elapsed() < LIMIT, "it was killed");
        thread::yield_now();
    }
}

impl Drop for PoolByHand {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let workers = std::mem::take(&mut state.workers);
        let rest = (std::mem::take(&mut state.queue), state.offered.take());
        state.collector = None;
        drop(state);
        for handle in workers.values() {
            wait_for_end(&handle.process);
        }
        drop((workers, rest));
        if let Some(collector) = self.collector.take() {
            collector.join().unwrap();
        }
    }
}

/// The worker's side of the transport. Its methods are the single steps of a real worker
/// (`worker/serve.rs`), and the harm that a task may do to its worker and to shared memory.
pub(super) struct WorkerByHand {
    pub(super) number: usize,
    sender: WorkerSender,
    receiver: WorkerReceiver,
    rings: Rings,
    offers: OfferMemory,
    /// The encoded call of the offer that the worker has taken last.
    call: Vec<u8>,
    messages: Assembler,
}

impl WorkerByHand {
    fn new(
        number: usize,
        socket: OwnedFd,
        rings: &Rings,
        file: &OwnedFd,
        pool: &PoolByHand,
    ) -> Self {
        let socket = UnixStream::from(socket);
        // If nothing has arrived, a receive returns an error. A real worker would sleep.
        socket.set_nonblocking(true).unwrap();
        let channel = Arc::new(Channel::new(socket.into()));
        let rings = Rings::open(file, rings.key()).unwrap();
        let memory = pool.offer_memory();
        let (sender, receiver) = ends(channel, Some(rings.clone()), Some(memory), number);
        Self {
            number,
            sender,
            receiver,
            rings,
            offers: pool.offer_memory(),
            call: Vec::new(),
            messages: Assembler::new(),
        }
    }

    /// Receives bytes or an offer. Returns `None` if there is neither.
    fn receive(&mut self) -> Option<Received> {
        let into = self.messages.spare_buffer().unwrap();
        match self.receiver.receive(into, &mut self.call, true, false) {
            Ok(received) => Some(received),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes the oldest open offer, records its number in the worker's memory, and returns
    /// this number. Sends no message about the offer, and does not check if the offer was
    /// revoked ([`begin`](Self::begin) does). Returns `None` if no offer is open, or if the
    /// status of an older offer was overwritten.
    pub(super) fn take(&mut self) -> Option<u64> {
        match self.receive()? {
            Received::Offer(offer) => Some(offer),
            Received::Bytes(count) => panic!("{count} bytes come first"),
        }
    }

    /// Returns the number of the task that the worker has taken last.
    pub(super) fn task(&self) -> u64 {
        self.request().1
    }

    /// Returns the kind of the frame that the worker has taken last, and the number of its
    /// task.
    pub(super) fn request(&self) -> (Kind, u64) {
        let (header, _) = Frame::only(&self.call).unwrap();
        (header.kind, header.task)
    }

    /// Begins the task of an offer that the worker has taken, and returns `true`. If the
    /// offer's status was overwritten, the pool has revoked the offer, or a message of the
    /// pool is unread, declines the offer (sends `Declined`) and returns `false`.
    pub(super) fn begin(&mut self, offer: u64) -> bool {
        if !self.receiver.is_still_taken(offer) {
            self.say(Kind::Declined, offer);
            return false;
        }
        self.begin_unsaid(self.task());
        self.say(Kind::Started, self.task());
        true
    }

    /// Begins a task, but sends no `Started`, as a worker does whose pool is awake, or as if
    /// this message were lost.
    pub(super) fn begin_unsaid(&self, task: u64) {
        self.sender.begin(task);
    }

    /// Returns `true` if the pool sleeps, and asks this worker to wake it.
    pub(super) fn must_wake_the_pool(&self) -> bool {
        self.sender.begin(0)
    }

    pub(super) fn say(&mut self, kind: Kind, number: u64) {
        self.send(&bare(kind, number));
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.sender.send_all(bytes).unwrap();
    }

    /// Fills the shared memory for messages to the pool with bytes of a message that never
    /// ends. Wakes a supervisor that sleeps.
    pub(super) fn fill_memory(&mut self) {
        let error = self.sender.send_all(&vec![0; 4 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    /// Returns the kind, the task number and the payload's length of the pool's next
    /// message, or `None` if no message has arrived. In the latter case the worker counts
    /// as asleep afterwards. Panics if no message has arrived and an offer is open.
    pub(super) fn message(&mut self) -> Option<(Kind, u64, usize)> {
        loop {
            if let Some(frame) = self.messages.next().unwrap() {
                return Some((frame.kind, frame.task, frame.payload.len()));
            }
            match self.receive()? {
                Received::Bytes(count) => self.messages.advance(count),
                Received::Offer(offer) => panic!("it takes the offer {offer}"),
            }
        }
    }

    /// Sets the worker's record of the last offer that it has taken. The record is the
    /// offer's number plus one, or 0 if the worker has recorded no offer yet.
    pub(super) fn record(&self, taken: u64) {
        self.rings.overwrite_taken(taken);
    }

    pub(super) fn overwrite_record(&self) {
        self.rings.overwrite_taken(NONSENSE);
    }

    /// Overwrites the status of an offer: the word that says which worker has taken it.
    pub(super) fn overwrite_status(&self, offer: u64) {
        self.offers.overwrite_status(offer, NONSENSE);
    }
}
