//! [`ScopeTasks`]: the tasks of one scope that have not ended.
//!
//! A task enters before any thread can start it, and has ended when its
//! [`ScopeGuard`] is dropped. The record keeps the guard until the final transition,
//! then the [`Notification`](super::Notification) has it, and drops it last: by then
//! the job is gone, the callbacks have run, and an unwanted value was dropped. All
//! that may borrow from outside the scope is gone with them, but for the value of a
//! future, which cannot outlive the scope.
//!
//! The thread that ends the scope waits until no task is left. It misses none: the
//! last guard leaves under the lock under which that thread looked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::task::Task;
use crate::panic::Panic;
use crate::sync::{Condvar, Mutex};
use crate::sys::fork::Origin;

pub(crate) struct ScopeTasks {
    scope_guards: Mutex<ScopeGuards>,
    /// Notified when a task has entered, and when the last one has left.
    changed: Condvar,
    /// The process that it was made in. A fork has none of the threads that run
    /// its tasks.
    origin: Origin,
}

struct ScopeGuards {
    /// By number, in the order of entering.
    tasks: BTreeMap<u64, Arc<dyn Task>>,
    entered: u64,
    /// Of tasks that have left; perhaps read in the meantime.
    panics: Vec<Panic>,
}

impl ScopeTasks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            scope_guards: Mutex::new(ScopeGuards {
                tasks: BTreeMap::new(),
                entered: 0,
                panics: Vec::new(),
            }),
            changed: Condvar::new(),
            origin: Origin::current(),
        })
    }

    pub(super) fn enter(self: &Arc<Self>, task: Arc<dyn Task>) -> ScopeGuard {
        let mut scope_guards = self.scope_guards.lock();
        let number = scope_guards.entered;
        scope_guards.entered += 1;
        scope_guards.tasks.insert(number, task);
        drop(scope_guards);
        self.changed.notify_all();
        ScopeGuard {
            scope_tasks: Arc::clone(self),
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
        let mut scope_guards = self.scope_guards.lock();
        let mut untried = 0;
        while !scope_guards.tasks.is_empty() {
            let next = scope_guards.tasks.range(untried..).next();
            let Some((number, task)) = next.map(|(number, task)| (*number, Arc::clone(task)))
            else {
                self.changed.wait(&mut scope_guards);
                continue;
            };
            drop(scope_guards);
            untried = number + 1;
            task.run_inline();
            if !self.origin.is_here() {
                // The task forked.
                break;
            }
            scope_guards = self.scope_guards.lock();
        }
        guard.disarm();
    }

    /// The lock, for a test that forks meanwhile.
    #[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
    pub(super) fn lock_for_ever(&self) -> impl Drop + '_ {
        self.scope_guards.lock()
    }

    /// Returns the first panic of an ended task that was not read.
    pub(crate) fn unread_panic(&self) -> Option<Panic> {
        if !self.origin.is_here() {
            return None;
        }
        let scope_guards = self.scope_guards.lock();
        scope_guards
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

impl fmt::Debug for ScopeTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.origin.is_here();
        let tasks = here.then(|| self.scope_guards.lock().tasks.len());
        f.debug_struct("ScopeTasks")
            .field("tasks", &tasks.unwrap_or(0))
            .finish_non_exhaustive()
    }
}

/// The guard of a task in a scope: dropping it ends the task there.
pub(super) struct ScopeGuard {
    scope_tasks: Arc<ScopeTasks>,
    number: u64,
    panic: Option<Panic>,
}

impl ScopeGuard {
    /// Keeps the panic that ended the task, for a scope whose futures are not read.
    pub(super) fn panicked(&mut self, panic: Panic) {
        self.panic = Some(panic);
    }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if !self.scope_tasks.origin.is_here() {
            // The task ends in the parent.
            return;
        }
        let mut scope_guards = self.scope_tasks.scope_guards.lock();
        let task = scope_guards.tasks.remove(&self.number);
        if let Some(panic) = self.panic.take() {
            scope_guards.panics.push(panic);
        }
        let was_last = scope_guards.tasks.is_empty();
        drop(scope_guards);
        if was_last {
            self.scope_tasks.changed.notify_all();
        }
        drop(task);
    }
}

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::super::task::{Notifications, WorkerHooks};
    use super::*;
    use crate::error::Error;

    /// A task whose wait unwinds, as none of ours does.
    struct Unwinds;

    impl Task for Unwinds {
        fn start(&self) -> bool {
            false
        }
        fn run(self: Arc<Self>, _hooks: &dyn WorkerHooks) {}
        fn run_inline(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("planted"));
        }
        fn fail(self: Arc<Self>, _error: Error) -> Notifications {
            Box::new(|| ())
        }
        fn cancel(self: Arc<Self>) -> Notifications {
            Box::new(|| ())
        }
    }

    #[test]
    fn a_scope_whose_wait_unwinds_ends_the_process() {
        const ALONE: &str = "CONCURRENT_FUTURES_TEST_UNWINDS";
        if std::env::var_os(ALONE).is_some() {
            let scope_tasks = ScopeTasks::new();
            let _member = scope_tasks.enter(Arc::new(Unwinds));
            scope_tasks.wait();
            return;
        }
        let name = "completion::scope_end::tests::a_scope_whose_wait_unwinds_ends_the_process";
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
