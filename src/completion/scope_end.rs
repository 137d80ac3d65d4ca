//! [`ScopeTasks`]: the tasks of one scope; and the wait for all of them.
//!
//! A task is counted before any thread can start it (`scope_count.rs`), and has ended when
//! its [`ScopeGuard`] is dropped. The job keeps the guard until it is called or withdrawn;
//! then the thread that ends the task has it, or its
//! [`Notification`](super::Notification), and drops it last: by then the job is gone, the
//! callbacks have run, and an unwanted value was dropped. All that may borrow from
//! outside the scope is gone with them, but for the value of a future, which cannot
//! outlive the scope.
//!
//! The scope remembers its tasks, since a worker that waits for its end runs those that
//! have not begun: list by list, and in each list in the order of submission. Each thread
//! has a list that it shares with few others. A waiter marks
//! each list, under its lock, before it looks at what is there; a thread that adds a task
//! to a marked list wakes it. So the waiter sees each task, also one that comes later.

use std::collections::VecDeque;
use std::fmt;

use super::job::Scoped;
use super::rare::Task;
use super::scope_count::{LINES, ScopeCount, line_of_thread};
use super::scope_guard::ScopeGuard;
use crate::panic::Panic;
use crate::sync::{AtomicU64, Mutex, Ordering};

pub(crate) struct ScopeTasks {
    count: ScopeCount,
    lists: [List; LINES],
    /// The number of tasks that were added to marked lists.
    late: AtomicU64,
}

#[repr(align(128))]
struct List(Mutex<Untried>);

/// The tasks that the end of the scope has not yet tried to run.
struct Untried {
    /// In the order of submission. Some may have ended.
    tasks: VecDeque<Task>,
    /// The number of them at which those that have ended are removed.
    limit: usize,
    /// `true` once a thread waits for the end.
    is_marked: bool,
}

/// The number of tasks that a list remembers at least.
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

    /// Counts one more task, which is to have this job.
    ///
    /// # Safety
    ///
    /// The scope does not move until [`wait`](Self::wait) has returned.
    pub(crate) unsafe fn enter<J>(&self, job: J) -> Scoped<J> {
        // SAFETY: as the caller says.
        Scoped::new(job, unsafe { ScopeGuard::new(&self.count) })
    }

    /// Adds the task with such a job: a worker that waits for the scope may run it from
    /// now on.
    pub(crate) fn add(&self, task: Task) {
        let mut list = self.lists[line_of_thread()].0.lock();
        // The newest first: in a fork-join that ends most of them, in the cache.
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
            // ORDERING: release shows the list; and the waking comes behind it.
            self.late.fetch_add(1, Ordering::Release);
            self.count.wake();
        }
    }

    /// Waits until all tasks have ended; called once. Before it waits for one, it calls
    /// `run_inline` with it, once: a worker runs those that have not begun, also those that
    /// come meanwhile.
    ///
    /// In a fork it waits for nothing: no thread is there that could reach what
    /// the tasks borrow, and what holds them is never dropped.
    pub(crate) fn wait(&self, run_inline: impl Fn(&Task)) {
        if !self.count.origin.is_here() {
            return;
        }
        let guard = AbortOnUnwind;
        self.count.freeze();
        for list in &self.lists {
            list.0.lock().is_marked = true;
        }
        loop {
            // ORDERING: acquire, and before the lists: a task that is not seen there
            // changes it.
            let late = self.late.load(Ordering::Acquire);
            while !self.count.is_over() {
                let Some(task) = self.next_untried() else {
                    break;
                };
                run_inline(&task);
                if !self.count.origin.is_here() {
                    // The task forked.
                    return guard.disarm();
                }
            }
            if self.count.is_over() {
                return guard.disarm();
            }
            let is_same = || self.late.load(Ordering::Acquire) == late;
            self.count.sleep(is_same);
        }
    }

    fn next_untried(&self) -> Option<Task> {
        let mut lists = self.lists.iter();
        lists.find_map(|list| list.0.lock().tasks.pop_front())
    }

    /// The lock, for a test that forks meanwhile.
    #[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
    pub(super) fn lock_for_ever(&self) -> impl Drop + '_ {
        self.lists[line_of_thread()].0.lock()
    }

    /// Returns the first panic of an ended task that was not read.
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
        // In a fork: a thread of the parent may have been about to change a list.
        for list in &mut self.lists {
            let tasks = std::mem::take(&mut list.0.get_mut().tasks);
            #[expect(clippy::mem_forget, reason = "it is perhaps half changed")]
            std::mem::forget(tasks);
        }
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
            // SAFETY: it stays there until the wait, which ends the process.
            let job = unsafe { scope_tasks.enter(Never) };
            // SAFETY: it borrows nothing.
            let (future, task) = unsafe { Completion::with_job(NO_POOL, job) };
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
