//! A snapshot of a pool's counts.

use super::launcher_states::LauncherState;
use super::pool::Pool;
use super::pool_state::PoolState;
use super::worker_handle::{WorkerHandle, WorkerState};
use crate::executor::{LauncherStats, Stats};

impl Pool {
    /// Reads the replies that the workers have sent up to now, and assigns the tasks of the
    /// offers that workers have taken (`offers.rs`).
    pub(super) fn drain_replies(&self, state: &mut PoolState) {
        let offers = state.count_offered() > 0;
        let busy: Vec<usize> = state
            .workers
            .iter()
            .filter(|(_, handle)| offers || !matches!(handle.activity, WorkerState::Idle))
            .map(|(number, _)| *number)
            .collect();
        for number in busy {
            self.read_replies(state, number);
            // If the worker sent an incomplete frame, the parent has started a time limit
            // for that frame. The supervisor has to wake up to check the limit.
            let handle = state.workers.get(&number);
            state.needs_wakeup |= handle.is_some_and(|handle| handle.progress.is_some());
        }
        self.assign_taken(state);
    }

    pub(in crate::process) fn stats(&self) -> Stats {
        if !self.is_here() {
            return Stats::default();
        }
        let mut state = self.state.lock();
        self.drain_replies(&mut state);
        let stats = Stats {
            workers: state.count_workers(),
            idle: state.idle.len() + state.count_starting(),
            queued: state.queued + state.count_unbegun(),
            // A task whose answer is not decoded yet has left its worker, but has no
            // outcome.
            running: state.running + state.unread,
            finished: state.finished,
            failed: state.failed,
            cancelled: state.cancelled,
            replaced: state.replaced,
            pids: state.workers.values().map(WorkerHandle::pid).collect(),
            launchers: state.launcher_stats(),
            broken: state.is_broken(),
        };
        self.wake_supervisor_if_needed(state);
        stats
    }
}

impl PoolState {
    /// Returns the number of tasks that are offered, or that a worker has, and that have
    /// not begun as far as the pool knows. (A task that waits for a retry has begun before,
    /// so it counts as running.)
    pub(super) fn count_unbegun(&self) -> usize {
        let offers = self.offered.iter().flat_map(|offered| &offered.tasks);
        let workers = self.workers.values();
        let with_workers =
            workers.flat_map(|handle| handle.in_flight().into_iter().chain(&handle.ahead));
        let tasks = offers.map(|offer| &offer.task).chain(with_workers);
        tasks
            .filter(|task| task.started.is_none() && !task.entry.has_begun)
            .count()
    }

    fn launcher_stats(&self) -> Vec<LauncherStats> {
        let stats = |(index, launcher): (usize, &LauncherState)| {
            let mut stats = LauncherStats::default();
            stats.name.clone_from(&launcher.name);
            stats.failed_starts = launcher.failures;
            stats.left_out.clone_from(&launcher.left_out);
            let launched = self
                .workers
                .values()
                .filter_map(|handle| handle.launched.as_ref());
            for worker in launched.filter(|worker| worker.launcher == index && worker.pid != 0) {
                stats.pids.push(worker.pid);
                if !stats.hosts.contains(&worker.host) {
                    stats.hosts.push(worker.host.clone());
                }
            }
            stats
        };
        self.launchers.iter().enumerate().map(stats).collect()
    }
}
