//! [`Launched`]: the part of a worker's state that exists only for a *launched* worker,
//! which a launcher's command or MPI has started.
//!
//! # The connection
//!
//! The connection may fail without a sign: a cable is pulled out, a host loses its power.
//! So each launcher has a *silence limit*: a time in which the pool sends five `Ping`s to
//! each ready worker of the launcher. A worker answers each `Ping` at once, even while it
//! runs a task. The pool sends no `Ping` while other bytes wait to be sent. If the pool has
//! received nothing for the whole limit, it takes the connection for lost, and kills the
//! launcher's command. Bytes that the command has accepted from the pool, except those of a
//! `Ping`, also count as a sign of life, because a `Ping` behind a long call arrives late.
//! The limit is over only after a number of checks with a pause before each ([`Progress`]).
//! So if this process was stopped for a while, the pool still makes the remaining checks
//! before it kills the command.
//!
//! The worker ends itself if it receives nothing from the pool for the silence limit
//! (`worker/connection.rs`).
//!
//! # What a lost connection leaves open
//!
//! A command that relays the bytes, such as `ssh`, may end before it has passed on all
//! messages of its worker. Then the pool does not know if a task that it has sent through
//! the command has begun. The pool sends such a task to no other worker, unless the task
//! has retries. No message can be lost if the command becomes the worker, as `nice` does,
//! and the worker itself holds the other end of the pool's socket (`is_direct`). A worker
//! that is a child of the command, as with `timeout`, may hold the socket too. But it lives
//! on when the command is killed, and may begin another task until it reads end-of-file.
//!
//! # The depth
//!
//! A worker on a distant host may have several tasks at once (`sent_ahead.rs`), so that it
//! need not wait for its next task. The user may set the largest number of these tasks, the
//! *depth*, for the launcher. Otherwise the depth follows from two measured times: the time
//! of a *trip*, in which a message and its answer travel, and the mean time of a task. The
//! depth is then one more than the number of tasks that the worker can run during a trip,
//! but at most [`MOST_IN_FLIGHT`]. If tasks take long compared to a trip, the pool sends
//! them one at a time, as to any other worker.
//!
//! # The stages of a start
//!
//! | stage | ends with | if it fails, the error says |
//! |---|---|---|
//! | connect | the greeting (`greeting.rs`), or the request for the program | the end of the command, and its last lines |
//! | copy, if the program was requested (`staging.rs`) | the greeting | as for connect |
//! | begin | `Ready` | the worker's reason, or the end of the command |
//! | initialize | `Initialized` | as for any worker |

use std::time::{Duration, Instant};

use super::error_output::ErrorOutput;
use super::progress::{self, Progress};
use crate::error::StartStage;
use crate::process::launcher::Launcher;

pub(super) struct Launched {
    pub(super) launcher: usize,
    /// The error output of the launcher's command. `None` for a rank of an MPI job, which
    /// no command has started.
    pub(super) errors: Option<ErrorOutput>,
    /// The pid of the worker on its host, and the host's name. They are 0 and empty until
    /// the worker has sent `Ready`.
    pub(super) pid: u32,
    pub(super) host: String,
    pub(super) stage: StartStage,
    /// `true` if the pool has closed the connection before the command started the program.
    pub(super) is_hung_up: bool,
    pub(super) start_limit: Duration,
    silence_limit: Duration,
    silence: Progress,
    next_ping: Instant,
    /// `true` if no message of the worker can get lost: the command itself has become the
    /// worker, and no other process relays the bytes. Also `true` for a ready rank of an
    /// MPI job.
    pub(super) is_direct: bool,
    pub(super) trips: Trips,
    /// The largest number of tasks that the worker has at once, if the user has set it.
    in_flight: Option<usize>,
    /// The mean time of the last tasks, or `None` before the first has ended.
    task_time: Option<Duration>,
}

/// The number of `Ping`s that the pool sends within the silence limit, the time after which
/// it takes a silent connection for lost.
const PINGS: u32 = 5;

/// The largest number of tasks that a worker has at once if the user has set none.
const MOST_IN_FLIGHT: usize = 16;

/// If a task takes longer than this number of trips (a message to the worker and its
/// answer), the pool sends the worker one task at a time. Such a worker waits for its next
/// task only for a small part of the time.
const WORTH: u128 = 8;

/// A new measured time moves the mean by the difference between the time and the mean,
/// divided by this number.
const WEIGHT: u32 = 8;

fn mean(before: Option<Duration>, now: Duration) -> Duration {
    before.map_or(now, |before| (before * (WEIGHT - 1) + now) / WEIGHT)
}

/// The measured trips, from a `Ping` to its `Pong`. At most one is measured at a time.
#[derive(Debug, Default)]
pub(super) struct Trips {
    number: u64,
    begun: Option<Instant>,
    /// The moving mean of the measured times, or `None` before the first trip has ended.
    time: Option<Duration>,
}

impl Trips {
    /// Begins to measure a trip, from a `Ping` to its `Pong`. Returns the number of the
    /// trip.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.number += 1;
        self.begun = Some(now);
        self.number
    }

    /// Ends the trip with this number, if it is the last one that was begun.
    pub(super) fn end(&mut self, number: u64, now: Instant) {
        let begun = self.begun.take_if(|_| number == self.number);
        if let Some(begun) = begun {
            self.time = Some(mean(self.time, now.saturating_duration_since(begun)));
        }
    }
}

/// The action that a check of the connection calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    None,
    Ping,
    Lost,
}

impl Launched {
    pub(super) fn new(index: usize, launcher: &Launcher, errors: Option<ErrorOutput>) -> Self {
        let silence_limit = launcher.silence_limit;
        Self {
            launcher: index,
            errors,
            pid: 0,
            host: String::new(),
            stage: StartStage::Connecting,
            is_hung_up: false,
            start_limit: launcher.start_limit,
            silence_limit,
            silence: Progress::within(silence_limit, Instant::now()),
            next_ping: Instant::now() + silence_limit / PINGS,
            is_direct: false,
            trips: Trips::default(),
            in_flight: launcher.in_flight,
            task_time: None,
        }
    }

    pub(super) fn task_took(&mut self, time: Duration) {
        self.task_time = Some(mean(self.task_time, time));
    }

    /// Returns the largest number of tasks that the worker should have at once.
    pub(super) fn depth(&self) -> usize {
        if let Some(in_flight) = self.in_flight {
            return in_flight;
        }
        let (Some(trip), Some(task)) = (self.trips.time, self.task_time) else {
            return 1;
        };
        if WORTH * trip.as_nanos() < task.as_nanos() {
            return 1;
        }
        let during_trip = trip.as_nanos().div_ceil(task.as_nanos().max(1));
        usize::try_from(during_trip).map_or(MOST_IN_FLIGHT, |tasks| {
            tasks.saturating_add(1).min(MOST_IN_FLIGHT)
        })
    }

    /// Records that bytes of the worker have arrived, or that the launcher's command has
    /// accepted bytes. The silence limit then begins anew.
    pub(super) fn has_moved(&mut self, now: Instant) {
        self.silence = Progress::within(self.silence_limit, now);
    }

    /// Returns the time limit for a step that the worker begins now. It includes the
    /// silence limit, because the connection may be down for that long.
    pub(super) fn progress_from(&self, now: Instant) -> Progress {
        Progress::within(progress::LIMIT.saturating_add(self.silence_limit), now)
    }

    pub(super) fn next_check(&self) -> Instant {
        self.silence.next_check().min(self.next_ping)
    }

    /// Checks the connection. `is_ready` says that the worker has sent `Ready` and was not
    /// told to exit: only then does the worker get `Ping`s, and only then is silence an
    /// error.
    pub(super) fn check(&mut self, now: Instant, is_ready: bool) -> Silence {
        if self.silence.is_given_up_if(now, is_ready) {
            return Silence::Lost;
        }
        if now < self.next_ping {
            return Silence::None;
        }
        self.next_ping = now + self.silence_limit / PINGS;
        match is_ready {
            true => Silence::Ping,
            false => Silence::None,
        }
    }

    /// Makes the next `Ping` due now, and with `is_silent` also the end of the silence
    /// limit.
    #[cfg(any(test, concurrent_futures_fuzz))]
    pub(super) fn hurry(&mut self, is_silent: bool) {
        self.next_ping = Instant::now();
        if is_silent {
            self.silence.hurry();
        }
    }

    pub(super) fn why_lost(&self) -> String {
        format!(
            "nothing has arrived from it for {:?}; the connection to its host is down, or the worker \
             was stopped",
            self.silence_limit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn launched(launcher: &Launcher) -> Launched {
        Launched::new(0, launcher, None)
    }

    #[test]
    fn the_depth_follows_from_trip_and_task() {
        let depth = |trip: Option<Duration>, task: Option<Duration>| {
            let mut launched = launched(&Launcher::command(["ssh"]));
            (launched.trips.time, launched.task_time) = (trip, task);
            launched.depth()
        };
        assert_eq!(depth(None, Some(MILLI)), 1);
        assert_eq!(depth(Some(MILLI), None), 1);
        for (trip, task, tasks) in [
            (MILLI, 1000 * MILLI, 1),
            (MILLI, 9 * MILLI, 1),
            (MILLI, 8 * MILLI, 2),
            (MILLI, MILLI, 2),
            (20 * MILLI, 5 * MILLI, 5),
            (20 * MILLI, Duration::ZERO, MOST_IN_FLIGHT),
            (Duration::MAX, Duration::from_nanos(1), MOST_IN_FLIGHT),
        ] {
            assert_eq!(depth(Some(trip), Some(task)), tasks, "{trip:?} {task:?}");
        }
        let fixed = launched(&Launcher::command(["ssh"]).in_flight(7));
        assert_eq!(fixed.depth(), 7);
    }

    #[test]
    fn only_the_trip_that_was_begun_last_is_measured() {
        let start = Instant::now();
        let mut trips = Trips::default();
        trips.end(0, start);
        let (first, second) = (trips.begin(start), trips.begin(start + MILLI));
        trips.end(first, start + 5 * MILLI);
        assert_eq!(trips.time, None);
        trips.end(second, start + 9 * MILLI);
        trips.end(second, start + 99 * MILLI);
        assert_eq!(trips.time, Some(8 * MILLI));
        let third = trips.begin(start);
        trips.end(third, start + 16 * MILLI);
        assert_eq!(trips.time, Some(9 * MILLI));
    }

    #[test]
    fn a_connection_gets_pings_and_is_lost_if_nothing_comes_back() {
        let mut launched = launched(&Launcher::command(["ssh"]).silence_limit(5000 * MILLI));
        let start = launched.next_ping;
        launched.has_moved(start);
        let at = |seconds: u32| start + seconds * 1000 * MILLI;
        for second in 0..5 {
            assert_eq!(launched.check(at(second), true), Silence::Ping);
            assert_eq!(launched.check(at(second), true), Silence::None);
        }
        assert_eq!(launched.check(at(5), true), Silence::Lost);
        // Bytes that arrive do not delay the next `Ping`.
        launched.has_moved(at(5));
        assert_eq!(launched.check(at(5), true), Silence::Ping);
        // A command that still connects may be silent, because its start has a time limit
        // of its own.
        assert!((6..20).all(|second| launched.check(at(second), false) == Silence::None));
    }
}
