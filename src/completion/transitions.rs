//! The transitions of a task, but for the call of its job: `running.rs`.
//!
//! A transition is one compare-and-swap on the word; under the lock of the rare box if
//! the task has one (`rare.rs`). The thread that makes a final one then does what
//! `mod.rs` says follows from it, without any lock.

use super::job::{EncodedCall, Withdrawn};
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

impl Task {
    /// Starts recording times; called before any other thread has the task.
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

    /// Returns `true` if the task is pending or claimed, and nothing ends it.
    fn can_start(word: Word) -> bool {
        word.is_free() || word.is(CLAIMED)
    }

    /// `Pending | Claimed -> Running`, for a task that `settle` ends; `false` if it is
    /// past that.
    pub(crate) fn start(&self) -> bool {
        self.start_by(None, Self::can_start)
    }

    /// `Pending -> Running`: the calling thread is to call the job. Returns `false` if
    /// the task is past pending.
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

    /// Records that the calling thread runs a started task that `settle` ends.
    pub(crate) fn runs_here(&self) {
        let runner = Some(thread_id());
        let _ = self.update(|word| (!word.is_done()).then(|| word.with_runner(runner)));
    }

    /// `Pending -> Claimed`: takes the call of a remote task for a worker. The task
    /// cannot be cancelled any more, and does not run yet. Returns `None` if it is
    /// claimed or past pending.
    pub(crate) fn claim(&self) -> Option<EncodedCall> {
        let claimed = self.update(|word| word.is_free().then(|| word.in_phase(CLAIMED)));
        claimed.ok()?;
        // SAFETY: claimed just now.
        unsafe { self.take_call() }
    }

    /// `Claimed -> Pending`: gives the call of a task that has not started back to it.
    ///
    /// # Safety
    ///
    /// The caller has claimed the task.
    pub(crate) unsafe fn release(&self, call: EncodedCall) {
        // SAFETY: as the caller says.
        unsafe { self.put_call(call) };
        let _ = self.update(|word| word.is(CLAIMED).then(|| word.in_phase(PENDING)));
    }

    /// `Pending -> Cancelled`, or `None` if the task is claimed or past pending,
    /// or in a fork of the process whose pool will run it.
    pub(crate) fn cancel(&self) -> Option<Notification> {
        if (self.pool_id() != NO_POOL && !self.is_here()) || self.is_locked_for_ever() {
            return None;
        }
        let job = self.withdraw_pending(true)?;
        Some(self.end(CANCELLED, Some(job)))
    }

    /// `Pending -> Finished` with an error, or `None` if the task is claimed or past
    /// pending: its runner alone ends it then.
    pub(crate) fn fail(&self, error: Error) -> Option<Notification> {
        let job = self.withdraw_pending(false)?;
        // SAFETY: the job has left the storage, and ENDING was set for that.
        unsafe { self.write_error(error) };
        Some(self.end(FINISHED, Some(job)))
    }

    /// Sets ENDING on a pending task; an error if it is past that.
    pub(super) fn begin_ending_of_pending(&self) -> Result<Word, Word> {
        self.update(|word| word.is_free().then(|| word.with(ENDING)))
    }

    /// Sets ENDING on a pending task, and takes its job.
    fn withdraw_pending(&self, cancelled: bool) -> Option<Box<dyn Withdrawn>> {
        if self.begin_ending_of_pending().is_err() {
            // Perhaps another thread cancels it: then it is cancelled when this returns.
            self.wait_for_ending();
            return None;
        }
        // SAFETY: ENDING was set just now.
        let job = unsafe { self.withdraw() };
        // Before the transition: once the task has ended, the pool may be gone. Until then
        // its entry keeps the pool alive, for a worker that takes the entry waits until
        // ENDING is cleared.
        job.on_withdrawn(cancelled);
        Some(job)
    }

    /// Waits for the thread that is about to end the task, if one is. It takes a moment
    /// for that, and no lock but its pool's.
    pub(crate) fn wait_for_ending(&self) {
        while self.is_here() && self.word().has(ENDING) {
            yield_now();
        }
    }

    /// Sets ENDING on a task that is not done.
    ///
    /// # Errors
    ///
    /// The state of a task that is done, or in a fork of one that another thread was
    /// about to end.
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

    /// Enters a final state. The outcome is in the storage if that is `FINISHED`; the
    /// calling thread has set ENDING, or is the runner. Wakes the waiters.
    pub(super) fn end(&self, phase: Phase, job: Option<Box<dyn Withdrawn>>) -> Notification {
        let ended = self.update(|word| (!word.has(RARE)).then(|| word.ended_as(phase)));
        match ended {
            Ok(word) => {
                self.wake_waiters(word);
                let drops_value = phase == FINISHED && !word.has(HANDLE);
                Notification::new(job).with_task(self, drops_value, false)
            }
            Err(_) => self.end_locked(phase, job),
        }
    }

    #[cold]
    fn end_locked(&self, phase: Phase, job: Option<Box<dyn Withdrawn>>) -> Notification {
        let Some(mut rare) = self.known_rare() else {
            // A fork, of which no thread will ask.
            return Notification::new(job);
        };
        if let Some(timing) = &mut rare.timing {
            timing.finish();
        }
        // The calling thread is the notifier from here on.
        let has_callbacks = rare.has_callbacks();
        rare.notifier = has_callbacks.then(thread_id);
        let mut notification = Notification::new(job);
        notification.wakers = rare.wakers.take();
        let ended = self.update(|word| Some(word.ended_as(phase)));
        let (Ok(word) | Err(word)) = ended;
        let drops_value = phase == FINISHED && !has_callbacks && !word.has(HANDLE);
        drop(rare);
        self.wake_waiters(word);
        notification.with_task(self, drops_value, has_callbacks)
    }

    /// Wakes those who have parked, as that word says.
    #[inline]
    pub(super) fn wake_waiters(&self, word: Word) {
        if word.has(WAITER) && self.is_here() {
            unpark_all(self.address());
        }
    }
}
