//! [`Group`]: the tasks of one scope that have not ended.
//!
//! A task enters before anybody can start it, and has ended when its
//! [`Member`] is dropped. The record keeps the member until the final move, then
//! the [`Telling`](super::Telling) has it, and drops it behind all else: the job
//! is gone then, the callbacks have run, and so has the `Drop` of a value that
//! nobody wants. What may borrow from outside the scope is gone with them, but
//! for the value that belongs to a future which the scope cannot outlive.
//!
//! Whoever ends the scope waits until no task is left. Nothing is missed: the
//! last member leaves under the lock under which the other one looked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::task::Task;
use crate::panic::Panic;
use crate::sync::{Condvar, Mutex};
use crate::sys::fork::Origin;

pub(crate) struct Group {
    members: Mutex<Members>,
    /// Notified when a task has entered, and when the last one has left.
    changed: Condvar,
    /// The process that it was made in. A fork has none of the threads that run
    /// its tasks.
    origin: Origin,
}

struct Members {
    /// By number, in the order of entering.
    tasks: BTreeMap<u64, Arc<dyn Task>>,
    entered: u64,
    /// Of tasks that have left; perhaps read in the meantime.
    panics: Vec<Panic>,
}

impl Group {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            members: Mutex::new(Members {
                tasks: BTreeMap::new(),
                entered: 0,
                panics: Vec::new(),
            }),
            changed: Condvar::new(),
            origin: Origin::current(),
        })
    }

    pub(super) fn enter(self: &Arc<Self>, task: Arc<dyn Task>) -> Member {
        let mut members = self.members.lock();
        let number = members.entered;
        members.entered += 1;
        members.tasks.insert(number, task);
        drop(members);
        self.changed.notify_all();
        Member {
            group: Arc::clone(self),
            number,
            panic: None,
        }
    }

    /// Waits until all tasks have ended. A worker runs those that have not
    /// begun itself, also those that come meanwhile.
    ///
    /// In a fork it waits for nothing: no thread is there that could reach what
    /// the tasks borrow, and what holds them is never dropped.
    pub(crate) fn wait(&self) {
        if !self.origin.is_here() {
            return;
        }
        let guard = AbortOnUnwind;
        let mut members = self.members.lock();
        let mut untried = 0;
        while !members.tasks.is_empty() {
            let next = members.tasks.range(untried..).next();
            let Some((number, task)) = next.map(|(number, task)| (*number, Arc::clone(task)))
            else {
                self.changed.wait(&mut members);
                continue;
            };
            drop(members);
            untried = number + 1;
            task.help();
            if !self.origin.is_here() {
                // The task forked.
                break;
            }
            members = self.members.lock();
        }
        guard.disarm();
    }

    /// The lock, for a test that forks meanwhile.
    #[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
    pub(super) fn lock_for_ever(&self) -> impl Drop + '_ {
        self.members.lock()
    }

    /// The first panic of a task that has ended which nobody has read.
    pub(crate) fn unread_panic(&self) -> Option<Panic> {
        if !self.origin.is_here() {
            return None;
        }
        let members = self.members.lock();
        members
            .panics
            .iter()
            .find(|panic| !panic.is_read())
            .cloned()
    }
}

/// Ends the process if something unwinds past it: the tasks that are left borrow
/// from the stack that would be unwound.
struct AbortOnUnwind;

impl AbortOnUnwind {
    #[expect(clippy::mem_forget, reason = "it has nothing but its `Drop`")]
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("concurrent-futures: a scope cannot wait for its tasks, which borrow: aborting");
        std::process::abort();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.origin.is_here();
        let tasks = here.then(|| self.members.lock().tasks.len());
        f.debug_struct("Group")
            .field("tasks", &tasks.unwrap_or(0))
            .finish_non_exhaustive()
    }
}

/// A task's place in its group. Dropping it ends the task there.
pub(super) struct Member {
    group: Arc<Group>,
    number: u64,
    panic: Option<Panic>,
}

impl Member {
    /// Remembers how the task ended, for the case that nobody asks.
    pub(super) fn panicked(&mut self, panic: Panic) {
        self.panic = Some(panic);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.group.origin.is_here() {
            // The task ends in the parent.
            return;
        }
        let mut members = self.group.members.lock();
        let task = members.tasks.remove(&self.number);
        if let Some(panic) = self.panic.take() {
            members.panics.push(panic);
        }
        let was_last = members.tasks.is_empty();
        drop(members);
        if was_last {
            self.group.changed.notify_all();
        }
        drop(task);
    }
}

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::super::task::{Seat, Tidings};
    use super::*;
    use crate::error::Error;

    /// A task whose wait unwinds, as none of ours does.
    struct Unwinds;

    impl Task for Unwinds {
        fn start(&self) -> bool {
            false
        }
        fn run(self: Arc<Self>, _seat: &dyn Seat) {}
        fn help(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("planted"));
        }
        fn fail(self: Arc<Self>, _error: Error) -> Tidings {
            Box::new(|| ())
        }
        fn cancel(self: Arc<Self>) -> Tidings {
            Box::new(|| ())
        }
    }

    #[test]
    fn a_scope_whose_wait_unwinds_ends_the_process() {
        const ALONE: &str = "CONCURRENT_FUTURES_TEST_UNWINDS";
        if std::env::var_os(ALONE).is_some() {
            let group = Group::new();
            let _member = group.enter(Arc::new(Unwinds));
            group.wait();
            return;
        }
        let name = "completion::group::tests::a_scope_whose_wait_unwinds_ends_the_process";
        let own = std::env::current_exe().expect("it has a path");
        let mut command = Command::new(own);
        command
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1");
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("a scope cannot wait for its tasks"), "{said}");
    }
}
