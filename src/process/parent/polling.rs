//! A thread that waits for a task polls: it reads the workers' messages itself for a short
//! time, before it sleeps. So a short task needs no wake-up of the supervisor, and none of
//! the waiting thread.
//!
//! While a thread polls, the workers do not wake the supervisor. No user code runs
//! meanwhile, because it might take any time. Before the last thread stops polling, it arms
//! the workers again if the supervisor sleeps: it asks them to wake the supervisor, and
//! then reads what they have sent before they were asked. If the supervisor is awake, it
//! does the same itself before it sleeps.
//!
//! Idle workers are not armed if they take no offers, because the pool then expects no
//! message of an idle worker. When it sends a task to an idle worker, it arms the worker.

use super::pool::Pool;
use super::pool_state::PoolState;
use super::worker_handle::WorkerState;
use crate::completion::PoolId;
use crate::sys::spin;

/// Polls until the closure returns `true`, but only for a short time. Returns the last
/// result of the closure.
pub(super) fn poll(pool: PoolId, is_there: &dyn Fn() -> bool) -> bool {
    let Some(pool) = super::find(pool) else {
        return spin::poll(is_there);
    };
    pool.begin_polling();
    let is_there = spin::poll(|| {
        pool.read_arrived();
        is_there()
    });
    pool.end_polling();
    is_there
}

impl Pool {
    fn begin_polling(&self) {
        let mut state = self.lock();
        state.pollers += 1;
        for handle in state.workers.values_mut() {
            handle.disarm();
        }
    }

    /// Reads the messages that have arrived through shared memory. Does nothing if another
    /// thread holds the pool's lock.
    fn read_arrived(&self) {
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        let arrived = |state: &PoolState, from: usize| {
            let mut workers = state.workers.range(from..);
            workers.find_map(|(number, handle)| handle.has_arrived().then_some(*number))
        };
        for handle in state
            .workers
            .values_mut()
            .filter(|handle| handle.has_room())
        {
            handle.flush();
        }
        let mut next = 0;
        while let Some(number) = arrived(&state, next) {
            self.read_replies(&mut state, number);
            next = number + 1;
        }
        if next > 0 {
            self.wake_supervisor_if_needed(state);
        }
    }

    fn end_polling(&self) {
        let mut state = self.lock();
        state.pollers -= 1;
        if state.pollers > 0 || !state.is_asleep {
            return;
        }
        let takes_offers = state.offered.is_some();
        let workers = state.workers.iter_mut();
        let arrived: Vec<usize> = workers
            .filter(|(_, handle)| takes_offers || !matches!(handle.activity, WorkerState::Idle))
            .filter_map(|(number, handle)| (!handle.arm()).then_some(*number))
            .collect();
        for number in arrived {
            self.read_replies(&mut state, number);
        }
        self.wake_supervisor_if_needed(state);
    }
}
