//! Waits for several futures at once, in every way there is; for both modes.

use std::time::Duration;

use concurrent_futures::*;
use fastrand::Rng;

use crate::{count, fault};

/// Waits for them in one of the ways. Each future has to come once, and be done.
pub fn together<K, F>(made: Vec<(K, F)>, limit: Option<Duration>, random: &mut Rng)
where
    K: Send + 'static,
    F: Future + Send + 'static,
{
    match random.u32(..7) {
        0 => wait_for_all(made, limit),
        1 => wait_for_one(&made, limit, random),
        2 => {
            let got = wait_until(&made, |(_, future)| future.cancelled(), limit);
            let is_enough = got.done.iter().any(|(_, future)| future.cancelled());
            if limit.is_none() && !got.not_done.is_empty() && !is_enough {
                fault("wait_until came back early".to_owned());
            }
            count("wait_until");
        }
        3 => one_by_one(made, limit),
        4 => as_completed_within(made, limit),
        5 => receive(made, limit),
        _ => drop(completions(made)),
    }
}

fn wait_for_all<K, F: Future>(made: Vec<(K, F)>, limit: Option<Duration>) {
    let total = made.len();
    let got = wait(made, ReturnWhen::AllCompleted, limit);
    if got.done.len() + got.not_done.len() != total {
        fault("wait lost a future".to_owned());
    }
    if limit.is_none() && !got.not_done.is_empty() {
        fault("an untimed wait for all came back early".to_owned());
    }
    if !got.done.iter().all(|(_, future)| future.done()) {
        fault("wait called a future done that is not".to_owned());
    }
    count("wait for all");
}

fn wait_for_one<K, F: Future>(made: &[(K, F)], limit: Option<Duration>, random: &mut Rng) {
    let first = random.bool();
    let when = if first {
        ReturnWhen::FirstCompleted
    } else {
        ReturnWhen::FirstException
    };
    let got = wait(made, when, limit);
    if got.done.len() + got.not_done.len() != made.len() {
        fault("wait lost a future".to_owned());
    }
    let failed = |future: &F| !matches!(future.exception_timeout(Duration::ZERO), Ok(None));
    let is_enough = match first {
        true => !got.done.is_empty(),
        false => got.done.iter().any(|(_, future)| failed(future)),
    };
    if limit.is_none() && !got.not_done.is_empty() && !is_enough {
        fault(format!("an untimed wait with {when:?} came back early"));
    }
    count("wait for one");
}

fn one_by_one<K, F: Future>(made: Vec<(K, F)>, limit: Option<Duration>) {
    let total = made.len();
    let mut made = made.into_iter();
    let mut ended = as_completed(made.by_ref().take(2));
    made.for_each(|one| ended.add(one));
    let mut came = 0;
    loop {
        let next = match limit {
            Some(limit) => ended.next_timeout(limit),
            None => Ok(ended.next()),
        };
        match next {
            Ok(Some((_, future))) if future.done() => came += 1,
            Ok(Some(_)) => fault("as_completed yielded one that is not done".to_owned()),
            Ok(None) => break,
            Err(Error::Timeout { unfinished, .. }) if unfinished as usize + came == total => {
                return count("as_completed timed out");
            }
            Err(error) => return fault(format!("next_timeout said {error:?}")),
        }
    }
    if came != total {
        fault(format!("as_completed yielded {came} of {total}"));
    }
    count("as_completed");
}

fn as_completed_within<K, F: Future>(made: Vec<(K, F)>, limit: Option<Duration>) {
    let total = made.len();
    // A wait with a limit runs no tasks: on a worker it must not be long.
    let long = Duration::from_millis(if current_worker().is_some() {
        1
    } else {
        300_000
    });
    let limit = limit.unwrap_or(long);
    let (mut came, mut late) = (0, false);
    for next in as_completed(made).timeout(limit) {
        match next {
            Ok((_, future)) if future.done() => came += 1,
            Ok(_) => fault("as_completed yielded one that is not done".to_owned()),
            Err(Error::Timeout { unfinished, .. }) => {
                late = unfinished as usize + came == total;
            }
            Err(error) => fault(format!("as_completed said {error:?}")),
        }
    }
    if came != total && !late {
        fault(format!("timed as_completed yielded {came} of {total}"));
    }
    count("as_completed with a limit");
}

fn receive<K, F>(made: Vec<(K, F)>, limit: Option<Duration>)
where
    K: Send + 'static,
    F: Future + Send + 'static,
{
    let total = made.len();
    let channel = completions(made);
    let mut came = 0;
    loop {
        let next = match limit {
            None => channel.recv().ok(),
            Some(limit) => crossbeam_channel::select! {
                recv(*channel) -> next => next.ok(),
                default(limit) => return count("completions timed out"),
            },
        };
        match next {
            Some((_, future)) if future.done() => came += 1,
            Some(_) => fault("completions sent one that is not done".to_owned()),
            None => break,
        }
    }
    if came != total {
        fault(format!("completions sent {came} of {total}"));
    }
    count("completions");
}
