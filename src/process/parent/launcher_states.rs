//! [`LauncherStates`]: the states of a pool's launchers, by which the pool chooses the
//! launcher of the next worker.
//!
//! A launcher is a command that starts workers elsewhere ([`Launcher`]). It is in one of
//! three states:
//!
//! | state | may start a worker | after a failed start | when a worker begins its first task |
//! |---|---|---|---|
//! | untried: none of its workers ever began a task | at once, and after a failed start only after a pause | left out after `FIRST_STARTS` failures in a row | becomes proven |
//! | proven | at once, and after a failed start only after a pause | left out after at least `FIRST_STARTS` failures in a row, over at least the time `PATIENCE` | stays proven, and earlier failures do not count any more |
//! | left out | never | - | - |
//!
//! The pause after a failed start is `FIRST_PAUSE` at first, and doubles with each further
//! failure up to `LONGEST_PAUSE`. A launcher that never worked is likely to have wrong
//! settings, so the pool gives it up soon. A proven launcher is likely to work again after
//! a while: a network that is down comes back.
//!
//! A start has failed if the worker died before it was idle or had begun a task. After a
//! time of `PATIENCE` without a failed start, the earlier failures do not count any more.
//!
//! The pool does not leave a launcher out because of failed starts while one of its workers
//! is ready: the starts may have failed only because the other side allows no more workers.
//! But the pool leaves a launcher out at once if its command cannot be run here, or if a
//! worker says that it cannot begin, for example because it is another build of the
//! program.
//!
//! A launcher that copies the program starts its first worker alone. The other workers
//! follow when the first one is ready, and find the copy.
//!
//! For each launcher that may start a worker, the pool divides the number of its workers by
//! the largest number that it may have. It chooses the launcher with the smallest quotient,
//! so that all hosts fill up evenly.

use std::time::{Duration, Instant};

use crate::process::launcher::Launcher;

/// The number of failed starts in a row after which a launcher may be left out.
const FIRST_STARTS: u32 = 3;

/// The time for which the starts of a proven launcher may fail before it is left out.
const PATIENCE: Duration = Duration::from_secs(120);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct LauncherStates(Vec<LauncherState>);

#[derive(Debug)]
pub(super) struct LauncherState {
    pub(super) name: String,
    workers: usize,
    /// The number of workers that were started and have not ended.
    living: usize,
    /// The number of living workers that have sent `Ready`.
    ready: usize,
    is_proven: bool,
    /// `true` if the launcher copies the program, and no worker has sent `Ready` yet.
    starts_alone: bool,
    /// The number of failed starts in a row, and the times of the first and the last of
    /// these failures.
    pub(super) failures: u32,
    failing: Option<(Instant, Instant)>,
    not_before: Option<Instant>,
    pub(super) left_out: Option<String>,
}

impl LauncherState {
    /// Returns the number of further workers that the launcher may have.
    fn room(&self) -> usize {
        match self.left_out {
            Some(_) => 0,
            None if self.starts_alone => 1_usize.saturating_sub(self.living),
            None => self.workers.saturating_sub(self.living),
        }
    }

    /// Returns `false` while the launcher pauses after a failed start.
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}

impl LauncherStates {
    pub(super) fn new(launchers: &[Launcher]) -> Self {
        let state = |launcher: &Launcher| LauncherState {
            name: launcher.name_or_words(),
            workers: launcher.workers,
            living: 0,
            ready: 0,
            is_proven: false,
            starts_alone: launcher.stages,
            failures: 0,
            failing: None,
            not_before: None,
            left_out: None,
        };
        Self(launchers.iter().map(state).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LauncherState> {
        self.0.iter()
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.0[index].name
    }

    pub(super) fn count_startable(&self, now: Instant) -> usize {
        let due = self.0.iter().filter(|state| state.is_due(now));
        due.fold(0, |sum, state| sum.saturating_add(state.room()))
    }

    /// Returns the earliest end of a pause among the launchers that may have one more
    /// worker. This time may be in the past.
    pub(super) fn next_pause(&self) -> Option<Instant> {
        let with_room = self.0.iter().filter(|state| state.room() > 0);
        with_room.filter_map(|state| state.not_before).min()
    }

    /// Returns the index of the launcher that starts the next worker, or `None` if no
    /// launcher may start a worker now.
    pub(super) fn next(&self, now: Instant) -> Option<usize> {
        let states = self.0.iter().enumerate();
        let due = states.filter(|(_, state)| state.room() > 0 && state.is_due(now));
        // Compares the fractions `living / workers` of two launchers without a division.
        let emptiest = due.min_by(|(_, one), (_, other)| {
            let share = |a: &LauncherState, b: &LauncherState| a.living as u128 * b.workers as u128;
            share(one, other).cmp(&share(other, one))
        });
        emptiest.map(|(index, _)| index)
    }

    /// Counts a worker that the launcher is about to start.
    pub(super) fn starts(&mut self, index: usize) {
        self.0[index].living += 1;
    }

    pub(super) fn is_ready(&mut self, index: usize) {
        self.0[index].ready += 1;
        self.0[index].starts_alone = false;
    }

    /// Records that a worker of the launcher has begun its first task.
    pub(super) fn works(&mut self, index: usize) {
        let state = &mut self.0[index];
        state.is_proven = true;
        state.failures = 0;
        state.failing = None;
        state.not_before = None;
    }

    /// Counts a worker that has ended or could not be started. `was_ready` says if the
    /// worker had sent `Ready`. `failure` is the reason why the worker's start failed, or
    /// `None` if the start did not fail.
    pub(super) fn ended(
        &mut self,
        index: usize,
        was_ready: bool,
        failure: Option<&str>,
        now: Instant,
    ) {
        let state = &mut self.0[index];
        state.living -= 1;
        state.ready -= usize::from(was_ready);
        let Some(why) = failure else {
            return;
        };
        let recent = state.failing.filter(|(_, last)| now - *last < PATIENCE);
        let since = recent.map_or(now, |(first, _)| first);
        state.failures = recent.map_or(0, |_| state.failures);
        state.failing = Some((since, now));
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(16));
        state.not_before = Some(now + pause.min(LONGEST_PAUSE));
        state.failures += 1;
        let is_long = !state.is_proven || now - since >= PATIENCE;
        if is_long && state.failures >= FIRST_STARTS && state.ready == 0 {
            state.left_out.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Leaves the launcher out, for the reason `why`: the pool starts no more workers by
    /// it.
    pub(super) fn leave_out(&mut self, index: usize, why: &str) {
        self.0[index].left_out.get_or_insert_with(|| why.to_owned());
    }

    /// Ends all pauses.
    #[cfg(any(test, concurrent_futures_fuzz))]
    pub(super) fn hurry(&mut self) {
        for state in &mut self.0 {
            state.not_before = state.not_before.map(|_| Instant::now());
        }
    }

    /// Returns the reasons why all launchers are left out. Returns `None` if a launcher is
    /// not left out, or if there are no launchers.
    pub(super) fn why_none_is_left(&self) -> Option<String> {
        let reasons = self.0.iter().map(|state| {
            let why = state.left_out.as_deref()?;
            Some(format!("`{}`: {why}", state.name))
        });
        let reasons: Option<Vec<String>> = reasons.collect();
        reasons
            .filter(|reasons| !reasons.is_empty())
            .map(|reasons| reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WAY: Option<&str> = Some("no way");

    fn states<const N: usize>(workers: [usize; N]) -> LauncherStates {
        let launcher = |(index, workers)| {
            Launcher::command(["ssh".to_owned(), format!("node{index}")]).workers(workers)
        };
        let launchers: Vec<_> = workers.into_iter().enumerate().map(launcher).collect();
        LauncherStates::new(&launchers)
    }

    #[test]
    fn launchers_get_busy_together() {
        let mut states = states([1, 2, 4]);
        let now = Instant::now();
        assert_eq!(states.count_startable(now), 7);
        let mut order = Vec::new();
        while let Some(index) = states.next(now) {
            states.starts(index);
            order.push(index);
        }
        assert_eq!(order, [0, 1, 2, 2, 1, 2, 2]);
        assert_eq!(states.count_startable(now), 0);
        states.ended(1, false, None, now);
        assert_eq!(
            (states.next(now), states.count_startable(now)),
            (Some(1), 1)
        );
    }

    #[test]
    fn the_first_worker_of_a_launcher_that_copies_the_program_starts_alone() {
        let launcher = Launcher::command(["ssh"]).workers(3).stage(true);
        let mut states = LauncherStates::new(&[launcher]);
        let now = Instant::now();
        for _ in 0..2 {
            assert_eq!(
                (states.next(now), states.count_startable(now)),
                (Some(0), 1)
            );
            states.starts(0);
            assert_eq!((states.next(now), states.count_startable(now)), (None, 0));
            states.ended(0, false, None, now);
        }
        states.starts(0);
        states.is_ready(0);
        assert_eq!(
            (states.next(now), states.count_startable(now)),
            (Some(0), 2)
        );
        // The copy of the program is still there after the worker's end, so workers may
        // start at the same time.
        states.ended(0, true, None, now);
        assert_eq!(
            (states.next(now), states.count_startable(now)),
            (Some(0), 3)
        );
    }

    #[test]
    fn a_launcher_that_never_worked_is_left_out_soon() {
        let mut states = states([1, 1]);
        let mut now = Instant::now();
        for _ in 0..FIRST_STARTS {
            states.starts(1);
            states.is_ready(1);
            states.ended(1, true, NO_WAY, now);
            assert_eq!(
                (states.next(now), states.count_startable(now)),
                (Some(0), 1)
            );
            now += LONGEST_PAUSE;
        }
        assert_eq!(states.0[1].left_out.as_deref(), NO_WAY);
        assert_eq!(states.count_startable(now), 1);
        assert_eq!(states.why_none_is_left(), None);
        states.leave_out(0, "another build");
        let why = states.why_none_is_left().unwrap();
        assert_eq!(why, "`ssh node0`: another build; `ssh node1`: no way");
        assert_eq!((states.next(now), states.next_pause()), (None, None));
    }

    #[test]
    fn a_proven_launcher_is_tried_for_long_and_with_pauses() {
        let mut states = states([1]);
        let start = Instant::now();
        states.starts(0);
        states.works(0);
        states.ended(0, false, None, start);
        assert_eq!(states.next(start), Some(0), "it was no failed start");
        let mut now = start;
        let mut pauses = Vec::new();
        while states.0[0].left_out.is_none() {
            states.starts(0);
            states.ended(0, false, NO_WAY, now);
            if let Some(at) = states.next_pause() {
                assert_eq!(states.next(now), None);
                pauses.push((at - now).as_millis());
                now = at;
            }
        }
        assert_eq!(pauses[..7], [100, 200, 400, 800, 1600, 3200, 5000]);
        assert!(now - start >= PATIENCE && now - start < PATIENCE + 2 * LONGEST_PAUSE);
    }

    #[test]
    fn failures_that_lie_far_apart_are_no_series() {
        let mut states = states([1]);
        let mut now = Instant::now();
        states.starts(0);
        states.works(0);
        for _ in 0..10 {
            states.ended(0, false, NO_WAY, now);
            assert_eq!((states.0[0].failures, &states.0[0].left_out), (1, &None));
            now += PATIENCE;
            states.starts(0);
        }
    }

    #[test]
    fn a_launcher_with_a_ready_worker_is_not_left_out() {
        let mut states = states([3]);
        let now = Instant::now();
        states.starts(0);
        states.is_ready(0);
        for _ in 0..2 * FIRST_STARTS {
            states.starts(0);
            states.ended(0, false, NO_WAY, now);
        }
        assert_eq!(states.0[0].left_out, None);
        // Only a ready worker keeps its launcher from being left out, and not a worker that
        // is still starting.
        states.starts(0);
        states.ended(0, true, NO_WAY, now);
        assert_eq!(states.0[0].left_out.as_deref(), NO_WAY);
    }

    #[test]
    fn a_worker_that_begins_a_task_ends_the_pauses() {
        let mut states = states([2]);
        let now = Instant::now();
        states.starts(0);
        states.starts(0);
        states.ended(0, false, NO_WAY, now);
        assert_eq!(
            (states.next(now), states.next_pause()),
            (None, Some(now + FIRST_PAUSE))
        );
        states.works(0);
        assert_eq!((states.next(now), states.0[0].failures), (Some(0), 0));
    }
}
