//! Tasks that borrow: the lifetimes that queues and threads cannot know.
//!
//! A task of a scope has a function, arguments or a value that borrow from
//! where the scope stands. Queues hold it as if it borrowed nothing: this file
//! erases the lifetimes, and its callers keep what makes that sound:
//!
//! * Such a task has a scope guard from before any thread can start it.
//! * Until its scope guard is dropped, the scope does not end.
//! * When its scope guard is dropped, the job is gone, the callbacks have run, and
//!   the value has moved out of the record or belongs to the future. The
//!   future's type names the scope, so no safe code has it afterwards; one that
//!   was leaked leaks its value as well.
//! * What is left, an entry in a queue or a thread's own reference, looks at the
//!   state and frees memory. Neither touches anything that was borrowed.

use std::mem::transmute;
use std::sync::Arc;

use super::Completion;
use super::scope_end::ScopeTasks;
use super::task::{Job, Task};

impl<T: Send> Completion<T> {
    /// Creates a task whose value may borrow.
    ///
    /// # Safety
    ///
    /// If it does, the task is [`packed`](Self::pack) for a scope before any other
    /// thread has it.
    pub(crate) unsafe fn borrowing(pool_id: usize) -> Arc<Self> {
        Self::without_job(pool_id, false)
    }

    /// Makes a new task ready for other threads: with its job, if it has one, and
    /// with a guard of its scope, if it is in one.
    ///
    /// # Safety
    ///
    /// Without a scope, job and value borrow nothing. With one, what they borrow
    /// lives until [`ScopeTasks::wait`] has returned.
    pub(crate) unsafe fn pack<'a>(
        self: &Arc<Self>,
        job: Option<Box<dyn Job<T> + 'a>>,
        scope_tasks: Option<&Arc<ScopeTasks>>,
    ) -> Arc<dyn Task>
    where
        T: 'a,
    {
        let task: Arc<dyn Task + 'a> = Arc::clone(self) as _;
        // SAFETY: what it borrows is not touched after its end, says the head
        // of this file.
        let task = unsafe { transmute::<Arc<dyn Task + 'a>, Arc<dyn Task>>(task) };
        // SAFETY: as above.
        let job =
            unsafe { transmute::<Option<Box<dyn Job<T> + 'a>>, Option<Box<dyn Job<T>>>>(job) };
        // In one step, for a thread that waits for the scope may start it at once.
        let mut record = self.record.lock();
        record.scope_guard =
            scope_tasks.map(|scope_tasks| Box::new(scope_tasks.enter(Arc::clone(&task))));
        record.job = job;
        drop(record);
        task
    }
}

/// User code that the end of a task calls for, to run on the same thread.
pub(super) type Deferred = Box<dyn FnOnce()>;

/// Erases the lifetime of what the rest of a task's notification borrows.
///
/// # Safety
///
/// It borrows nothing, or it holds the task's scope guard, and drops it last.
pub(super) unsafe fn later<'a>(rest: impl FnOnce() + 'a) -> Deferred {
    let rest: Box<dyn FnOnce() + 'a> = Box::new(rest);
    // SAFETY: until the scope guard is dropped the scope does not end, by the
    // contract.
    unsafe { transmute::<Box<dyn FnOnce() + 'a>, Deferred>(rest) }
}
