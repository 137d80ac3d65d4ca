//! Tests of recalls: the pool asks a worker to give back a task that the worker has not
//! begun. The test plays the worker, so that each race has a known order.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::by_hand::{pool_without_threads, waiting_process};
use super::super::launched::Launched;
use super::super::launcher_states::LauncherStates;
use super::super::pool_state::{Event, Threads};
use super::super::process_handle::Process;
use super::super::task::One;
use super::*;
use crate::completion::Completion;
use crate::error::{BrokenPart, End, Error};
use crate::executor::WhenFull;
use crate::process::launcher::Launcher;
use crate::process::settings::{TaskSettings, Transport};
use crate::process::transport::ParentEnd;
use crate::process::wire::frame::{Kind, bare};
use crate::process::wire::message::{ReadyOn, ready_on, refused};
use crate::sys::{channel, current_process};

/// The longest time that a test waits for another thread or for a process.
const LIMIT: Duration = Duration::from_secs(30);

fn submit(pool: &Arc<Pool>) -> Completion<()> {
    let call = bare(Kind::Task, 0).to_vec();
    let queued = pool.queue::<(), _>(call.into(), TaskSettings::default(), One, WhenFull::Wait);
    queued.unwrap()
}

/// A worker's end of its socket, and its process.
type Started = (UnixStream, Arc<Process>);

/// Returns a pool with `N` workers, as if the launcher had started them, and the events
/// that the pool's collector would handle.
fn pool_of_launched<const N: usize>(
    launcher: &Launcher,
) -> (Arc<Pool>, Receiver<Event>, [Started; N]) {
    let pool = pool_without_threads(Transport::Socket, N);
    let (sender, events) = unbounded();
    let mut state = pool.lock();
    state.launchers = LauncherStates::new(std::slice::from_ref(launcher));
    (state.collector, state.threads) = (Some(sender), Threads::Up);
    let started = std::array::from_fn(|number| {
        let (ours, theirs) = channel::pair().unwrap();
        let mut handle = WorkerHandle::new(waiting_process(), ParentEnd::new(ours, None));
        handle.launched = Some(Launched::new(0, launcher, None));
        let process = Arc::clone(&handle.process);
        state.launchers.starts(0);
        state.workers.insert(number, handle);
        (UnixStream::from(theirs), process)
    });
    drop(state);
    (pool, events, started)
}

/// A pool with one worker. The test takes the steps of this worker itself, as if a launcher
/// had started it. The pool has no threads: they would read messages or start workers at
/// any time.
struct Played {
    pool: Arc<Pool>,
    /// The events that a collector would handle.
    events: Receiver<Event>,
    worker: UnixStream,
    process: Arc<Process>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.process.kill_and_wait();
    }
}

impl Played {
    /// Returns a pool whose only worker has begun the first task. The pool has sent the
    /// other tasks ahead: the worker has them too, behind the first. The worker itself, and
    /// not a relay, holds the other end of the pool's socket.
    fn with_tasks<const N: usize>() -> (Self, [Completion<()>; N]) {
        Self::with_tasks_by(&current_process::host(), std::process::id())
    }

    /// Like [`with_tasks`](Self::with_tasks), with a command that relays the bytes between
    /// the pool and the worker.
    fn with_tasks_behind_a_relay<const N: usize>() -> (Self, [Completion<()>; N]) {
        Self::with_tasks_by(&current_process::host(), 0)
    }

    /// Like [`with_tasks`](Self::with_tasks). The worker says that it runs on `host`, and
    /// that the process with the id `maker` has created its socket.
    fn with_tasks_by<const N: usize>(host: &str, maker: u32) -> (Self, [Completion<()>; N]) {
        let launcher = Launcher::command(["ssh"]).in_flight(N);
        let (pool, events, [(worker, process)]) = pool_of_launched(&launcher);
        let mut played = Self {
            pool,
            events,
            worker,
            process,
        };
        played.send(&ready_on(&ReadyOn {
            pid: played.process.pid(),
            maker,
            host: host.to_owned(),
        }));
        let tasks = [(); N].map(|()| submit(&played.pool));
        played.say(Kind::Started, 1);
        assert_eq!(played.pool.lock().count_ahead(), N - 1);
        (played, tasks)
    }

    fn say(&mut self, kind: Kind, task: u64) {
        self.send(&bare(kind, task));
    }

    fn send(&mut self, bytes: &[u8]) {
        self.worker.write_all(bytes).unwrap();
        self.pool.read_replies(&mut self.pool.lock(), 0);
    }

    /// Waits until the worker's process has been killed.
    fn assert_killed(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it is killed");
            thread::yield_now();
        }
    }

    /// Kills the worker in order to end its first task.
    fn kill_first(&self) {
        let mut state = self.pool.lock();
        let handle = state.workers.get_mut(&0).unwrap();
        handle.kill_task(KillReason::Killed);
    }

    /// Makes the pool handle the end of the worker. The pool has read all messages of the
    /// worker before this call.
    fn end(&self) {
        let mut state = self.pool.lock();
        self.pool.worker_ended(&mut state, 0, End::Exited(1));
    }

    fn queue(&self) -> Vec<u64> {
        let state = self.pool.lock();
        state.queue.iter().map(|entry| entry.number).collect()
    }

    /// Cancels the task with this number on another thread, calls `then` when that thread
    /// waits for the recall, and returns what the cancel returned.
    fn cancel(&mut self, task: u64, future: &Completion<()>, then: impl FnOnce(&mut Self)) -> bool {
        thread::scope(|scope| {
            let cancel = scope.spawn(|| future.cancel().is_some());
            let deadline = Instant::now() + LIMIT;
            while !self.pool.lock().recalls.has(task) {
                assert!(Instant::now() < deadline && !cancel.is_finished());
                thread::yield_now();
            }
            then(self);
            while !cancel.is_finished() {
                assert!(Instant::now() < deadline, "the cancel hangs");
                thread::yield_now();
            }
            cancel.join().unwrap()
        })
    }
}

#[test]
fn tasks_of_an_ended_worker_stand_in_the_queue_in_their_order() {
    let (played, [first, ..]) = Played::with_tasks::<4>();
    played.end();
    assert_eq!(played.queue(), [2, 3, 4]);
    assert_eq!(played.pool.lock().count_ahead(), 0);
    drop(first);
}

#[test]
fn a_cancel_waits_for_the_worker() {
    let (mut played, [_first, second, third]) = Played::with_tasks::<3>();
    assert!(played.cancel(2, &second, |played| played.say(Kind::Recalled, 2)));
    // The worker has begun the third task before it reads the recall, so the cancel fails.
    assert!(!played.cancel(3, &third, |played| {
        let mut state = played.pool.lock();
        // The test ends the first task without the worker's messages about it, which do not
        // matter here.
        let first = state.workers.get_mut(&0).unwrap().take_in_flight();
        assert!(state.begin_next(0, Instant::now()));
        drop(state);
        played.say(Kind::Started, 3);
        drop(first);
    }));
    let state = played.pool.lock();
    assert!(!state.recalls.has(2) && !state.recalls.has(3));
    assert_eq!((state.cancelled, state.queued, state.running), (1, 0, 2));
}

/// Tasks that were sent ahead count as queued. So they must fail with the queued tasks, and
/// not wait for the task that the worker runs.
#[test]
fn tasks_that_were_sent_ahead_do_not_run_after_the_pool_broke() {
    let (mut played, _tasks) = Played::with_tasks::<3>();
    let pool = Arc::clone(&played.pool);
    pool.break_down(&mut pool.lock(), Error::ShutDown, BrokenPart::Initializer);
    for task in [3, 2] {
        played.say(Kind::Recalled, task);
        let state = pool.lock();
        assert!(!state.workers[&0].is_malformed, "the pool has asked for it");
        assert!(state.queue.is_empty() && state.failed == 4 - task);
    }
    assert_eq!(pool.lock().count_ahead(), 0);
}

#[test]
fn a_cancel_ends_with_the_worker() {
    let (mut played, [_first, second]) = Played::with_tasks::<2>();
    assert!(played.cancel(2, &second, |played| played.end()));
    assert!(played.queue().is_empty());
}

#[test]
fn a_worker_gives_back_only_what_was_recalled() {
    let (mut played, _tasks) = Played::with_tasks::<2>();
    played.say(Kind::Recalled, 2);
    let state = played.pool.lock();
    assert!(state.workers[&0].is_malformed);
    assert_eq!(state.count_ahead(), 1);
}

/// The pool cannot parse the second task's `Started`, because a malformed message comes
/// before it. Nevertheless the pool must not run the second task again.
#[test]
fn a_task_that_has_begun_unread_is_not_begun_again() {
    let (mut played, [_first, second, _third]) = Played::with_tasks::<3>();
    let mut said = bare(Kind::Returned, 1).to_vec();
    said[0] = 0xff;
    said.extend(bare(Kind::Started, 2));
    played.worker.write_all(&said).unwrap();
    played.pool.read_replies(&mut played.pool.lock(), 0);
    played.end();
    assert_eq!(played.queue(), [3]);
    assert_eq!(played.pool.stats().failed, 2);
    drop(second);
}

#[test]
fn a_task_that_the_worker_gave_back_goes_to_an_idle_one() {
    let (mut played, tasks) = Played::with_tasks::<3>();
    let mut state = played.pool.lock();
    state.workers.get_mut(&0).unwrap().recall(3);
    state.holds_queue = true;
    drop(state);
    played.say(Kind::Recalled, 3);
    assert_eq!(played.queue(), [3]);
    assert!(tasks[2].cancel().is_some(), "it is pending");
}

/// A worker that this process has started itself does not know `Recall`, and would end if
/// it received one.
#[test]
fn a_worker_that_no_launcher_has_started_is_not_asked_to_give_a_task_back() {
    let (played, [_first, second]) = Played::with_tasks::<2>();
    played.pool.lock().workers.get_mut(&0).unwrap().launched = None;
    let is_cancelled = thread::spawn(move || second.cancel().is_some());
    let deadline = Instant::now() + LIMIT;
    while !is_cancelled.is_finished() {
        assert!(Instant::now() < deadline, "the cancel hangs");
        thread::yield_now();
    }
    assert!(!is_cancelled.join().unwrap());
}

#[test]
fn what_a_relay_may_have_lost_is_not_begun_again() {
    let (played, tasks) = Played::with_tasks_behind_a_relay::<3>();
    played.end();
    assert!(played.queue().is_empty());
    assert_eq!(played.pool.stats().failed, 3);
    drop(tasks);
}

/// A process on another host that relays the bytes may have the same id as this process. So
/// the pool must compare the hosts too.
#[test]
fn a_process_of_another_host_is_not_taken_for_this_one() {
    let (played, tasks) = Played::with_tasks_by::<3>("another host", std::process::id());
    played.end();
    assert!(played.queue().is_empty());
    drop(tasks);
}

#[test]
fn a_cancel_whose_worker_may_have_begun_the_task_returns_false() {
    let (mut played, [_first, second]) = Played::with_tasks_behind_a_relay::<2>();
    assert!(!played.cancel(2, &second, |played| played.end()));
}

/// The worker ends the first task, and so begins the second, before it reads the recall.
/// The shutdown must see at once that no task is left to recall.
#[test]
fn a_shutdown_that_recalls_tasks_goes_on_when_the_last_has_begun() {
    let (mut played, _tasks) = Played::with_tasks::<2>();
    thread::scope(|scope| {
        let pool = Arc::clone(&played.pool);
        let recall = scope.spawn(move || pool.recall_all(&mut pool.lock(), Instant::now() + LIMIT));
        let deadline = Instant::now() + LIMIT / 2;
        while !played.pool.lock().holds_queue {
            assert!(Instant::now() < deadline && !recall.is_finished());
            thread::yield_now();
        }
        played.say(Kind::Returned, 1);
        while !recall.is_finished() {
            assert!(Instant::now() < deadline, "it waits for its limit");
            thread::yield_now();
        }
    });
}

/// No worker may start before `not_before`. The pool must not wake up for the end of a
/// launcher's pause, which was over long ago.
#[test]
fn a_pool_that_may_not_start_a_worker_yet_waits_for_no_launcher() {
    let pool = pool_without_threads(Transport::Socket, 1);
    let mut state = pool.lock();
    state.launchers = LauncherStates::new(&[Launcher::command(["ssh"])]);
    state.launchers.starts(0);
    let long_ago = Instant::now().checked_sub(LIMIT).unwrap();
    state.launchers.ended(0, false, Some("it failed"), long_ago);
    state.threads = Threads::Up;
    for not_before in [None, Some(Instant::now() + LIMIT)] {
        state.not_before = not_before;
        state.to_spawn = 0;
        drop(state);
        let call = bare(Kind::Task, 0).to_vec();
        let queued = pool.queue::<(), _>(call.into(), TaskSettings::default(), One, WhenFull::Wait);
        drop(queued.unwrap());
        state = pool.lock();
        assert_eq!(state.retry_at, None);
        assert_eq!(state.to_spawn > 0, not_before.is_none());
    }
}

/// The pool runs the task again, because the task has a retry. The task may have run
/// before, so no cancel of it returns `true`.
#[test]
fn a_cancel_ends_although_the_task_is_begun_again() {
    let (mut played, [_first, second]) = Played::with_tasks_behind_a_relay::<2>();
    let mut state = played.pool.lock();
    let ahead = &mut state.workers.get_mut(&0).unwrap().ahead;
    ahead[0].entry.settings.retries = 1;
    drop(state);
    assert!(!played.cancel(2, &second, |played| played.end()));
    assert_eq!(played.queue(), [2]);
    assert!(second.cancel().is_none());
    let state = played.pool.lock();
    assert_eq!(
        (state.running, state.queued, state.retries_queued),
        (1, 0, 1)
    );
}

/// If the pool killed the worker before the other tasks are back, it would not know if
/// these tasks have begun.
#[test]
fn a_worker_is_killed_for_its_task_after_it_has_given_the_others_back() {
    let (mut played, _tasks) = Played::with_tasks_behind_a_relay::<3>();
    played.kill_first();
    let are_recalled = |handle: &WorkerHandle| handle.ahead.iter().all(|task| task.is_recalled);
    assert!(are_recalled(&played.pool.lock().workers[&0]));
    played.say(Kind::Recalled, 3);
    assert_eq!(played.process.try_wait().unwrap(), None);
    played.say(Kind::Recalled, 2);
    played.assert_killed();
    assert_eq!(played.queue(), [2, 3]);
    played.end();
    assert_eq!(
        (played.queue(), played.pool.stats().failed),
        (vec![2, 3], 1)
    );
}

/// Before the worker reads the recall, it ends the first task and begins the second one. So
/// the worker never gives the second task back, and the pool waits only for the third one.
#[test]
fn a_kill_does_not_wait_for_a_task_that_has_begun() {
    let (mut played, _tasks) = Played::with_tasks_behind_a_relay::<3>();
    played.kill_first();
    // The worker's deadline: first the end of the recall's limit, and after the kill the
    // time of the next kill.
    let limit = |played: &Played| played.pool.lock().workers[&0].deadline;
    let of_recall = limit(&played);
    played.say(Kind::Returned, 1);
    played.say(Kind::Started, 2);
    assert_eq!(limit(&played), of_recall);
    played.say(Kind::Recalled, 3);
    assert_ne!(limit(&played), of_recall);
    played.assert_killed();
    played.end();
    assert_eq!((played.queue(), played.pool.stats().failed), (vec![3], 2));
}

#[test]
fn a_kill_is_due_when_the_last_task_that_was_sent_ahead_has_begun() {
    let (mut played, _tasks) = Played::with_tasks_behind_a_relay::<2>();
    played.kill_first();
    played.say(Kind::Returned, 1);
    assert_eq!(played.process.try_wait().unwrap(), None);
    played.say(Kind::Started, 2);
    played.assert_killed();
}

/// The supervisor must learn of the limit within which a relayed worker has to give the
/// other tasks back.
#[test]
fn a_kill_that_waits_for_other_tasks_wakes_the_supervisor() {
    let (played, tasks) = Played::with_tasks_behind_a_relay::<2>();
    let is_woken = || {
        let mut polled = [PollFd::new(&played.pool.wake_fd, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
    };
    played.pool.wake_fd.clear();
    assert!(!is_woken());
    assert!(played.pool.kill(tasks[0].address()));
    assert!(is_woken());
}

/// The kill of a process may take long, or fail if the process belongs to another user.
#[test]
fn a_worker_that_is_being_killed_gets_no_task() {
    let (mut played, _tasks) = Played::with_tasks::<1>();
    played.say(Kind::Returned, 1);
    let mut state = played.pool.lock();
    assert_eq!(state.idle, [0]);
    let worker = state.workers.get_mut(&0).unwrap();
    worker.kill(KillReason::Misbehaved("silent".to_owned()));
    drop(state);
    let _task = submit(&played.pool);
    let state = played.pool.lock();
    assert!(state.workers[&0].in_flight().is_none());
    assert_eq!((state.queued, state.idle.len()), (1, 0));
}

/// A pool with two workers of one launcher. The test takes the steps of both workers. The
/// first one has begun a task, and the second one is still starting.
struct Two {
    pool: Arc<Pool>,
    _events: Receiver<Event>,
    _task: Completion<()>,
    _sockets: [UnixStream; 2],
    processes: [Arc<Process>; 2],
}

impl Drop for Two {
    fn drop(&mut self) {
        self.processes
            .iter()
            .for_each(|process| process.kill_and_wait());
    }
}

impl Two {
    fn new(in_flight: usize) -> Self {
        let launcher = Launcher::command(["ssh"]).workers(2).in_flight(in_flight);
        let (pool, _events, [(first, one), (second, two)]) = pool_of_launched(&launcher);
        let mut said = ready_on(&ReadyOn {
            pid: one.pid(),
            maker: std::process::id(),
            host: current_process::host(),
        });
        (&first).write_all(&said).unwrap();
        pool.read_replies(&mut pool.lock(), 0);
        let task = submit(&pool);
        said = bare(Kind::Started, 1).to_vec();
        (&first).write_all(&said).unwrap();
        pool.read_replies(&mut pool.lock(), 0);
        Self {
            pool,
            _events,
            _task: task,
            _sockets: [first, second],
            processes: [one, two],
        }
    }

    fn kill_second(&self, reason: KillReason) {
        self.pool.lock().workers.get_mut(&1).unwrap().kill(reason);
    }
}

/// The pool plans the start of another worker when the first worker ends. Then the launcher
/// pauses, because the second worker ends before it is ready. The supervisor must wake up
/// at the end of the pause.
#[test]
fn a_launcher_that_pauses_after_a_start_was_planned_is_tried_again() {
    let two = Two::new(1);
    let _waits = submit(&two.pool);
    two.kill_second(KillReason::Misbehaved("late".to_owned()));
    let mut state = two.pool.lock();
    two.pool.worker_ended(&mut state, 0, End::Unknown);
    two.pool.worker_ended(&mut state, 1, End::Unknown);
    two.pool.begin_round(&mut state);
    assert!(two.pool.next_start(&mut state).is_none());
    let left = (state.workers.len(), state.to_spawn, state.queued);
    assert_eq!(left, (0, 0, 1));
    assert!(state.retry_at.is_some() && state.closed.is_none());
}

/// The tasks that were sent ahead end with their worker, so no other worker is needed.
#[test]
fn a_pool_that_ends_starts_no_worker_for_tasks_that_were_sent_ahead() {
    for is_broken in [true, false] {
        let two = Two::new(3);
        two.kill_second(KillReason::Killed);
        let _ahead = [(); 2].map(|()| submit(&two.pool));
        let mut state = two.pool.lock();
        assert_eq!(state.count_ahead(), 2);
        // The launcher had a pause, which is over.
        let long_ago = Instant::now().checked_sub(LIMIT).unwrap();
        state.launchers.starts(0);
        state.launchers.ended(0, false, Some("it failed"), long_ago);
        match is_broken {
            true => two
                .pool
                .break_down(&mut state, Error::ShutDown, BrokenPart::Policy),
            false => two.pool.stop(&mut state, KillReason::Terminated),
        }
        two.pool.worker_ended(&mut state, 1, End::Unknown);
        assert_eq!((state.to_spawn, state.retry_at), (0, None));
        drop(state);
    }
}

/// The pool counts a worker that is being started among its launcher's workers already.
#[test]
fn a_worker_that_is_being_started_takes_one_place() {
    let pool = pool_without_threads(Transport::Socket, 2);
    let mut state = pool.lock();
    state.launchers = LauncherStates::new(&[Launcher::command(["ssh"]).workers(2)]);
    state.to_spawn = 1;
    assert_eq!(pool.count_startable(&state), 1);
    assert!(pool.next_start(&mut state).is_some());
    assert_eq!(pool.count_startable(&state), 1);
}

/// The pool breaks and stops its workers after a kill of the worker's current task. The
/// task that was sent ahead was not killed. Before a fix, it ended with `Killed`.
#[test]
fn a_task_behind_one_that_was_killed_says_that_the_pool_broke() {
    let (played, [_first, _second]) = Played::with_tasks::<2>();
    played.kill_first();
    let mut state = played.pool.lock();
    let part = BrokenPart::Policy;
    played.pool.break_down(&mut state, Error::Cancelled, part);
    played.pool.stop(&mut state, KillReason::Broken);
    drop(state);
    played.end();
    let failed = played.events.try_iter().filter_map(|event| match event {
        Event::Failed(entry, error) => Some((entry.number, error)),
        _ => None,
    });
    let mut failed: Vec<(u64, Error)> = failed.collect();
    failed.sort_by_key(|(number, _)| *number);
    assert!(matches!(
        &failed[..],
        [(1, Error::Killed(_)), (2, Error::Broken(_))]
    ));
}

/// The second task had been recalled before it was the worker's current task, and before it
/// was killed. Before a fix, the task went back into the queue, and ran.
#[test]
fn a_task_that_was_killed_does_not_come_back_by_an_older_recall() {
    let (mut played, [_first, second, _third]) = Played::with_tasks_behind_a_relay::<3>();
    let mut state = played.pool.lock();
    state.workers.get_mut(&0).unwrap().recall_last(usize::MAX);
    let first = state.workers.get_mut(&0).unwrap().take_in_flight();
    assert!(state.begin_next(0, Instant::now()));
    drop(state);
    assert!(played.pool.kill(second.address()));
    played.say(Kind::Recalled, 2);
    assert_eq!(played.queue(), [0_u64; 0]);
    played.say(Kind::Recalled, 3);
    played.end();
    assert_eq!(played.queue(), [3]);
    let is_killed =
        |event| matches!(event, Event::Failed(entry, Error::Killed(_)) if entry.number == 2);
    assert!(played.events.try_iter().any(is_killed));
    drop(first);
}

/// The name comes from another host, and an error that the user prints may quote it.
#[test]
fn the_name_of_a_host_steers_no_terminal() {
    let (played, [_task]) = Played::with_tasks_by("far\u{1b}[2J", 0);
    assert_eq!(played.pool.stats().launchers[0].hosts, ["far\\u{1b}[2J"]);
}

#[test]
fn the_reason_for_which_a_host_refuses_steers_no_terminal() {
    let launcher = Launcher::command(["ssh"]);
    let (pool, _events, [(mut worker, process)]) = pool_of_launched(&launcher);
    worker.write_all(&refused("\u{1b}[2J")).unwrap();
    pool.read_replies(&mut pool.lock(), 0);
    process.kill_and_wait();
    let left_out = pool.stats().launchers[0].left_out.clone();
    assert_eq!(left_out.as_deref(), Some("\\u{1b}[2J"));
}
