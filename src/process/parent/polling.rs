//! A thread that waits for a task polls: it reads the workers' messages itself for a short
//! time, before it sleeps. So a short task wakes neither the waiting thread nor the
//! supervisor, the thread that reads the messages at other times. A thread that waits with
//! a time limit does not poll. A polling thread reads only messages in shared memory: those
//! in a socket wake the supervisor as usual.
//!
//! While a thread polls, messages in shared memory do not wake the supervisor. The polling
//! thread runs no user code meanwhile, because user code might take any time. If the
//! supervisor sleeps when the last polling thread stops, this thread *arms* the workers: it
//! asks them to wake the supervisor, and then reads the messages that they had sent before,
//! and looks for the tasks that they had begun (`transport/begun.rs`).
//! If the supervisor is awake, the supervisor arms the workers itself before it sleeps.
//!
//! # Bursts
//!
//! A thread that submits many tasks in a row reads the workers' messages too, once in
//! [`BURST`] tasks: it then reads many messages at a time, and the messages, the lock and
//! the memory of the tasks stay in the cache of one CPU. In a pool with offers, the
//! supervisor takes short naps meanwhile, and only a worker that waits for the parent wakes
//! it. The supervisor reads the messages after a nap in which fewer tasks were submitted
//! than make a burst, and after a few naps in any case. So a message that arrives after the
//! end of a burst waits for the length of two short naps at most. If a thread begins to
//! poll, the burst is over at once.
//!
//! # Idle workers
//!
//! A thread that stops polling does not arm an idle worker that takes no offers
//! (`offers.rs`), because the pool expects no message of this worker. The pool arms the
//! worker when it sends a task to it, if the supervisor sleeps and no thread polls.

use super::pool::Pool;
use super::pool_state::{BURST, PoolState};
use super::worker_handle::WorkerState;
use crate::completion::PoolId;
use crate::sys::spin;

/// Polls until the closure returns `true`, but only for a short time. Returns the last
/// result of the closure.
pub(super) fn poll(pool: PoolId, is_there: &dyn Fn() -> bool) -> bool {
    let Some(pool) = super::find(pool) else {
        return spin::poll(is_there);
    };
    if pool.config.has_ranks() {
        // The supervisor itself looks again and again for the messages of MPI ranks, so a
        // second thread would not help.
        return is_there();
    }
    pool.begin_polling();
    let is_there = spin::poll(|| {
        pool.read_arrived();
        is_there()
    });
    pool.end_polling();
    is_there
}

impl Pool {
    pub(super) fn begin_polling(&self) {
        let mut state = self.lock();
        state.pollers += 1;
        for handle in state.workers.values_mut() {
            handle.end.disarm();
        }
        // The thread now waits instead of submitting tasks, so the burst is over: the
        // offers must not wait for the end of the supervisor's nap, and the supervisor must
        // not begin another nap for this burst.
        state.submitted = 0;
        Self::end_burst(&mut state);
    }

    /// Sends the bytes that have waited for room, and reads the messages that have arrived,
    /// in shared memory. Does nothing if another thread holds the pool's lock.
    pub(super) fn read_arrived(&self) {
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        for handle in state
            .workers
            .values_mut()
            .filter(|handle| handle.has_room())
        {
            handle.flush();
        }
        if self.read_all_arrived(&mut state) {
            self.wake_supervisor_if_needed(state);
        }
    }

    /// Counts a submitted task. After each [`BURST`] counted tasks, reads the messages that
    /// have arrived. `was_alone` says that the pool had no other task. Such a task does not
    /// count: a thread that waits for each of its tasks before it submits the next one
    /// polls anyway.
    pub(super) fn count_submitted(&self, state: &mut PoolState, was_alone: bool) {
        if was_alone {
            return;
        }
        state.submitted += 1;
        if state.submitted % BURST == 0 {
            self.read_all_arrived(state);
        }
    }

    /// Returns `true` if a burst goes on after a nap of the supervisor: the count of
    /// submitted tasks has reached [`BURST`] again, and no thread polls.
    pub(super) fn burst_goes_on(&self) -> bool {
        let mut state = self.lock();
        let goes_on = state.pollers == 0 && state.submitted >= BURST;
        if goes_on {
            // The remainder stays counted, for the next read of messages and for the check
            // after the next nap.
            state.submitted %= BURST;
        }
        goes_on
    }

    /// Reads the messages that have arrived in shared memory. Returns `true` if there was a
    /// message.
    fn read_all_arrived(&self, state: &mut PoolState) -> bool {
        let arrived = |state: &PoolState, from: usize| {
            let mut workers = state.workers.range(from..);
            workers.find_map(|(number, handle)| handle.has_arrived().then_some(*number))
        };
        let mut next = 0;
        while let Some(number) = arrived(state, next) {
            self.read_replies(state, number);
            next = number + 1;
        }
        if self.config.record_timing {
            // While a thread polls, workers do not say that they begin their tasks.
            self.assign_taken(state);
        }
        next > 0
    }

    pub(super) fn end_polling(&self) {
        let mut state = self.lock();
        state.pollers -= 1;
        if state.pollers == 0 && state.is_asleep {
            let takes_offers = state.offered.is_some();
            let workers = state.workers.iter_mut();
            let arrived: Vec<usize> = workers
                .filter(|(_, handle)| takes_offers || !matches!(handle.activity, WorkerState::Idle))
                .filter_map(|(number, handle)| (!handle.arm()).then_some(*number))
                .collect();
            for number in arrived {
                self.read_replies(&mut state, number);
            }
        }
        // A worker that has begun a task during the poll has not said so. The pool looks for
        // such tasks here, after it has armed the workers, so that it overlooks none.
        self.assign_taken(&mut state);
        self.wake_supervisor_if_needed(state);
    }
}
