//! The supervisor: one thread a pool that starts workers, hears them, and judges
//! their deaths.
//!
//! It sleeps in one `poll` over the workers' sockets and processes, the pool's
//! bell, and a time-out for the next deadline. Each turn, with the lock: what was
//! said is heard, then those that have ended are judged, then the deadlines.
//!
//! A process that has ended is the truth; a socket that has is a hint only. What
//! a worker said before its end counts: after the process has ended, its socket
//! is read to the end, and only then its task is judged.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::launcher::Process;
use super::ledger::Ledger;
use super::link::{Duty, Fate, Link};
use super::looks::look;
use super::pool::Pool;
use super::progress::{self, Progress};
use crate::error::End;
use crate::sys::channel::Channel;

/// How often a worker's process is looked at where the system has no descriptor
/// for it: one whose socket has ended, and any other.
const LOOK: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// The number of times that an ended worker's socket is read: each time takes all that is there,
/// up to a [`TURN`](super::link::TURN), so a few would do.
const READS_TO_THE_END: usize = 100;

/// The stack of its thread, on which nothing is deep.
pub(super) const STACK: usize = 2 << 20;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What is polled of one worker.
struct Watched {
    number: usize,
    process: Arc<Process>,
    channel: Arc<Channel>,
    has_unsent: bool,
    is_silent: bool,
}

/// The life of the supervisor.
pub(super) fn main(pool: &Arc<Pool>) {
    let mut ledger = pool.lock();
    loop {
        pool.begin_turn(&mut ledger);
        if let Some(number) = pool.start_owed(&mut ledger) {
            drop(ledger);
            let launched = pool.launcher().launch(number);
            ledger = pool.lock();
            match launched {
                Ok(link) => pool.worker_started(&mut ledger, number, link),
                Err(error) => pool.not_started(&mut ledger, error),
            }
            continue;
        }
        if pool.is_over(&ledger) {
            return pool.supervisor_over(&mut ledger);
        }
        let watched = watch(&ledger);
        let looks = ledger.links.values().any(Link::is_worth_a_look);
        let deadlines = ledger.links.values().filter_map(|link| link.deadline);
        let progress = ledger
            .links
            .values()
            .filter_map(|link| link.progress.as_ref());
        // As long as tasks come, it looks by itself; then a submitter wakes it.
        let was_active = ledger.was_active;
        let wake_at = deadlines
            .chain(progress.map(Progress::next_look))
            .chain(was_active.then(|| Instant::now() + progress::LOOK))
            .chain(ledger.not_before)
            .min();
        ledger.was_active = false;
        ledger.is_watched = was_active;
        drop(ledger);
        let ready = sleep(pool, &watched, wake_at, looks);
        ledger = pool.lock();
        for (worker, (socket, process)) in watched.iter().zip(ready) {
            see_to(pool, &mut ledger, worker, socket, process);
        }
        keep_deadlines(&mut ledger);
    }
}

fn watch(ledger: &Ledger) -> Vec<Watched> {
    let links = ledger.links.iter();
    links
        .map(|(number, link)| Watched {
            number: *number,
            process: Arc::clone(&link.process),
            channel: Arc::clone(&link.channel),
            has_unsent: link.has_unsent(),
            is_silent: link.is_silent,
        })
        .collect()
}

/// Sleeps until something happens; for each worker, whether its socket can be
/// read or written, and whether its process may have ended.
fn sleep(
    pool: &Pool,
    watched: &[Watched],
    wake_at: Option<Instant>,
    looks: bool,
) -> Vec<(bool, bool)> {
    let mut polled = vec![PollFd::new(&pool.bell, PollFlags::IN)];
    let mut limit = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
    for worker in watched {
        let mut flags = PollFlags::empty();
        if worker.has_unsent {
            flags |= PollFlags::OUT;
        }
        if worker.is_silent {
            // Takes the place: the end of a socket would be found again and again.
            polled.push(PollFd::from_borrowed_fd(
                pool.bell.as_fd(),
                PollFlags::empty(),
            ));
        } else {
            polled.push(PollFd::new(&*worker.channel, flags | PollFlags::IN));
        }
        match worker.process.descriptor() {
            Some(process) => polled.push(PollFd::from_borrowed_fd(process, PollFlags::IN)),
            // Takes the place: its end shows nowhere.
            None => {
                let look = LOOK[usize::from(!worker.is_silent)];
                limit = Some(limit.map_or(look, |limit| limit.min(look)));
                polled.push(PollFd::from_borrowed_fd(
                    pool.bell.as_fd(),
                    PollFlags::empty(),
                ));
            }
        }
    }
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let found = looks.then(|| look(|| poll(&mut polled, Some(&NOW)).ok().filter(|n| *n > 0)));
    if found.flatten().is_none() {
        if let Err(error) = poll(&mut polled, limit.as_ref()) {
            // Memory that is short just now, or a lowered limit of descriptors.
            if error != Errno::INTR {
                thread::sleep(LOOK[0]);
            }
            // Whatever it was, all is looked at again.
            return vec![(true, true); watched.len()];
        }
    }
    if !polled[0].revents().is_empty() {
        pool.bell.hush();
    }
    let happened = |polled: &PollFd<'_>| !polled.revents().is_empty();
    polled[1..]
        .chunks_exact(2)
        .zip(watched)
        .map(|(pair, worker)| {
            let ended = happened(&pair[1]) || worker.process.descriptor().is_none();
            (happened(&pair[0]), ended)
        })
        .collect()
}

fn see_to(pool: &Pool, ledger: &mut Ledger, worker: &Watched, socket: bool, process: bool) {
    let Some(link) = ledger.links.get_mut(&worker.number) else {
        return;
    };
    if socket {
        link.flush();
        pool.hear(ledger, worker.number);
    }
    if !process {
        return;
    }
    let end = match worker.process.try_wait() {
        Ok(None) => return,
        Ok(Some(end)) => end,
        Err(_) => End::Unknown,
    };
    hear_to_the_end(pool, ledger, worker.number);
    pool.worker_ended(ledger, worker.number, end);
}

/// Hears all that a worker said that has ended. A grandchild that holds the
/// socket open has nothing to say: the end is where nothing is left, or where more
/// was read than can have been in the socket when the worker ended.
fn hear_to_the_end(pool: &Pool, ledger: &mut Ledger, number: usize) {
    for _ in 0..READS_TO_THE_END {
        pool.hear(ledger, number);
        let link = ledger.links.get(&number);
        if link.is_none_or(|link| link.is_silent || link.is_dry) {
            return;
        }
    }
}

/// Ends the workers that are past their deadlines, or do not go on.
fn keep_deadlines(ledger: &mut Ledger) {
    let mut links = ledger.links.values();
    if links.all(|link| link.deadline.is_none() && link.progress.is_none()) {
        return;
    }
    let now = Instant::now();
    for link in ledger.links.values_mut() {
        let progress = link.progress.as_mut();
        if progress.is_some_and(|progress| progress.is_given_up(now)) {
            link.progress = None;
            let what = match link.flight() {
                Some(flight) if flight.started.is_none() => {
                    "it did not take up a task that it was sent; was it stopped (SIGSTOP)?"
                }
                _ => {
                    "it left a message half said; was it stopped (SIGSTOP), or did a task write to \
                      what it has not opened itself?"
                }
            };
            link.kill(Fate::Unfit(what.to_owned()));
        }
    }
    let is_late = |link: &&mut Link| link.deadline.is_some_and(|at| at <= now);
    for link in ledger.links.values_mut().filter(is_late) {
        let fate = match &link.duty {
            _ if link.is_silent || link.is_lost => Fate::Unfit(
                "its connection to the pool was closed; a task may close only what it has opened \
                 itself, and may not become another program (`exec`)"
                    .to_owned(),
            ),
            Duty::Busy(_) => Fate::Overdue,
            Duty::Starting => Fate::Unfit(
                "it did not say a word within a minute of its start; does its program reach `concurrent_futures::init`?"
                    .to_owned(),
            ),
            Duty::Idle | Duty::Leaving => Fate::Unfit("it did not end when it was told to".to_owned()),
        };
        link.kill(fate);
    }
}
