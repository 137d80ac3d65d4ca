//! Tests of the replies and the ends of workers. The tests send a worker's messages to the
//! pool themselves, instead of a real worker.

use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::by_hand::{pool_without_threads, waiting_process};
use super::super::offered_tasks::OfferedTasks;
use super::super::process_handle::Process;
use super::super::task::One;
use super::super::worker_handle::WorkerHandle;
use super::super::worker_starts::{SHORTAGE, SHORTAGE_LIMIT};
use super::*;
use crate::completion::{Completion, Until};
use crate::error::End;
use crate::executor::{ShutdownOptions, WhenFull};
use crate::process::settings::{TaskSettings, Transport};
use crate::process::transport::{OfferMemory, ParentEnd, PoolOffers, Received, Rings, ends};
use crate::process::wire::answer::WirePanic;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::{Frame, Kind, bare};
use crate::process::wire::message::refused;
use crate::sys::channel;
use crate::sys::shared_memory::SharedMemory;

/// A pool whose workers are dummies: processes that do nothing. Dropping it kills them.
struct DummyPool(Arc<Pool>);

impl Deref for DummyPool {
    type Target = Arc<Pool>;

    fn deref(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Drop for DummyPool {
    fn drop(&mut self) {
        self.stop_workers(true);
        self.shutdown(ShutdownOptions::new());
    }
}

/// Returns a pool with one worker, and the worker's end of the channel, through which the
/// test sends messages.
fn pool_with_a_dummy() -> (DummyPool, UnixStream) {
    pool_by(waiting_process(), None)
}

fn pool_by(process: Process, rings: Option<Rings>) -> (DummyPool, UnixStream) {
    let pool = DummyPool(pool_without_threads(Transport::Socket, 1));
    let worker = add_ready(&pool, &mut pool.lock(), 0, process, rings);
    assert_eq!(pool.lock().idle, [0]);
    (pool, worker)
}

/// Adds a worker that has sent `Ready`.
fn add_ready(
    pool: &Pool,
    state: &mut PoolState,
    number: usize,
    process: Process,
    rings: Option<Rings>,
) -> UnixStream {
    let (ours, childs) = channel::pair().unwrap();
    let mut worker = UnixStream::from(childs);
    say(&mut worker, Kind::Ready, 0);
    let mut handle = WorkerHandle::new(process, ParentEnd::new(ours, rings));
    handle.read_wakeups();
    state.workers.insert(number, handle);
    pool.read_replies(state, number);
    worker
}

/// Returns a worker that has sent nothing.
fn silent_worker() -> WorkerHandle {
    let (ours, _) = channel::pair().unwrap();
    WorkerHandle::new(waiting_process(), ParentEnd::new(ours, None))
}

fn say(worker: &mut UnixStream, kind: Kind, task: u64) {
    worker.write_all(&bare(kind, task)).unwrap();
}

/// Submits a task. The pool sends the task to the dummy worker if that worker is idle.
fn queued(pool: &Arc<Pool>) -> Completion<()> {
    queued_under(TaskSettings::default(), pool)
}

fn queued_under(settings: TaskSettings, pool: &Arc<Pool>) -> Completion<()> {
    queued_call(0, settings, pool)
}

/// Submits a task whose encoded call has at least `length` bytes.
fn queued_call(length: usize, settings: TaskSettings, pool: &Arc<Pool>) -> Completion<()> {
    let mut call = bare(Kind::Task, 0).to_vec();
    call.resize(length.max(call.len()), 0);
    pool.queue::<(), _>(call.into(), settings, One, WhenFull::Wait)
        .unwrap()
}

fn limited() -> TaskSettings {
    TaskSettings {
        time_limit: Some(Duration::from_secs(3600)),
        ..TaskSettings::default()
    }
}

fn retried(retries: u32) -> TaskSettings {
    TaskSettings {
        retries,
        ..TaskSettings::default()
    }
}

/// Submits a task, and sends the message that the dummy worker has started the task.
fn started(pool: &Arc<Pool>, worker: &mut UnixStream) -> Completion<()> {
    started_under(TaskSettings::default(), pool, worker)
}

fn started_under(
    settings: TaskSettings,
    pool: &Arc<Pool>,
    worker: &mut UnixStream,
) -> Completion<()> {
    let task = queued_under(settings, pool);
    say(worker, Kind::Started, 1);
    while pool.stats().running == 0 {
        std::thread::yield_now();
    }
    task
}

fn outcome(task: &Completion<()>) -> Result<(), Error> {
    task.wait(Until::Done, None).unwrap();
    // SAFETY: no other code takes the value out of the task.
    unsafe { task.lend() }.copied()
}

fn assert_fails(task: &Completion<()>, why: &str) {
    let error = outcome(task).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

fn assert_died(task: &Completion<()>) {
    let outcome = outcome(task);
    assert!(matches!(outcome, Err(Error::WorkerDied(_))), "{outcome:?}");
}

fn assert_misbehaved(handle: &WorkerHandle, why: &str) {
    match &handle.kill_reason {
        Some(KillReason::Misbehaved(what)) => assert!(what.contains(why), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// Kills a worker, waits until its process has ended, and makes the pool handle the end.
fn end(pool: &Pool, state: &mut PoolState, number: usize) {
    let process = Arc::clone(&state.workers[&number].process);
    process.kill().unwrap();
    let end = loop {
        if let Some(end) = process.try_wait().unwrap() {
            break end;
        }
    };
    pool.worker_ended(state, number, end);
}

/// If an answer arrives after the pool has decided to kill the worker for `Pool::kill`, the
/// task must still end with `Killed`, because `Pool::kill` returns `true`.
#[test]
fn an_answer_after_a_kill_does_not_count() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    let mut state = pool.lock();
    state.workers.get_mut(&0).unwrap().kill(KillReason::Killed);
    say(&mut worker, Kind::Returned, 1);
    drop(state);
    assert!(matches!(outcome(&task), Err(Error::Killed(_))));
}

/// A worker's answer counts even if the worker ends immediately after the answer.
#[test]
fn an_answer_before_the_end_counts() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    let state = pool.lock();
    say(&mut worker, Kind::Returned, 1);
    drop(worker);
    state.workers[&0].process.kill().unwrap();
    drop(state);
    assert!(outcome(&task).is_ok());
}

/// On a system without descriptors for processes, the parent must notice the death of a
/// worker even if a child of the worker holds the worker's socket open.
#[test]
fn without_a_descriptor_a_death_is_seen_all_the_same() {
    for is_held_open in [false, true] {
        let (pool, mut worker) = pool_by(waiting_process().without_descriptor(), None);
        let task = started(&pool, &mut worker);
        let held_open = is_held_open.then_some(worker);
        pool.lock().workers[&0].process.kill().unwrap();
        let Err(Error::WorkerDied(death)) = outcome(&task) else {
            panic!("it died");
        };
        assert_eq!(death.signal(), Some("SIGKILL"));
        drop(held_open);
    }
}

/// If a task's time limit lasted longer than the task, the pool would kill an idle worker.
#[test]
fn a_limit_is_over_with_its_task() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started_under(limited(), &pool, &mut worker);
    assert!(pool.lock().workers[&0].deadline.is_some());
    say(&mut worker, Kind::Returned, 1);
    assert!(outcome(&task).is_ok());
    assert_eq!(pool.lock().workers[&0].deadline, None);
}

/// A worker takes offers as soon as it has read its first message. If it ran a task
/// before the pool had stored the worker's handle, `stats` would not count this task.
#[test]
#[cfg(feature = "worker-hook")]
fn a_worker_hears_its_first_message_when_the_pool_has_its_handle() {
    let pool = pool_without_threads(Transport::Shared, 1);
    let handle = pool.starter.start(0, None).unwrap();
    let is_unsent = handle.first.is_some();
    let mut state = pool.lock();
    (state.to_spawn, state.starting) = (1, 1);
    pool.worker_started(&mut state, 0, handle);
    let is_sent = state.workers[&0].first.is_none();
    drop(state);
    pool.stop_workers(true);
    assert_eq!((is_unsent, is_sent), (true, true));
}

/// The pool must end a worker that starts after the pool was stopped, because the worker's
/// initializer might run for ever.
#[test]
fn a_worker_that_comes_up_behind_a_stop_is_ended_too() {
    let (pool, _worker) = pool_with_a_dummy();
    pool.stop_workers(true);
    let mut state = pool.lock();
    // The two counters pretend that the supervisor is starting a worker.
    state.to_spawn = 1;
    state.starting = 1;
    pool.worker_started(&mut state, 1, silent_worker());
    assert_eq!(state.workers[&1].kill_reason, Some(KillReason::Killed));
    for handle in state.workers.values() {
        while handle.process.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_second_start_ends_the_worker() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    say(&mut worker, Kind::Started, 1);
    assert_fails(&task, "began a task that it was not given");
}

#[test]
fn an_answer_to_nothing_ends_the_worker() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    say(&mut worker, Kind::Returned, 7);
    assert_fails(&task, "answered for a task that it was not given");
}

/// The pool does not break when an idle worker ends, even if the worker never had a task.
#[test]
fn workers_that_end_while_they_rest_do_not_break_the_pool() {
    let (pool, worker) = pool_with_a_dummy();
    let mut held = vec![worker];
    for number in 1..=10 {
        let mut state = pool.lock();
        held.push(add_ready(
            &pool,
            &mut state,
            number,
            waiting_process(),
            None,
        ));
        end(&pool, &mut state, number - 1);
        assert!(!state.is_broken(), "{number}");
    }
}

fn hurry(pool: &Pool) {
    let mut state = pool.lock();
    let handle = state.workers.get_mut(&0).unwrap();
    handle.progress.as_mut().expect("it has to go on").hurry();
    drop(state);
    pool.wake_fd.wake();
}

/// The test's worker behaves like a stopped process, so the pool must kill the worker. The
/// task must not fail for this, because the task did not cause the stop.
#[test]
fn a_worker_that_does_not_take_up_its_task_is_ended() {
    let (pool, _worker) = pool_with_a_dummy();
    let task = queued(&pool);
    let process = Arc::clone(&pool.lock().workers[&0].process);
    hurry(&pool);
    while process.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    // The task is cancelled, because the pool starts real workers next, which cannot run
    // this test's call.
    pool.shutdown(ShutdownOptions::new().cancel_pending(true));
    assert!(matches!(
        outcome(&task),
        Err(Error::Cancelled | Error::Broken(_))
    ));
}

/// The test's worker behaves like a process that is stopped while it sends an answer. The
/// pool must kill such a worker.
#[test]
fn a_worker_that_leaves_a_message_half_said_is_ended() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    worker.write_all(&bare(Kind::Returned, 1)[..10]).unwrap();
    while pool.lock().workers[&0].progress.is_none() {
        std::thread::yield_now();
    }
    hurry(&pool);
    assert_fails(&task, "incomplete message");
}

/// The worker sends the bytes of one message one by one, each byte within the time limit.
/// So the pool must not kill the worker.
#[test]
fn a_slow_message_is_waited_for() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    let answer = bare(Kind::Returned, 1);
    for byte in &answer[..20] {
        worker.write_all(&[*byte]).unwrap();
        while pool.lock().workers[&0].progress.is_none() {
            std::thread::yield_now();
        }
        let mut state = pool.lock();
        pool.read_replies(&mut state, 0);
        let left = state.workers[&0].progress.as_ref().unwrap().next_check();
        assert!(left > Instant::now());
    }
    worker.write_all(&answer[20..]).unwrap();
    assert!(outcome(&task).is_ok());
    let mut state = pool.lock();
    pool.read_replies(&mut state, 0);
    assert!(state.workers[&0].progress.is_none(), "it rests");
}

/// The idle worker sends a whole message, or a part of a message. The pool must kill the
/// worker, because it has no task about which it could send a message.
#[test]
fn a_word_of_an_idle_worker_ends_it() {
    for bytes in [&bare(Kind::Started, 1)[..], &bare(Kind::Ready, 0)[..3]] {
        let (pool, mut worker) = pool_with_a_dummy();
        worker.write_all(bytes).unwrap();
        let mut state = pool.lock();
        pool.read_replies(&mut state, 0);
        assert!(matches!(
            state.workers[&0].kill_reason,
            Some(KillReason::Misbehaved(_))
        ));
    }
}

/// After the worker's end, a process that it started may write to the socket without end.
/// The pool must nevertheless stop reading.
#[test]
fn an_ended_worker_is_not_listened_to_for_ever() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    let mut speaker = worker.try_clone().unwrap();
    // The test kills the worker before the pool reads the messages below. Otherwise the
    // pool would kill the worker for these messages.
    let mut state = pool.lock();
    let speaks = std::thread::spawn(move || {
        let words = bare(Kind::Ready, 0).repeat(1000);
        while speaker.write_all(&words).is_ok() {}
    });
    // The pool ignores the messages of a worker that is being killed.
    state.workers.get_mut(&0).unwrap().kill(KillReason::Killed);
    drop(state);
    assert!(matches!(outcome(&task), Err(Error::Killed(_))));
    pool.shutdown(ShutdownOptions::new());
    drop(worker);
    speaks.join().unwrap();
}

#[test]
fn a_long_queue_does_not_keep_its_memory() {
    let (pool, mut worker) = pool_with_a_dummy();
    let first = started(&pool, &mut worker);
    let all: Vec<_> = (0..20_000).map(|_| queued(&pool)).collect();
    assert!(pool.lock().queue.capacity() >= 20_000);
    for task in &all {
        task.cancel().unwrap().notify();
    }
    say(&mut worker, Kind::Returned, 1);
    assert!(outcome(&first).is_ok());
    let mut state = pool.lock();
    pool.read_replies(&mut state, 0);
    assert!(state.queue.capacity() < 10_000);
}

/// The pool must kill the worker before the whole message has arrived, because the
/// remaining bytes may never arrive.
#[test]
fn a_message_that_cannot_come_ends_the_worker_before_it_is_whole() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    let mut lie = bare(Kind::Returned, 7);
    lie[16] = 0xff;
    worker.write_all(&lie).unwrap();
    assert_fails(&task, "answered for a task that it was not given");
}

/// The pool has told the worker to exit. The worker then sends a message by which workers
/// report a failed start. This message must not break the pool.
#[test]
fn a_leaving_worker_cannot_break_the_pool() {
    let panicked = InitializeFailure::Panicked(WirePanic {
        message: "forged".into(),
        location: None,
        worker: None,
    });
    let mut failed = Vec::new();
    panicked.write(&mut failed);
    for frame in [refused("forged"), failed] {
        let (pool, mut worker) = pool_with_a_dummy();
        let mut state = pool.lock();
        state.idle.clear();
        state.workers.get_mut(&0).unwrap().send_exit();
        worker.write_all(&frame).unwrap();
        pool.read_replies(&mut state, 0);
        assert!(!state.is_broken());
    }
}

/// A start failed for lack of resources an hour ago, and another start fails now. These are
/// two shortages, although the pool started no worker in between. So the second shortage
/// must get its own time limit.
#[test]
fn a_shortage_that_is_over_does_not_count_for_the_next() {
    let (pool, _worker) = pool_with_a_dummy();
    let mut state = pool.lock();
    end(&pool, &mut state, 0);
    let hour_ago = Instant::now().checked_sub(Duration::from_secs(3600));
    state.shortage = hour_ago.zip(hour_ago);
    let shortage = || io::Error::from_raw_os_error(libc::EMFILE);
    pool.not_started(&mut state, None, shortage());
    assert!(!state.is_broken());
    // A shortage that lasts longer than the limit breaks the pool.
    let now = Instant::now();
    state.shortage = now
        .checked_sub(SHORTAGE_LIMIT)
        .zip(now.checked_sub(SHORTAGE * 4));
    pool.not_started(&mut state, None, shortage());
    assert!(state.is_broken());
}

/// A worker that lacks a thread, for example, says so by its exit code. The pool must start
/// another one, also after five of them, until the shortage has lasted too long.
#[test]
fn a_worker_that_lacks_a_resource_is_no_failed_start() {
    let (pool, _worker) = pool_with_a_dummy();
    let mut state = pool.lock();
    let short = |state: &mut PoolState, number: usize| {
        let handle = silent_worker();
        handle.process.kill_and_wait();
        state.workers.insert(number, handle);
        pool.worker_ended(state, number, End::Exited(ExitCode::Shortage as i32));
    };
    short(&mut state, 1);
    assert_eq!((state.failed_starts, state.is_broken()), (0, false));
    assert_eq!((state.ended, state.replaced), (0, 0));
    assert!(state.not_before.is_some_and(|at| at > Instant::now()));
    // User code that runs after `Ready` may exit with the same code, but this is no
    // shortage.
    let mut handle = silent_worker();
    handle.is_ready = true;
    handle.process.kill_and_wait();
    state.workers.insert(20, handle);
    pool.worker_ended(&mut state, 20, End::Exited(ExitCode::Shortage as i32));
    assert_eq!((state.failed_starts, state.ended), (1, 1));
    state.failed_starts = 0;
    end(&pool, &mut state, 0);
    for number in 2..12 {
        short(&mut state, number);
    }
    assert_eq!((state.failed_starts, state.is_broken()), (0, false));
    state.shortage = state
        .shortage
        .map(|(_, last)| (last.checked_sub(SHORTAGE_LIMIT).unwrap(), last));
    short(&mut state, 12);
    let closed = state.closed.as_ref().unwrap().to_string();
    assert!(closed.contains("lacked threads"), "{closed}");
}

/// The time limit counts the run of the function. When the answer begins to arrive, the
/// function has returned.
#[test]
fn a_time_limit_ends_when_the_answer_begins_to_arrive() {
    let (pool, mut worker) = pool_with_a_dummy();
    let _task = started_under(limited(), &pool, &mut worker);
    let mut state = pool.lock();
    assert!(state.workers[&0].deadline.is_some());
    let mut answer = bare(Kind::Returned, 1);
    answer[16] = 100;
    worker.write_all(&answer).unwrap();
    pool.read_replies(&mut state, 0);
    let handle = &state.workers[&0];
    assert!(handle.deadline.is_none() && handle.progress.is_some());
}

/// The worker was stopped. It resumes, and begins its task, at the moment at which the pool
/// decides to kill it. So the task may have run, and must not run again.
#[test]
fn a_task_that_began_just_before_its_worker_was_given_up_is_not_begun_again() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = queued(&pool);
    let mut state = pool.lock();
    say(&mut worker, Kind::Started, 1);
    let handle = state.workers.get_mut(&0).unwrap();
    handle.kill(KillReason::Misbehaved(
        "it did not take up a task".to_owned(),
    ));
    drop(state);
    assert_died(&task);
}

/// A task has written bytes to its worker's socket, so the pool cannot parse the stream.
/// The worker may nevertheless have begun its next task, which must not run again.
#[test]
fn a_task_that_began_behind_words_that_make_no_sense_is_not_begun_again() {
    let mut whole = bare(Kind::Returned, 9);
    whole[16] = 24; // the next frame is taken for the payload
    let longer_than_one_read = vec![b'x'; 70_000];
    let nonsense: [&[u8]; 6] = [
        &bare(Kind::Returned, 9)[..16], // the next frame is taken for its length
        &whole,
        &longer_than_one_read,
        &bare(Kind::Returned, 9),
        b"hello from a task that prints to every descriptor",
        b"short",
    ];
    for words in nonsense {
        let (pool, mut worker) = pool_with_a_dummy();
        let task = queued(&pool);
        let words = [words, &bare(Kind::Started, 1)].concat();
        worker.write_all(&words).unwrap();
        assert_died(&task);
    }
}

/// A `Started` message must have no payload. If its payload could arrive byte by byte, the
/// worker would never exceed its time limit, and the task's time limit would not begin.
#[test]
fn a_worker_that_begins_a_task_with_a_payload_is_given_up() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = queued(&pool);
    let mut state = pool.lock();
    let mut words = bare(Kind::Started, 1);
    words[16 + 5] = 1; // 2^40 bytes
    worker.write_all(&words).unwrap();
    pool.drain_replies(&mut state);
    assert_misbehaved(&state.workers[&0], "longer");
    drop(state);
    assert!(
        outcome(&task).is_err(),
        "no other worker can be started here"
    );
}

/// If the pool finds a second reason to kill a worker, for example a wrong message, the
/// first reason must stay.
#[test]
fn the_first_reason_to_kill_a_worker_stands() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = started(&pool, &mut worker);
    let mut state = pool.lock();
    let handle = state.workers.get_mut(&0).unwrap();
    handle.kill(KillReason::Killed);
    handle.kill(KillReason::Misbehaved("it spoke".to_owned()));
    assert_eq!(handle.kill_reason, Some(KillReason::Killed));
    drop(state);
    let outcome = outcome(&task);
    assert!(matches!(outcome, Err(Error::Killed(_))), "{outcome:?}");
}

/// A snapshot (a call of `stats`) may read a part of a message. It must then start a time
/// limit for the rest, and wake the supervisor, which might otherwise sleep without a
/// timeout.
#[test]
fn half_a_message_that_a_snapshot_reads_has_a_limit() {
    let (pool, mut worker) = pool_with_a_dummy();
    let _task = started(&pool, &mut worker);
    let mut state = pool.lock();
    state.needs_wakeup = false;
    worker.write_all(&bare(Kind::Returned, 1)[..10]).unwrap();
    pool.drain_replies(&mut state);
    assert!(state.workers[&0].progress.is_some());
    assert!(state.needs_wakeup, "it is woken");
}

/// A snapshot of the counts may read a worker's message `Started`. The snapshot must then
/// wake the supervisor, which otherwise would not notice in time that the task has exceeded
/// its time limit.
#[test]
fn a_start_that_a_snapshot_reads_begins_the_limit_of_the_task() {
    let (pool, mut worker) = pool_with_a_dummy();
    let _task = queued_under(limited(), &pool);
    let mut state = pool.lock();
    state.needs_wakeup = false;
    say(&mut worker, Kind::Started, 1);
    pool.drain_replies(&mut state);
    assert!(state.workers[&0].deadline.is_some());
    assert!(state.needs_wakeup, "it is woken");
}

/// Adds a worker. The pool sends it the queued task, and the worker ends before it reads
/// the task.
fn send_to_a_worker_that_ends(pool: &Pool, state: &mut PoolState, number: usize) {
    let _worker = add_ready(pool, state, number, waiting_process(), None);
    let has_task = state.workers[&number].in_flight().is_some();
    assert!(has_task, "the pool has sent the task to worker {number}");
    end(pool, state, number);
}

/// The pool cannot blame the task, because no worker has read it. So the task must not fail
/// before the pool breaks.
#[test]
fn a_task_is_sent_again_however_many_workers_end_before_they_read_it() {
    let (pool, mut worker) = pool_with_a_dummy();
    let first = started(&pool, &mut worker);
    let task = queued(&pool);
    // The test holds the lock while the workers end, so that the supervisor starts no real
    // worker.
    let mut state = pool.lock();
    (1..=4).for_each(|number| send_to_a_worker_that_ends(&pool, &mut state, number));
    assert_eq!((state.queued, state.is_broken()), (1, false));
    send_to_a_worker_that_ends(&pool, &mut state, 5);
    state.workers[&0].process.kill().unwrap();
    drop(state);
    // Five failed starts in a row break the pool.
    assert!(matches!(outcome(&task), Err(Error::Broken(_))));
    assert!(outcome(&first).is_err());
}

/// A worker that has begun a task shows that workers can start. So when this worker ends,
/// the count of failed starts must begin anew.
#[test]
fn failed_starts_count_only_in_a_row() {
    let (pool, mut worker) = pool_with_a_dummy();
    let first = started(&pool, &mut worker);
    let task = queued(&pool);
    // The test holds the lock while the workers end, so that the supervisor starts no real
    // worker.
    let mut state = pool.lock();
    (1..=4).for_each(|number| send_to_a_worker_that_ends(&pool, &mut state, number));
    end(&pool, &mut state, 0);
    (5..=8).for_each(|number| send_to_a_worker_that_ends(&pool, &mut state, number));
    assert!(!state.is_broken());
    send_to_a_worker_that_ends(&pool, &mut state, 9);
    assert!(state.is_broken());
    drop(state);
    assert!(matches!(outcome(&task), Err(Error::Broken(_))));
    assert!(matches!(outcome(&first), Err(Error::WorkerDied(_))));
}

/// If the pool did not break after failed starts, it would start workers for ever.
#[test]
fn workers_that_end_before_they_begin_their_first_task_break_the_pool() {
    let (pool, mut worker) = pool_with_a_dummy();
    let first = started(&pool, &mut worker);
    let task = queued(&pool);
    // The test holds the lock while the workers end, so that the supervisor starts no real
    // worker.
    let mut state = pool.lock();
    for number in 1..=5 {
        assert!(!state.is_broken(), "{number}");
        send_to_a_worker_that_ends(&pool, &mut state, number);
    }
    assert!(state.is_broken());
    state.workers[&0].process.kill().unwrap();
    drop(state);
    assert!(matches!(outcome(&task), Err(Error::Broken(_))));
    assert!(outcome(&first).is_err());
}

#[test]
fn an_answer_for_a_task_that_was_not_begun_ends_the_worker() {
    let (pool, mut worker) = pool_with_a_dummy();
    let task = queued(&pool);
    let mut state = pool.lock();
    say(&mut worker, Kind::Returned, 1);
    pool.read_replies(&mut state, 0);
    assert_misbehaved(&state.workers[&0], "answered for a task");
    drop(state);
    pool.stop_workers(true);
    assert!(outcome(&task).is_err());
}

/// The pool must not wait and try again, because an error such as a missing program does
/// not end by itself.
#[test]
fn an_error_that_is_no_shortage_breaks_a_pool_without_workers_at_once() {
    let (pool, _worker) = pool_with_a_dummy();
    let mut state = pool.lock();
    end(&pool, &mut state, 0);
    pool.not_started(&mut state, None, io::ErrorKind::NotFound.into());
    assert!(state.is_broken());
}

/// The worker reads its call slowly, and takes longer than the time limit for a worker
/// without progress. The pool must not kill the worker, because each read is progress.
#[test]
fn a_large_call_that_is_read_slowly_is_waited_for() {
    let (pool, mut worker) = pool_with_a_dummy();
    let _task = queued_call(8 * channel::capacity(), TaskSettings::default(), &pool);
    let mut state = pool.lock();
    let handle = state.workers.get_mut(&0).unwrap();
    assert!(handle.has_unsent(), "it does not fit into the socket");
    handle.progress.as_mut().expect("it has to go on").hurry();
    let mut part = vec![0; channel::capacity() / 2];
    worker.read_exact(&mut part).unwrap();
    handle.flush();
    let progress = handle.progress.as_ref().expect("it has to go on");
    assert!(progress.next_check() > Instant::now(), "it moved");
}

/// If the pool kept the call, the arguments of a long task would take memory both in this
/// process and in the worker.
#[test]
fn a_large_call_is_freed_while_its_task_runs_unless_it_may_be_sent_again() {
    for (retries, length, is_freed_at_once) in
        [(0, 1000, true), (0, 100_000, false), (1, 1000, false)]
    {
        let (pool, mut worker) = pool_with_a_dummy();
        let task = queued_call(length, retried(retries), &pool);
        worker.read_exact(&mut vec![0; length]).unwrap();
        // The supervisor waits for this lock, and so reads no message itself.
        let mut state = pool.lock();
        say(&mut worker, Kind::Started, 1);
        state.needs_wakeup = false;
        pool.drain_replies(&mut state);
        let is_freed = |state: &PoolState| {
            let task = state.workers[&0].in_flight().expect("it runs");
            task.entry.task.call().is_none()
        };
        assert_eq!(is_freed(&state), is_freed_at_once, "{length}");
        assert_eq!(
            state.needs_wakeup,
            length > 64 << 10,
            "the supervisor frees it"
        );
        Pool::free_large_calls(&mut state);
        assert_eq!(is_freed(&state), retries == 0, "{length}");
        drop(state);
        say(&mut worker, Kind::Returned, 1);
        let mut state = pool.lock();
        pool.drain_replies(&mut state);
        drop(state);
        assert!(outcome(&task).is_ok());
    }
}

/// The pool cannot send the rest of this call after the task has ended. If the worker lived
/// on, it would take the next call for that rest.
#[test]
fn a_worker_that_begins_a_task_before_it_has_the_whole_call_is_ended() {
    for retries in [0, 1] {
        let (pool, mut worker) = pool_with_a_dummy();
        let first = queued_call(8 * channel::capacity(), retried(retries), &pool);
        let second = queued(&pool);
        // The supervisor waits for this lock, and so reads no message itself.
        let mut state = pool.lock();
        say(&mut worker, Kind::Started, 1);
        say(&mut worker, Kind::Returned, 1);
        pool.drain_replies(&mut state);
        let handle = state.workers.get_mut(&0).unwrap();
        handle.flush();
        assert_misbehaved(handle, "call");
        assert!(!handle.has_unsent(), "the rest of the call is not sent");
        drop(state);
        pool.shutdown(ShutdownOptions::new().cancel_pending(true));
        assert!(outcome(&first).is_ok(), "it was answered");
        assert!(outcome(&second).is_err());
    }
}

/// Before a fix, the pool killed a worker that waited for the remaining bytes of its call.
#[test]
fn a_worker_is_asked_if_it_waits_only_when_its_whole_call_was_sent() {
    for (length, is_asked) in [(100, true), (1 << 20, false)] {
        let (rings, _file) = Rings::create().unwrap();
        let (pool, mut worker) = pool_by(waiting_process(), Some(rings));
        let _task = queued_call(length, TaskSettings::default(), &pool);
        let mut state = pool.lock();
        let handle = state.workers.get_mut(&0).unwrap();
        handle.check_if_due(Instant::now() + Duration::from_secs(60));
        let mut bytes = [0; 64];
        worker.set_nonblocking(true).unwrap();
        let count = worker.read(&mut bytes).unwrap_or(0);
        assert_eq!(bytes[..count].contains(&0x5a), is_asked, "{length}");
    }
}

/// Before a fix, the pool assigned the declined task to the worker. The worker's next
/// message then made no sense to the pool, which killed the worker, and both tasks failed.
#[test]
fn a_worker_that_declines_an_offer_while_it_is_revoked_may_take_the_next_one() {
    let (rings, _file) = Rings::create().unwrap();
    let (pool, _worker) = pool_by(waiting_process(), Some(rings.clone()));
    let offers = PoolOffers::create().unwrap();
    let files = offers.files();
    let memory = OfferMemory::open(&files, offers.key()).unwrap();
    let statuses = SharedMemory::open(&files[1], 256).unwrap();
    pool.lock().offered = Some(OfferedTasks::new(offers));
    let (channel, _childs) = channel::pair().unwrap();
    let channel = Arc::new(channel);
    let (mut sender, mut receiver) = ends(channel, Some(rings), Some(memory), 0);
    let mut take = |call: &mut Vec<u8>| receiver.receive(&mut [0; 64], call, true, false).unwrap();
    let _tasks = [queued(&pool), queued(&pool)];
    let mut state = pool.lock();
    let mut call = Vec::new();
    assert_eq!(take(&mut call), Received::Offer(0));
    statuses.words()[0].store(0, Ordering::Relaxed);
    let taken = Pool::mark_as_revoked(&state, &[0]);
    assert_eq!(taken, [(0, 1)]);
    sender.send_all(&bare(Kind::Declined, 0)).unwrap();
    assert_eq!(take(&mut call), Received::Offer(1));
    pool.settle_revoked(&mut state, &[0], &taken);
    let (header, _) = Frame::only(&call).unwrap();
    sender.send_all(&bare(Kind::Started, header.task)).unwrap();
    pool.read_replies(&mut state, 0);
    let handle = state.workers.get_mut(&0).unwrap();
    assert!(handle.kill_reason.is_none(), "it has done nothing wrong");
    assert_eq!(
        handle.in_flight().map(|task| task.entry.number),
        Some(header.task)
    );
}
