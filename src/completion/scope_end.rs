//! [`ScopeTasks`]: the tasks of one scope, and the wait for all of these tasks.
//!
//! A task is counted before any thread can start it (`scope_count.rs`), and counts as ended
//! when its [`ScopeGuard`] is dropped. The job holds the guard until the job is called or
//! withdrawn. Then the guard moves to the thread that ends the task, or to the task's
//! [`Notification`](super::Notification). The guard is dropped last: by then the job was
//! called or dropped, the callbacks have run, and a value without a future was dropped.
//! After that, only the value of a future may still borrow from outside the scope, and the
//! future cannot outlive the scope.
//!
//! The scope keeps lists of its tasks, because a worker that waits for the end of the scope
//! runs the tasks that have not begun. The worker goes list by list, and runs each list in
//! the order of submission. Each thread adds its tasks to one of the lists, which it shares
//! with some of the other threads. The waiting thread marks each list, under the list's
//! lock, before it reads the list. A thread that adds a task to a marked list wakes the
//! waiting thread. So the waiting thread sees each task, including tasks that are added
//! later.

use std::collections::VecDeque;
use std::fmt;
use std::thread;
use std::time::Duration;

use super::job::Scoped;
use super::rare::Task;
use super::scope_count::{LINES, ScopeCount, line_of_thread};
use super::scope_guard::ScopeGuard;
use super::stack::NoStack;
use crate::error::Error;
use crate::panic::Panic;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::sys::fork::forget;

/// The number of times that a waiting worker tries again to get memory for the stacks of
/// tasks, and the time between two tries.
const STACK_TRIES: u32 = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

pub(crate) struct ScopeTasks {
    count: ScopeCount,
    lists: [List; LINES],
    /// The number of tasks that were added to marked lists, that is, during the wait.
    late: AtomicU64,
}

#[repr(align(128))]
struct List(Mutex<Untried>);

/// The contents of one list: tasks that the waiting thread has not yet tried to run.
struct Untried {
    /// The tasks in the order in which they were added. Some of them may have ended.
    tasks: VecDeque<Task>,
    /// The length of this list at which `add` removes all ended tasks.
    limit: usize,
    /// `true` once a thread waits for the end of the scope.
    is_marked: bool,
}

/// The smallest value of a list's `limit`.
const LEAST: usize = 64;

impl ScopeTasks {
    pub(crate) fn new() -> Self {
        let list = |_| {
            List(Mutex::new(Untried {
                tasks: VecDeque::new(),
                limit: LEAST,
                is_marked: false,
            }))
        };
        Self {
            count: ScopeCount::new(),
            lists: std::array::from_fn(list),
            late: AtomicU64::new(0),
        }
    }

    /// Counts one more task, and returns the task's job with a [`ScopeGuard`] attached.
    ///
    /// # Safety
    ///
    /// The scope does not move until [`wait`](Self::wait) has returned.
    pub(crate) unsafe fn enter<J>(&self, job: J) -> Scoped<J> {
        // SAFETY: the caller promises that the scope, which contains the count, does not
        // move.
        Scoped::new(job, unsafe { ScopeGuard::new(&self.count) })
    }

    /// Adds a task whose job came from [`enter`](Self::enter). From now on a worker that
    /// waits for the scope may run the task.
    pub(crate) fn add(&self, task: Task) {
        let mut list = self.lists[line_of_thread()].0.lock();
        // Remove ended tasks, beginning with the newest: in fork-join code the newest tasks
        // have usually ended, and they are still in the cache.
        while list.tasks.back().is_some_and(|task| task.state().done()) {
            list.tasks.pop_back();
        }
        if list.tasks.len() >= list.limit {
            list.tasks.retain(|task| !task.state().done());
            list.limit = LEAST.max(2 * list.tasks.len());
        }
        list.tasks.push_back(task);
        let is_late = list.is_marked;
        drop(list);
        if is_late {
            // ORDERING: release publishes the added task. The waiting thread is woken only
            // afterwards.
            self.late.fetch_add(1, Ordering::Release);
            self.count.wake();
        }
    }

    /// Waits until all tasks have ended. Must be called only once. Before this function
    /// blocks, it calls `run_inline` with the tasks that may not have begun, also with
    /// tasks that are added during the wait. So a waiting worker runs these tasks.
    ///
    /// If there is no memory for a task's stack, this function tries again for a while. If
    /// no other worker has begun the task by then, the task fails with a panic, which the
    /// scope reports like a panic of the task. If the task did not fail, the wait might
    /// never end.
    ///
    /// In a forked child, this function returns at once. This is sound, because no thread
    /// of the child uses what the tasks borrow, and the child never drops the lists of
    /// tasks.
    pub(crate) fn wait(&self, run_inline: impl Fn(&Task) -> Result<(), NoStack>) {
        if !self.count.origin.is_here() {
            return;
        }
        let guard = AbortOnUnwind;
        self.count.freeze();
        for list in &self.lists {
            list.0.lock().is_marked = true;
        }
        let (mut without_stack, mut tries) = (Vec::new(), 0);
        loop {
            // ORDERING: acquire keeps this load before the reads of the lists. If a task is
            // added to a list that was already read, `late` changes, and this thread does
            // not sleep.
            let late = self.late.load(Ordering::Acquire);
            while !self.count.is_over() {
                let Some(task) = self.next_untried() else {
                    break;
                };
                let ran = run_inline(&task);
                if !self.count.origin.is_here() {
                    // The task that ran inline forked, and this is the child.
                    return guard.disarm();
                }
                if ran.is_err() {
                    without_stack.push(task);
                }
            }
            if self.count.is_over() {
                return guard.disarm();
            }
            if without_stack.is_empty() {
                tries = 0;
            } else if tries < STACK_TRIES {
                tries += 1;
                thread::sleep(BETWEEN_TRIES);
                self.lists[0].0.lock().tasks.extend(without_stack.drain(..));
                continue;
            } else {
                for task in without_stack.drain(..) {
                    self.fail_without_stack(&task);
                }
                continue;
            }
            // ORDERING: acquire pairs with the release in `add`.
            let is_same = || self.late.load(Ordering::Acquire) == late;
            self.count.sleep(is_same);
        }
    }

    fn fail_without_stack(&self, task: &Task) {
        let text = "a worker that waits for a scope has no memory for the stack of a task of this \
                    scope, and no other worker has run the task; free memory, or nest fewer scopes";
        let panic = Panic::from_payload(Box::new(text));
        if let Some(notification) = task.fail(Error::Panicked(panic.clone())) {
            self.count.keep_panic(panic);
            notification.notify();
        }
    }

    fn next_untried(&self) -> Option<Task> {
        let mut lists = self.lists.iter();
        lists.find_map(|list| list.0.lock().tasks.pop_front())
    }

    /// Returns the lock guard of the calling thread's list, for a test that forks while the
    /// list is locked.
    #[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
    pub(super) fn lock_for_ever(&self) -> impl Drop + '_ {
        self.lists[line_of_thread()].0.lock()
    }

    /// Returns the first panic of an ended task whose outcome was not read.
    pub(crate) fn unread_panic(&self) -> Option<Panic> {
        if !self.count.origin.is_here() {
            return None;
        }
        self.count.unread_panic()
    }
}

impl Drop for ScopeTasks {
    fn drop(&mut self) {
        if self.count.origin.is_here() {
            return;
        }
        // In a forked child, do not drop the tasks: a thread of the parent may have been
        // changing a list at the fork, so the list may be inconsistent.
        for list in &mut self.lists {
            forget(&mut list.0.get_mut().tasks);
        }
    }
}

/// A guard that aborts the process if a panic unwinds past it, because the remaining tasks
/// borrow from the stack that would be unwound.
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
        f.debug_struct("ScopeTasks")
            .field("tasks", &self.count.tasks())
            .finish_non_exhaustive()
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
    use super::super::worker_hooks::WorkerHooks;
    use super::*;

    /// A job that no thread calls.
    struct Never;

    impl Job<()> for Never {
        fn call(self) {}
        fn on_withdrawn(&self, _cancelled: bool) {}
    }

    /// Hooks that unwind, which the crate's own hooks never do.
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
            // SAFETY: `scope_tasks` does not move before the wait, which ends the process.
            let job = unsafe { scope_tasks.enter(Never) };
            // SAFETY: the job borrows nothing.
            let (future, task) = unsafe { Completion::with_job(NO_POOL, job) };
            scope_tasks.add(task);
            as_inline_worker(NO_POOL, &Unwinds, || scope_tasks.wait(Task::run_inline));
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
