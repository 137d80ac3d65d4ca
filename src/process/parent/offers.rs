//! The offers of a pool: the tasks that it offers to all its workers, in memory from which
//! the workers take them (`transport/offers.rs`).
//!
//! With shared memory, the pool does not choose the worker of a task. It offers the oldest
//! tasks of the queue, and a worker that has nothing to do takes the oldest offer. So a
//! worker does not wait for the parent between two tasks (unless a call is too long for an
//! offer), the tasks are taken in the order of their submission, and no task waits behind a
//! long one while a worker is idle. Until a worker takes an offer, the pool can *recall*
//! it, for instance to cancel the task.
//!
//! The pool learns which worker has taken an offer from this worker's next message, or
//! earlier, from the offer's *status*, a word in the memory that the worker sets when it
//! takes the offer. The pool then *assigns* the task to the worker: the task becomes the
//! worker's current task, as if the pool had sent it. Until then the task counts as queued,
//! and the worker as idle.
//!
//! | the worker that has taken an offer | sends |
//! |---|---|
//! | begins the task | `Started` if the pool sleeps or the answer is long (`transport/begun.rs`), then its answer |
//! | asks for a call that is too long for an offer, and begins when the call has arrived | `Fetch` |
//! | finds that the offer's status was overwritten, that the pool has revoked the offer for this reason, or that a message of the pool has arrived (it may be `Hold`: take no offers) | `Declined` |
//!
//! Without shared memory, and in a pool with `max_tasks_per_child`, nothing is offered. The
//! pool then sends each task to a worker that it knows to be idle, or ahead to a worker
//! that a launcher has started (`sent_ahead.rs`).

mod revoking;

use std::time::Instant;

use super::offered_tasks::{Offer, OfferedTasks};
use super::pool::Pool;
use super::pool_state::{BURST, Event, PoolState};
use super::queued_task::{InFlight, QueuedTask};
use super::worker_handle::{WorkerHandle, WorkerState};
use crate::completion::PoolId;
use crate::error::Error;
use crate::process::transport::PoolOffers;
use crate::sys::current_process;

/// In a *burst* (one thread submits many tasks in a row, `polling.rs`), the number of open
/// offers at which the pool wakes a further worker. While there are fewer open offers, the
/// workers that are awake may still keep up with the submitting thread.
const BACKLOG: usize = 2 * BURST;

/// Returns `true` if the worker has no task as far as the pool knows, so it may have taken
/// an offer. A worker that, as far as the pool knows, is still starting may have taken an
/// offer too, because the pool may not have read its message `Ready` yet, or a task may
/// have destroyed this message.
fn may_have_taken(handle: &WorkerHandle) -> bool {
    matches!(handle.activity, WorkerState::Idle | WorkerState::Starting)
}

/// Takes back a task that the pool has offered or sent, so that the task is pending again.
/// Returns `false` if a worker keeps the task, or if the task waits for a retry.
pub(super) fn recall(pool: PoolId, task: usize) -> bool {
    super::find(pool).is_some_and(|pool| pool.recall(task))
}

impl PoolState {
    /// Puts all offered tasks back into the queue, except those that a worker has taken or
    /// whose status was overwritten.
    pub(super) fn recall_offers(&mut self) {
        let mut recalled = Vec::new();
        if let Some(offered) = &mut self.offered {
            let recall = |offers: &PoolOffers, offer: &Offer| offers.recall(offer.number);
            while let Some(task) = offered.remove(recall) {
                recalled.push(task);
            }
        }
        for task in recalled.into_iter().rev() {
            self.put_at_head(task);
        }
    }

    /// Frees the slot of the offer from which a worker has its task, because the worker
    /// has copied the call or has ended.
    pub(super) fn free_slot(&mut self, number: usize) {
        let handle = self.workers.get(&number);
        let offer = handle.and_then(|handle| handle.in_flight()?.offer);
        if let (Some(offered), Some(offer)) = (&mut self.offered, offer) {
            offered.free_slot(offer);
        }
    }

    /// Puts a task back into the queue, in front of all others: an offered task that no
    /// worker has taken, or a task that its worker has declined, has given back, or had not
    /// finished when it ended. If the pool is broken or ends all its workers, the task
    /// fails instead, because the pool has already emptied its queue.
    pub(super) fn put_back(&mut self, task: InFlight) {
        let error = match &self.closed {
            Some(broken) if self.is_broken() => broken.clone(),
            _ if self.stopped.is_some() => Error::Killed(task.entry.end(None, None)),
            _ => {
                self.recall_offers();
                self.put_at_head(task);
                return;
            }
        };
        self.fail(task.entry, error);
    }
}

impl Pool {
    /// Offers the next tasks of the queue, and wakes idle workers for them.
    pub(super) fn offer_tasks(&self, state: &mut PoolState) {
        while state.offered.as_ref().is_some_and(OfferedTasks::has_room) {
            let Some(entry) = self.next_task(state) else {
                break;
            };
            if let Some(offered) = &mut state.offered {
                offered.push(InFlight::new(entry));
            }
            state.became_active();
        }
        Self::wake_for_offers(state);
    }

    /// Offers the next tasks if the pool has assigned all offered tasks. The calls of the
    /// assigned tasks may have used all the memory for offers, which is free again only
    /// now.
    pub(super) fn offer_if_none(&self, state: &mut PoolState) {
        let offered = state.offered.as_ref();
        if state.queued > 0 && offered.is_some_and(|offered| offered.len() == 0) {
            self.dispatch(state);
        }
    }

    /// Wakes idle workers if there are more open offers (offers that no worker has taken)
    /// than idle workers that are awake. An idle worker that is awake looks for an offer
    /// before it sleeps, unless its process is stopped. So a worker that is late to take an
    /// offer does not count as awake.
    ///
    /// A worker that counts as idle may have taken an offer and not said so yet. As soon as
    /// the pool learns that the offer is taken, it calls this function again.
    ///
    /// In a burst of tiny tasks one worker may be as fast as the submitting thread, and the
    /// wake-up of a second worker takes longer than several tasks. So while one worker is
    /// awake, or is not idle, the pool wakes further workers only if the offers pile up. If
    /// the first worker is busy with a long task, the offers do not wait for it: either
    /// they pile up, or the burst ends, and then the pool wakes a worker for each offer
    /// ([`end_burst`]).
    ///
    /// [`end_burst`]: Self::end_burst
    fn wake_for_offers(state: &mut PoolState) {
        let idle = &state.idle;
        let workers = &state.workers;
        let is_awake = |number: &&usize| workers.get(number).is_some_and(|w| w.is_awake());
        let offered = state.offered.as_ref();
        // If tasks are queued although other tasks are offered, the memory for offers is
        // full. (For a moment, a task that is being cancelled counts as queued too.)
        let is_backlog = || state.queued > 0 || offered.is_some_and(|it| it.has_open(BACKLOG));
        if state.is_burst && !is_backlog() {
            let is_any_busy = idle.len() < workers.len();
            if is_any_busy || idle.iter().any(|number| is_awake(&number)) {
                return;
            }
        }
        let open = offered.map_or(0, |offered| offered.count_open(idle.len()));
        if open == 0 {
            return;
        }
        let to_wake = open.saturating_sub(idle.iter().filter(is_awake).count());
        Self::wake_sleeping(state, to_wake);
        // A worker that counts as awake may be stopped. Only a time limit to take an offer
        // can show that.
        for number in &state.idle {
            let handle = state.workers.get_mut(number);
            if let Some(handle) = handle.filter(|it| !it.is_asleep()) {
                handle.expect_take();
            }
        }
    }

    /// Wakes this many idle workers that sleep, or all of them if there are fewer.
    ///
    /// A worker that wakes up on the CPU of the calling thread keeps this thread from
    /// running, although this thread may be about to submit more tasks. So the workers
    /// that, as far as the pool knows, ran on another CPU come first.
    fn wake_sleeping(state: &mut PoolState, mut to_wake: usize) {
        if to_wake == 0 {
            return;
        }
        let here = current_process::cpu();
        for is_here in [false, true] {
            for number in state.idle.iter().rev() {
                let handle = state.workers.get_mut(number);
                if let Some(handle) = handle.filter(|it| (it.cpu() == here) == is_here) {
                    to_wake -= usize::from(handle.wake_if_asleep());
                }
                if to_wake == 0 {
                    return;
                }
            }
        }
    }

    /// Ends a burst, and wakes workers for the offers that have waited during the burst.
    pub(super) fn end_burst(state: &mut PoolState) {
        if std::mem::take(&mut state.is_burst) {
            Self::wake_for_offers(state);
        }
    }

    /// Takes back a task that the pool has offered or sent ([`recall`]). The caller then
    /// cancels the task, so the task does not go back into the queue. Returns `false` if a
    /// worker keeps the task, or if the task waits for a retry.
    fn recall(&self, task: usize) -> bool {
        let mut state = self.lock();
        // The future of a task that waits for a retry shows the task as running, so the
        // pool must not make it pending again.
        let is_it = |entry: &QueuedTask| entry.task.id() == task && !entry.has_begun;
        let Some(mut recalled) = Self::take_back(&mut state, is_it) else {
            return self.recall_sent(&mut state, task);
        };
        recalled.entry.task.release();
        // The caller's cancel calls `on_withdrawn`, which subtracts the task from `queued`.
        state.queued += 1;
        state.send_event(Event::Stale(recalled.entry));
        self.dispatch(&mut state);
        self.wake_supervisor_if_needed(state);
        true
    }

    /// Takes back the offered task that the closure selects, unless a worker has taken it
    /// or the status of its offer was overwritten.
    pub(super) fn take_back(
        state: &mut PoolState,
        is_it: impl Fn(&QueuedTask) -> bool,
    ) -> Option<InFlight> {
        let is_it = |offers: &PoolOffers, offer: &Offer| {
            is_it(&offer.task.entry) && offers.recall(offer.number)
        };
        state.offered.as_mut()?.remove(is_it)
    }

    /// Assigns the task with this number to the worker that has sent a message about it, if
    /// the worker has no task yet.
    pub(super) fn assign(&self, state: &mut PoolState, number: usize, task: u64, now: Instant) {
        // The messages of a worker that the pool is killing were not checked. The worker
        // may name a task that it has not taken, and that another worker takes.
        let offered = state.offered.as_ref();
        if offered.is_some_and(|offered| offered.may_begin(task, number)) {
            self.assign_if(state, number, now, |offer| offer.task.entry.number == task);
        }
        state.free_slot(number);
    }

    /// Assigns the task of an offer to the worker that has taken it, before the pool has
    /// read a message about it. Returns `false` if the worker has a task already, or was
    /// told to exit. The slot stays in use, because the worker may still copy the call.
    fn assign_unread(&self, state: &mut PoolState, number: usize, offer: u64) -> bool {
        let is_it = |other: &Offer| other.number == offer;
        let is_assigned = self.assign_if(state, number, Instant::now(), is_it);
        if let Some(offered) = state.offered.as_mut().filter(|_| is_assigned) {
            offered.keep(offer);
        }
        is_assigned
    }

    fn assign_if(
        &self,
        state: &mut PoolState,
        number: usize,
        now: Instant,
        mut is_it: impl FnMut(&Offer) -> bool,
    ) -> bool {
        let handle = state.workers.get_mut(&number);
        let Some(handle) = handle.filter(|handle| may_have_taken(handle)) else {
            return false;
        };
        let offered = state.offered.as_mut();
        let task = offered.and_then(|offered| offered.remove(|_, offer| is_it(offer)));
        let Some(task) = task else {
            return false;
        };
        state.idle.retain(|idle| *idle != number);
        handle.expect_start(task, now);
        self.capacity.notify_one();
        Self::wake_for_offers(state);
        true
    }

    /// Assigns the tasks of taken offers to the workers that have taken them, except to a
    /// worker that has a task already. If the statuses of some offers were overwritten,
    /// revokes these offers instead. Then records the begin of each task that its worker has
    /// begun without the message `Started`.
    pub(super) fn assign_taken(&self, state: &mut PoolState) {
        // Each worker takes an offer before it begins the task. So if this call sees that a
        // task has begun, the next one finds that its offer is taken. In the other order, a
        // worker could do both between the two calls, and the pool would overlook the task.
        let has_offers = state.count_offered() > 0;
        let workers = state.workers.values_mut();
        workers.for_each(|handle| handle.look_at_begun(has_offers));
        self.assign_seen(state);
        self.begin_unsaid(state);
        let has_limit = |handle: &&mut WorkerHandle| handle.take_limit.is_some();
        for handle in state.workers.values_mut().filter(has_limit) {
            // A worker that sleeps again has found no offer, so it has met its time limit.
            if handle.is_asleep() {
                handle.take_limit = None;
            }
        }
    }

    fn assign_seen(&self, state: &mut PoolState) {
        let Some(offered) = &state.offered else {
            return;
        };
        let (mut taken, mut scribbled) = (Vec::new(), Vec::new());
        let offers = &offered.offers;
        // The loop ends at the first open offer: a worker may take this offer now, run its
        // task, and take a later offer, which must not be assigned before this one.
        let numbers = offered.tasks.iter().map(|offer| offer.number);
        for number in numbers.take_while(|number| !offers.is_open(*number)) {
            let mut idle = state.idle.iter();
            match idle.find(|worker| offers.is_taken_by(number, **worker)) {
                Some(worker) => taken.push((*worker, number)),
                None if offers.is_scribbled(number) => scribbled.push(number),
                None => {}
            }
        }
        if scribbled.is_empty() {
            for (worker, taken) in taken {
                self.assign_unread(state, worker, taken);
            }
        } else {
            self.revoke(state, &scribbled);
            self.dispatch(state);
            let workers = state.workers.values_mut();
            workers.for_each(|handle| handle.end.look_again());
        }
    }

    fn begin_unsaid(&self, state: &mut PoolState) {
        let workers = state.workers.iter();
        let begun = workers.filter_map(|(number, handle)| Some((*number, handle.begun_unsaid()?)));
        for (number, task) in begun.collect::<Vec<_>>() {
            self.task_started(state, number, task, Instant::now());
            state.free_slot(number);
            let worker = state.workers.get_mut(&number);
            if let Some(task) = worker.and_then(|worker| worker.task_mut(task)) {
                task.is_unsaid = true;
            }
        }
    }

    /// Prepares the kill of a worker. In a pool with offers, keeps the worker from taking a
    /// further offer, and reads its messages, because it may have ended its task meanwhile.
    /// Then returns the result of the closure `is_it`, which says if the reason for the
    /// kill still holds. If the result is `false`, lets the worker take offers again.
    ///
    /// The worker takes no offer while a message to it is unread, and looks for messages
    /// once more after it has taken an offer (`worker_end.rs`).
    pub(super) fn hold_if(
        &self,
        state: &mut PoolState,
        number: usize,
        is_it: impl Fn(&WorkerHandle) -> bool,
    ) -> bool {
        let takes_offers = state.offered.is_some();
        let handle = state.workers.get_mut(&number);
        if let Some(handle) = handle.filter(|_| takes_offers) {
            handle.hold();
            self.read_replies(state, number);
            self.assign_taken(state);
        }
        let Some(handle) = state.workers.get_mut(&number) else {
            return false;
        };
        let is_it = is_it(handle);
        if takes_offers && !is_it {
            handle.release();
        }
        is_it
    }

    /// Sends a call that was too long for an offer to the worker that has taken the offer.
    pub(super) fn fetched(&self, state: &mut PoolState, number: usize, task: u64, now: Instant) {
        self.assign(state, number, task, now);
        if let Some(handle) = state.workers.get_mut(&number) {
            handle.send_call(task);
            state.needs_wakeup |= handle.has_unsent() || handle.write_failed;
        }
    }

    /// Puts a task that its worker has declined back into the queue. The table at the top
    /// of this file says when a worker declines a task.
    pub(super) fn declined(&self, state: &mut PoolState, number: usize, offer: u64) {
        let Some(handle) = state.workers.get_mut(&number) else {
            return;
        };
        let is_it = |task: &InFlight| task.offer == Some(offer) && task.started.is_none();
        let task = if handle.in_flight().is_some_and(is_it) {
            let task = handle.take_in_flight();
            handle.progress = None;
            state.idle.push(number);
            if let Some(offered) = &mut state.offered {
                // If a task has forged this message, the worker has not looked yet if it
                // still has the offer, or not recorded yet that the task begins. In the
                // first case it finds that the offer is revoked. After `Fetch` there may be
                // a later offer in the slot.
                if offered.keeps(offer) {
                    offered.offers.revoke(offer);
                }
                offered.free_slot(offer);
            }
            task
        } else {
            // The pool has not seen yet that the worker has taken the offer, or that the
            // status was overwritten. So the offer is still in the list of offered tasks,
            // unless the pool has revoked it. The worker's record alone does not show which
            // offer was declined: it may already name a later offer.
            let taken = handle.end.taken();
            let is_it = |offers: &PoolOffers, other: &Offer| {
                let is_recorded = taken == other.number + 1;
                let is_it =
                    other.number == offer && (is_recorded || offers.is_taken_by(offer, number));
                if is_it {
                    offers.revoke(offer);
                }
                is_it
            };
            let offered = state.offered.as_mut();
            offered.and_then(|offered| offered.remove(is_it))
        };
        if let Some(task) = task {
            state.put_back(task);
            self.dispatch(state);
        }
    }
}

#[cfg(test)]
mod tests;
