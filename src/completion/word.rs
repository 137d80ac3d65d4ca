//! [`Word`]: 64 bits with the state of a task and its flags, runner and reference count.
//!
//! ```text
//!   63 ...... 32  31 ...... 9      8        7       6        5        4     3     2 1 0
//!      runner     references   FINALIZER  ENDING  HANDLE UNNOTIFIED  RARE WAITER  state
//! ```
//!
//! | state | bits | the storage holds | transitions out of the state |
//! |---|---|---|---|
//! | pending | 000 | the job | `start`, `claim`, or, once ENDING is set, a final transition |
//! | claimed | 001 | the job, which only the claiming pool may use | `start`, `release`, `settle` |
//! | running | 010 | if a thread of this process calls the job: nothing, and after the call the outcome; if `settle` ends the task: the job | `finish`, or `settle` |
//! | finished | 100 | the outcome, until it is moved out or dropped | - |
//! | cancelled | 101 | nothing | - |
//!
//! A task is *done* if bit 2 is set. Its *callbacks are done* if bit 2 is set and
//! UNNOTIFIED is not.
//!
//! | flag | set by | meaning | cleared by |
//! |---|---|---|---|
//! | WAITER | a thread that is about to park | the thread that ends the task, or its callbacks, must unpark the threads that parked by the task's address | never: a stale WAITER costs only needless unparks |
//! | RARE | a thread that first uses the task's rare box (`rare.rs`), under the box's lock | the task starts and ends only under the box's lock | never |
//! | UNNOTIFIED | a thread that adds a callback, under the rare box's lock | the task has callbacks that have not returned | the thread that runs the callbacks, under the rare box's lock |
//! | HANDLE | the creation of the task | the future was not dropped: the value belongs to the future, or to the code that consumed it | the drop of the future |
//! | ENDING | a thread that ends a task without calling its job | only that thread may use the storage | that thread's transition to a final state |
//! | FINALIZER | a thread that hands a finalizer (`rare.rs`) to a waiter, under the rare box's lock | a waiter must look for the finalizer, and run it if no other waiter has taken it | the waiter that looks for the finalizer |
//!
//! The *runner* is the id of the thread that runs the task's function or decodes the task's
//! value. The runner is 0 if no thread of this process does so now, or if the task is
//! detached: no other thread can read the word of a detached task.

use std::fmt;

use crate::state::State;
use crate::sync::ThreadId;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const STATE: u64 = 0b111;
const RUNNER: u32 = 32;
const LOW_HALF: u64 = (1 << RUNNER) - 1;

/// The three state bits. Bit 2 is set in the final states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase(u64);

pub(super) const PENDING: Phase = Phase(0b000);
pub(super) const CLAIMED: Phase = Phase(0b001);
pub(super) const RUNNING: Phase = Phase(0b010);
pub(super) const FINISHED: Phase = Phase(0b100);
pub(super) const CANCELLED: Phase = Phase(0b101);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flag(u64);

const DONE: Flag = Flag(1 << 2);
pub(super) const WAITER: Flag = Flag(1 << 3);
pub(super) const RARE: Flag = Flag(1 << 4);
pub(super) const UNNOTIFIED: Flag = Flag(1 << 5);
pub(super) const HANDLE: Flag = Flag(1 << 6);
pub(super) const ENDING: Flag = Flag(1 << 7);
pub(super) const FINALIZER: Flag = Flag(1 << 8);

impl Flag {
    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

/// The number that is added to the word for one more reference.
pub(super) const REFERENCE: u64 = 1 << 9;

impl Word {
    /// Returns the word of a new pending task, with one reference for the future and one
    /// for the worker.
    #[inline]
    pub(super) fn new() -> Self {
        Self(PENDING.0 | HANDLE.0 | (2 * REFERENCE))
    }

    #[inline]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn has(self, flag: Flag) -> bool {
        self.0 & flag.0 != 0
    }

    #[inline]
    pub(super) fn with(self, flag: Flag) -> Self {
        Self(self.0 | flag.0)
    }

    #[inline]
    pub(super) fn without(self, flag: Flag) -> Self {
        Self(self.0 & !flag.0)
    }

    #[inline]
    pub(super) fn phase(self) -> Phase {
        Phase(self.0 & STATE)
    }

    #[inline]
    pub(super) fn is(self, phase: Phase) -> bool {
        self.phase() == phase
    }

    /// Returns `true` if the task is pending, and no thread has begun to end the task.
    #[inline]
    pub(super) fn is_free(self) -> bool {
        self.0 & (STATE | ENDING.0) == PENDING.0
    }

    /// Returns `true` if the task is pending, has no flags set, and has only one reference.
    /// Then only the thread that has this reference can reach the task.
    #[inline]
    pub(super) fn is_detached(self) -> bool {
        self.0 & LOW_HALF == PENDING.0 | REFERENCE
    }

    #[inline]
    pub(super) fn is_done(self) -> bool {
        self.has(DONE)
    }

    #[inline]
    pub(super) fn callbacks_done(self) -> bool {
        self.0 & (DONE.0 | UNNOTIFIED.0) == DONE.0
    }

    /// Returns the state as the public API shows it.
    #[inline]
    pub(super) fn state(self) -> State {
        match self.phase() {
            FINISHED => State::Finished,
            CANCELLED => State::Cancelled,
            RUNNING => State::Running,
            _ => State::Pending,
        }
    }

    #[inline]
    pub(super) fn runner(self) -> Option<ThreadId> {
        ThreadId::from_bits((self.0 >> RUNNER) as u32)
    }

    #[inline]
    pub(super) fn with_runner(self, runner: Option<ThreadId>) -> Self {
        let bits = runner.map_or(0, ThreadId::bits);
        Self(self.0 & LOW_HALF | u64::from(bits) << RUNNER)
    }

    /// Returns this word, changed from pending or claimed to running, with this runner.
    #[inline]
    pub(super) fn started_by(self, runner: Option<ThreadId>) -> Self {
        self.in_phase(RUNNING).with_runner(runner)
    }

    /// Returns this word, changed to the final state `phase`, without ENDING and without a
    /// runner.
    #[inline]
    pub(super) fn ended_as(self, phase: Phase) -> Self {
        self.without(ENDING).in_phase(phase).with_runner(None)
    }

    #[inline]
    pub(super) fn in_phase(self, phase: Phase) -> Self {
        Self(self.0 & !STATE | phase.0)
    }

    #[inline]
    pub(super) fn references(self) -> u64 {
        (self.0 & LOW_HALF) / REFERENCE
    }

    #[inline]
    pub(super) fn released(self) -> Self {
        Self(self.0 - REFERENCE)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("state", &self.state())
            .field("runner", &self.runner())
            .field("references", &self.references())
            .field("bits", &format_args!("{:#011b}", self.0 & (REFERENCE - 1)))
            .finish()
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use crate::sync::thread_id;

    #[test]
    fn each_part_of_the_word_is_its_own() {
        let us = thread_id();
        let word = Word::new().with(WAITER).with(ENDING).with_runner(Some(us));
        assert_eq!((word.runner(), word.references()), (Some(us), 2));
        assert!(!word.is_free() && !word.is_done() && word.state() == State::Pending);
        let ended = word.ended_as(CANCELLED);
        assert!(ended.has(WAITER) && ended.has(HANDLE) && !ended.has(ENDING));
        assert_eq!((ended.runner(), ended.references()), (None, 2));
        assert!(ended.is_done() && ended.callbacks_done());
        assert!(!ended.with(UNNOTIFIED).callbacks_done());
        assert_eq!(ended.released().references(), 1);
        let running = Word::new().started_by(Some(us));
        assert_eq!(
            (running.state(), running.runner()),
            (State::Running, Some(us))
        );
        assert_eq!(Word::new().in_phase(CLAIMED).state(), State::Pending);
        assert!(!Word::new().in_phase(CLAIMED).is_free() && Word::new().is_free());
    }
}
