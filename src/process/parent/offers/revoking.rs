//! The revocation of offers whose statuses were overwritten: by a task that wrote to memory
//! that is not its own.

use super::super::offered_tasks::Offer;
use super::super::pool::Pool;
use super::super::pool_state::PoolState;
use super::super::worker_handle::{KillReason, WorkerHandle, WorkerState};
use super::may_have_taken;
use crate::process::transport::{PoolOffers, SCRIBBLED};

impl Pool {
    /// Takes back the offers whose statuses were overwritten, unless a worker has taken
    /// them. `transport/offers.rs` says why each task still runs only once.
    pub(super) fn revoke(&self, state: &mut PoolState, scribbled: &[u64]) {
        let taken = Self::mark_as_revoked(state, scribbled);
        self.settle_revoked(state, scribbled, &taken);
    }

    /// Marks offers as revoked: a worker that finds the mark does not begin the task. Then
    /// returns each worker's number and its record of the last offer that it has taken.
    pub(in super::super) fn mark_as_revoked(
        state: &PoolState,
        scribbled: &[u64],
    ) -> Vec<(usize, u64)> {
        if let Some(offered) = &state.offered {
            scribbled
                .iter()
                .for_each(|offer| offered.offers.revoke(*offer));
        }
        let workers = state.workers.iter();
        workers
            .map(|(number, handle)| (*number, handle.end.taken()))
            .collect()
    }

    /// Assigns the tasks of revoked offers to the workers that have taken them. Puts the
    /// tasks that no worker has taken back into the queue.
    pub(in super::super) fn settle_revoked(
        &self,
        state: &mut PoolState,
        scribbled: &[u64],
        taken: &[(usize, u64)],
    ) {
        // If a worker took one of these offers and has recorded a later offer, it has sent
        // a message about the earlier offer in between. So the pool reads the messages
        // first.
        for (number, _) in taken {
            self.read_replies(state, *number);
        }
        let mut untaken = Vec::new();
        let mut suspects: Option<std::vec::IntoIter<usize>> = None;
        for offer in scribbled {
            let mut takers = taken.iter();
            let taker = takers.find(|(_, taken)| *taken == offer + 1);
            let mut taker = taker.map(|(number, _)| *number);
            let has_gone_on = |number: &usize| {
                let handle = state.workers.get(number);
                handle.is_none_or(|handle| handle.end.taken() != offer + 1)
            };
            // If the worker has recorded a later offer meanwhile, its message about this
            // task (`Started` or `Declined`) has arrived.
            if let Some(number) = taker.filter(has_gone_on) {
                self.read_replies(state, number);
                taker = None;
            }
            let offered = state.offered.as_ref();
            if !offered.is_some_and(|offered| offered.has(*offer)) {
                // A message has shown that a worker has begun or declined the task.
                continue;
            }
            if taker.is_none() {
                let kill_suspects = || Self::kill_suspects(state).into_iter();
                taker = suspects.get_or_insert_with(kill_suspects).next();
            }
            let Some(number) = taker else {
                untaken.push(*offer);
                continue;
            };
            let is_assigned = self.assign_unread(state, number, *offer);
            if let Some(handle) = state.workers.get_mut(&number).filter(|_| !is_assigned) {
                // As far as the pool knows, the worker still has an earlier task. But the
                // worker took this offer after its answer to the earlier task, so this
                // answer is lost. The offer stays in the list until the pool handles the
                // worker's end.
                handle.kill(KillReason::Misbehaved(SCRIBBLED.to_owned()));
            }
        }
        // Begins with the newest offer, so that the task of the oldest offer comes first in
        // the queue again.
        for offer in untaken.iter().rev() {
            let offered = state.offered.as_mut();
            let is_it = |_: &PoolOffers, other: &Offer| other.number == *offer;
            if let Some(task) = offered.and_then(|offered| offered.remove(is_it)) {
                state.put_back(task);
            }
        }
    }

    /// Resets an idle worker's record of its last offer if it names an offer that the pool
    /// has not made, because an earlier task has overwritten it. Does so only while all
    /// offers are open. Without the reset, the pool might kill this worker as a suspect
    /// (`kill_suspects`) when a later task of another worker overwrites the status of an
    /// offer.
    pub(in super::super) fn mend_taken(state: &PoolState, number: usize) {
        let offered = state
            .offered
            .as_ref()
            .filter(|offered| offered.are_all_open());
        let handle = state.workers.get(&number);
        if let (Some(offered), Some(handle)) = (offered, handle) {
            if matches!(handle.activity, WorkerState::Idle) && !handle.has_arrived() {
                handle
                    .end
                    .mend_taken(|taken| offered.offers.is_possible(taken));
            }
        }
    }

    /// Kills the *suspects*, and returns their numbers: the workers that may run a task
    /// whose offer's status was overwritten. As far as the pool knows, a suspect has no
    /// task. But its record of its last offer was overwritten, and it may have begun a task
    /// without a message about it. The pool cannot know which suspect runs the task, so it
    /// kills all of them.
    fn kill_suspects(state: &mut PoolState) -> Vec<usize> {
        let Some(offered) = &state.offered else {
            return Vec::new();
        };
        let is_suspect = |handle: &WorkerHandle| {
            may_have_taken(handle)
                && !offered.offers.is_possible(handle.end.taken())
                && handle.may_have_begun()
        };
        let mut suspects = Vec::new();
        for (number, handle) in &mut state.workers {
            if is_suspect(handle) {
                handle.kill(KillReason::Misbehaved(SCRIBBLED.to_owned()));
                suspects.push(*number);
            }
        }
        suspects
    }
}

#[cfg(test)]
mod tests;
