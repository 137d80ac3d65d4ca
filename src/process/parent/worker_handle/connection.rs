//! The connection of a [`WorkerHandle`] to a launched worker: the stages of the worker's
//! start, the silence of the connection, and its end. A worker is *launched* if a
//! launcher's command or MPI has started it (`launched.rs`).

use std::sync::Arc;
use std::time::Instant;

use super::super::launched::Silence;
use super::super::worker_timeouts::{HANG_UP_LIMIT, START_LIMIT};
use super::{KillReason, WorkerHandle, WorkerState};
use crate::error::StartStage;
use crate::process::wire::frame::{Kind, bare};

impl WorkerHandle {
    /// Records that bytes have arrived from the worker, or that the launcher's command has
    /// accepted bytes. Does nothing if the worker is not launched.
    pub(super) fn connection_moved(&mut self) {
        let is_greeted = self.end.is_greeted();
        let Some(launched) = &mut self.launched else {
            return;
        };
        launched.has_moved(Instant::now());
        if is_greeted && launched.stage != StartStage::Begun {
            launched.stage = StartStage::Begun;
            // The command has started the program, so the next step of the start gets a new
            // time limit.
            self.extend_start();
            self.copying = None;
            self.flush();
        }
    }

    /// Starts the time limit for the next step of the worker's start. Does nothing after
    /// the start, or if no launcher starts the worker.
    pub(super) fn extend_start(&mut self) {
        let limit = self.launched.as_ref().map(|launched| launched.start_limit);
        let limit = limit.filter(|_| matches!(self.activity, WorkerState::Starting));
        if let Some(limit) = limit {
            self.set_deadline_in(limit);
        }
    }

    /// Checks the connection to a launched worker. Kills the worker if the connection has
    /// been silent for too long.
    pub(in crate::process::parent) fn check_connection(&mut self, now: Instant) {
        // The pool sends no message after `Exit`. A rank of an MPI job would take such a
        // message for the first message of the pool whose worker it becomes next.
        let is_ready = self.is_ready && !matches!(self.activity, WorkerState::Leaving);
        if self.is_being_killed() {
            return;
        }
        let Some(launched) = &mut self.launched else {
            return;
        };
        match launched.check(now, is_ready) {
            Silence::None => {}
            // No `Ping` is needed while other bytes wait to be sent, because these bytes
            // will show the worker that the parent lives.
            Silence::Ping if !self.outbox.is_empty() => {}
            Silence::Ping => self.send_ping(),
            Silence::Lost => {
                let what = launched.why_lost();
                self.kill(KillReason::Misbehaved(what));
            }
        }
    }

    /// Sends a `Ping` if the worker is launched. The worker answers at once. The answer
    /// shows that the connection works, and for how long a message and its answer travel.
    pub(in crate::process::parent) fn send_ping(&mut self) {
        if let Some(launched) = &mut self.launched {
            let ping = bare(Kind::Ping, launched.trips.begin(Instant::now()));
            self.send(Arc::new(ping.to_vec().into()));
        }
    }

    /// Closes the connection of a command that has not started the program yet, and starts
    /// the time limit in which the command has to end. The pool does not kill the command
    /// at once: `bwrap`, for example, leaves a process behind if it is killed during its
    /// own start.
    pub(in crate::process::parent) fn hang_up(&mut self) {
        if let Some(launched) = self.launched.as_mut() {
            if !std::mem::replace(&mut launched.is_hung_up, true) {
                self.end.close_sending();
                self.activity = WorkerState::Leaving;
                self.set_deadline_in(HANG_UP_LIMIT);
            }
        }
    }

    /// Returns `true` if a launcher's command starts the worker, and the command has not
    /// started the program yet.
    pub(in crate::process::parent) fn connects(&self) -> bool {
        let stage = self.stage();
        stage.is_some_and(|stage| stage != StartStage::Begun) && !self.is_being_killed()
    }

    /// Returns the stage that the start of the worker has reached, or `None` if no launcher
    /// has started the worker.
    pub(super) fn stage(&self) -> Option<StartStage> {
        self.launched.as_ref().map(|launched| launched.stage)
    }

    /// Returns the reason why the pool kills a worker that was not ready in time.
    pub(in crate::process::parent) fn why_not_ready(&self) -> String {
        let launched = self.launched.as_ref();
        let limit = launched.map_or(START_LIMIT, |launched| launched.start_limit);
        match self.stage() {
            Some(StartStage::Connecting) => {
                format!("the command did not start the program within {limit:?}")
            }
            Some(StartStage::Copying) => {
                format!("the copy of the program did not go on for {limit:?}")
            }
            Some(StartStage::Copied) => {
                format!("the program, which was copied, did not begin within {limit:?}")
            }
            Some(StartStage::Begun) | None => format!(
                "it sent no message within {limit:?} of its start; does its program reach \
                 `concurrent_futures::init`?"
            ),
        }
    }

    /// Returns `true` if no message of the worker can get lost on its way. Then, if the
    /// worker ends and the `Started` of a task has not arrived, the task has not begun,
    /// unless a task has destroyed this message ([`started_unread`](Self::started_unread)).
    pub(in crate::process::parent) fn knows_what_has_begun(&self) -> bool {
        self.launched
            .as_ref()
            .is_none_or(|launched| launched.is_direct)
    }
}
