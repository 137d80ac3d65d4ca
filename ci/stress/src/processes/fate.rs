//! The tasks of a round: the request for each, its outcome, and the check of both.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use concurrent_futures::Error;

use super::task::{Answer, Kind};
use crate::{count, fault};

/// The request for one task.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub number: u64,
    pub kind: Kind,
    /// The bytes of its argument.
    pub size: usize,
    pub retries: u32,
    pub limit: Option<Duration>,
    pub has_name: bool,
}

/// The outcome of one task.
pub struct Fate {
    asked: Asked,
    /// The state in which its first callback found it.
    outcomes: Vec<&'static str>,
    /// The number of further callbacks that it has, and those that have run.
    callbacks: u32,
    callback_runs: Vec<u32>,
    pub cancelled: bool,
    pub killed: bool,
}

#[derive(Default)]
pub struct Round {
    fates: Mutex<HashMap<u64, Fate>>,
    next: AtomicU64,
    /// Workers are harmed from outside.
    pub is_harmed: AtomicBool,
    /// The death of a worker breaks the pool.
    pub breaks: AtomicBool,
    /// It was shut down, in any way.
    pub is_closed: AtomicBool,
    /// Tasks may be cancelled without a call of `cancel` for each.
    pub cancels: AtomicBool,
    /// All workers may be killed.
    pub kills: AtomicBool,
    /// It was shut down without waiting: its last tasks may end behind its drop.
    pub may_end_late: AtomicBool,
}

impl Round {
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Fate>> {
        self.fates.lock().expect("nothing panics under this lock")
    }

    pub fn note(&self, asked: Asked) {
        let fate = Fate {
            asked,
            outcomes: Vec::new(),
            callbacks: 0,
            callback_runs: Vec::new(),
            cancelled: false,
            killed: false,
        };
        self.lock().insert(asked.number, fate);
    }

    pub fn forget(&self, number: u64) {
        self.lock().remove(&number);
    }

    pub fn change<T>(&self, number: u64, change: impl FnOnce(&mut Fate) -> T) -> T {
        let mut fates = self.lock();
        change(fates.get_mut(&number).expect("noted before submitted"))
    }

    /// Notes how the task ended, as its first callback sees it.
    pub fn end(&self, asked: Asked, result: Result<&Answer, &Error>) {
        let how = name(asked, result);
        count(how);
        self.change(asked.number, |fate| fate.outcomes.push(how));
    }

    /// Returns the place of one more callback of the task.
    pub fn callback(&self, number: u64) -> u32 {
        self.change(number, |fate| {
            fate.callbacks += 1;
            fate.callbacks
        })
    }

    pub fn callback_ran(&self, number: u64, place: u32) {
        count("callbacks");
        self.change(number, |fate| fate.callback_runs.push(place));
    }

    /// Tells whether nothing befalls tasks but what they do themselves.
    pub fn is_calm(&self) -> bool {
        let flags = [
            &self.is_harmed,
            &self.breaks,
            &self.is_closed,
            &self.cancels,
            &self.kills,
        ];
        !flags.iter().any(|flag| flag.load(SeqCst))
    }

    /// Tells a callback that runs after the pool's drop from one that never does.
    pub fn wait_for_callbacks(&self) {
        let missing = || {
            let fates = self.lock();
            fates.values().filter(|fate| !fate.is_told()).count()
        };
        let late = missing();
        if late > 0 {
            let end = Instant::now() + Duration::from_secs(10);
            while missing() > 0 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            let lost = missing();
            if lost > 0 || !self.may_end_late.load(SeqCst) {
                fault(format!(
                    "{late} tasks not settled when the pool's drop ended; {lost} later"
                ));
            }
        }
    }

    /// Compares what became of each task with what may.
    pub fn check(&self, tally: &[u8]) {
        let mut starts: HashMap<u64, u32> = HashMap::new();
        for start in tally.chunks(8) {
            let number = u64::from_le_bytes(start.try_into().expect("whole numbers"));
            *starts.entry(number).or_default() += 1;
        }
        for (number, fate) in self.lock().iter() {
            let begun = starts.remove(number).unwrap_or(0);
            if let Some(wrong) = self.wrong(fate, begun) {
                let (asked, outcomes) = (fate.asked, &fate.outcomes);
                fault(format!(
                    "{wrong}: {asked:?} {outcomes:?}, {begun} starts, callbacks {:?} of {}",
                    fate.callback_runs, fate.callbacks
                ));
            }
        }
        if !starts.is_empty() {
            fault(format!("refused tasks ran: {starts:?}"));
        }
    }

    fn wrong(&self, fate: &Fate, begun: u32) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(SeqCst);
        let asked = fate.asked;
        let [outcome] = fate.outcomes[..] else {
            return Some("not one callback");
        };
        let may_be = outcome == asked.kind.outcome()
            || match outcome {
                "cancelled" => fate.cancelled || is(&self.cancels),
                "killed" => fate.killed || is(&self.kills),
                "worker died" => is(&self.is_harmed),
                "broken" => is(&self.is_harmed) || is(&self.breaks),
                // An answer through shared memory needs no descriptor.
                "ended well" => matches!(asked.kind, Kind::CloseAll) && is_by_shared_memory(),
                _ => false,
            };
        let is_own_death = outcome == "worker died" && asked.kind.outcome() == outcome;
        let is_undisturbed = self.is_calm() && !fate.killed;
        if !may_be {
            Some("an outcome that nothing explains")
        } else if fate.cancelled && outcome != "cancelled" {
            Some("cancel() was true")
        } else if !fate.callback_runs.iter().copied().eq(1..=fate.callbacks) {
            Some("the callbacks did not run once each, in order")
        } else if outcome == "cancelled" && begun > 0 {
            Some("a cancelled task ran")
        } else if begun > 1 + asked.retries {
            Some("run too often")
        } else if asked.kind.begins() == (begun == 0) && outcome == asked.kind.outcome() {
            // A worker may be killed from outside, or be too late, before the task can note
            // its start.
            let may_be = outcome == "worker died" && is(&self.is_harmed);
            (!may_be && outcome != "time limit").then_some("begun, or not begun")
        } else if is_own_death && is_undisturbed && begun != 1 + asked.retries {
            Some("not retried")
        } else {
            None
        }
    }
}

/// Tells whether the pools of this run have shared memory.
fn is_by_shared_memory() -> bool {
    std::env::var_os("CONCURRENT_FUTURES_TRANSPORT").is_none_or(|name| name != "socket")
}

impl Fate {
    fn is_told(&self) -> bool {
        !self.outcomes.is_empty() && self.callback_runs.len() as u32 == self.callbacks
    }
}

/// Names an outcome, and looks at what it says of itself.
fn name(asked: Asked, result: Result<&Answer, &Error>) -> &'static str {
    let wrong = |text: &str| fault(format!("{text}: {asked:?} {:?}", result.map(|_| ())));
    let look = |task: Option<&str>| {
        if task.is_some() != asked.has_name {
            wrong("the wrong name");
        }
    };
    match result {
        Ok(answer) => {
            if !is_right(asked, answer) {
                wrong("another value");
            }
            "ended well"
        }
        Err(Error::Cancelled) => "cancelled",
        Err(Error::Panicked(_)) => "panicked",
        Err(Error::Broken(_)) => "broken",
        Err(Error::Encode(_)) => "not encoded",
        Err(Error::Decode(_)) => "not decoded",
        Err(Error::WorkerDied(death)) => {
            look(death.task());
            if death.times_begun() == 0 {
                wrong("blamed, though it never began");
            }
            "worker died"
        }
        Err(Error::Killed(end)) => {
            look(end.task());
            "killed"
        }
        Err(Error::TimeLimit(end)) => {
            look(end.task());
            if end.limit() != asked.limit || end.ran_for() < asked.limit {
                wrong("the wrong limit");
            }
            "time limit"
        }
        Err(_) => {
            wrong("an unknown end");
            "other"
        }
    }
}

fn is_right(asked: Asked, (number, value, parcel): &Answer) -> bool {
    let is_value = match (asked.kind, value) {
        (Kind::Big(size), Ok(bytes)) => *bytes == vec![asked.number as u8; size],
        (Kind::Err, Err(text)) => text == "planned",
        (Kind::Err, Ok(_)) | (_, Err(_)) => false,
        (_, Ok(bytes)) => *bytes == vec![1; asked.size],
    };
    let is_parcel = match asked.kind {
        Kind::Spoilt(spoil) => parcel.0 == spoil,
        _ => parcel.0 == super::task::Spoil::Nothing,
    };
    *number == asked.number && is_value && is_parcel
}
