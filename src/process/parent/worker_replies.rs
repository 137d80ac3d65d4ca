//! The functions that read and handle the replies of workers. The supervisor calls these
//! functions. Other threads that need the replies at once call them too (`polling.rs`,
//! `stats.rs`, `offers.rs`).

use std::time::Instant;

use super::escaped::escaped;
use super::pool::Pool;
use super::pool_state::{Event, PoolState};
use super::queued_task::{Answered, InFlight};
use super::task::codec_error;
use super::worker_handle::{IO_BUDGET, KillReason, WorkerState};
use crate::encoded::Encoded;
use crate::error::{BrokenPart, Error, Side};
use crate::process::wire::answer::{Answer, InitializeFailure};
use crate::process::wire::message::Reply;
use crate::sys::current_process;

impl Pool {
    pub(super) fn read_replies(&self, state: &mut PoolState, number: usize) {
        let mut budget = IO_BUDGET;
        // All messages of this call get the same time, because reading the clock for each
        // message would take much of the time.
        let now = Instant::now();
        while let Some(handle) = state.workers.get_mut(&number) {
            let offered = state.offered.as_ref();
            let may_begin = |task| offered.is_some_and(|offered| offered.may_begin(task, number));
            // Each answer may let the pool send one more task. If a launcher has started
            // the worker, `cork` keeps the calls of these tasks, and `uncork` sends them
            // together.
            handle.cork();
            match handle.read_replies(&mut budget, &may_begin) {
                Ok(Some(reply)) => self.on_reply(state, number, reply, now),
                Ok(None) => {
                    handle.uncork();
                    return Self::mend_taken(state, number);
                }
                Err(what) => return handle.kill(KillReason::Misbehaved(what)),
            }
        }
    }

    fn on_reply(&self, state: &mut PoolState, number: usize, reply: Reply, now: Instant) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        // The pool ignores the answers of a worker that it is killing, because a task must
        // end with `Killed` after `kill` has returned `true`. But the pool needs `Started`:
        // otherwise it would send the started task to another worker. (If an answer is the
        // first message about its task, the worker's memory shows that the task has begun.)
        // The pool also needs `Recalled`, because it may wait for this message before it
        // kills the worker.
        let is_needed = matches!(reply, Reply::Started(_) | Reply::Recalled(_));
        if handle.is_being_killed() && !is_needed {
            return;
        }
        match reply {
            // A worker that was told to exit may still send `Ready` or `Initialized`.
            Reply::Ready(_) | Reply::Initialized
                if !matches!(handle.activity, WorkerState::Starting) => {}
            Reply::Ready(process) => {
                let is_rank = handle.is_rank();
                handle.is_ready = true;
                // The initializer has no deadline, because it is user code.
                handle.deadline = None;
                if let Some(launched) = &mut handle.launched {
                    // The ids of two processes can be compared only on one host: another
                    // host may have a process with the id of this process.
                    let is_here = process.host == current_process::host();
                    // A worker that is a child of the command may live on after the
                    // command, and begin a task after the pool has handled the end of the
                    // command.
                    let is_command = is_here && process.pid == handle.process.pid();
                    launched.pid = process.pid;
                    launched.host = escaped(&process.host);
                    let is_direct = is_command && process.maker == std::process::id();
                    // MPI loses no message of a rank, because the whole job ends if a rank
                    // dies.
                    launched.is_direct = is_direct || is_rank;
                    state.launchers.is_ready(launched.launcher);
                }
                match self.starter.initializes() {
                    true => handle.begin_checks(now),
                    false => self.worker_initialized(state, number),
                }
            }
            Reply::Initialized => self.worker_initialized(state, number),
            Reply::Pong(number) => {
                if let Some(launched) = &mut handle.launched {
                    launched.trips.end(number, now);
                }
            }
            Reply::Recalled(task) => self.task_recalled(state, number, task),
            // The worker's failed start does not matter, because the pool has already told
            // the worker to exit.
            Reply::Refused(_) | Reply::InitializeFailed(_)
                if matches!(handle.activity, WorkerState::Leaving) => {}
            Reply::Refused(why) if handle.launched.is_some() => {
                let why = escaped(&why);
                match handle.is_rank() {
                    // Killing an MPI rank would end the whole MPI job. `Exit` makes the
                    // rank leave the pool.
                    true => handle.send_exit(),
                    false => handle.kill(KillReason::Misbehaved(why.clone())),
                }
                if let Some(launched) = &handle.launched {
                    state.launchers.leave_out(launched.launcher, &why);
                }
                self.break_down_without_launchers(state);
            }
            Reply::Refused(why) => {
                handle.kill(KillReason::Misbehaved(why.clone()));
                self.break_down(state, Error::unsupported(why), BrokenPart::Start);
            }
            Reply::InitializeFailed(failure) => {
                match handle.is_rank() {
                    // An MPI rank waits for its last message from the pool, which is
                    // `Exit`.
                    true => handle.send_exit(),
                    false => handle.leave(),
                }
                self.break_down(state, cause_of(failure), BrokenPart::Initializer);
            }
            Reply::Started(task) => {
                self.assign(state, number, task, now);
                self.task_started(state, number, task, now);
                self.offer_if_none(state);
            }
            Reply::Fetch(task) => {
                self.fetched(state, number, task, now);
                self.offer_if_none(state);
            }
            Reply::Declined(offer) => self.declined(state, number, offer),
            Reply::Answer(task, answer) => {
                if let Some(task) = self.take_answered(state, number, task, now) {
                    self.task_answered(state, number, task, answer, now);
                }
            }
        }
    }

    pub(super) fn task_started(
        &self,
        state: &mut PoolState,
        number: usize,
        task: u64,
        now: Instant,
    ) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        // The task may be one that was sent ahead, behind the worker's current task: if the
        // worker has ended or is being killed, the answer of the current task may be lost,
        // unread or ignored.
        match handle.task_mut(task) {
            Some(in_flight) if in_flight.is_unsaid => in_flight.is_unsaid = false,
            Some(in_flight) if in_flight.started.is_none() => {
                in_flight.started = Some(now);
                in_flight.is_recalled = false;
                // The supervisor must wake up: before it sleeps again, it lets the
                // collector free a large call.
                let has_large_call = in_flight.has_large_call();
                state.needs_wakeup |= has_large_call;
                if !has_large_call {
                    in_flight.take_unneeded_call();
                }
                state.running += usize::from(in_flight.entry.begin());
                let limit = in_flight.entry.settings.time_limit;
                if let Some(launched) = handle.launched.as_ref().filter(|_| !handle.has_begun) {
                    state.launchers.works(launched.launcher);
                }
                handle.has_begun = true;
                handle.last_begun = task;
                handle.progress = None;
                // If `kill_task` has delayed the kill of the worker, the deadline is the
                // time of the kill, and stays.
                if !handle.is_being_killed() {
                    handle.deadline = limit.and_then(|limit| now.checked_add(limit));
                }
                handle.kill_if_due();
                state.needs_wakeup |= handle.deadline.is_some();
                if state.recalls.end(task, false) {
                    self.recalled.notify_all();
                }
            }
            // `WorkerHandle::check_expected` rejects a `Started` for a task that has begun,
            // or that the worker does not have, unless the pool is killing the worker.
            _ => {}
        }
    }

    /// Lets the collector free the large calls of the tasks that have begun.
    pub(super) fn free_large_calls(state: &mut PoolState) {
        let workers = state.workers.values_mut();
        let calls = workers.filter_map(|handle| match &mut handle.activity {
            WorkerState::Busy(in_flight) => in_flight.take_unneeded_call(),
            _ => None,
        });
        for call in calls.collect::<Vec<_>>() {
            state.send_event(Event::Unneeded(call));
        }
    }

    /// Takes the task that a worker has answered from the worker. If the answer is the first
    /// message about the task, and the pool has not assigned the task, takes it from the
    /// offers, without the steps for a task that runs on ([`assign`](Self::assign) and
    /// [`task_started`](Self::task_started)). With these steps, a burst of empty tasks takes
    /// at least 1.15 times as long.
    fn take_answered(
        &self,
        state: &mut PoolState,
        number: usize,
        task: u64,
        now: Instant,
    ) -> Option<InFlight> {
        let in_flight = state.workers.get(&number)?.in_flight();
        // `WorkerHandle::check_expected` rejects an answer for a task that is not the worker's.
        match in_flight {
            Some(in_flight) if in_flight.started.is_some() => {}
            Some(_) => {
                self.task_started(state, number, task, now);
                state.free_slot(number);
            }
            None => {
                let offered = state.offered.as_mut()?;
                let mut taken = offered.remove(|_, offer| offer.task.entry.number == task)?;
                taken.started = Some(now);
                state.running += usize::from(taken.entry.begin());
                state.idle.retain(|idle| *idle != number);
                self.capacity.notify_one();
                let handle = state.workers.get_mut(&number)?;
                handle.has_begun = true;
                handle.last_begun = task;
                handle.take_limit = None;
                return Some(taken);
            }
        }
        state.workers.get_mut(&number)?.take_in_flight()
    }

    fn task_answered(
        &self,
        state: &mut PoolState,
        number: usize,
        mut in_flight: InFlight,
        answer: Answer<Encoded>,
        now: Instant,
    ) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        // A large call takes long to free, and a thread may wait for the task. So this
        // method takes the call out before the end of the task, which would free the call.
        let has_large_call = in_flight.has_large_call();
        let call = has_large_call.then(|| in_flight.entry.task.take_call());
        handle.deadline = None;
        handle.done += 1;
        if let (Some(launched), Some(started)) = (&mut handle.launched, in_flight.started) {
            launched.task_took(now.saturating_duration_since(started));
        }
        // A worker that the pool has asked to end (`Terminated`) may have taken one more
        // offer. So such a worker gets `Exit` only if the pool has no offers.
        let has_offers = state
            .offered
            .as_ref()
            .is_some_and(|offered| offered.len() > 0);
        let exits = handle.kill_reason.is_some() && !has_offers && handle.ahead.is_empty();
        if self.config.max_tasks_per_child == Some(handle.done) || exits {
            handle.send_exit();
            state.needs_wakeup = true;
        } else if state.begin_next(number, now) {
            self.capacity.notify_one();
            // A shutdown waits until no task is sent ahead any more (`recall_all`).
            self.recalled.notify_all();
        } else {
            state.idle.push(number);
        }
        state.running -= 1;
        state.failed_starts = 0;
        // The pool sends the next task before it handles the answer, because the worker is
        // waiting for its next task.
        self.dispatch(state);
        // While the collector runs user code, or still has to run user code, this thread
        // ends no task itself.
        let collector = state.collector_thread.filter(|_| state.unsettled == 0);
        let rest = match in_flight.entry.answered(answer, collector) {
            Answered::Ended(rest) => {
                state.finished += 1;
                state.unsettled += usize::from(rest.is_some());
                rest
            }
            Answered::Left(rest) => {
                state.unread += 1;
                state.unsettled += 1;
                rest
            }
        };
        if let Some(rest) = rest {
            state.send_event(Event::Answered(rest));
        }
        if let Some(call) = call.flatten() {
            state.send_event(Event::Unneeded(call));
        }
    }
}

fn cause_of(failure: InitializeFailure) -> Error {
    match failure {
        InitializeFailure::Error(report) => Error::other(report),
        InitializeFailure::Panicked(note) => Error::Panicked(note.into_panic(None)),
        InitializeFailure::Undecodable(fault) => Error::Decode(codec_error(Side::Worker, fault)),
    }
}

#[cfg(test)]
mod tests;
