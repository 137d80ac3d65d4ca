//! [`ScopeTasks`]: the tasks of one scope that have not ended.
//!
//! A task enters before any thread can start it, and has ended when its
//! [`ScopeGuard`] is dropped. The task keeps the guard until the final transition,
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

use crate::panic::Panic;
use crate::sync::{Condvar, Mutex};
use crate::sys::fork::Origin;

/// The tasks of a scope, each a `T`.
pub(crate) struct ScopeTasks<T> {
    scope_guards: Mutex<ScopeGuards<T>>,
    /// Notified when a task has entered, and when the last one has left.
    changed: Condvar,
    /// The process that it was made in. A fork has none of the threads that run
    /// its tasks.
    origin: Origin,
}

struct ScopeGuards<T> {
    /// By number, in the order of entering.
    tasks: BTreeMap<u64, T>,
    entered: u64,
    /// Of tasks that have left; perhaps read in the meantime.
    panics: Vec<Panic>,
}

impl<T: Clone> ScopeTasks<T> {
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

    pub(super) fn enter(self: &Arc<Self>, task: T) -> ScopeGuard<T> {
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

    /// Waits until all tasks have ended. Before it waits for one, it calls `run_inline`
    /// with it, once: a worker runs those that have not begun, also those that come
    /// meanwhile.
    ///
    /// In a fork it waits for nothing: no thread is there that could reach what
    /// the tasks borrow, and what holds them is never dropped.
    pub(crate) fn wait(&self, run_inline: impl Fn(&T)) {
        if !self.origin.is_here() {
            return;
        }
        let guard = AbortOnUnwind;
        let mut scope_guards = self.scope_guards.lock();
        let mut untried = 0;
        while !scope_guards.tasks.is_empty() {
            let next = scope_guards.tasks.range(untried..).next();
            let Some((number, task)) = next.map(|(number, task)| (*number, task.clone())) else {
                self.changed.wait(&mut scope_guards);
                continue;
            };
            drop(scope_guards);
            untried = number + 1;
            run_inline(&task);
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

impl<T> fmt::Debug for ScopeTasks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.origin.is_here();
        let tasks = here.then(|| self.scope_guards.lock().tasks.len());
        f.debug_struct("ScopeTasks")
            .field("tasks", &tasks.unwrap_or(0))
            .finish_non_exhaustive()
    }
}

/// The guard of a task in a scope: dropping it ends the task there.
pub(super) struct ScopeGuard<T> {
    scope_tasks: Arc<ScopeTasks<T>>,
    number: u64,
    panic: Option<Panic>,
}

impl<T> ScopeGuard<T> {
    /// Keeps the panic that ended the task, for a scope whose futures are not read.
    pub(super) fn panicked(&mut self, panic: Panic) {
        self.panic = Some(panic);
    }
}

impl<T> Drop for ScopeGuard<T> {
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

    use super::super::Completion;
    use super::super::inline_worker::as_inline_worker;
    use super::super::job::Job;
    use super::super::pool_id::NO_POOL;
    use super::super::running::run_inline;
    use super::super::worker_hooks::WorkerHooks;
    use super::*;

    /// A job that is not called.
    struct Never;

    impl Job<()> for Never {
        fn call(self) {}
        fn on_withdrawn(&self, _cancelled: bool) {}
    }

    /// Hooks that unwind, as none of ours do.
    struct Unwinds;

    impl WorkerHooks for Unwinds {
        fn begin(&self, _leaves_entry: bool) {
            std::panic::resume_unwind(Box::new("planted"));
        }
        fn call_returned(&self, _failed: bool) {}
        fn callbacks_started(&self) {}
        fn callbacks_finished(&self) {}
    }

    #[test]
    fn a_scope_whose_wait_unwinds_ends_the_process() {
        const ALONE: &str = "CONCURRENT_FUTURES_TEST_UNWINDS";
        if std::env::var_os(ALONE).is_some() {
            let scope_tasks = ScopeTasks::new();
            // SAFETY: it borrows nothing.
            let (task, _) = unsafe { Completion::with_job(NO_POOL, Never) };
            task.enter_scope(&scope_tasks);
            as_inline_worker(NO_POOL, &Unwinds, || scope_tasks.wait(run_inline));
            return drop(task);
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
