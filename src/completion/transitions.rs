//! The transitions of a task. The call of its job is in `running.rs`. So are
//! `finish_unwatched`, the end of a task that no thread watches, and the plain stores that
//! change the word of a detached task.
//!
//! A transition is one compare-and-swap on the task's word. If the task has a rare box
//! (`rare.rs`), which holds callbacks and wakers, the thread that makes the transition
//! holds the box's lock meanwhile. Only `claim` and `release` need no lock. After a final
//! transition, this thread wakes the threads that wait for the task, and runs the
//! [`Notification`], without this lock (see the table in `mod.rs`).

use super::job::Withdrawn;
use super::notification::Notification;
use super::pool_id::NO_POOL;
use super::rare::Task;
use super::word::{
    CANCELLED, CLAIMED, ENDING, FINISHED, HANDLE, PENDING, Phase, RARE, WAITER, Word,
};
use crate::error::Error;
use crate::state::State;
use crate::sync::{ThreadId, thread_id, unpark_all, yield_now};
use crate::timing::Timing;

/// The largest number of times that one call of `cancel` asks the pool that has claimed the
/// task to make the task pending again.
const RECALLS: usize = 3;

impl Task {
    /// Starts recording the task's times. Must be called before another thread gets the
    /// task.
    pub(crate) fn record_timing(&self) {
        if let Some(mut rare) = self.rare() {
            rare.timing = Some(Timing::queued_now());
        }
    }

    pub(crate) fn timing(&self) -> Option<Timing> {
        self.rare_if_any()?.timing
    }

    pub(crate) fn state(&self) -> State {
        self.word().state()
    }

    /// Returns `true` if the task is claimed, or if it is pending and no thread is ending
    /// it.
    fn can_start(word: Word) -> bool {
        word.is_free() || word.is(CLAIMED)
    }

    /// `Pending | Claimed -> Running`, for a task that
    /// [`settle`](super::Completion::settle) ends. Returns `false` if the task already runs
    /// or has ended, or if a thread is ending it. In a forked child, also returns `false`
    /// if another thread held the lock of the task's rare box at the fork.
    pub(crate) fn start(&self) -> bool {
        self.start_by(None, Self::can_start)
    }

    /// `Pending -> Running`: the calling thread must call the job next. Returns `false` if
    /// the task is no longer pending, or if a thread is ending it.
    #[inline]
    pub(super) fn start_here(&self) -> bool {
        self.start_by(Some(thread_id()), Word::is_free)
    }

    #[inline]
    fn start_by(&self, runner: Option<ThreadId>, may: impl Fn(Word) -> bool + Copy) -> bool {
        let started =
            self.update(|word| (may(word) && !word.has(RARE)).then(|| word.started_by(runner)));
        match started {
            Ok(_) => true,
            Err(word) => may(word) && self.start_locked(runner, may),
        }
    }

    #[cold]
    fn start_locked(&self, runner: Option<ThreadId>, may: impl Fn(Word) -> bool) -> bool {
        let Some(mut rare) = self.known_rare() else {
            return false;
        };
        let started = self.update(|word| may(word).then(|| word.started_by(runner)));
        if started.is_ok() {
            if let Some(timing) = &mut rare.timing {
                timing.start();
            }
        }
        started.is_ok()
    }

    /// Records the calling thread as the runner of a started task that `settle` ends.
    pub(crate) fn runs_here(&self) {
        let runner = Some(thread_id());
        let _ = self.update(|word| (!word.is_done()).then(|| word.with_runner(runner)));
    }

    /// `Pending -> Claimed`: claims a task that a worker in another process will run, so
    /// that the pool may offer or send the task's call to workers. A claimed task does not
    /// run yet, and can be cancelled only after its pool has released it. Returns `false`
    /// if the task is no longer pending, or if a thread is ending it.
    pub(super) fn claim(&self) -> bool {
        let claimed = self.update(|word| word.is_free().then(|| word.in_phase(CLAIMED)));
        claimed.is_ok()
    }

    /// `Claimed -> Pending`, for a task that has not started. The caller has claimed the
    /// task.
    pub(super) fn release(&self) {
        let _ = self.update(|word| word.is(CLAIMED).then(|| word.in_phase(PENDING)));
    }

    /// `Pending -> Cancelled`. If the task is claimed, first asks the task's pool to make
    /// it pending again. Returns `None` if the task does not become pending, or if another
    /// thread ends it first. In a forked child, also returns `None` if the task belongs to
    /// a pool of the parent, or if another thread held the lock of the task's rare box at
    /// the fork.
    pub(crate) fn cancel(&self) -> Option<Notification> {
        if (self.pool_id() != NO_POOL && !self.is_here()) || self.is_locked_for_ever() {
            return None;
        }
        let mut job = self.withdraw_pending(true);
        for _ in 0..RECALLS {
            let Some(remote) = self.remote().filter(|_| job.is_none()) else {
                break;
            };
            if self.word().is(CLAIMED) {
                (remote.recall)(self.pool_id(), self.address());
            }
            // Try again also after a failed recall: the pool may have put the task back
            // into its queue meanwhile, and may then have claimed the task again.
            job = self.withdraw_pending(true);
        }
        job.map(|job| self.end(CANCELLED, Some(job)))
    }

    /// `Pending -> Finished` with an error. Returns `None` if the task is no longer
    /// pending: `fail` ends no claimed or running task.
    pub(crate) fn fail(&self, error: Error) -> Option<Notification> {
        let job = self.withdraw_pending(false)?;
        // SAFETY: `withdraw_pending` set ENDING and moved the job out of the storage.
        unsafe { self.write_error(error) };
        Some(self.end(FINISHED, Some(job)))
    }

    /// Sets the flag ENDING on a pending task. Returns an error if the task is no longer
    /// pending, or if another thread is ending it.
    pub(super) fn begin_ending_of_pending(&self) -> Result<Word, Word> {
        self.update(|word| word.is_free().then(|| word.with(ENDING)))
    }

    /// Sets the flag ENDING on a pending task, takes the task's job out of the storage, and
    /// tells the job's pool. `cancelled` is the argument of [`Withdrawn::on_withdrawn`].
    /// Returns `None` if the task is no longer pending, or if another thread was ending it.
    fn withdraw_pending(&self, cancelled: bool) -> Option<Box<dyn Withdrawn>> {
        if self.begin_ending_of_pending().is_err() {
            // Another thread may be ending the task. Wait for that thread, so that `cancel`
            // and `fail` return only after the end.
            self.wait_for_ending();
            return None;
        }
        // SAFETY: `begin_ending_of_pending` has set the flag ENDING.
        let job = unsafe { self.withdraw() };
        // Call the job's pool before the transition, because a thread pool may be freed
        // once the task has ended. Until the task ends, its queue entry keeps the pool
        // alive: a worker that takes the entry waits until ENDING is cleared.
        job.on_withdrawn(cancelled);
        Some(job)
    }

    /// Waits while another thread is ending the task. That thread needs only a moment,
    /// because it runs no user code meanwhile. In a forked child, where that thread may not
    /// exist, returns at once.
    pub(crate) fn wait_for_ending(&self) {
        while self.is_here() && self.word().has(ENDING) {
            yield_now();
        }
    }

    /// Sets ENDING on a task that is not done. If another thread is ending the task, waits
    /// until the task is done, and then returns an error.
    ///
    /// # Errors
    ///
    /// Returns the state of the task if the task is done. In a forked child, returns
    /// `Running` if another thread was ending the task, or had locked the task's rare box,
    /// at the fork.
    pub(super) fn begin_ending(&self) -> Result<(), State> {
        if self.is_locked_for_ever() {
            return Err(State::Running);
        }
        loop {
            let may_end = |word: &Word| !word.is_done() && !word.has(ENDING);
            let ending = self.update(|word| may_end(&word).then(|| word.with(ENDING)));
            match ending {
                Ok(_) => return Ok(()),
                Err(word) if word.is_done() => return Err(word.state()),
                Err(_) if !self.is_here() => return Err(State::Running),
                Err(_) => yield_now(),
            }
        }
    }

    /// Enters a final state, and wakes the threads that wait for the task. For `FINISHED`,
    /// the outcome is already in the storage. The calling thread has set ENDING, or is the
    /// runner.
    pub(super) fn end(&self, phase: Phase, job: Option<Box<dyn Withdrawn>>) -> Notification {
        self.end_for(phase, job, None)
    }

    /// Like [`end`](Self::end), but the thread `notifier` must run the returned
    /// notification if it is due. If `notifier` is `None`, the calling thread must run the
    /// notification.
    pub(super) fn end_for(
        &self,
        phase: Phase,
        job: Option<Box<dyn Withdrawn>>,
        notifier: Option<ThreadId>,
    ) -> Notification {
        let ended = self.update(|word| (!word.has(RARE)).then(|| word.ended_as(phase)));
        match ended {
            Ok(word) => {
                self.wake_waiters(word);
                let drops_value = phase == FINISHED && !word.has(HANDLE);
                Notification::new(job).with_task(self, drops_value, false)
            }
            Err(_) => self.end_locked(phase, job, notifier),
        }
    }

    #[cold]
    fn end_locked(
        &self,
        phase: Phase,
        job: Option<Box<dyn Withdrawn>>,
        notifier: Option<ThreadId>,
    ) -> Notification {
        let Some(mut rare) = self.known_rare() else {
            // In a forked child the box may stay locked for ever. Then the state does not
            // change, and no thread of the child waits for the task.
            return Notification::new(job);
        };
        if let Some(timing) = &mut rare.timing {
            timing.finish();
        }
        // If the task has callbacks, record the notifier: the thread that must run them.
        let has_callbacks = rare.has_callbacks();
        rare.notifier = has_callbacks.then(|| notifier.unwrap_or_else(thread_id));
        let mut notification = Notification::new(job);
        notification.wakers = rare.wakers.take();
        let ended = self.update(|word| Some(word.ended_as(phase)));
        let (Ok(word) | Err(word)) = ended;
        let drops_value = phase == FINISHED && !has_callbacks && !word.has(HANDLE);
        drop(rare);
        self.wake_waiters(word);
        notification.with_task(self, drops_value, has_callbacks)
    }

    /// Wakes the threads that wait for the task, if `word` has the flag WAITER.
    #[inline]
    pub(super) fn wake_waiters(&self, word: Word) {
        if word.has(WAITER) && self.is_here() {
            unpark_all(self.address());
        }
    }
}
