//! [`Launched`]: the part of a worker's state that only a worker has which a launcher's
//! command has started.
//!
//! # The connection
//!
//! The connection may fail without a sign: a cable is pulled out, a host loses its power. So
//! the pool expects bytes from the worker within the silence limit. Nothing arrives from a
//! worker that runs a long task, so the pool sends a `Ping` when nothing has arrived for a
//! fifth of the limit, and another one after each further fifth. The worker answers each one
//! at once, also while a task runs. The limit counts these steps and not only the time
//! ([`Progress`]): if this process was stopped, the worker gets the remaining steps.
//!
//! The worker ends itself if nothing arrives from the pool for as long (`connection.rs`).
//!
//! # The stages of a start
//!
//! | stage | ends with | if it fails, the error says |
//! |---|---|---|
//! | connect | the greeting | the end of the command, and its last lines |
//! | begin | `Ready` | the worker's reason, or the end of the command |
//! | initialize | `Initialized` | as for any worker |

use std::time::{Duration, Instant};

use super::error_output::ErrorOutput;
use super::progress::Progress;
use crate::process::launcher::Launcher;

pub(super) struct Launched {
    /// The index of the launcher.
    pub(super) launcher: usize,
    pub(super) errors: ErrorOutput,
    /// The pid of the worker on its host, and the name of the host. Empty before `Ready`.
    pub(super) pid: u32,
    pub(super) host: String,
    /// `true` once the greeting has arrived.
    pub(super) is_connected: bool,
    pub(super) start_limit: Duration,
    silence_limit: Duration,
    silence: Progress,
}

/// The action that a silent connection asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    None,
    Ping,
    Lost,
}

impl Launched {
    pub(super) fn new(index: usize, launcher: &Launcher, errors: ErrorOutput) -> Self {
        let silence_limit = launcher.silence_limit;
        Self {
            launcher: index,
            errors,
            pid: 0,
            host: String::new(),
            is_connected: false,
            start_limit: launcher.start_limit,
            silence_limit,
            silence: Progress::within(silence_limit, Instant::now()),
        }
    }

    /// Records that bytes have arrived.
    pub(super) fn has_spoken(&mut self, now: Instant) {
        self.silence = Progress::within(self.silence_limit, now);
    }

    /// Returns the time of the next check of the connection.
    pub(super) fn next_check(&self) -> Instant {
        self.silence.next_check()
    }

    /// Checks the connection, which is only silent by mistake once the worker is ready.
    pub(super) fn check(&mut self, now: Instant, is_ready: bool) -> Silence {
        if now < self.silence.next_check() {
            return Silence::None;
        }
        match self.silence.is_given_up_if(now, is_ready) {
            true => Silence::Lost,
            false if is_ready => Silence::Ping,
            false => Silence::None,
        }
    }

    /// Returns the reason why the pool ends a worker that is silent.
    pub(super) fn why_lost(&self) -> String {
        format!(
            "nothing has arrived from it for {:?}; the connection to its host is down, or the worker \
             was stopped",
            self.silence_limit
        )
    }
}
