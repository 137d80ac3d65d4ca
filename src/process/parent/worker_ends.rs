//! The functions that handle the ends of workers: what becomes of the worker's tasks, and
//! of the pool. The supervisor, the pool's thread that reads the workers' replies, calls
//! them.
//!
//! # The tasks of the worker
//!
//! After a worker's process has ended, the supervisor first reads all remaining replies of
//! that worker. If the worker had not started its task, the pool puts the task back to the
//! head of the queue, because the worker may have been dead when the pool sent the task.
//! The pool may put a task back any number of times. However, the task fails if three
//! workers died while they were reading the task's call. A worker counts as reading a call
//! if the pool has written more bytes of the call than the worker's transport holds. If the
//! worker had started its task, or may have started it without the pool's knowledge, the
//! pool retries the task if it has retries left. A pool that ends all its workers or is
//! broken (see below) puts no task back and retries none. A pool with
//! [`OnWorkerDeath::BreakPool`] retries no task. If the pool killed the worker for a
//! `kill`, a time limit or a break of the pool, the task fails with `Killed`, `TimeLimit`
//! or the cause of the break. A task that fails in any other case fails with `WorkerDied`.
//!
//! # Breaking
//!
//! A pool breaks if an initializer fails. A pool without launchers breaks also if a worker
//! says that it cannot begin (for example because it runs another program), or if five
//! workers in a row die before they are idle or begin a task. (A worker that says by its
//! exit code that it lacks a resource does not count.) It breaks, too, if it has no worker
//! and cannot start one. A pool with launchers breaks also when it no longer uses any of
//! its launchers (`launcher_states.rs`). If resources such as descriptors are short, a pool
//! of either kind that has no worker tries again for a while before it breaks
//! (`worker_starts.rs`). A pool that has other workers tries again later, and does not
//! break. A broken pool refuses tasks with the cause of the break, and all its queued tasks
//! fail. If a task ends its worker, only this task fails, and the pool does not break. With
//! [`OnWorkerDeath::BreakPool`], the first death of a worker breaks the pool, and the pool
//! kills its other workers.

use std::io::ErrorKind;
use std::time::Instant;

use super::error_output::{ErrorOutput, last_lines};
use super::pool::Pool;
use super::pool_state::PoolState;
use super::queued_task::InFlight;
use super::worker_handle::{KillReason, WorkerHandle, WorkerState};
use crate::error::{
    BrokenPart, DeathParts, End, Error, Loss, Moment, Place, StartFailure, WorkerDeath,
};
use crate::process::settings::OnWorkerDeath;
use crate::process::wire::exit_code::ExitCode;

/// If this number of workers in a row die before they are idle or begin a task, the pool
/// breaks. The count begins anew when a task is answered, or when a worker ends that has
/// begun a task.
const FAILED_STARTS: u32 = 5;

/// If this number of workers end while they read a task's call, the task fails.
const SEND_ATTEMPTS: u32 = 3;

impl Pool {
    /// Handles the end of a worker's process. The caller has read all replies of the
    /// worker.
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
        // Tasks of the worker may end, and another worker may start in its place. Both make
        // room in a bounded queue, maybe for several tasks.
        self.capacity.notify_all();
        let is_death = match &handle.kill_reason {
            None => !matches!(handle.activity, WorkerState::Leaving),
            // If the pool killed the worker because its exit took too long, this end does
            // not count as a death.
            Some(KillReason::Misbehaved(_)) => !matches!(handle.activity, WorkerState::Leaving),
            Some(_) => false,
        };
        let is_idle = matches!(handle.activity, WorkerState::Idle) && state.count_offered() == 0;
        let moment = self.moment_of(&handle);
        let in_flight = handle.take_in_flight();
        // If the worker was idle at any time, has begun a task (maybe without the pool's
        // knowledge), or has read a part of a call, it had started successfully. So its end
        // does not count as a failed start. (A worker that is idle while there are offers
        // does not count as idle here: it may have taken an offer, and died of it.)
        let was_reading = in_flight
            .as_ref()
            .is_some_and(|in_flight| in_flight.was_being_read(handle.end.capacity()));
        let offered = state.offered.as_ref();
        let has_taken = offered.is_some_and(|it| it.has_taken(number, handle.end.taken()));
        let may_have_begun = has_taken && handle.may_have_begun();
        let had_work = handle.has_begun || was_reading || may_have_begun;
        let is_failed_start = is_death && !had_work && !handle.was_idle && !is_idle;
        let is_short = end == End::Exited(ExitCode::Shortage as i32)
            && is_failed_start
            && !handle.is_ready
            && handle.launched.is_none();
        // `ended` counts the workers that the next starts replace. A worker that ended for
        // lack of a resource is not one of them.
        state.ended += u64::from(!is_short);
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
                .or_else(|| last_lines(&handle.end.text_before_greeting()?)),
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
        self.requeue_taken(state, number, &mut handle, &death);
        self.requeue_ahead(state, &mut handle, &death);
        if let Some(in_flight) = in_flight {
            let reason = handle.kill_reason.clone();
            self.requeue_or_fail(state, &handle, in_flight, reason, &death);
        }
        self.recalled.notify_all();
        let death = WorkerDeath::new(death);
        // If the start of a launched worker fails, this is not the death of a worker:
        // another launcher may work. Nor is a shortage: the next start may succeed.
        let was_no_worker = is_failed_start && (handle.launched.is_some() || is_short);
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
            None if had_work => state.failed_starts = 0,
            None if is_short => {
                let what = "the last worker lacked threads, memory or descriptors; it said which \
                            on its standard error";
                let advice = "ask for fewer workers, or raise the limits";
                let error =
                    StartFailure::wrap(ErrorKind::WouldBlock.into(), what.to_owned(), advice);
                self.not_started(state, None, error);
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

    /// Handles the tasks that an ended worker has taken (`offers.rs`) without the pool's
    /// knowledge. The worker may have been about to exit. Or it had ended an earlier task
    /// that, as far as the pool knows, still runs: the answer was destroyed, or the pool
    /// has ignored it because it is killing the worker.
    fn requeue_taken(
        &self,
        state: &mut PoolState,
        number: usize,
        handle: &mut WorkerHandle,
        death: &DeathParts,
    ) {
        while let Some(mut task) = state
            .offered
            .as_mut()
            .and_then(|offered| offered.remove_taken_by(number, handle.end.taken()))
        {
            self.capacity.notify_one();
            if handle.may_have_begun() {
                state.running += usize::from(task.entry.begin());
                task.started = Some(Instant::now());
                // If the memory names this task, the worker has begun none of the tasks
                // that it took later.
                if handle.has_begun_last(task.entry.number) {
                    handle.last_begun = task.entry.number;
                }
            }
            self.requeue_other(state, handle, task, death);
        }
    }

    /// Handles the tasks that an ended worker still had behind its current task
    /// (`sent_ahead.rs`): puts each task back into the queue, leaves it to a thread that
    /// waits to cancel it, or makes it fail.
    fn requeue_ahead(&self, state: &mut PoolState, handle: &mut WorkerHandle, death: &DeathParts) {
        // The last task goes back first, so that the tasks keep their order in the queue.
        for task in std::mem::take(&mut handle.ahead).into_iter().rev() {
            self.requeue_other(state, handle, task, death);
        }
    }

    /// Requeues a task of an ended worker besides its current task, or makes the task fail.
    /// If the pool killed the worker for its current task, that reason does not concern
    /// this task. Only a reason to end all workers does.
    fn requeue_other(
        &self,
        state: &mut PoolState,
        handle: &WorkerHandle,
        task: InFlight,
        death: &DeathParts,
    ) {
        let death = DeathParts {
            task: task.entry.settings.name.clone(),
            moment: moment(&task),
            times_begun: task.entry.times_begun,
            ..death.clone()
        };
        let reason = state.stopped.clone();
        self.requeue_or_fail(state, handle, task, reason, &death);
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

    /// Requeues the task of a worker that has ended, or makes the task fail. `kill_reason`
    /// is the reason why the pool killed the worker, if it concerns this task.
    fn requeue_or_fail(
        &self,
        state: &mut PoolState,
        handle: &WorkerHandle,
        mut in_flight: InFlight,
        kill_reason: Option<KillReason>,
        death: &DeathParts,
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
        let was_being_read = in_flight.was_being_read(handle.end.capacity());
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
                // The worker's message `Started` may have got lost.
                let may_have_begun = !handle.knows_what_has_begun() && in_flight.is_sent();
                if goes_on {
                    let entry = &mut in_flight.entry;
                    if !has_started && !may_have_begun {
                        entry.send_attempts += u32::from(was_being_read);
                        if entry.send_attempts < SEND_ATTEMPTS {
                            return state.take_back_or_requeue(in_flight);
                        }
                    } else if entry.settings.retries > 0 && !self.breaks_on_death() {
                        entry.settings.retries -= 1;
                        if !has_started {
                            // A worker may have run a part of the task. So a cancel must
                            // fail, also one that waits for the task's recall.
                            state.running += usize::from(entry.begin());
                            state.recalls.end(entry.number, false);
                            // A task that has begun takes no place in a bounded queue.
                            self.capacity.notify_one();
                        }
                        return state.put_back(in_flight);
                    }
                }
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

fn moment(task: &InFlight) -> Moment {
    match task.started {
        Some(started) => Moment::Running(started.elapsed()),
        None => Moment::Sent,
    }
}
