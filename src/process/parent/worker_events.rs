//! The functions that handle the replies and the ends of workers. The supervisor calls
//! these functions. `stats` also calls the functions that read replies.
//!
//! # The end of a worker
//!
//! After a worker's process has ended, the supervisor first reads all remaining replies of
//! that worker. If the worker had not started its task, the pool puts the task back to the
//! head of the queue, because the worker may have been dead when the pool sent the task.
//! The pool may put a task back any number of times. However, the task fails if three
//! workers died while they read the task's call. A worker counts as reading a call if the
//! pool has written more bytes of the call than a socket's buffer holds. If the worker had
//! started its task, the pool retries the task if the task has retries left, and makes the
//! task fail otherwise. If the pool killed the worker, the task fails with `Killed` or
//! `TimeLimit`. In all other cases the task fails with `WorkerDied`.
//!
//! # Breaking
//!
//! A pool breaks if an initializer fails, if a worker runs another program, if five workers
//! in a row die before they begin a task, or if a worker cannot be started while the pool
//! has no other worker. A pool that has other workers tries again later to start a worker.
//! A pool with launchers breaks if an initializer fails, or when all its launchers are left
//! out (`launcher_states.rs`). A broken pool refuses tasks with the cause of the break, and all its queued tasks fail.
//! If a task ends its worker, only this task fails, and the pool does not break. With
//! [`OnWorkerDeath::BreakPool`], the first death of a worker breaks the pool, and the pool
//! kills its other workers.

use std::time::Instant;

use super::error_output::{ErrorOutput, last_lines};
use super::pool::Pool;
use super::pool_state::{Event, PoolState};
use super::queued_task::{Answered, InFlight};
use super::task::codec_error;
use super::worker_handle::{IO_BUDGET, KillReason, WorkerHandle, WorkerState};
use crate::encoded::Encoded;
use crate::error::{BrokenPart, DeathParts, End, Error, Loss, Moment, Place, Side, WorkerDeath};
use crate::process::settings::OnWorkerDeath;
use crate::process::wire::answer::{Answer, InitializeFailure};
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::message::Reply;
use crate::sys::current_process;

/// If this number of workers in a row die before they begin a task, the pool breaks.
const FAILED_STARTS: u32 = 5;

/// If this number of workers end while they read a task's call, the task fails.
const SEND_ATTEMPTS: u32 = 3;

impl Pool {
    /// Reads the replies of a worker, and handles each reply.
    pub(super) fn read_replies(&self, state: &mut PoolState, number: usize) {
        let mut budget = IO_BUDGET;
        // The messages that have arrived by now have the same time, because a clock costs
        // as much as a message.
        let now = Instant::now();
        while let Some(handle) = state.workers.get_mut(&number) {
            let offered = state.offered.as_ref();
            let may_begin = |task| offered.is_some_and(|offered| offered.may_begin(task, number));
            // Each answer may make room for one more task.
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
        // end with `Killed` after `kill` has returned `true`. The pool does not ignore
        // `Started`, because it would otherwise send the started task to another worker, nor
        // `Recalled`, for which it may wait before it kills the worker.
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
                    // Another host may have a process with the same id.
                    let is_here = process.host == current_process::host();
                    (launched.pid, launched.host) = (process.pid, process.host);
                    let is_direct = is_here && process.maker == std::process::id();
                    // MPI loses no message of a rank: the job ends with its first rank.
                    launched.is_direct = is_direct || is_rank;
                    state.launchers.is_ready(launched.launcher);
                }
                if !self.starter.initializes() {
                    self.worker_initialized(state, number);
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
                match handle.is_rank() {
                    // A kill would end the whole job. The rank leaves by itself.
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
                    // The rank waits for its last message.
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
            Reply::Answer(task, answer) => self.task_answered(state, number, task, answer, now),
        }
    }

    fn task_started(&self, state: &mut PoolState, number: usize, task: u64, now: Instant) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        // A task that was sent ahead has begun if its worker has ended before the answer of
        // the task in front of it was read.
        match handle.task_mut(task) {
            Some(in_flight) if in_flight.started.is_none() => {
                in_flight.started = Some(now);
                in_flight.is_recalled = false;
                // The supervisor frees a large call when it has nothing else to do.
                let has_large_call = in_flight.has_large_call();
                state.needs_wakeup |= has_large_call;
                if !has_large_call {
                    in_flight.take_unneeded_call();
                }
                if !in_flight.entry.has_begun {
                    in_flight.entry.has_begun = true;
                    state.running += 1;
                    in_flight.entry.begin();
                }
                in_flight.entry.times_begun += 1;
                let limit = in_flight.entry.settings.time_limit;
                if let Some(launched) = handle.launched.as_ref().filter(|_| !handle.has_begun) {
                    state.launchers.works(launched.launcher);
                }
                handle.has_begun = true;
                handle.last_begun = task;
                handle.progress = None;
                // A worker that is to be killed has a deadline for that (`kill_task`).
                if !handle.is_being_killed() {
                    handle.deadline = limit.and_then(|limit| now.checked_add(limit));
                }
                state.needs_wakeup |= handle.deadline.is_some();
                if state.recalls.end(task, false) {
                    self.recalled.notify_all();
                }
            }
            // `WorkerHandle::check_expected` rejects a `Started` for any other task.
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

    fn task_answered(
        &self,
        state: &mut PoolState,
        number: usize,
        task: u64,
        answer: Answer<Encoded>,
        now: Instant,
    ) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        let in_flight = handle.in_flight();
        let is_its = in_flight
            .is_some_and(|in_flight| in_flight.entry.number == task && in_flight.started.is_some());
        // `WorkerHandle::check_expected` rejects an answer for any other task.
        let Some(mut in_flight) = is_its.then(|| handle.take_in_flight()).flatten() else {
            return;
        };
        // Taken before the end of the task, which would free the call: a thread may wait.
        let has_large_call = in_flight.has_large_call();
        let call = has_large_call.then(|| in_flight.entry.task.take_call());
        handle.deadline = None;
        handle.done += 1;
        if let (Some(launched), Some(started)) = (&mut handle.launched, in_flight.started) {
            launched.task_took(now.saturating_duration_since(started));
        }
        // A worker that the pool has asked to end may have taken one more task before.
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
        } else {
            state.idle.push(number);
        }
        state.running -= 1;
        state.failed_starts = 0;
        // The pool sends the next task before it handles the answer, because the worker is
        // waiting for its next task.
        self.dispatch(state);
        // No task becomes done while the collector runs user code, or has to.
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

    /// Handles the end of a worker's process, after the caller has read all its replies.
    pub(super) fn worker_ended(&self, state: &mut PoolState, number: usize, end: End) {
        self.assign_taken(state);
        let handle = state.workers.get_mut(&number);
        let started = handle.map(WorkerHandle::started_unread).unwrap_or_default();
        for task in started {
            self.task_started(state, number, task, Instant::now());
        }
        state.free_slot(number);
        let Some(mut handle) = state.workers.remove(&number) else {
            return;
        };
        state.idle.retain(|idle| *idle != number);
        state.ended += 1;
        self.capacity.notify_one();
        let is_death = match &handle.kill_reason {
            None => !matches!(handle.activity, WorkerState::Leaving),
            // A worker that the pool killed because its exit took too long does not count
            // as dead.
            Some(KillReason::Misbehaved(_)) => !matches!(handle.activity, WorkerState::Leaving),
            Some(_) => false,
        };
        let moment = self.moment_of(&handle);
        let in_flight = handle.take_in_flight();
        // A worker that was idle had started successfully, so its end does not count as a
        // failed start.
        let is_failed_start = is_death && !handle.has_begun && !handle.was_idle;
        let explained = match end {
            End::Exited(code) => ExitCode::explain(code).map(str::to_owned),
            _ => None,
        };
        let place = handle.launched.as_ref().map(|launched| Place {
            launcher: state.launchers.name(launched.launcher).to_owned(),
            host: Some(launched.host.clone()).filter(|host| !host.is_empty()),
            stage: launched.stage,
            last_lines: launched
                .errors
                .as_ref()
                .and_then(ErrorOutput::last_lines)
                .or_else(|| last_lines(&handle.text_before_greeting()?)),
        });
        let death = DeathParts {
            pid: handle.pid(),
            place,
            end,
            task: in_flight
                .as_ref()
                .and_then(|in_flight| in_flight.entry.settings.name.clone()),
            moment,
            note: match &handle.kill_reason {
                Some(KillReason::Misbehaved(what)) => {
                    Some(format!("the pool ended it, for {what}"))
                }
                _ => explained,
            },
            times_begun: in_flight
                .as_ref()
                .map_or(0, |in_flight| in_flight.entry.times_begun),
            loss: Loss::Retries,
        };
        self.requeue_taken(state, number, &handle, &death);
        self.requeue_ahead(state, &mut handle, &death);
        if let Some(in_flight) = in_flight {
            let capacity = handle.capacity();
            let is_known = handle.knows_what_has_begun();
            let reason = handle.kill_reason.clone();
            self.requeue_or_fail(state, in_flight, reason, &death, capacity, is_known);
        }
        self.recalled.notify_all();
        let death = WorkerDeath::new(death);
        // A command that has started no worker is no dead worker: another launcher may work.
        let was_no_worker = is_failed_start && handle.launched.is_some();
        match handle.launched.take() {
            Some(launched) => {
                let why = is_failed_start.then(|| death.why_not_started());
                let (index, was_ready) = (launched.launcher, handle.is_ready);
                let launchers = &mut state.launchers;
                launchers.ended(index, was_ready, why.as_deref(), Instant::now());
                state.copying.retain(|thread| !thread.is_finished());
                state
                    .copying
                    .extend(launched.errors.and_then(ErrorOutput::end));
                self.break_down_without_launchers(state);
            }
            None => state.failed_starts += u32::from(is_failed_start),
        }
        let death = Error::WorkerDied(death);
        if is_death && !was_no_worker && self.breaks_on_death() {
            self.break_down(state, death, BrokenPart::Policy);
            self.stop(state, KillReason::Broken);
        } else if state.failed_starts >= FAILED_STARTS {
            let part = BrokenPart::Starts {
                workers: state.failed_starts,
                look_at: self.starter.runs_before_tasks(),
            };
            self.break_down(state, death, part);
        }
        self.dispatch(state);
    }

    /// Handles a task that a worker, which has ended, has taken although the pool does not
    /// know that the worker has ended its task before: that message was destroyed, or the
    /// pool did not read it any more because it kills the worker.
    fn requeue_taken(
        &self,
        state: &mut PoolState,
        number: usize,
        handle: &WorkerHandle,
        death: &DeathParts,
    ) {
        while let Some(mut task) = state
            .offered
            .as_mut()
            .and_then(|offered| offered.remove_taken_by(number, handle.taken()))
        {
            self.capacity.notify_one();
            if handle.may_have_begun() {
                if !task.entry.has_begun {
                    task.entry.has_begun = true;
                    state.running += 1;
                    task.entry.begin();
                }
                task.entry.times_begun += 1;
                task.started = Some(Instant::now());
            }
            let death = DeathParts {
                task: task.entry.settings.name.clone(),
                moment: moment(&task),
                times_begun: task.entry.times_begun,
                ..death.clone()
            };
            let (reason, capacity) = (handle.kill_reason.clone(), handle.capacity());
            // The reason why the pool killed the worker has nothing to do with this task.
            let reason = reason.filter(|_| state.stopped.is_some());
            self.requeue_or_fail(state, task, reason, &death, capacity, true);
        }
    }

    /// Handles the tasks that were sent ahead to a worker, which has ended. The reason why
    /// the pool killed the worker has nothing to do with these tasks.
    fn requeue_ahead(&self, state: &mut PoolState, handle: &mut WorkerHandle, death: &DeathParts) {
        let reason = handle
            .kill_reason
            .clone()
            .filter(|_| state.stopped.is_some());
        // The last one goes back first, so that they stand in the queue in their order.
        for task in std::mem::take(&mut handle.ahead).into_iter().rev() {
            let death = DeathParts {
                task: task.entry.settings.name.clone(),
                moment: moment(&task),
                times_begun: task.entry.times_begun,
                ..death.clone()
            };
            let (reason, is_known) = (reason.clone(), handle.knows_what_has_begun());
            self.requeue_or_fail(state, task, reason, &death, handle.capacity(), is_known);
        }
    }

    /// Returns the stage at which a worker ended: starting, initializing, idle, or with a
    /// task.
    fn moment_of(&self, handle: &WorkerHandle) -> Moment {
        match &handle.activity {
            WorkerState::Starting if handle.is_ready && self.starter.initializes() => {
                Moment::Initializing
            }
            WorkerState::Starting => Moment::Starting,
            WorkerState::Busy(in_flight) => moment(in_flight),
            WorkerState::Idle | WorkerState::Leaving => Moment::Idle,
        }
    }

    fn breaks_on_death(&self) -> bool {
        self.config.on_worker_death == OnWorkerDeath::BreakPool
    }

    /// Requeues the task of a worker that has ended, or makes the task fail. `capacity` is
    /// the number of bytes that fit into the worker's transport. If `knows_what_has_begun` is
    /// not set, a task that the worker has got may have begun although its `Started` has not
    /// arrived.
    fn requeue_or_fail(
        &self,
        state: &mut PoolState,
        mut in_flight: InFlight,
        kill_reason: Option<KillReason>,
        death: &DeathParts,
        capacity: usize,
        knows_what_has_begun: bool,
    ) {
        let pid = death.pid;
        let died = |loss| {
            let parts = DeathParts {
                loss,
                ..death.clone()
            };
            Error::WorkerDied(WorkerDeath::new(parts))
        };
        let has_started = in_flight.started.is_some();
        // The transport to a dead worker accepts bytes until its buffer is full. Only if
        // more bytes were written was the worker reading.
        let was_being_read = in_flight.written > capacity;
        let ran_for = in_flight.started.map(|started| started.elapsed());
        let entry = &in_flight.entry;
        let error = match kill_reason {
            Some(KillReason::Killed | KillReason::Terminated) => {
                Error::Killed(entry.end(Some(pid), ran_for))
            }
            Some(KillReason::TimedOut) => Error::TimeLimit(entry.end(Some(pid), ran_for)),
            Some(KillReason::Broken) => {
                let broken = state.closed.clone();
                broken.unwrap_or_else(|| died(Loss::Ended))
            }
            Some(KillReason::Misbehaved(_)) | None => {
                let goes_on = state.stopped.is_none() && !state.is_broken();
                let may_have_begun = !knows_what_has_begun && in_flight.is_sent();
                if goes_on {
                    let entry = &mut in_flight.entry;
                    if !has_started && !may_have_begun {
                        entry.send_attempts += u32::from(was_being_read);
                        if entry.send_attempts < SEND_ATTEMPTS {
                            return state.take_back_or_requeue(in_flight);
                        }
                    } else if entry.settings.retries > 0 && !self.breaks_on_death() {
                        entry.settings.retries -= 1;
                        return state.put_back(in_flight);
                    }
                }
                // The task fails and is not sent to another worker, so the pool counts the
                // failed starts from zero again.
                state.failed_starts = 0;
                died(if !goes_on {
                    Loss::Ended
                } else if !has_started && may_have_begun {
                    Loss::Unknown
                } else if !has_started {
                    Loss::Unread(in_flight.entry.send_attempts)
                } else if self.breaks_on_death() {
                    Loss::Policy
                } else {
                    Loss::Retries
                })
            }
        };
        state.fail(in_flight.entry, error);
    }
}

/// Returns the stage at which a worker with this task ended.
fn moment(task: &InFlight) -> Moment {
    match task.started {
        Some(started) => Moment::Running(started.elapsed()),
        None => Moment::Sent,
    }
}

/// Converts the failure of an initializer into an error.
fn cause_of(failure: InitializeFailure) -> Error {
    match failure {
        InitializeFailure::Error(report) => Error::other(report),
        InitializeFailure::Panicked(note) => Error::Panicked(note.into_panic(None)),
        InitializeFailure::Undecodable(fault) => Error::Decode(codec_error(Side::Worker, fault)),
    }
}

#[cfg(test)]
mod tests;
