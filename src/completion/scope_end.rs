//! [`ScopeTasks`]: the tasks of one scope that have not ended.
//!
//! A task is counted before any thread can start it, and has ended when its
//! [`ScopeGuard`] is dropped. The job keeps the guard until it is called or withdrawn;
//! then the thread that ends the task has it, or its
//! [`Notification`](super::Notification), and drops it last: by then the job is gone, the
//! callbacks have run, and an unwanted value was dropped. All that may borrow from
//! outside the scope is gone with them, but for the value of a future, which cannot
//! outlive the scope.
//!
//! The thread that ends the scope waits until no task is left. It misses none: the last
//! guard counts itself out, and then notifies under the lock under which that thread
//! looked at the count.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::job::Scoped;
use super::rare::Task;
use super::scope_guard::{ScopeEnd, ScopeGuard};
use crate::panic::Panic;
use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering};
use crate::sys::fork::Origin;

pub(crate) struct ScopeTasks {
    /// The number of tasks that have not ended.
    left: AtomicUsize,
    state: Mutex<State>,
    /// Notified when a task comes while a thread waits, and when the last one has left.
    changed: Condvar,
    /// The process that it was made in. A fork has none of the threads that run
    /// its tasks.
    origin: Origin,
}

struct State {
    /// Those that the end of the scope has not yet tried to run, in the order of
    /// submission. Some may have ended.
    untried: VecDeque<Task>,
    /// The number of them at which those that have ended are removed.
    limit: usize,
    /// `true` while a thread waits for the end.
    has_waiter: bool,
    /// Of tasks that have left; perhaps read in the meantime.
    panics: Vec<Panic>,
}

/// The number of tasks that a scope remembers at least.
const LEAST: usize = 64;

impl ScopeTasks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(0),
            state: Mutex::new(State {
                untried: VecDeque::new(),
                limit: LEAST,
                has_waiter: false,
                panics: Vec::new(),
            }),
            changed: Condvar::new(),
            origin: Origin::current(),
        })
    }

    /// Counts one more task, which is to have this job.
    pub(crate) fn enter<J>(self: &Arc<Self>, job: J) -> Scoped<J> {
        // ORDERING: the task is not there yet, and the scope does not end before the
        // caller's code has.
        self.left.fetch_add(1, Ordering::Relaxed);
        Scoped::new(job, ScopeGuard::new(Arc::clone(self) as _))
    }

    /// Adds the task with such a job: a worker that waits for the scope may run it from
    /// now on.
    pub(crate) fn add(&self, task: Task) {
        let mut state = self.state.lock();
        if state.untried.len() >= state.limit {
            state.untried.retain(|task| !task.state().done());
            state.limit = LEAST.max(2 * state.untried.len());
        }
        state.untried.push_back(task);
        let has_waiter = state.has_waiter;
        drop(state);
        if has_waiter {
            self.changed.notify_all();
        }
    }

    /// Waits until all tasks have ended. Before it waits for one, it calls `run_inline`
    /// with it, once: a worker runs those that have not begun, also those that come
    /// meanwhile.
    ///
    /// In a fork it waits for nothing: no thread is there that could reach what
    /// the tasks borrow, and what holds them is never dropped.
    pub(crate) fn wait(&self, run_inline: impl Fn(&Task)) {
        if !self.origin.is_here() {
            return;
        }
        let guard = AbortOnUnwind;
        let mut state = self.state.lock();
        state.has_waiter = true;
        // ORDERING: acquire shows what the tasks did before they left.
        while self.left.load(Ordering::Acquire) != 0 {
            let Some(task) = state.untried.pop_front() else {
                self.changed.wait(&mut state);
                continue;
            };
            drop(state);
            run_inline(&task);
            if !self.origin.is_here() {
                // The task forked.
                return guard.disarm();
            }
            state = self.state.lock();
        }
        let ended = std::mem::take(&mut state.untried);
        drop(state);
        drop(ended);
        guard.disarm();
    }

    /// The lock, for a test that forks meanwhile.
    #[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
    pub(super) fn lock_for_ever(&self) -> impl Drop + '_ {
        self.state.lock()
    }

    /// Returns the first panic of an ended task that was not read.
    pub(crate) fn unread_panic(&self) -> Option<Panic> {
        if !self.origin.is_here() {
            return None;
        }
        let state = self.state.lock();
        state.panics.iter().find(|panic| !panic.is_read()).cloned()
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
        // ORDERING: a number to be shown.
        let tasks = self.left.load(Ordering::Relaxed);
        f.debug_struct("ScopeTasks")
            .field("tasks", &tasks)
            .finish_non_exhaustive()
    }
}

impl ScopeEnd for ScopeTasks {
    fn leave(&self, panic: Option<Panic>) {
        if !self.origin.is_here() {
            // The task ends in the parent.
            return;
        }
        if let Some(panic) = panic {
            self.state.lock().panics.push(panic);
        }
        // ORDERING: release shows what the task did to the thread that waits; acquire,
        // should this be the last one.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A thread that saw this task waits by then.
            drop(self.state.lock());
            self.changed.notify_all();
        }
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
            let (future, task) = unsafe { Completion::with_job(NO_POOL, scope_tasks.enter(Never)) };
            scope_tasks.add(task);
            as_inline_worker(NO_POOL, &Unwinds, || scope_tasks.wait(run_inline));
            return drop(future);
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
