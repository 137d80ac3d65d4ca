//! [`Supervisor`]: the steps of the supervisor's thread, as `supervisor.rs` takes them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::launched::Launched;
use super::super::pool::Pool;
use super::super::process_handle::{PlayedProcess, Process};
use super::super::supervisor::handle_events;
use super::super::supervisor::sleep::{Rest, Watched, begin_rest, sleep, watch};
use super::super::worker_handle::{FirstMessages, WorkerHandle};
use super::worker::{Traits, Worker};
use crate::process::launcher::Launcher;
use crate::process::settings::Transport;
use crate::process::transport::{OfferMemory, ParentEnd, Rings};
use crate::process::wire::frame::{Kind, bare};
use crate::sys::channel;

enum Phase {
    Awake,
    /// The supervisor starts a worker, and does not hold the lock meanwhile.
    Starting(usize, Option<usize>),
    Asleep(Vec<Watched>, Rest),
    Ended,
}

pub(super) struct Supervisor {
    phase: Phase,
    naps: bool,
    /// `true` if the timeout of the sleep is over.
    pub(super) is_due: bool,
    /// The reason why the next start of a worker fails.
    pub(super) next_failure: Option<io::ErrorKind>,
    /// `true` if the next worker of a launcher is behind a relay.
    pub(super) relays: bool,
}

impl Supervisor {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Awake,
            naps: false,
            is_due: false,
            next_failure: None,
            relays: false,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Makes the next step. Returns `false` if the supervisor sleeps on or has ended.
    pub(super) fn step(
        &mut self,
        pool: &Pool,
        launchers: &[Launcher],
        workers: &mut Vec<Worker>,
    ) -> bool {
        match std::mem::replace(&mut self.phase, Phase::Awake) {
            Phase::Awake => self.phase = self.round(pool),
            Phase::Starting(number, launcher) => {
                let started = self.start(pool, number, launcher.map(|at| &launchers[at]));
                let mut state = pool.lock();
                match started {
                    Ok((mut handle, worker)) => {
                        handle.launched =
                            launcher.map(|index| Launched::new(index, &launchers[index], None));
                        workers.push(worker);
                        pool.worker_started(&mut state, number, handle);
                    }
                    Err(error) => pool.not_started(&mut state, launcher, error),
                }
            }
            Phase::Asleep(watched, rest) => {
                if !self.is_due && rest.limit().is_none() && !is_woken(pool, &watched) {
                    self.phase = Phase::Asleep(watched, rest);
                    return false;
                }
                self.is_due = false;
                self.wake_up(pool, &watched, rest);
            }
            Phase::Ended => {
                self.phase = Phase::Ended;
                return false;
            }
        }
        true
    }

    /// Makes a round, up to the start of a worker, the sleep, or the end of the supervisor.
    /// Returns the phase that follows.
    fn round(&mut self, pool: &Pool) -> Phase {
        let mut state = pool.lock();
        pool.begin_round(&mut state);
        if let Some((number, launcher)) = pool.next_start(&mut state) {
            return Phase::Starting(number, launcher);
        }
        if pool.is_finished(&state) {
            pool.supervisor_ended(&mut state);
            return Phase::Ended;
        }
        Pool::free_large_calls(&mut state);
        let watched = watch(&state);
        state.is_watched = std::mem::take(&mut state.was_active);
        state.is_asleep = true;
        let rest = begin_rest(&mut state, self.naps);
        drop(state);
        rest.ask_for_wakeups(&watched);
        self.is_due |= rest.is_over(&watched);
        Phase::Asleep(watched, rest)
    }

    fn wake_up(&mut self, pool: &Pool, watched: &[Watched], rest: Rest) {
        // With this rest, `sleep` looks at all descriptors and asks for no wake-up.
        let looks = Rest::UntilPolled;
        let happened = sleep(pool, watched, Some(Instant::now()), false, looks, false);
        self.naps = rest.limit().is_some() && happened.iter().any(|happened| happened.message);
        let mut state = pool.lock();
        state.is_asleep = false;
        for (worker, happened) in watched.iter().zip(happened) {
            handle_events(pool, &mut state, worker, happened);
        }
        pool.assign_taken(&mut state);
        pool.kill_overdue(&mut state);
    }

    fn start(
        &mut self,
        pool: &Pool,
        number: usize,
        launcher: Option<&Launcher>,
    ) -> io::Result<(WorkerHandle, Worker)> {
        if let Some(failure) = self.next_failure.take() {
            return Err(failure.into());
        }
        let (ours, theirs) = channel::pair()?;
        let process = Process::Played(PlayedProcess::default());
        let starter = &pool.starter;
        let offers = starter.offers.as_ref();
        let traits = Traits {
            number,
            takes_offers: offers.is_some(),
            initializes: starter.initializes(),
            is_relayed: launcher.is_some() && std::mem::take(&mut self.relays),
        };
        let (mut handle, worker);
        if launcher.is_some() {
            handle = WorkerHandle::new(process, ParentEnd::through_command(ours, false));
            worker = Worker::launched(traits, Arc::clone(&handle.process), theirs);
        } else {
            let rings = match starter.config.transport {
                Transport::Socket => None,
                _ => Some(Rings::create()?),
            };
            let (rings, file) = rings.unzip();
            let key = rings.as_ref().map_or(0, Rings::key);
            let ours_again = file.map(|file| Rings::open(&file, key)).transpose()?;
            let memory = offers.map(|(key, files)| OfferMemory::open(files, *key));
            handle = WorkerHandle::new(process, ParentEnd::new(ours, rings));
            let process = Arc::clone(&handle.process);
            worker = Worker::direct(traits, process, theirs, ours_again, memory.transpose()?);
        }
        // The driver has already told the worker what a real `Hello` says.
        handle.first = Some(FirstMessages {
            hello: bare(Kind::Hello, 0).to_vec(),
            rings: None,
            offers: None,
            initialize: starter.config.initialize.clone(),
        });
        Ok((handle, worker))
    }
}

/// Returns `true` if an event has happened for which the supervisor sleeps: the end of a
/// worker's process, or an event that `poll` reports.
fn is_woken(pool: &Pool, watched: &[Watched]) -> bool {
    let has_ended = |worker: &Watched| matches!(worker.process.try_wait(), Ok(Some(_)));
    if watched.iter().any(has_ended) {
        return true;
    }
    let mut polled = vec![PollFd::from_borrowed_fd(
        pool.wake_fd.as_fd(),
        PollFlags::IN,
    )];
    for worker in watched.iter().filter(|worker| !worker.is_eof) {
        let mut flags = PollFlags::IN;
        if worker.has_unsent && worker.watch.sends_by_socket() {
            flags |= PollFlags::OUT;
        }
        let channel = worker.watch.descriptor().expect("no worker is a rank");
        polled.push(PollFd::from_borrowed_fd(channel.as_fd(), flags));
    }
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
}
